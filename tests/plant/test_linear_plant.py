"""A linear system as a plant: its step is the matrix exponential, its bad descriptions are named."""

import control
import numpy as np
import pytest
from scipy.linalg import expm

import yannctl
from yannctl.errors import ModelError
from yannctl.plant import LinearPlant, check_plant, from_control

MASS = control.ss([[0, 1], [-1, -0.2]], [[0], [1]], np.eye(2), 0, states=["position", "speed"], inputs=["force"])


def test_continuous_system_is_sampled_exactly() -> None:
    plant = from_control(MASS, -1.0, 1.0, x_min=[-2, -2], x_max=[2, 2], Q=[1.0, 0.1], R=0.01, dt=0.3)
    assert check_plant(plant) is None
    assert (plant.x_names, plant.u_names, plant.dt) == (("position", "speed"), ("force",), 0.3)
    block = expm(np.block([[MASS.A, MASS.B], [np.zeros((1, 3))]]) * 0.3)
    x, u = np.array([0.4, -0.7]), np.array([0.5])
    np.testing.assert_allclose(plant.step(x, u), block[:2, :2] @ x + block[:2, 2] * 0.5, atol=1e-14)
    np.testing.assert_allclose(plant.rate(x, u), MASS.A @ x + MASS.B @ u, atol=1e-14)
    assert plant.rewards(x, u) == pytest.approx(-(0.16 + 0.049 + 0.0025))
    model = yannctl.linearise(plant)
    np.testing.assert_allclose(model.A, block[:2, :2], atol=1e-14)


def test_discrete_system_keeps_its_period() -> None:
    system = control.c2d(MASS, 0.2)
    plant = from_control(system, [-1.0], [1.0])
    assert plant.dt == 0.2
    np.testing.assert_allclose(plant.step([1.0, 0.0], [0.0]), system.A[:, 0], atol=1e-15)
    np.testing.assert_allclose(plant.rate([1.0, 0.0], [0.0]), (system.A[:, 0] - [1, 0]) / 0.2, atol=1e-13)


@pytest.mark.parametrize(
    ("system", "arguments", "field"),
    [
        (MASS, {}, "dt"),
        (control.tf([1], [1, 1]), {"dt": 0.1}, "sys"),
        (MASS, {"dt": 0.1, "x_min": [-1.0]}, "x_min"),
        (MASS, {"dt": 0.1, "Q": np.full((2, 2), np.nan)}, "Q"),
    ],
)
def test_bad_descriptions_are_named(system: control.lti.LTI, arguments: dict, field: str) -> None:
    with pytest.raises(ModelError) as caught:
        from_control(system, -1.0, 1.0, **arguments)
    assert caught.value.field == field


def test_zero_must_be_allowed() -> None:
    with pytest.raises(ModelError, match="u_min"):
        LinearPlant([[1.0]], [[1.0]], 0.5, 1.0)
