"""The gate on the fitted model: it asks every plant that may be, and what the real one showed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from yannctl.plant import Range
from yannctl.rl.belief import Belief
from yannctl.rl.environment import PlantEnvironment
from yannctl.rl.evaluation import evaluate
from yannctl.rl.fitted_gate import Episode, FittedGate, measure_optimism
from yannctl.rl.identification import Estimate
from yannctl.rl.model_settings import ModelSettings
from yannctl.rl.promotion import ModelGate
from yannctl.rl.task import task_of
from yannctl.yann.extension import ExtendedActor

from .conftest import Gain, Geared


@pytest.fixture
def gate(small):
    settings = replace(small, screen_starts=4, model=ModelSettings(gate_starts=32, members=2))
    return FittedGate(task_of(PlantEnvironment(Geared())), 0, settings)


def policy(gain: float, plant) -> ExtendedActor:
    """A law u = -gain x without a learned part."""
    return ExtendedActor(Gain(gain), plant, (4,), 0, 1.0, dtype=torch.float64)


def believed(gate, gear: float, error: float = 1e-3) -> Belief:
    return Belief(gate.plant, Estimate(np.array([gear]), np.array([[error**2]]), 100, np.ones(1)))


# x+ = x + gear u with u = -gain x: one step of (1 - gear gain). Gain 1.8 suits gear 0.5 (factor 0.1) and makes gear 1.0
# swing (factor -0.8); gain 0.9 is better at gear 1.0 (factor 0.1) and worse at 0.5 (0.55).
def test_policy_better_on_the_data_sheet_but_worse_on_the_plant_is_refused(gate):
    old, new = policy(0.9, gate.plant), policy(1.8, gate.plant)
    starts = gate.task.starts(np.random.default_rng(0), 50)
    mean = {
        gear: [evaluate(each, gate.plant, starts, 20, np.full((50, 1), gear)).returns.mean() for each in (old, new)]
        for gear in (0.5, 1.0)
    }
    assert mean[0.5][1] > mean[0.5][0]
    assert mean[1.0][1] < mean[1.0][0]
    gate.belief = believed(gate, 1.0)
    event, _ = gate.compare(10, 1, new, new, old)
    assert (event.decision, event.model) == ("kept", "fitted")
    gate.belief = believed(gate, 0.5)
    event, _ = gate.compare(10, 1, new, new, old)
    assert event.decision == "promoted"
    assert event.parameters == {"gear": 0.5}
    assert event.standard_errors["gear"] == pytest.approx(1e-3)


def test_learning_policy_is_shown_from_the_starts_of_the_deployed_one(gate, small):
    """The averaged policy is the candidate; the present one is the deployed one, so their means agree to the bit."""
    present, averaged = policy(0.3, gate.plant), policy(1.8, gate.plant)
    for each in (gate, ModelGate(gate.task, 0, small)):
        event, candidate = each.compare(100, 1, present, averaged, present)
        assert candidate is averaged
        assert event.learning_return == event.deployed_return < event.candidate_return


def test_unknown_plant_asks_every_corner(gate):
    event, _ = gate.compare(0, 1, policy(1.8, gate.plant), policy(1.8, gate.plant), policy(0.9, gate.plant))
    assert (event.decision, event.model) == ("kept", "ranges")  # worse at the corner 1.0 of the declared range
    assert event.n_starts == 3 * 32
    event, _ = gate.compare(0, 1, policy(0.9, gate.plant), policy(0.9, gate.plant), policy(0.2, gate.plant))
    assert event.decision == "promoted"  # better at each


def test_data_that_the_model_does_not_explain_leave_it_unknown(gate):
    doubted = replace(believed(gate, 0.5).estimate, doubt="it slips")
    gate.belief = Belief(gate.plant, doubted)
    event, _ = gate.compare(0, 1, policy(1.8, gate.plant), policy(1.8, gate.plant), policy(0.9, gate.plant))
    assert (event.decision, event.model, event.doubt) == ("kept", "ranges", "it slips")


def test_nominal_gate_asks_the_data_sheet_alone(gate):
    gate.settings = replace(gate.settings, model=replace(gate.settings.model, gate="nominal"))
    gate.belief = believed(gate, 1.0)
    event, _ = gate.compare(0, 1, policy(1.8, gate.plant), policy(1.8, gate.plant), policy(0.9, gate.plant))
    assert (event.decision, event.model) == ("promoted", "nominal")  # gear 0.5 there: the error this gate is for


def test_optimistic_model_raises_the_bar(gate):
    gate.belief, gate.optimism = believed(gate, 0.5), np.array([99.0, 100.0, 101.0, 100.0])
    event, _ = gate.compare(0, 1, policy(1.8, gate.plant), policy(1.8, gate.plant), policy(0.9, gate.plant))
    assert event.decision == "kept"
    assert "optimistic" in event.reason
    assert (event.plant_episodes, event.model_optimism) == (4, 100.0)


def test_model_with_the_true_parameters_is_not_optimistic(gate):
    plant, law = gate.plant, policy(0.9, gate.plant)
    rng = np.random.default_rng(0)
    episodes = []
    for length in (20, 20, 7):
        x, u = [plant.sample_starts(1, rng)[0]], []
        for _ in range(length):
            u.append(plant.clip(law(torch.from_numpy(x[-1][None])).detach().numpy()[0] + 0.2 * rng.standard_normal(1)))
            x.append(plant.step(x[-1], u[-1], p=[0.7]))
        reward = plant.rewards(np.array(x[:-1]), np.array(u))
        episodes.append(Episode(np.array(x[:-1]), np.array(u), reward))
    np.testing.assert_allclose(measure_optimism(gate.task, law, episodes, np.array([0.7])), 0.0, atol=1e-9)
    assert (np.abs(measure_optimism(gate.task, law, episodes, np.array([1.0]))) > 0.05).all()
    assert len(measure_optimism(gate.task, law, [], np.array([0.7]))) == 0


def test_belief_draws_and_members():
    plant = Geared()
    rng = np.random.default_rng(0)
    wide = Belief(plant)
    assert wide.name == "ranges"
    assert 0.4 <= wide.draw(rng, 500).min() < 0.45 < 0.95 < wide.draw(rng, 500).max() <= 1.0
    assert [float(member[0, 0]) for member in wide.members(rng, 9)] == [0.5, 0.4, 1.0]
    narrow = wide.with_estimate(Estimate(np.array([0.7]), np.array([[1e-4]]), 50, np.ones(1)))
    draws = narrow.draw(rng, 4000)
    assert narrow.name == "fitted"
    assert (draws.mean(), draws.std()) == (pytest.approx(0.7, abs=1e-3), pytest.approx(0.01, rel=0.05))
    assert len(narrow.members(rng, 9)) == 1
    assert narrow.moved(wide, 0.02)
    assert not narrow.moved(narrow.with_estimate(Estimate(np.array([0.705]), np.array([[1e-4]]), 50, np.ones(1))), 0.02)
    assert plant.uncertain == {"gear": Range(0.4, 1.0)}
