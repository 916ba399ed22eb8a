"""Recorded data: what a log gives, what its report finds, and that a learner starts from it."""

import csv
import importlib

import numpy as np
import pytest
import torch

from yannctl.errors import ModelError, NotInstalledError
from yannctl.rl import TrainingError, evaluate, load_log, train
from yannctl.rl.checkpoint import digest, read_checkpoint
from yannctl.rl.cloning import Cloning, add_cloning, cloning_loss

GAIN = 1.0


def record(env, episodes=8, seed=0):
    """Rows of a recorded policy u = -x + noise, an extra row at the end of each episode."""
    rng, rows, time = np.random.default_rng(seed), [], 0.0
    for episode in range(episodes):
        x, _ = env.reset(seed=episode)
        for step in range(21):
            u = np.clip(-GAIN * x + 0.3 * rng.standard_normal(1), -3.0, 3.0)
            rows.append({"time": time, "episode": episode, "position": x[0], "speed": u[0]})
            time += 1.0
            if step < 20:
                x, *_ = env.step(u)
    return rows


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_rows_become_transitions_and_episodes_do_not_run_into_each_other(env, tmp_path):
    rows = record(env)
    log = load_log(write(tmp_path / "log.csv", rows), env.plant)
    assert len(log) == 8 * 20
    assert log.report.rows == 8 * 21
    assert log.report.segments == 8
    assert log.x1 == pytest.approx(log.x + 0.4 * log.u, abs=1e-12)
    assert log.reward == pytest.approx(-(log.x**2 + 0.1 * log.u**2)[:, 0])
    assert log.report.mean_return == pytest.approx(log.reward.reshape(8, 20).sum(1).mean())
    assert not log.terminated.any()


def test_report_finds_gaps_holes_and_stuck_channels(env, tmp_path):
    rows = record(env, 1) + [{**row, "time": row["time"] + 500.0} for row in record(env, 1)]
    rows[5]["position"] = float("nan")
    rows += [{"time": 600.0 + i, "episode": 9, "position": 0.25, "speed": 0.1 * (i % 7)} for i in range(60)]
    report = load_log(write(tmp_path / "log.csv", rows), env.plant).report
    assert report.rows == 102
    assert 20 in report.gaps
    position, speed = report.channels
    assert position.missing == 1
    assert position.stuck
    assert position.longest_stuck == 60
    assert not speed.stuck
    assert 0.0 < position.coverage < 1.0
    text = "\n".join(report.lines())
    assert "STUCK for 60" in text
    assert "1 samples missing" in text


def test_last_row_of_a_task_that_ended_leads_nowhere(env, tmp_path):
    rows = [
        {"position": 0.1 * i, "speed": 0.25, "reward": -i, "terminated": "true" if i == 3 else ""} for i in range(6)
    ]
    log = load_log(write(tmp_path / "log.csv", rows), env.plant)
    assert log.x[:, 0].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.4])
    assert log.terminated.tolist() == [False, False, True, False]
    assert log.reward.tolist() == [0.0, -1.0, -2.0, -4.0]


def test_parquet_and_csv_say_the_same(env, tmp_path, monkeypatch):
    rows = record(env, 2)
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({name: [row[name] for row in rows] for name in rows[0]})
    importlib.import_module("pyarrow.parquet").write_table(table, tmp_path / "log.parquet")
    first = load_log(tmp_path / "log.parquet", env.plant)
    second = load_log(write(tmp_path / "log.csv", rows), env.plant)
    assert np.array_equal(first.x, second.x)
    assert first.report == second.report
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(NotInstalledError, match="pyarrow"):
        load_log(tmp_path / "log.parquet", env.plant)


def test_recorded_run_is_a_log(env, law, small, tmp_path):
    train(law, None, env, steps=45, run_dir=tmp_path, settings=small)
    log = load_log(tmp_path / "transitions.bin", env.plant)
    assert len(log) == 45
    assert log.report.segments == 3
    assert log.x1 == pytest.approx(log.x + 0.4 * log.u, abs=1e-12)


def test_bad_logs_are_refused(env, law, small, tmp_path):
    path = write(tmp_path / "log.csv", [{"position": 1.0, "force": 1.0}])
    with pytest.raises(ModelError, match="no column 'speed'"):
        load_log(path, env.plant)
    with pytest.raises(ModelError, match="no transition"):
        load_log(write(path, [{"position": 1.0, "speed": 1.0}]), env.plant)
    with pytest.raises(ModelError, match="give a plant, or"):
        load_log(path)
    path.write_text("position,speed\n1,2\n1\n")
    with pytest.raises(ModelError, match=r"log\[1\]"):
        load_log(path, env.plant)
    wide = load_log(
        write(path, [{"a": i, "b": i, "c": i, "reward": 0.0} for i in range(4)]), x_names=["a", "b"], u_names=["c"]
    )
    with pytest.raises(ModelError, match="states and inputs"):
        train(law, None, env, steps=5, settings=small, recorded=wide)


@pytest.mark.parametrize("algorithm", ["dsact", "td3", "ddpg"])
def test_learner_starts_from_the_log(env, small, tmp_path, algorithm):
    """From scratch a policy does nothing; after pre-training it does what was recorded, or better."""
    log = load_log(write(tmp_path / "log.csv", record(env, 20)), env.plant)
    settings = small.changed(
        {"pretrain_updates": 400, "width": 16, "batch": 64, "cloning_alpha": 0.1, f"{algorithm}.actor_rate": 3e-3}
    )
    result = train(None, None, env, algorithm, steps=1, settings=settings, recorded=log)
    starts = np.linspace(-1.0, 1.0, 21)[:, None]

    class Recorded(torch.nn.Module):
        def forward(self, x):
            return (-GAIN * x).clamp(-3.0, 3.0)

    learned, recorded = (evaluate(p, env.plant, starts, 20).returns.mean() for p in (result.learning, Recorded()))
    nothing = evaluate(result.deployed, env.plant, starts, 20).returns.mean()
    assert learned > nothing
    assert learned > 4.0 * recorded  # far from doing nothing, which is twelve times worse


def test_run_on_recorded_data_resumes_bit_for_bit(env, law, small, tmp_path):
    log = load_log(write(tmp_path / "log.csv", record(env, 2)), env.plant)
    settings = small.changed({"pretrain_updates": 20})
    keys = {"settings": settings, "recorded": log}
    train(law, None, env, steps=40, run_dir=tmp_path / "whole", **keys)
    train(law, None, env, steps=13, run_dir=tmp_path / "cut", **keys)
    train(law, None, env, steps=40, resume=tmp_path / "cut", **keys)
    first, second = (digest(read_checkpoint(tmp_path / name)[0]) for name in ("whole", "cut"))
    assert first == second
    with pytest.raises(TrainingError, match="recorded"):
        train(law, None, env, steps=50, resume=tmp_path / "cut", settings=settings)


def test_cloning_by_hand():
    a, recorded = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.5], [0.5]])
    assert float(cloning_loss(a, recorded)) == pytest.approx(0.25)
    q = torch.tensor([2.0, -6.0])
    assert float(add_cloning(torch.tensor(8.0), q, a, recorded, Cloning(2.5))) == pytest.approx(2.5 / 4.0 * 8.0 + 0.25)
    assert float(add_cloning(torch.tensor(8.0), q, a, recorded, None)) == 8.0
