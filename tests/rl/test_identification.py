"""Parameters from transitions: against known truth, their stated errors, and data that the model cannot explain."""

import numpy as np
import pytest

from yannctl.models import CSTR, DifferentialDrive, Pendulum
from yannctl.plant import AbstractPlant
from yannctl.rl.identification import Estimate, ParameterModel, Transitions, identify

PLANTS = {
    "pendulum": (Pendulum(), {"m": 1.06, "l": 0.93, "friction": 0.05}),
    "reactor": (CSTR(), {"k0": 1.08 * 7.2e10, "UA": 0.92 * 5e4}),
    "robot": (DifferentialDrive(), {"lag": 0.16, "speed_gain": 0.92, "turn_gain": 0.97}),
}


def transitions(plant: AbstractPlant, n: int, seed: int, noise: float = 0.0) -> Transitions:
    rng = np.random.default_rng(seed)
    x, u = plant.sample_starts(2 * n, rng), rng.uniform(plant.u_min, plant.u_max, (2 * n, plant.nu))
    kept = ~plant.trip(plant.step(x, u))
    x, u = x[kept][:n], plant.clip(u[kept][:n])
    after = plant.step(x, u)
    if noise:
        after = after + noise * plant.nominal.x_noise * rng.standard_normal(after.shape)
    return Transitions(x, u, after)


@pytest.fixture(scope="module", params=list(PLANTS))
def pair(request) -> tuple[ParameterModel, AbstractPlant]:
    plant, truth = PLANTS[request.param]
    return ParameterModel(plant), plant.perturbed(truth)


def test_truth_is_found_from_fifty_transitions(pair):
    model, truth = pair
    found = identify(model, transitions(truth, 50, 1))
    assert found.n == 50
    assert found.doubt == ""
    np.testing.assert_allclose((found.p - truth.parameters) / (model.high - model.low), 0.0, atol=1e-3)


@pytest.mark.parametrize("name", ["pendulum", "reactor"])
def test_stated_errors_are_those_of_repeated_noisy_experiments(name):
    plant, values = PLANTS[name]
    model, truth = ParameterModel(plant), plant.perturbed(values)
    found = [identify(model, transitions(truth, 100, seed, noise=0.3)) for seed in range(16)]
    scores = np.array([(each.p - truth.parameters) / each.deviations for each in found])
    # 16 standard normal scores: their mean is within 4 / sqrt(16), that of their squares in [0.2, 3] (chi square).
    assert np.abs(scores.mean(axis=0)).max() < 4.0 / np.sqrt(16)
    assert 0.2 < (scores**2).mean(axis=0).min() <= (scores**2).mean(axis=0).max() < 3.0
    assert sum(each.doubt != "" for each in found) <= 1


def test_derivative_is_that_of_the_step(pair):
    model, truth = pair
    data = transitions(truth, 20, 3)
    p, span = truth.parameters, model.high - model.low
    _, slope = model.predict(data, p)
    for j in range(len(p)):
        h = 1e-5 * span * np.eye(len(p))[j]
        difference = (model.predict(data, p - h)[0] - model.predict(data, p + h)[0]) / (2.0 * h[j])
        np.testing.assert_allclose(slope[..., j] * span[j], difference * span[j], atol=1e-6)


def test_without_data_the_data_sheet_speaks():
    plant, _ = PLANTS["reactor"]
    model = ParameterModel(plant)
    none = np.zeros((0, 2))
    found = identify(model, Transitions(none, np.zeros((0, 1)), none))
    assert found.n == 0
    np.testing.assert_array_equal(found.p, plant.parameters)
    np.testing.assert_allclose(found.deviations, model.high - model.low)


def test_what_the_data_do_not_say_stays_uncertain():
    plant = DifferentialDrive()
    model = ParameterModel(plant)
    x = np.zeros((30, 5))  # at rest, and told to stay: neither gain nor lag shows
    found = identify(model, Transitions(x, np.zeros((30, 2)), plant.step(x, np.zeros((30, 2)))))
    np.testing.assert_allclose(found.p, plant.parameters, rtol=1e-5)
    assert (found.deviations > 0.2 * (model.high - model.low)).all()


def test_wrong_form_is_noticed():
    plant = Pendulum()
    data = transitions(plant, 100, 0)
    slipping = Transitions(data.x, data.u, data.x1 + np.array([0.0, 0.3]) * np.sign(data.x[:, 1:]))
    found = identify(ParameterModel(plant), slipping)
    assert not found.form_holds
    assert "theta_dot" in found.doubt


def test_change_in_the_course_of_the_data_is_noticed():
    plant = CSTR()
    parts = [transitions(plant.perturbed({"UA": UA}), 50, i) for i, UA in enumerate((4.8e4, 5.1e4))]
    data = Transitions(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "u", "x1")))
    found = identify(ParameterModel(plant), data)
    assert found.form_holds
    assert found.doubt == "the parameters change in the course of the data"


def test_angles_are_compared_on_the_circle():
    plant = Pendulum()
    x, u = np.array([[3.1, 2.0]]), np.array([[0.0]])
    turned = plant.step(x, u) + np.array([2.0 * np.pi, 0.0])
    error, _ = ParameterModel(plant).predict(Transitions(x, u, turned), plant.parameters)
    np.testing.assert_allclose(error, 0.0, atol=1e-12)


def test_standard_errors_are_the_diagonal():
    estimate = Estimate(np.zeros(2), np.diag([4.0, 9.0]), 5, np.ones(1))
    np.testing.assert_array_equal(estimate.deviations, [2.0, 3.0])
