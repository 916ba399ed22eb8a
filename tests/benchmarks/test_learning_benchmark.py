"""The learning benchmark: its figures of merit by hand, its rows, and going on after an interruption."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import learning
import learning_figure
import learning_metrics as metrics
import learning_rows
import learning_stacked

from yannctl.errors import ModelError
from yannctl.scenarios.learning import learning_task

STEPS = [0, 100, 200, 300, 400]


def test_gap_closed_by_hand():
    assert metrics.gap_closed(100.0, 20.0, 24.0) == pytest.approx(0.95)
    assert metrics.gap_closed(100.0, 20.0, 110.0) == pytest.approx(-0.125)
    assert np.isnan(metrics.gap_closed(100.0, 99.95, 99.0))


def test_steps_to_close_is_the_first_evaluation_that_reaches_the_share():
    costs = [100.0, 60.0, 24.0, 30.0, 21.0]
    assert metrics.steps_to_close(STEPS, costs, 100.0, 20.0) == 200
    assert metrics.steps_to_stay(STEPS, costs, 100.0, 20.0) == 400
    assert metrics.steps_to_close(STEPS, costs, 100.0, 20.0, share=0.5) == 100
    assert metrics.steps_to_stay(STEPS, costs, 100.0, 20.0, share=0.5) == 100
    assert metrics.steps_to_close(STEPS, [100.0] * 5, 100.0, 20.0) is None
    assert metrics.steps_to_stay(STEPS, [24.0] * 4 + [30.0], 100.0, 20.0) is None


def test_nan_cost_never_closes_the_gap():
    assert metrics.steps_to_close(STEPS, [float("nan")] * 5, 100.0, 20.0) is None


def test_median_steps_counts_a_seed_that_never_does_as_infinite():
    assert metrics.median_steps([200, None, 400]) == 400.0
    assert metrics.median_steps([200, None, None]) == np.inf


def test_worst_difference_is_negative_only_where_a_policy_was_worse():
    assert metrics.worst_difference([99.0, 50.0, 20.0], 100.0) == pytest.approx(1.0)
    assert metrics.worst_difference([100.0, 104.0, 20.0], 100.0) == pytest.approx(-4.0)


def test_regret_by_hand():
    # After 100 steps 2 episodes have cost 60, after 200 steps 4 have cost 90; the best pays 10 an episode.
    steps, paid, episodes = [0, 100, 200], [0.0, 60.0, 90.0], [0.0, 2.0, 4.0]
    assert metrics.regret(steps, paid, episodes, 10.0, 100) == pytest.approx(40.0)
    assert metrics.regret(steps, paid, episodes, 10.0, 150) == pytest.approx(45.0)
    assert metrics.regret(steps, paid, episodes, 10.0, 1000) == pytest.approx(50.0)
    # A policy that pays 12 an episode drives on for 800 steps, that is 16 episodes.
    assert metrics.regret(steps, paid, episodes, 10.0, 1000, after=12.0) == pytest.approx(50.0 + 32.0)


def test_relative_gain_and_its_interval():
    rival = np.array([10.0, 20.0, 30.0, 40.0])
    gain, low, high = metrics.relative_gain(np.stack([0.9 * rival, 0.9 * rival]), rival)
    assert (gain, low, high) == pytest.approx((0.1, 0.1, 0.1))
    rng = np.random.default_rng(0)
    noisy = rival[:, None].repeat(50, 1).ravel() * rng.normal(1.0, 0.3, 200)
    gain, low, high = metrics.relative_gain(noisy, rival[:, None].repeat(50, 1).ravel())
    assert low < gain < high
    assert low < 0.0 < high


def test_paired_interval_by_hand():
    # Differences 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.3027.
    mean, low, high = metrics.difference_interval(np.array([9.0, 8.0, 7.0]), np.array([10.0, 10.0, 10.0]))
    assert mean == pytest.approx(2.0)
    assert (low, high) == pytest.approx((2.0 - 4.30265 / np.sqrt(3), 2.0 + 4.30265 / np.sqrt(3)), rel=1e-5)


def test_quartiles_by_hand():
    assert metrics.quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (3.0, 2.0, 4.0)


def trained(task, name, seed, steps):
    """A made-up row: the learning policy halves the gap from one evaluation to the next, ours twice as fast."""
    start, rate = 957.0, 0.25 if name == "ours" else 0.5
    costs = [138.0 + (start - 138.0) * rate**k * (1 + 0.01 * seed) for k in range(len(STEPS))]
    curve = [
        {"step": step, "paid": 5.0 * step, "episodes": step / 200, "violations": 0, "changed": 0, "learning": cost,
         "learning_violations": 0, "deployed": cost, "interventions": 0.0, "deployed_violations": 0,
         "gain": costs[0] - cost, "gain_error": 0.0}
        for step, cost in zip(STEPS, costs, strict=True)
    ]  # fmt: skip
    end = {"costs": [costs[-1]] * 4, "violating": 0, "interventions": 0.0, "worst": 0.0}
    return {
        "format": learning_rows.FORMAT, "task": task.name, "method": name, "title": name, "seed": seed,
        "status": "done", "steps": STEPS[-1], "settings": {}, "curve": curve, "learning": end, "deployed": end,
        "cpu_s": 1.0, "wall_s": 1.0, "commit": "x",
    }  # fmt: skip


def control(task, kind, name, make):
    cost = 957.0 if kind == "rival" else 138.0
    end = {"costs": [cost] * 4, "violating": 0, "interventions": 0.0, "worst": 0.0}
    return {
        "format": learning_rows.FORMAT, "task": task.name, "method": name, "kind": kind, "status": "done",
        "deployed": end, "cpu_s": 1.0,
    }  # fmt: skip


@pytest.fixture
def made_up(monkeypatch):
    made = []

    def train(task, name, seed, steps, quick=False):
        made.append((name, seed))
        return trained(task, name, seed, steps)

    def stacked(task, name, seeds, steps):
        return [train(task, name, seed, steps) for seed in seeds]

    monkeypatch.setattr(learning, "train_row", train)
    monkeypatch.setattr(learning, "train_stacked", stacked)
    monkeypatch.setattr(learning, "control_row", control)
    monkeypatch.setattr(learning, "draw", lambda tasks, path: None)  # it takes a second
    return made


ASKED = {
    "tasks": ["pendulum-swingup"],
    "methods": ["ours", "td3-scratch"],
    "seeds": (0, 1, 2),
    "say": lambda line: None,
}


def test_a_run_that_was_stopped_goes_on_and_gives_the_same_tables(made_up, monkeypatch, tmp_path):
    whole = learning.run(**ASKED, results=tmp_path / "whole")
    assert made_up == [(name, seed) for name in ("ours", "td3-scratch") for seed in (0, 1, 2)]

    def stopped(task, name, seed, steps, quick):
        if seed == 1:
            raise KeyboardInterrupt
        return trained(task, name, seed, steps)

    with monkeypatch.context() as patch:
        patch.setattr(learning, "train_row", stopped)
        with pytest.raises(KeyboardInterrupt):
            learning.run(**ASKED, results=tmp_path / "parts")
    made_up.clear()
    parts = learning.run(**ASKED, results=tmp_path / "parts")
    assert made_up == [("ours", 1), ("ours", 2), *[("td3-scratch", seed) for seed in (0, 1, 2)]]
    assert parts == whole
    assert learning.table(parts) == learning.table(whole)


def test_rows_that_are_there_are_kept_unless_asked_for_again_or_torn(made_up, tmp_path):
    learning.run(**ASKED, results=tmp_path)
    made_up.clear()
    learning.run(**ASKED, results=tmp_path)
    assert made_up == []
    learning.run(**ASKED, results=tmp_path, again=["ours"])
    assert made_up == [("ours", 0), ("ours", 1), ("ours", 2)]
    made_up.clear()
    file = tmp_path / "pendulum-swingup_td3-scratch_01.json"
    file.write_text(file.read_text()[:100])
    learning.run(**ASKED, results=tmp_path)
    assert made_up == [("td3-scratch", 1)]


def test_tables_of_the_rows_that_are_there_make_none(made_up, tmp_path):
    whole = learning.run(**ASKED, results=tmp_path)
    made_up.clear()
    (tmp_path / "pendulum-swingup_ours_02.json").unlink()
    shown = learning.run(**ASKED, results=tmp_path, show=True)
    assert made_up == []
    assert shown["rows"] == whole["rows"] - 1
    assert shown["tasks"]["pendulum-swingup:nominal"]["methods"]["ours"]["n"] == 2


def test_summary_of_made_up_rows_by_hand(made_up, tmp_path):
    part = learning.run(**ASKED, results=tmp_path)["tasks"]["pendulum-swingup:nominal"]
    ours, peer = part["methods"]["ours"], part["methods"]["td3-scratch"]
    assert ours["n"] == 3
    assert ours["figures"]["steps_deployed"]["median"] == 300  # 0.25**2 = 0.0625 > 0.05 >= 0.25**3
    assert peer["figures"]["steps_learning"]["median"] == np.inf  # 0.5**4 > 0.05
    comparison = part["comparison"]["published"]
    assert comparison["peer"] == "td3-scratch"
    assert comparison["ratio"] == 0.0
    assert comparison["regret_until"] == 400
    assert comparison["regret_ours"] == pytest.approx(5.0 * 400 - 138.0 * 2)
    worst = min(target["figure"] for target in part["targets"] if target["what"].startswith("deployed - linear"))
    assert worst == pytest.approx(957.0 - (138.0 + 819.0 * 1.02))


def test_curves_are_medians_and_quartiles_of_the_seeds(made_up, tmp_path):
    tasks = learning.run(**ASKED, results=tmp_path)["tasks"]
    part = tasks["pendulum-swingup:nominal"]
    band = part["methods"]["td3-scratch"]["curve"]["learning"]
    assert band["median"][1] == pytest.approx(138.0 + 819.0 * 0.5 * 1.01)
    assert band["low"][1] == pytest.approx(138.0 + 819.0 * 0.5 * 1.005)
    assert band["high"][1] == pytest.approx(138.0 + 819.0 * 0.5 * 1.015)
    learning_figure.draw(tasks, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ModelError, match="choose from"):
        learning.run(methods=["sorcery"], results=tmp_path)
    with pytest.raises(ModelError, match="choose from"):
        learning.run(tasks=["cart"], results=tmp_path)


def test_seeds_as_typed():
    assert learning.numbers("0-3") == (0, 1, 2, 3)
    assert learning.numbers("4, 7") == (4, 7)
    with pytest.raises(ModelError):
        learning.numbers("one")


def test_real_rows_keep_account_of_every_step_also_stacked():
    task = learning_task("pendulum-swingup")
    row = learning_rows.train_row(task, "td3-scratch", 0, 600)
    assert row["status"] == "done"
    assert [entry["step"] for entry in row["curve"]] == [0, 600]
    last = row["curve"][-1]
    assert last["episodes"] == 3.0
    assert 0.0 < last["paid"] <= 600 * (np.pi**2 + 6.4 + 0.004)
    assert len(row["learning"]["costs"]) == 100
    assert last["learning"] == pytest.approx(np.mean(row["learning"]["costs"]), rel=1e-6)
    assert row["settings"]["updates_per_step"] == 1
    both = learning_stacked.train_stacked(task, "td3-scratch", (0, 1), 600)
    assert both[0]["curve"][-1]["paid"] == pytest.approx(last["paid"], rel=1e-3)
    assert both[1]["curve"][-1]["paid"] != both[0]["curve"][-1]["paid"]
    assert "deployed" not in both[0]


def test_nothing_is_drawn_of_methods_without_a_curve(tmp_path):
    controls = {"linear": {"cost": 2.0}, "best": {"cost": 1.0}}
    learning_figure.draw({"task": {"methods": {"no-model": {}}, "controls": controls}}, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
