"""Any environment with continuous actions: no plant, no law, no gate, and that is said."""

import json
import math

import gymnasium
import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.rl import Callback, TrainingSettings, WeightsAndBiases, train
from yannctl.rl.networks import Actor, CentreLaw
from yannctl.rl.run import Run
from yannctl.rl.settings import PROFILES, profile
from yannctl.rl.stochastic import TanhGaussian
from yannctl.rl.task import task_of
from yannctl.yann.residual import residual_net

SMALL = TrainingSettings(
    width=8, batch=8, updates_per_step=1, warmup_steps=20, gate_every=50, evaluation_episodes=1, tensorboard=False
)


@pytest.mark.parametrize("algorithm", ["dsact", "td3", "ddpg"])
def test_plain_environment_is_trained_without_a_gate(algorithm, tmp_path):
    result = train(None, None, gymnasium.make("Pendulum-v1"), algorithm, steps=100, settings=SMALL, run_dir=tmp_path)
    facts = json.loads((tmp_path / "settings.json").read_text())["facts"]
    assert "no gate" in facts["deployed"]
    assert facts["updates_per_environment_step"] == 1
    assert all("no confidence" in event.reason for event in result.gate_events)
    assert result.history[-1]["deployed_return"] == max(
        result.gate_events[0].deployed_return, *(event.candidate_return for event in result.gate_events)
    )
    u = result.deployed(torch.rand(5, 3, dtype=torch.float64))
    assert u.shape == (5, 1)
    assert float(u.abs().max()) <= 2.0


def test_boxes_without_bounds_are_seen_as_they_are():
    env = gymnasium.make("Pendulum-v1")
    low, high = np.array([-1.0, -np.inf, -8.0]), np.array([1.0, np.inf, 8.0])
    env.observation_space = gymnasium.spaces.Box(low, high, dtype=np.float64)
    bounds = task_of(env).bounds
    assert bounds.x_max.tolist() == [1.0, 1.0, 8.0]
    env.observation_space = gymnasium.spaces.Box(0.0, 1.0, (2, 2))
    with pytest.raises(ModelError, match="FlattenObservation"):
        task_of(env)
    env.observation_space = gymnasium.spaces.Box(0.0, 1.0, (2,))
    env.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    with pytest.raises(ModelError, match=r"action_space\[0\]"):
        task_of(env)


def test_log_density_of_the_tanh_gaussian_is_in_physical_units():
    half = torch.tensor([2.0, 0.5], dtype=torch.float64)
    actor = Actor(residual_net(3, (8,), 2, 0, False, torch.float32), 0.5, 0.7)
    torch.nn.init.constant_(actor.head.bias, 0.3)
    phi, base = torch.rand(6, 3), torch.zeros(6, 2)
    a, log_prob, *_ = TanhGaussian(half).sample(actor, actor(phi), base, torch.randn(6, 2))
    raw, log_std = actor.raw_distribution(actor(phi))
    squash = torch.distributions.transforms
    scaled = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(raw.double(), log_std.exp().double()),
        [squash.TanhTransform(), squash.AffineTransform(0.0, half)],
    )
    expected = scaled.log_prob(a.detach().double() * half).sum(-1)
    assert torch.allclose(log_prob.double(), expected, atol=1e-3)


def test_tanh_gaussian_cannot_start_at_a_law(env, law, small):
    with pytest.raises(ModelError, match="cannot start at a law"):
        Run(law, None, env, "dsact", 0, small.changed({"dsact.policy": "tanh", "authority": 0.5}))


def test_paper_profile_is_the_papers():
    paper = profile("paper")
    assert (paper.width, paper.depth, paper.updates_per_step, paper.environments) == (256, 3, 0.05, 20)
    assert paper.dsact.alpha == pytest.approx(math.e)
    assert paper.dsact.entropy(3) == -3.0
    run = Run(None, None, gymnasium.make("Pendulum-v1"), "dsact", 0, paper)
    assert isinstance(run.learning.base, CentreLaw)
    run.advance(run.warmup())
    assert run.count.step == 20


@pytest.mark.parametrize("name", PROFILES)
def test_settings_are_read_back(name):
    settings = profile(name)
    assert TrainingSettings.of_record(json.loads(json.dumps(settings.record()))) == settings
    with pytest.raises(ModelError, match="is no setting"):
        settings.changed({"dsact.speed": 1})
    with pytest.raises(ModelError, match="is no setting"):
        settings.changed({"speed.dsact": 1})
    for name, value in (
        ("dsact.actor_rate", "nan"),
        ("batch", float("inf")),
        ("compile", 1),
        ("warmup", 3),
        ("width", True),
        ("batch", 2.5),
        ("imitation.rounds", None),
        ("gamma", None),
        ("reward_scale", "one"),
        ("reward_scale", -1.0),
        ("dsact.std", 0.0),
        ("td3.delay", 0),
        ("ddpg.target_rate", 1.5),
        ("dsact.critic_rate", -1e-3),
    ):
        with pytest.raises(ModelError, match=name):
            settings.changed({name: value})


def test_numbers_that_are_checked_together_are_changed_together():
    changes = {"imitation.by_cost": 0.9, "imitation.by_regret": 0.05, "model.episodes": 10**6, "model.capacity": 10**7}
    settings = TrainingSettings().changed(changes)
    assert (settings.imitation.by_cost, settings.model.episodes) == (0.9, 10**6)
    assert TrainingSettings.of_record(settings.record()) == settings
    with pytest.raises(ModelError, match=r"model.capacity: got 9, fewer than the 64 model.episodes"):
        settings.changed({"model.capacity": 9, "model.episodes": 64})


def test_callbacks_are_told_everything(env, law, small, tmp_path):
    told = []

    class Ear(Callback):
        def on_start(self, run_dir, settings, history):
            told.append("start")

        def on_row(self, row):
            told.append(row["step"])

        def on_event(self, event, learning, deployed):
            told.append(event.decision)

        def on_checkpoint(self, step):
            told.append(f"checkpoint {step}")

        def on_end(self):
            told.append("end")

    train(law, None, env, steps=25, settings=small, callbacks=[Ear()], run_dir=tmp_path)
    assert told == ["start", told[1], 25, "checkpoint 25", "end"]
    assert told[1] in ("kept", "promoted")


def test_weights_and_biases_is_imported_only_when_used(monkeypatch, env, law, small):
    rows = []

    class Fake:
        @staticmethod
        def init(**given):
            assert given["project"] == "cart"
            return Fake()

        def log(self, row, step):
            rows.append(step)

        def finish(self):
            rows.append("end")

    monkeypatch.setitem(__import__("sys").modules, "wandb", Fake)
    train(law, None, env, steps=25, settings=small, callbacks=[WeightsAndBiases("cart")])
    assert rows == [25, "end"]
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ImportError, match="pip install wandb"):
        train(law, None, env, steps=25, settings=small, callbacks=[WeightsAndBiases()])
