"""`train`: where it starts, that it repeats itself, resumes bit for bit, records everything and stops on nonsense."""

import csv
import dataclasses
import json

import gymnasium
import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.rl import CheckpointError, DdpgSettings, DsactSettings, TrainingError, train
from yannctl.rl.checkpoint import digest, read_checkpoint
from yannctl.rl.logs import COLUMNS
from yannctl.rl.run import Run


def weights(result) -> str:
    return digest({**result.learning.learned.state_dict()})


def timeless(rows):
    return [{k: v for k, v in row.items() if k not in ("seconds", "updates_per_second")} for row in rows]


@pytest.mark.parametrize("algorithm", ["dsact", "ddpg"])
def test_first_policy_is_the_law_bit_for_bit(env, law, small, algorithm):
    result = train(law, None, env, algorithm, steps=10, settings=small)  # ends within the warm-up
    x = torch.linspace(-2.0, 2.0, 1001, dtype=torch.float64)[:, None]
    assert torch.equal(result.learning(x), law(x))
    assert torch.equal(result.deployed(x), law(x))


@pytest.mark.parametrize("algorithm", ["dsact", "ddpg"])
def test_first_action_of_the_learner_is_around_the_law(env, law, small, algorithm):
    run = Run(law, None, env, algorithm, 0, small)
    phi, base = torch.rand(500, 1) * 2.0 - 1.0, torch.full((500, 1), 0.25)
    a = run.learner.explore(phi, base)
    assert float(a.mean()) == pytest.approx(0.25, abs=0.02)
    assert float(a.std()) == pytest.approx(getattr(small, algorithm).std, rel=0.1)


def test_learning_policy_is_the_learners_own_mean(env, law, small):
    run = Run(law, None, env, "dsact", 0, small)
    for _ in range(80):
        run.step()
    run.export()
    x = torch.linspace(-2.0, 2.0, 101, dtype=torch.float64)[:, None]
    mean = (
        run.learner.actor.network.mean(run.learning.features(x).float(), (law(x) / 3.0).float()).clamp(-1.0, 1.0) * 3.0
    )
    assert torch.allclose(run.learning(x).float(), mean, atol=1e-5)
    assert not torch.allclose(run.learning(x), law(x), atol=1e-3)


@pytest.mark.parametrize("algorithm", ["dsact", "ddpg"])
def test_same_seed_same_bits(env, law, small, algorithm):
    torch.manual_seed(1)
    first = train(law, None, env, algorithm, steps=60, seed=3, settings=small)
    torch.manual_seed(2)  # the global stream has no say
    np.random.seed(5)  # noqa: NPY002
    second = train(law, None, env, algorithm, steps=60, seed=3, settings=small)
    other = train(law, None, env, algorithm, steps=60, seed=4, settings=small)
    assert weights(first) == weights(second) != weights(other)
    assert timeless(first.history) == timeless(second.history)


@pytest.mark.parametrize("algorithm", ["dsact", "ddpg"])
@pytest.mark.parametrize("half", [10, 43])
def test_resumed_run_is_the_unbroken_run(env, law, small, tmp_path, algorithm, half):
    whole = train(law, None, env, algorithm, steps=75, run_dir=tmp_path / "whole", settings=small)
    train(law, None, env, algorithm, steps=half, run_dir=tmp_path / "half", settings=small)
    resumed = train(law, None, env, algorithm, steps=75, resume=tmp_path / "half", settings=small)
    (tensors, state), (tensors2, state2) = (read_checkpoint(tmp_path / name) for name in ("whole", "half"))
    assert digest(tensors) == digest(tensors2)
    assert (state["counters"], state["events"]) == (state2["counters"], state2["events"])
    assert weights(whole) == weights(resumed)
    assert timeless(whole.history) == timeless(resumed.history)
    assert (tmp_path / "whole/gate.jsonl").read_text() == (tmp_path / "half/gate.jsonl").read_text()


def test_resume_refuses_another_run(env, law, small, tmp_path):
    train(law, None, env, steps=30, run_dir=tmp_path, settings=small)
    with pytest.raises(CheckpointError, match="another law, algorithm, seed or settings"):
        train(law, None, env, steps=60, seed=1, resume=tmp_path, settings=small)
    with pytest.raises(CheckpointError, match="another law"):
        train(None, None, env, steps=60, resume=tmp_path, settings=small)
    with pytest.raises(CheckpointError, match="already holds a run"):
        train(law, None, env, steps=60, run_dir=tmp_path, settings=small)


def test_files_of_a_run(env, law, small, tmp_path):
    settings = dataclasses.replace(small, tensorboard=True)
    result = train(law, None, env, steps=100, run_dir=tmp_path, settings=settings)
    with open(tmp_path / "progress.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert [int(row["step"]) for row in rows] == [25, 50, 75, 100]
    assert [int(row["updates"]) for row in rows] == [12, 62, 112, 162]
    assert [row["deployed_return"] for row in rows] == [str(row["deployed_return"]) for row in result.history]
    events = [json.loads(line) for line in (tmp_path / "gate.jsonl").read_text().splitlines()]
    assert [event["index"] for event in events] == [1, 2, 3, 4]
    for event in events:
        shown = 16 if event["candidate"] == "averaged" else 0  # the present policy runs from the same starts
        assert (event["gate_plant_steps"], event["gate_model_steps"]) == (0, (2 * (16 + 4) + shown) * 20)
    assert json.loads((tmp_path / "settings.json").read_text())["settings"]["batch"] == 8
    assert len(list(tmp_path.glob("events.out.tfevents*"))) == 1


def test_deployed_changes_only_with_a_promotion(env, law, small):
    result = train(law, None, env, steps=80, settings=dataclasses.replace(small, gate_alpha=1e-12))
    x = torch.linspace(-2.0, 2.0, 101, dtype=torch.float64)[:, None]
    assert not any(row["promoted"] for row in result.history)
    assert torch.equal(result.deployed(x), law(x))
    assert not torch.equal(result.learning(x), law(x))


class Broken(gymnasium.Wrapper):
    """Returns one wrong number at step 30."""

    def __init__(self, env, what):
        super().__init__(env)
        self.what, self.steps = what, 0

    def step(self, action):
        x, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        if self.steps == 30:
            reward = np.nan if self.what == "reward" else reward
            x = x * np.inf if self.what == "state" else x
        return x, reward, terminated, truncated, info


@pytest.mark.parametrize("what", ["reward", "state"])
def test_nonsense_from_the_environment_stops_training(env, law, small, what, tmp_path):
    with pytest.raises(TrainingError, match=what) as caught:
        train(law, None, Broken(env, what), steps=60, run_dir=tmp_path, settings=small)
    x = torch.rand(10, 1, dtype=torch.float64)
    assert torch.equal(caught.value.deployed(x), law(x))


@pytest.mark.parametrize("algorithm", ["dsact", "ddpg"])
def test_divergence_rolls_back_then_stops(env, law, small, algorithm):
    wild = dataclasses.replace(
        small, dsact=DsactSettings(critic_rate=1e30), ddpg=DdpgSettings(critic_rate=1e30), gate_every=100
    )
    run = Run(law, None, env, algorithm, 0, wild)
    while not run.diverged():
        run.step()
    before = {name: tensor.clone() for name, tensor in run.good.items()}
    assert run.rollback().decision == "rollback"
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.learner.tensors().items())
    assert not run.diverged()
    with pytest.raises(TrainingError, match="diverged 4 times"):
        train(law, None, env, algorithm, steps=100, settings=wild)


class Endings(gymnasium.Wrapper):
    """Ends each episode after three steps, by termination or by truncation."""

    def __init__(self, env, terminate):
        super().__init__(env)
        self.terminate, self.steps = terminate, 0

    def step(self, action):
        x, reward, _, _, info = self.env.step(action)
        self.steps += 1
        end = self.steps % 3 == 0
        return x, reward, end and self.terminate, end and not self.terminate, info


@pytest.mark.parametrize("terminate", [True, False])
def test_only_termination_stops_the_bootstrap(env, law, small, terminate):
    run = Run(law, None, Endings(env, terminate), "ddpg", 0, small)
    for _ in range(6):
        run.step()
    columns = run.replay.table[:6].split(run.replay.widths, -1)
    live, x, x1 = columns[6][:, 0].tolist(), columns[0][:, 0], columns[8][:, 0]
    assert live == [1.0, 1.0, 0.0 if terminate else 1.0] * 2
    assert torch.equal(x[1:3], x1[:2])
    assert x[3] != x1[2]  # x1 is the true last state, not the first of the next episode


def test_replay_holds_the_input_really_applied(env, law, small):
    class Half(gymnasium.Wrapper):
        def step(self, action):
            x, reward, terminated, truncated, info = self.env.step(action / 2.0)
            return x, reward, terminated, truncated, info

    run, plain = (Run(law, None, e, "ddpg", 0, small) for e in (Half(env), env))
    run.step()
    plain.step()
    assert torch.allclose(run.replay.table[0, 2] * 2.0, plain.replay.table[0, 2])


def test_threads_are_restored(env, law, small):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        train(law, None, env, steps=5, settings=small)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_arguments_are_checked(env, small):
    with pytest.raises(ModelError, match="algorithm"):
        train(None, None, env, "ppo")
    with pytest.raises(ModelError, match="steps"):
        train(None, None, env, steps=0)
    with pytest.raises(ModelError, match="action_space"):
        train(None, None, gymnasium.make("CartPole-v1"))
    with pytest.raises(ModelError, match="critic_base"):
        dataclasses.replace(small, critic_base="always")
