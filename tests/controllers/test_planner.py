"""Plans of a batch: those of the finite-horizon Riccati recursion where the plant is linear, and honest elsewhere."""

import numpy as np
import pytest

from yannctl.controllers import Planner
from yannctl.errors import ModelError
from yannctl.models import DifferentialDrive
from yannctl.plant import LinearPlant

A, B = np.array([[1.0, 0.3], [0.0, 0.9]]), np.array([[0.05], [0.3]])
PLANT = LinearPlant(A, B, -50.0, 50.0, Q=[1.0, 0.1], R=[0.2])
N, KEEP = 12, 4


def riccati(x: np.ndarray) -> np.ndarray:
    """First inputs of the optimum of sum x'Qx + u'Ru over N steps, without limits and without a last cost."""
    Q, R, P, gains = np.diag([1.0, 0.1]), np.array([[0.2]]), np.zeros((2, 2)), []
    for _ in range(N):
        K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
        P = Q + A.T @ P @ (A - B @ K)
        gains.append(K)
    inputs = []
    for K in gains[::-1][:KEEP]:
        inputs.append(-x @ K.T)
        x = x @ A.T + inputs[-1] @ B.T
    return np.stack(inputs, axis=1)


def nothing(x: np.ndarray) -> np.ndarray:
    return np.zeros((len(x), 1))


def test_on_a_linear_plant_the_plans_are_the_optimum():
    x = np.random.default_rng(0).uniform(-2.0, 2.0, (6, 2))
    u = Planner(PLANT, N, KEEP)(x, nothing, np.zeros((6, 0)))
    np.testing.assert_allclose(u, riccati(x), atol=2e-3)


def test_a_state_without_a_finite_roll_out_has_no_plan():
    def lost(x: np.ndarray) -> np.ndarray:
        return np.where(x[:, :1] > 0, np.nan, 0.0)

    u = Planner(PLANT, N, KEEP)(np.array([[1.0, 0.0], [-1.0, 0.0]]), lost, np.zeros((2, 0)))
    assert np.isnan(u[0]).all()
    assert np.isfinite(u[1]).all()
    nowhere = Planner(PLANT, N, KEEP)(np.ones((2, 2)), lambda x: np.full((len(x), 1), np.nan), np.zeros((2, 0)))
    assert np.isnan(nowhere).all()


def test_parameters_of_each_state_and_shared_limits_hold():
    plant = DifferentialDrive()
    x = np.array([[0.05, 0.4, 0.1, 0.0, 0.3], [0.05, 0.4, 0.1, 0.0, 0.3]])
    p = np.array([[0.1, 1.0, 1.0], [0.2, 0.9, 1.05]])
    planner = Planner(plant, 10, 3, substeps=2)
    u = planner(x, lambda x: np.tile([0.1, 0.0], (len(x), 1)), p)
    assert plant.input_rows is not None
    rows, limits = plant.input_rows
    assert (u.reshape(-1, 2) @ rows.T <= limits + 1e-4).all()
    assert np.abs(u[0] - u[1]).max() > 1e-3
    again = planner(x[1:], lambda x: np.tile([0.1, 0.0], (len(x), 1)), p[1:])
    np.testing.assert_array_equal(again[0], u[1])  # a batch is its states, and nothing is remembered


@pytest.mark.parametrize(("N", "keep"), [(0, 1), (5, 6), (5, 0)])
def test_more_inputs_than_a_plan_has_are_refused(N, keep):
    with pytest.raises(ModelError, match="keep"):
        Planner(PLANT, N, keep)
