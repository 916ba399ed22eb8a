"""Dynamic programming against exact solutions: LQR, a hand-made chain of sums, and its own finer grids."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

from yannctl.controllers import DynamicProgramming, Lqr, check_controller
from yannctl.errors import ModelError
from yannctl.models import Pendulum
from yannctl.plant import AbstractPlant, vector

A = np.array([[1.0, 0.1], [0.0, 0.95]])
B = np.array([[0.0], [0.3]])
Q, R = np.diag([1.0, 0.2]), np.array([[0.1]])


@dataclass(frozen=True)
class Cart(AbstractPlant):
    """x+ = A x + B u with a quadratic cost; wide bounds that the optimum never touches."""

    x_names: ClassVar[tuple[str, ...]] = ("s", "v")
    u_names: ClassVar[tuple[str, ...]] = ("u",)
    x_units: ClassVar[tuple[str, ...]] = ("m", "m/s")
    u_units: ClassVar[tuple[str, ...]] = ("N",)
    x_min: ClassVar[np.ndarray] = vector(-1.0, -2.0)
    x_max: ClassVar[np.ndarray] = vector(1.0, 2.0)
    u_min: ClassVar[np.ndarray] = vector(-2.0)
    u_max: ClassVar[np.ndarray] = vector(2.0)
    dt: ClassVar[float] = 0.1
    x_equilibrium: ClassVar[np.ndarray] = vector(0.0, 0.0)
    u_equilibrium: ClassVar[np.ndarray] = vector(0.0)
    start_min: ClassVar[np.ndarray] = vector(-0.4, -0.4)
    start_max: ClassVar[np.ndarray] = vector(0.4, 0.4)
    episode_steps: ClassVar[int] = 60

    def rhs(self, x, u):
        raise NotImplementedError

    def step_map(self, x, u):
        import casadi as ca

        return ca.mtimes(A, x) + ca.mtimes(B, u)

    def reward(self, x, u):
        return -(Q[0, 0] * x[0] ** 2 + Q[1, 1] * x[1] ** 2 + R[0, 0] * u[0] ** 2)


@dataclass(frozen=True)
class Integrator(AbstractPlant):
    """x+ = x + u, reward -|x|: from x the best sum with |u| <= 1 is known by hand."""

    x_names: ClassVar[tuple[str, ...]] = ("x",)
    u_names: ClassVar[tuple[str, ...]] = ("u",)
    x_units: ClassVar[tuple[str, ...]] = ("",)
    u_units: ClassVar[tuple[str, ...]] = ("",)
    x_min: ClassVar[np.ndarray] = vector(-4.0)
    x_max: ClassVar[np.ndarray] = vector(4.0)
    u_min: ClassVar[np.ndarray] = vector(-1.0)
    u_max: ClassVar[np.ndarray] = vector(1.0)
    dt: ClassVar[float] = 1.0
    episode_steps: ClassVar[int] = 3

    def rhs(self, x, u):
        return u

    def step_map(self, x, u):
        return x + u

    def reward(self, x, u):
        import casadi as ca

        return -ca.fabs(x[0])


def test_one_state_by_hand():
    dp = DynamicProgramming.solve(Integrator(), nodes=9, inputs=3)
    # 4 + 3 + 2, 3 + 2 + 1, 2 + 1 + 0, 1 + 0 + 0, 0
    np.testing.assert_allclose(dp.value([[4.0], [3.0], [2.0], [-1.0], [0.0]]), [-9.0, -6.0, -3.0, -1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(dp([[3.0], [0.5], [-0.25]]), [[-1.0], [-0.5], [0.25]], atol=0.02)
    assert dp.sweeps == 3
    one = DynamicProgramming.solve(Integrator(), nodes=9, inputs=3, steps=1)
    np.testing.assert_allclose(one.value([[4.0], [-2.0]]), [-4.0, -2.0], atol=1e-6)


def test_inputs_that_not_every_state_allows():
    def limits(x):
        return np.where(x > 0, -0.5, -1.0), np.ones((len(x), 1))

    dp = DynamicProgramming.solve(Integrator(), nodes=17, inputs=4, limits=limits)
    # 3 + 2.5 + 2 downwards, 3 + 2 + 1 upwards
    np.testing.assert_allclose(dp.value([[3.0], [-3.0]]), [-7.5, -6.0], atol=1e-6)
    np.testing.assert_allclose(dp([[3.0], [-3.0]]), [[-0.5], [1.0]])


@pytest.mark.parametrize("gamma", [None, 0.95])
def test_lqr_limit(gamma):
    """Value and policy tend to the (discounted) Riccati solution, the error falling with the grid."""
    plant = Cart()
    root = np.sqrt(gamma or 1.0)
    P = solve_discrete_are(root * A, root * B, Q, R)
    K = np.linalg.solve(R + root**2 * B.T @ P @ B, root**2 * B.T @ P @ A)
    x = plant.sample_starts(300, 0)
    exact = -np.einsum("ni,ij,nj->n", x, P, x)
    errors, inputs = [], []
    assert np.abs(x @ K.T).max() < 2
    for nodes in (31, 61, 121):
        dp = DynamicProgramming.solve(plant, nodes=nodes, inputs=81, gamma=gamma)
        assert dp.status == "complete"
        errors.append(np.abs(dp.value(x) - exact).mean())
        inputs.append(np.abs(dp(x) - Lqr(K)(x)).mean())
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]
    assert errors[2] < 0.05 * np.abs(exact).mean()
    assert inputs[2] < inputs[0]
    assert inputs[2] < 0.15


def test_pendulum_optimum_and_grid_error():
    plant = Pendulum()
    coarse, fine = (DynamicProgramming.solve(plant, nodes=n, inputs=21) for n in (61, 121))
    angle = (np.arange(32) + 0.5) / 32 * 2 - 1
    starts = np.stack(np.meshgrid(np.pi * angle, angle[::4]), axis=-1).reshape(-1, 2)
    returns = [plant.rollout(dp, starts, 200).returns.mean() for dp in (coarse, fine)]
    # 401 x 401 nodes give -138.1 over all starts; coarser grids end up a little below it.
    assert -143.0 < returns[1] < -137.5
    assert returns[0] <= returns[1] + 0.5
    error = fine.grid_error(coarse)
    assert 0 < error.mean < error.max
    assert error.relative < 0.05
    assert abs(fine.value(starts).mean() - returns[1]) < 0.03 * abs(returns[1])
    check_controller(fine, plant)


def test_values_are_periodic_in_the_angle():
    dp = DynamicProgramming.solve(Pendulum(), nodes=41, inputs=9)
    speeds = np.linspace(-7, 7, 15)
    left, right = (np.stack([np.full(15, a), speeds], axis=1) for a in (-np.pi, np.pi))
    np.testing.assert_allclose(dp.value(left), dp.value(right), atol=1e-9)
    # theta -> -theta, theta_dot -> -theta_dot is a symmetry of the task
    x = np.random.default_rng(0).uniform([-np.pi, -8], [np.pi, 8], (200, 2))
    np.testing.assert_allclose(dp.value(x), dp.value(-x), rtol=1e-4)


def test_sweeps_that_run_out_say_so():
    dp = DynamicProgramming.solve(Cart(), nodes=21, inputs=5, gamma=0.99, tolerance=1e-9, max_sweeps=2)
    assert dp.status == "partial"
    assert "max_sweeps" in dp.message


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("nodes", {"nodes": 2}),
        ("inputs", {"inputs": 1}),
        ("gamma", {"gamma": 1.0}),
        ("steps", {"steps": 0}),
        ("steps", {"steps": 5, "gamma": 0.9}),
    ],
)
def test_mistakes_name_their_field(field, settings):
    with pytest.raises(ModelError, match=field):
        DynamicProgramming.solve(Integrator(), **settings)
