"""Our pendulum against Gymnasium's, against CVODES, and against conservation of energy."""

import casadi as ca
import gymnasium
import numpy as np
import pytest

from yannctl.errors import ModelError
from yannctl.models import Pendulum


def wrap(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def test_ten_thousand_steps_equal_gymnasium() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform([-np.pi, -8], [np.pi, 8], (10_000, 2))
    u = rng.uniform(-2.5, 2.5, (10_000, 1))
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    expected, rewards = np.empty_like(x), np.empty(len(x))
    for k in range(len(x)):
        env.state = x[k]
        rewards[k] = env.step(u[k])[1]
        expected[k] = env.state
    plant = Pendulum()
    found = plant.step(x, u)
    np.testing.assert_allclose(found[:, 1], expected[:, 1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(wrap(found[:, 0] - expected[:, 0]), 0, atol=1e-12)
    np.testing.assert_allclose(plant.rewards(x, u), rewards, rtol=0, atol=1e-12)
    assert (np.abs(expected[:, 1]) == 8).any()  # the speed clip was met


def test_other_gravity_equals_gymnasium() -> None:
    env = gymnasium.make("Pendulum-v1", g=3.0).unwrapped
    env.reset(seed=0)
    env.state = np.array([1.0, 0.5])
    env.step(np.array([1.0]))
    np.testing.assert_allclose(Pendulum(g=3.0).step([1.0, 0.5], [1.0]), env.state, atol=1e-12)


def test_accurate_step_equals_cvodes() -> None:
    plant = Pendulum(integrator="accurate")
    x, u = ca.SX.sym("x", 2), ca.SX.sym("u")
    options = {"abstol": 1e-13, "reltol": 1e-12, "max_num_steps": 100_000}
    reference = ca.integrator("r", "cvodes", {"x": x, "p": u, "ode": plant.rhs(x, u)}, 0, plant.dt, options)
    rng = np.random.default_rng(1)
    states, inputs = rng.uniform([-np.pi, -8], [np.pi, 8], (100, 2)), rng.uniform(-2, 2, (100, 1))
    expected = np.array([reference(x0=a, p=b)["xf"].full().ravel() for a, b in zip(states, inputs, strict=True)])
    error = plant.step(states, inputs) - expected
    error[:, 0] = wrap(error[:, 0])
    assert np.abs(error).max() < 1e-9


def test_accurate_step_keeps_the_energy() -> None:
    plant = Pendulum(g=9.81, m=0.5, l=1.3, integrator="accurate")
    result = plant.rollout(lambda x: np.zeros((len(x), 1)), plant.sample_starts(20, 0), 400)
    energy = result.x[..., 1] ** 2 / 2 + 3 * plant.g / (2 * plant.l) * np.cos(result.x[..., 0])
    assert np.abs(energy - energy[:, :1]).max() < 1e-8


def test_accurate_speed_is_not_clipped() -> None:
    assert Pendulum(integrator="accurate").step([-1.5, 8.0], [2.0])[1] < 8.0
    assert Pendulum(integrator="accurate").step([1.5, 8.0], [2.0])[1] > 8.0


def test_rates_and_reward_follow_the_data_sheet() -> None:
    plant = Pendulum(g=9.0, m=2.0, l=0.5)
    np.testing.assert_allclose(plant.rate([0.3, -1.0], [0.7]), [-1.0, 27 * np.sin(0.3) + 6 * 0.7], rtol=1e-14)
    assert plant.rewards([0.3 + 2 * np.pi, -1.0], [0.7]) == pytest.approx(-(0.09 + 0.1 + 0.001 * 0.49), abs=1e-14)


def test_starts_are_those_of_gymnasium() -> None:
    plant = Pendulum()
    starts = plant.sample_starts(1000, 0)
    assert np.abs(starts).max(axis=0) == pytest.approx([np.pi, 1.0], rel=0.01)
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=5)
    np.testing.assert_array_equal(plant.sample_starts(1, gymnasium.utils.seeding.np_random(5)[0])[0], env.state)


def test_declared_facts() -> None:
    plant = Pendulum()
    assert (plant.nx, plant.nu, plant.dt, plant.episode_steps, plant.angles) == (2, 1, 0.05, 200, (0,))
    np.testing.assert_array_equal(plant.u_max, [2.0])
    np.testing.assert_array_equal(plant.x_max, [np.pi, 8.0])
    assert Pendulum() == plant
    assert Pendulum(g=9.81) != plant
    with pytest.raises(ValueError, match="read-only"):
        plant.x_max[0] = 1.0


@pytest.mark.parametrize("options", [{"g": 0.0}, {"m": -1.0}, {"l": float("nan")}, {"g": float("inf")}])
def test_bad_parameters_are_named(options: dict) -> None:
    with pytest.raises(ModelError) as caught:
        Pendulum(**options)
    assert caught.value.field == next(iter(options))


def test_unknown_integrator_is_refused() -> None:
    with pytest.raises(Exception, match="integrator"):
        Pendulum(integrator="euler")
