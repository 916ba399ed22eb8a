"""Training on the model: it leaves the deployed policy no worse, finds the plant, repeats itself and resumes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.rl import train, train_asynchronously, train_seeds
from yannctl.rl.checkpoint import digest, read_checkpoint
from yannctl.rl.environment import PlantEnvironment
from yannctl.rl.evaluation import evaluate
from yannctl.rl.model_settings import ModelSettings
from yannctl.rl.run import Run

from .conftest import Gain, Geared

MODEL = ModelSettings(
    pretrain_updates=400, retrain_updates=100, episodes=8, updates_per_round=4, capacity=2000, first_gate=10,
    gate_starts=16, members=2, wide=0.25,  # so few updates need them
)  # fmt: skip


@pytest.fixture
def settings(small):
    fast = {"dsact.actor_rate": 4e-3, "dsact.critic_rate": 4e-3}
    return replace(small, width=16, batch=32, model=MODEL).changed(fast)


@pytest.fixture
def plant():
    return Geared()


@pytest.fixture
def env(plant):
    """The true plant's gear is 0.8, the data sheet says 0.5, between 0.4 and 1."""
    return PlantEnvironment(plant.perturbed({"gear": 0.8}))


def returns(policy, plant, gear: float) -> np.ndarray:
    starts = plant.sample_starts(100, 9)
    return evaluate(policy, plant, starts, 20, np.full((100, 1), gear)).returns


def test_deployed_policy_is_better_before_the_first_step_of_the_plant(env, plant, settings):
    law, seen = Gain(0.1), []
    train(
        law,
        None,
        env,
        steps=1,
        seed=1,
        settings=settings,
        on_gate=lambda event, _, deployed: seen.append((event, deployed)),
    )
    ((event, deployed),) = seen
    assert (event.step, event.decision, event.model, event.gate_plant_steps) == (0, "promoted", "ranges", 0)
    for gear in (0.4, 0.7, 1.0):
        assert returns(deployed, plant, gear).mean() > returns(law, plant, gear).mean()


def test_plant_is_found_and_the_policy_fitted_to_it(env, plant, settings):
    law = Gain(0.1)
    result = train(law, None, env, steps=50, seed=1, settings=settings)
    last = result.gate_events[-1]
    # At step 10 the data are of one episode, which cannot show that the gear will be the same in the next.
    assert [event.model for event in result.gate_events] == ["ranges", "ranges", "fitted", "fitted"]
    assert "one episode" in result.gate_events[1].doubt
    assert last.parameters["gear"] == pytest.approx(0.8, abs=1e-4)
    assert last.gate_plant_steps == 0
    ideal = returns(Gain(1.0 / 0.8), plant, 0.8).mean()
    first = returns(law, plant, 0.8).mean()
    assert returns(result.deployed, plant, 0.8).mean() > ideal - 0.1 * (ideal - first)
    row = result.history[-1]
    assert (row["model_updates"], row["step"]) == (500, 50)
    assert row["model_steps"] == 8 * (2 * 20 + 500 // 4) + 128 * 20 * (12 + 18)  # and what judged the averages
    assert row["updates"] == 500 + 2 * 50


@pytest.mark.parametrize(
    ("algorithm", "half"),
    [("dsact", 31), ("td3", 8), *(pytest.param(*p, marks=pytest.mark.slow) for p in (("dsact", 8), ("td3", 31)))],
)
def test_resumed_run_is_the_unbroken_run(env, settings, tmp_path, algorithm, half):
    short = replace(settings, model=replace(MODEL, pretrain_updates=40, retrain_updates=40))
    whole = train(Gain(0.1), None, env, algorithm, steps=60, run_dir=tmp_path / "whole", settings=short)
    train(Gain(0.1), None, env, algorithm, steps=half, run_dir=tmp_path / "half", settings=short)
    resumed = train(Gain(0.1), None, env, algorithm, steps=60, resume=tmp_path / "half", settings=short)
    (tensors, state), (tensors2, state2) = (read_checkpoint(tmp_path / name) for name in ("whole", "half"))
    assert digest(tensors) == digest(tensors2)
    assert (state["counters"], state["events"], state["model"]) == (
        state2["counters"],
        state2["events"],
        state2["model"],
    )
    assert digest(dict(whole.learning.learned.state_dict())) == digest(dict(resumed.learning.learned.state_dict()))


def test_each_use_can_be_switched_off(env, settings):
    def run(**changes):
        return train(Gain(0.1), None, env, steps=40, settings=replace(settings, model=replace(MODEL, **changes)))

    assert run(use="off").gate_events[0].step == 25
    assert run(pretrain_updates=0).gate_events[0].step == 25  # the warm-up of 20 steps comes first
    blind = run(identify=False, pretrain_updates=40)
    assert {event.model for event in blind.gate_events} == {"ranges"}
    assert {event.model for event in run(gate="nominal", pretrain_updates=40).gate_events} == {"nominal"}


def test_simulated_transitions_are_left_out_where_the_form_is_wrong(env, plant, settings):
    run = Run(Gain(0.1), None, env, "dsact", 0, settings)
    run.use_model()
    assert run.model is not None
    run.pretrain_on_model()
    for _ in range(30):
        run.step()
    first = next(run.drawing().batches(1, run.count.reward_scale, run.generator))
    assert first.x.shape[0] == settings.batch
    widths = run.replay.widths
    column = sum(widths[:8])  # where the next state begins: it slips
    run.replay.table[: len(run.replay), column] += 0.5
    run.model.refit()
    assert not run.model.trusted
    assert not run.model.deployed_acts
    plain = next(run.drawing().batches(1, run.count.reward_scale, run.generator))
    seen = {float(x) for x in plain.x[:, 0]}
    assert seen <= {float(x) for x in run.replay.table[: len(run.replay), 0]}
    assert run.learner.actor.adam.rate == settings.dsact.actor_rate


def test_behaviour_is_the_deployed_policy_with_little_noise(env, settings):
    run = Run(Gain(0.1), None, env, "dsact", 0, settings)
    run.use_model()
    a = torch.stack([run.explore() for _ in range(400)])
    law = Gain(0.1)(torch.from_numpy(run.states())) / 3.0
    assert float(a.mean()) == pytest.approx(float(law), abs=0.02)
    assert float(a.std()) == pytest.approx(MODEL.std, rel=0.2)


def test_from_scratch_the_model_is_not_used_unless_asked(env, settings):
    run = Run(None, None, env, "dsact", 0, settings)
    run.use_model()
    assert run.model is None
    asked = Run(None, None, env, "dsact", 0, replace(settings, model=replace(MODEL, use="on")))
    asked.use_model()
    assert asked.model is not None


def test_where_the_model_cannot_be_used_it_is_refused(env, settings, tmp_path):
    asked = replace(settings, model=replace(MODEL, use="on"))
    with pytest.raises(ModelError, match="stacked seeds"):
        train_seeds(None, env, [0, 1], settings=asked)
    with pytest.raises(ModelError, match="asynchronous"):
        train_asynchronously("yannctl/Pendulum-v0", run_dir=tmp_path, settings=asked)


@pytest.mark.parametrize(
    ("field", "value"), [("use", "never"), ("episodes", 0), ("pretrain_updates", -1), ("wide", 1.5), ("gate_starts", 1)]
)
def test_settings_are_checked(field, value):
    with pytest.raises(ModelError, match=f"model.{field}"):
        ModelSettings(**{field: value})
