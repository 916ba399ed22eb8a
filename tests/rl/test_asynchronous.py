"""The asynchronous mode: a fixed-rate loop around any rig, weights swapped between ticks, nothing acknowledged lost."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.hil import SimulatedRig
from yannctl.models import Pendulum
from yannctl.rl import TrainingSettings, train_asynchronously
from yannctl.rl.actor_process import Plan, Weights, publish
from yannctl.rl.checkpoint import read_checkpoint
from yannctl.rl.rigs import EnvironmentRig, RigEpisodes, Verdict, load_rig
from yannctl.rl.transitions import FIRST, TRUNCATED, read_records

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos_asynchronous.py"
SMALL = TrainingSettings(
    width=8, batch=8, updates_per_step=0.5, warmup_steps=30, gate_every=100, evaluation_episodes=1,
    checkpoint_every=50, tensorboard=False,
)  # fmt: skip


def kill(n: int) -> dict:
    done = subprocess.run([sys.executable, str(CHAOS), "--kills", str(n)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_processes_lose_no_acknowledged_transition():
    result = kill(4)
    assert result["lost"] == 0
    assert result["taken_in"] == result["transitions"] > 10


@pytest.mark.slow
def test_killed_processes_lose_no_acknowledged_transition_two_hundred_times():
    result = kill(200)
    assert sum(result["killed"].values()) == 200
    assert result["lost"] == 0
    assert result["taken_in"] == result["transitions"]


def test_whole_run_with_its_own_actor(tmp_path):
    result = train_asynchronously("Pendulum-v1", steps=250, run_dir=tmp_path, settings=SMALL, rate=2000.0)
    records = read_records(tmp_path / "transitions.bin")
    assert len(records) == 250
    assert np.flatnonzero(records["flags"] & TRUNCATED).tolist() == [199]
    assert np.flatnonzero(records["flags"] & FIRST).tolist() == [0, 200]
    assert np.array_equal(records["x"][1:200], records["x1"][:199])
    assert not np.array_equal(records["x"][200], records["x1"][199])
    counters = read_checkpoint(tmp_path)[1]["counters"]
    assert counters["step"] == 250
    assert result.history[-1]["updates"] <= 0.5 * (250 - 30 + 1)


def test_simulated_rig_of_the_bridge_is_driven_by_the_same_loop():
    plant = Pendulum()
    rig = SimulatedRig(plant, x0=[0.3, 0.0], clock="lockstep")
    seen = []

    def judge(x, u, x1):
        seen.append(x1)
        return Verdict(float(plant.rewards(x, u)), truncated=len(seen) % 5 == 0)

    with rig:
        rig.arm()
        episodes = RigEpisodes(rig, judge)
        steps = [episodes.step(np.array([9.0])) for _ in range(5)]
    for step in steps:
        assert step.u == pytest.approx([2.0])  # the input really applied
        assert step.x1 == pytest.approx(plant.step(step.x, step.u), abs=1e-12)
    assert all(np.array_equal(first.x1, second.x) for first, second in itertools.pairwise(steps))
    assert episodes.first


def test_reading_without_a_number_is_waited_out():
    class Rig(SimulatedRig):
        reads = 0

        def read(self, deadline_ns):
            sample = super().read(deadline_ns)
            self.reads += 1
            return type(sample)(sample.x * np.nan, 0, 0) if self.reads in (2, 3) else sample

    rig = Rig(Pendulum(), x0=[0.3, 0.0], clock="lockstep")
    with rig:
        rig.arm()
        step = RigEpisodes(rig, lambda x, u, x1: Verdict(0.0)).step(np.array([0.0]))
    assert np.isfinite(step.x1).all()
    assert rig.reads == 4


def test_new_weights_are_taken_up_between_ticks(tmp_path):
    plan = Plan("Pendulum-v1", "td3", 0, 10, SMALL.record(), None, 100.0)
    actor, learner = plan.make_run(tmp_path), plan.make_run(tmp_path)
    weights = Weights(actor, tmp_path)
    weights.swap()
    assert weights.swaps == 0
    learner.learner.actor.weights.value.data += 1.0
    publish(learner, tmp_path)
    weights.swap()
    weights.swap()
    assert weights.swaps == 1
    assert torch.equal(actor.learner.actor.weights.value, learner.learner.actor.weights.value)


def test_environment_rig_repeats_its_episodes(env):
    def run():
        rig = EnvironmentRig(env, 3, episode=4)
        episodes = RigEpisodes(rig, rig.judge)
        return np.array([episodes.step(np.array([0.1])).x1 for _ in range(25)])

    assert np.array_equal(run(), run())


def test_rig_names_are_checked():
    for name in ("nothing", "yannctl.rl:nothing", "no.such.module:f"):
        with pytest.raises(ModelError, match="module:function"):
            load_rig(name)
    with pytest.raises(ModelError, match="one rig"):
        train_asynchronously("Pendulum-v1", settings=SMALL.changed({"environments": 2}))
