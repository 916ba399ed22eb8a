"""Lag and delay as states: against SciPy's integration, and against the plant fed with late commands."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from yannctl.errors import ModelError
from yannctl.models import CSTR, DifferentialDrive, Pendulum
from yannctl.plant import AbstractPlant, ActuatedPlant, check_plant


@pytest.mark.parametrize(
    "plant",
    [
        CSTR(integrator="fast").actuated(delay=1),
        DifferentialDrive(integrator="fast").actuated(),
        Pendulum().actuated(np.array([0.02])),
        ActuatedPlant(Pendulum(), None, 2).perturbed(seed=0),
    ],
    ids=["lag and delay", "robot", "lag", "perturbed"],
)
def test_keeps_the_contract(plant: AbstractPlant) -> None:
    assert isinstance(plant, ActuatedPlant)
    assert check_plant(plant) is None


def test_delayed_plant_is_the_plant_with_late_commands() -> None:
    plant, rng = Pendulum(), np.random.default_rng(0)
    late = ActuatedPlant(plant, None, 2)
    assert late.x_names == ("theta", "theta_dot", "torque_1_ago", "torque_2_ago")
    commands = rng.uniform(-3, 3, (12, 1))
    x, y = np.array([0.1, 0.2]), np.array([0.1, 0.2, 0.0, 0.0])
    fed = [np.zeros(1), np.zeros(1), *np.clip(commands, -2, 2)]
    for k in range(12):
        assert late.rewards(y, commands[k]) == pytest.approx(plant.rewards(x, fed[k]))
        x, y = plant.step(x, fed[k]), late.step(y, commands[k])
        np.testing.assert_allclose(y[:2], x, atol=1e-14)


def test_lag_against_scipy() -> None:
    plant = CSTR()
    slow = plant.actuated()
    assert slow.x_names[-1] == "Tc_real"

    def rate(t: float, y: np.ndarray) -> np.ndarray:
        return np.append(plant.rate(y[:2], y[2:]), (312.0 - y[2]) / 0.05)

    start = np.array([0.55, 345.0, 295.0])
    expected = solve_ivp(rate, (0, 0.1), start, rtol=1e-11, atol=1e-11).y[:, -1]
    np.testing.assert_allclose(slow.step(start, [312.0]), expected, rtol=1e-9)
    np.testing.assert_allclose(slow.rate(start, [312.0]), rate(0.0, start), rtol=1e-12)


def test_uncertain_fields_reach_the_plant_inside() -> None:
    slow, x = CSTR().actuated(), [0.5, 350.0, 300.0]
    weak = slow.perturbed({"UA": 4.5e4})
    expected = CSTR(UA=4.5e4).actuated().step(x, [300.0])
    np.testing.assert_allclose(weak.step(x, [300.0]), expected, rtol=1e-13)
    cold = slow.step(x, [300.0], d=[1.0, 345.0, 100.0])
    np.testing.assert_allclose(cold, CSTR(Tf=345.0).actuated().step(x, [300.0]), rtol=1e-13)


def test_out_of_sense_is_named() -> None:
    assert isinstance(Pendulum().actuated(delay=1), ActuatedPlant)
    for arguments, field in (((None, 0), "delay"), ((np.zeros(1), 0), "time_constants"), ((None, -1), "delay")):
        with pytest.raises(ModelError, match=field):
            ActuatedPlant(Pendulum(), *arguments)
