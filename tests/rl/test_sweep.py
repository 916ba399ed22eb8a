"""Sweeps: every cell once, one table, a plot with bands, and the rest of a broken sweep only."""

import csv
import json

import joblib
import pytest

from yannctl.cli.app import main
from yannctl.cli.sweep_figure import draw_sweep
from yannctl.errors import ModelError
from yannctl.rl import TrainingError, sweeps
from yannctl.rl.sweeps import cells_of, sweep, write_table

TINY = {
    "width": [8], "batch": [8], "updates_per_step": [0.2], "warmup_steps": [20], "gate_every": [40],
    "evaluation_episodes": [1], "checkpoint_every": [20],
}  # fmt: skip


def cells(seeds=(0, 1), steps=80):
    return cells_of("Pendulum-v1", ["td3"], seeds, {**TINY, "gamma": [0.9, 0.95]}, steps)


def test_cells_are_all_combinations():
    made = cells()
    assert len({cell.name for cell in made}) == len(made) == 4
    assert {(cell.seed, cell.changes["gamma"]) for cell in made} == {(0, 0.9), (0, 0.95), (1, 0.9), (1, 0.95)}
    with pytest.raises(ModelError, match="is no setting"):
        cells_of("Pendulum-v1", ["td3"], [0], {"speed": [1]}, 10)
    with pytest.raises(ModelError, match="algorithm"):
        cells_of("Pendulum-v1", ["ppo"], [0], {}, 10)


def test_sweep_goes_on_where_it_was(tmp_path, monkeypatch):
    first = sweep(cells()[:2], tmp_path)
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/result.json")}
    assert len(done) == 2
    with joblib.parallel_config(backend="threading"):  # the caller's backend is used as it is
        rows = sweep(cells(), tmp_path)
    assert len(rows) == 8
    assert {path: path.stat().st_mtime_ns for path in done} == done
    kept = ("configuration", "seed", "step", "learning_return", "deployed_return")
    assert {tuple(row[name] for name in kept) for row in first} <= {tuple(row[name] for name in kept) for row in rows}
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "results.parquet")
    assert table.column_names[:4] == ["env", "configuration", "algorithm", "seed"]
    assert table.num_rows == 8
    draw_sweep(rows, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_table_without_pyarrow_is_csv(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    path = write_table([{"a": 1, "b": "x"}, {"a": 2, "b": ""}], tmp_path / "results")
    with open(path, newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": "x"}, {"a": "2", "b": ""}]


def test_cell_that_stops_itself_does_not_stop_the_sweep(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise TrainingError("the learner diverged")

    monkeypatch.setattr(sweeps, "train", stop)
    rows = sweep(cells()[:1], tmp_path)
    assert rows[0]["status"] == "the learner diverged"
    assert rows[0]["step"] == ""


def test_command_prints_configurations(tmp_path, capsys):
    grid = [f"{name}={values[0]}" for name, values in TINY.items()]
    words = ["sweep", "--env", "Pendulum-v1", "--algorithm", "ddpg", "--seeds", "0-1", "--steps", "80"]
    words += [word for text in [*grid, "gamma=0.9,0.95"] for word in ("--set", text)]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--out", str(tmp_path), "--json"])
    assert not stop.value.code
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["runs"] == 4
    assert len(printed["configurations"]) == 2
    assert all(part["seeds"] == 2 and part["stopped"] == 0 for part in printed["configurations"])
