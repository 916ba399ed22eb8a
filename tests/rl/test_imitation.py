"""Imitation of a teacher on the model: a law that the network can hold is found again, and the gate still decides."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.rl import train
from yannctl.rl.checkpoint import digest, read_checkpoint
from yannctl.rl.environment import PlantEnvironment
from yannctl.rl.errors import CheckpointError
from yannctl.rl.evaluation import evaluate
from yannctl.rl.imitation import Imitation
from yannctl.rl.model_settings import ImitationSettings, ModelSettings
from yannctl.rl.run import Run

from .conftest import Gain, Geared, Integrator

GAIN = 1.8  # near the best one, 2.1: the law's 0.3 is slow
MODEL = ModelSettings(
    pretrain_updates=16, retrain_updates=16, episodes=8, updates_per_round=4, capacity=500, first_gate=10,
    gate_starts=16, members=2,
)  # fmt: skip
OWN = ImitationSettings(states=200, rounds=3, episodes=16, steps=800, batch=32, polish=16)


def known_law(x, policy, p):
    return np.clip(-GAIN * x[:, :1], -3.0, 3.0)


def along_the_plan(x, policy, p):
    """Three inputs of the same law on the integrator."""
    inputs = []
    for _ in range(3):
        inputs.append(known_law(x, policy, p))
        x = x + 0.4 * inputs[-1]
    return np.stack(inputs, axis=1)


@pytest.fixture
def settings(small):
    return replace(small, width=16, batch=32, model=MODEL, imitation=OWN)


def imitation(env, settings, teacher, states=200, steps=800) -> Imitation:
    run = Run(Gain(0.3), None, env, "dsact", 0, settings)
    run.use_model(teacher)
    assert run.model is not None
    rng = np.random.default_rng(3)
    return Imitation(run, teacher, lambda rng, n: np.tile(env.plant.parameters, (n, 1)), rng, states, steps)


def trained_on_the_model(env, settings, teacher) -> Run:
    run = Run(Gain(0.3), None, env, "dsact", 0, settings)
    run.use_model(teacher)
    assert run.pretrain_on_model()
    return run


@pytest.mark.parametrize("teacher", [known_law, along_the_plan])
def test_a_known_law_is_found_again(env, settings, teacher):
    fitted = imitation(env, settings, teacher)
    weights = fitted.imitate()
    assert fitted.labels.size == 200 * (3 if teacher is along_the_plan else 1)
    assert fitted.error() < 0.01
    fitted.run.copy_weights(weights, fitted.run.averaged)
    x = np.linspace(-1.0, 1.0, 41)[:, None]
    assert np.abs(fitted.policy(x).clip(-3, 3) - known_law(x, None, None)).max() < 0.03 * 6.0


def test_states_of_a_plan_are_those_of_the_model(env, settings):
    fitted = imitation(env, settings, along_the_plan, states=20, steps=1)
    fitted.imitate()
    rows = torch.cat([*fitted.labels.fitted, *fitted.labels.held]).numpy()
    x, base, a = 2.0 * rows[:, 0], rows[:, 1], rows[:, 2]  # the position's bounds are +-2
    np.testing.assert_allclose(base, np.clip(-0.3 * x, -3, 3) / 3.0, atol=1e-6)
    np.testing.assert_allclose(a, np.clip(-GAIN * x, -3, 3) / 3.0, atol=1e-6)


def test_answers_that_are_not_finite_are_dropped_and_counted(env, settings):
    def teacher(x, policy, p):
        return np.where(x > 0, np.nan, known_law(x, policy, p))

    fitted = imitation(env, settings, teacher, steps=6)
    fitted.imitate()
    labels = fitted.labels
    assert labels.asked == 200
    assert 0 < labels.dropped < 200
    assert labels.size == labels.asked - labels.dropped
    assert all(bool(torch.isfinite(part).all()) for part in labels.fitted)
    silent = imitation(env, settings, lambda x, policy, p: np.full((len(x), 1), np.nan))
    before = silent.weights.value.clone()
    assert torch.equal(silent.imitate(), before)
    assert np.isnan(silent.error())
    assert silent.summary() == "0 labels for 200 states asked, 200 of them without an answer, none held out"


@pytest.mark.parametrize("shape", [(), (3,), (1, 2), (0, 1)])
def test_a_teacher_of_another_shape_is_refused(env, settings, shape):
    with pytest.raises(ModelError, match=r"teacher.*gave shape .* expected \(66, 1\) or \(66, K, 1\)"):
        imitation(env, settings, lambda x, policy, p: np.zeros((len(x), *shape))).imitate()


def test_it_is_told_the_policy_and_the_parameters_of_the_episode(small):
    env, seen = PlantEnvironment(Geared(gear=0.5)), []

    def teacher(x, policy, p):
        seen.append((policy(x), p))
        return -x / p

    fitted = Imitation(
        Run(Gain(0.1), None, env, "dsact", 0, replace(small, model=MODEL, imitation=replace(OWN, states=30))), teacher,
        lambda rng, n: rng.uniform(0.4, 1.0, (n, 1)), np.random.default_rng(0), 30, 3,
    )  # fmt: skip
    fitted.imitate()
    assert {u.shape for u, _ in seen} == {(10, 1)}
    p = np.concatenate([p for _, p in seen])
    assert p.shape == (30, 1)
    assert p.min() >= 0.4
    assert p.max() <= 1.0
    assert len(np.unique(p)) > 3


def test_the_better_policy_is_deployed_through_the_gate(env, settings):
    result = train(Gain(0.3), None, env, steps=1, settings=settings, teacher=known_law)
    said, tested = result.gate_events
    assert (said.decision, said.step, said.index) == ("imitated", 0, 0)
    assert "200 labels for 200 states asked, " in said.reason
    assert (tested.decision, tested.index) == ("promoted", 1)
    starts = Integrator().sample_starts(100, 9)
    gained, law, best = (
        evaluate(policy, Integrator(), starts, 20).returns.mean() for policy in (result.deployed, Gain(0.3), Gain(GAIN))
    )
    assert gained > law + 0.95 * (best - law)


def test_a_bad_teacher_changes_nothing(env, settings):
    with_it, without = (
        trained_on_the_model(env, settings, each) for each in (lambda x, policy, p: 3.0 * np.sign(x), None)
    )
    assert [event.decision for event in with_it.model_events()] == ["not imitated"]
    assert digest(with_it.learner.tensors()) == digest(without.learner.tensors())
    assert with_it.learner.metrics() == without.learner.metrics()
    assert with_it.test() == without.test()


def test_steps_of_all_rounds_are_those_asked_for(env, settings):
    for rounds, steps in ((1, [60]), (2, [30, 30]), (4, [10, 10, 10, 30])):
        fitted = imitation(env, settings, known_law, steps=60)
        assert [fitted._steps_of(k, rounds) for k in range(rounds)] == steps


def test_a_policy_that_cannot_imitate_is_refused_before_any_training(env, settings, monkeypatch):
    run = Run(Gain(0.3), None, env, "dsact", 0, settings)
    monkeypatch.setattr(run.learner.actor, "network", torch.nn.Linear(1, 1))
    with pytest.raises(ModelError, match=r"teacher.*cannot be imitated by this policy"):
        run.use_model(known_law)


def test_without_states_the_teacher_is_not_asked(env, settings):
    def teacher(x, policy, p):
        raise AssertionError

    assert not trained_on_the_model(env, settings.changed({"imitation.states": 0}), teacher).model_events()


def test_resumed_run_is_the_unbroken_run(small, tmp_path):
    env = PlantEnvironment(Geared().perturbed({"gear": 0.8}))
    own = replace(OWN, states=30, again=20, steps=60, again_steps=30, polish=4)
    settings = replace(small, width=16, batch=32, model=MODEL, imitation=own)

    def run(name, steps, resume=False, teacher=known_law):
        where = {"resume" if resume else "run_dir": tmp_path / name}
        return train(Gain(0.1), None, env, steps=steps, settings=settings, teacher=teacher, **where)

    whole = run("whole", 28)
    run("half", 8)  # after the first imitation, before that on the fitted model
    with pytest.raises(CheckpointError, match="teacher"):
        run("half", 28, resume=True, teacher=None)
    resumed = run("half", 28, resume=True)
    (tensors, state), (tensors2, state2) = (read_checkpoint(tmp_path / name) for name in ("whole", "half"))
    assert digest(tensors) == digest(tensors2)
    assert (state["events"], state["model"]) == (state2["events"], state2["model"])
    assert digest(dict(whole.learning.learned.state_dict())) == digest(dict(resumed.learning.learned.state_dict()))
    assert sum("imitated" in event.decision for event in whole.gate_events) >= 2  # before the plant, and again


@pytest.mark.parametrize(("field", "value"), [("states", -1), ("rounds", 0), ("by_cost", 1.5), ("rate", 0.0)])
def test_settings_are_checked(field, value):
    with pytest.raises(ModelError, match=f"imitation.{field}"):
        ImitationSettings(**{field: value})
