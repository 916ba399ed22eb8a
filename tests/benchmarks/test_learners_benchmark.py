"""The learners' benchmark: its table, and going on after an interruption."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import learners
import learners_parts
import learners_table

from yannctl.errors import ModelError


def part(task, words, **figures):
    return {"task": task, "words": list(words), "status": "done", **figures}


def only(rows, task):
    (row,) = [row for row in rows if row["task"] == task]
    return row


def test_every_part_has_a_file_of_its_own():
    for short in (False, True):
        names = [part.name for part in learners_parts.all_parts(short)]
        assert len(set(names)) == len(names)
        assert {part.task for part in learners_parts.all_parts(short)} <= set(learners_parts.TASKS)
    assert {part.task for part in learners_parts.all_parts(False)} == set(learners_parts.TASKS)


def test_one_seed_beyond_two_percent_misses_the_target():
    runs = [part("lq", ("Integrator", "td3", seed), above=above) for seed, above in ((1, 0.004), (2, 0.0199))]
    row = only(learners_table.rows_of(runs, False), "lq")
    assert row["ok"]
    assert row["figure"] == "0.40, 1.99 % below the optimum"
    worse = [*runs, part("lq", ("Integrator", "td3", 3), above=0.0201)]
    assert only(learners_table.rows_of(worse, False), "lq")["ok"] is False
    assert only(learners_table.rows_of(worse, True), "lq")["ok"] is None


def test_speeds_are_held_against_their_targets_in_the_full_form_only():
    for ratio, ok in ((2.49, False), (2.51, True)):
        runs = [part("speed", ("plain-64", 3), ratio=ratio, ours_per_s=500.0, sb3_per_s=200.0)]
        assert only(learners_table.rows_of(runs, False), "speed")["ok"] is ok
        assert only(learners_table.rows_of(runs, True), "speed")["ok"] is None


def test_a_peer_that_is_missing_and_a_learner_that_stopped_are_rows():
    missing = {"task": "speed", "words": ["plain-64", 3], "status": "not installed"}
    stopped = {"task": "lq", "words": ["Integrator", "ddpg", 1], "status": "stopped: NaN"}
    rows = learners_table.rows_of([missing, stopped], False)
    assert only(rows, "speed")["peer"] == "not installed"
    assert only(rows, "speed")["ok"] is None
    assert only(rows, "lq")["ok"] is False
    assert "MISSED" in learners_table.table(rows)


def test_peers_stand_beside_the_learner_they_belong_to():
    runs = [
        part("lq", ("Integrator", "dsact", 1), above=0.01),
        part("lq-peer", ("Integrator", "sb3-sac"), above=0.05),
        part("lq-peer", ("Integrator", "sb3-td3"), above=0.07),
    ]
    assert only(learners_table.rows_of(runs, False), "lq")["peer"] == "5.00 %"


def test_a_stopped_benchmark_goes_on_with_the_parts_that_are_missing(tmp_path, monkeypatch):
    done = []

    def measure(self):
        if len(done) == 2:
            done.append("cut")
            raise KeyboardInterrupt
        done.append(self.words[0])
        return {"true": self.words[0], "sigma": 1.01 * self.words[0]}

    monkeypatch.setattr(learners_parts.Part, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        learners.run(tasks=("sigma",), results=tmp_path, say=done.append)
    assert done == [0.5, "sigma_0.5_4000: done, 0 s", "cut"]
    result = learners.run(tasks=("sigma",), results=tmp_path, say=lambda line: None)
    assert done[3:] == [2.0, 10.0]
    assert result["ok"]
    assert len(result["rows"]) == 3
    learners.run(tasks=("sigma",), results=tmp_path, again=("sigma",), say=lambda line: None)
    assert done[5:] == [0.5, 2.0, 10.0]


def test_unknown_task_is_refused():
    with pytest.raises(ModelError, match="none is called 'speeds'"):
        learners.run(tasks=("speeds",))
