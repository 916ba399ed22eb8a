"""The plant contract: what is provided equals CasADi's own answers, and every breach is named."""

import copy
import pickle
from dataclasses import dataclass, field
from typing import ClassVar

import casadi as ca
import numpy as np
import pytest
import torch

import yannctl
from yannctl.errors import ModelError
from yannctl.models import Pendulum
from yannctl.plant import AbstractPlant, Range, check_plant, vector
from yannctl.plant.integration import extrapolate, runge_kutta


@dataclass(frozen=True)
class Oscillator(AbstractPlant):
    """A mass on a spring, m = k = 1, without damping: x(t) turns on a circle."""

    dt: float = 0.1
    substeps: int = 4
    angles: tuple[int, ...] = ()
    x_names: tuple[str, ...] = ("position", "speed")
    x_min: np.ndarray = field(default_factory=lambda: vector(-1.0, -2.0))
    x_equilibrium: np.ndarray | None = field(default_factory=lambda: vector(0.0, 0.0))
    u_names: ClassVar[tuple[str, ...]] = ("force",)
    x_units: ClassVar[tuple[str, ...]] = ("m", "m/s")
    u_units: tuple[str, ...] = ("N",)
    x_max: ClassVar[np.ndarray] = vector(1.0, 2.0)
    u_min: ClassVar[np.ndarray] = vector(-0.5)
    u_max: np.ndarray = field(default_factory=lambda: vector(0.5))
    u_equilibrium: ClassVar[np.ndarray] = vector(0.0)
    episode_steps: int = 10
    gain: float = 1.0

    def rhs(self, x, u):
        return ca.vertcat(x[1], self.gain * u[0] - x[0])

    def reward(self, x, u):
        return -ca.sumsqr(x) - u[0] ** 2


def turned(x: np.ndarray, u: np.ndarray, t: float) -> np.ndarray:
    """Exact solution of the oscillator for a held force."""
    p, v = x[..., 0] - u[..., 0], x[..., 1]
    return np.stack([u[..., 0] + p * np.cos(t) + v * np.sin(t), v * np.cos(t) - p * np.sin(t)], axis=-1)


def draws(plant: AbstractPlant, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(plant.x_min, plant.x_max, (n, plant.nx)), rng.uniform(plant.u_min, plant.u_max, (n, plant.nu))


def test_public_names_lead_here() -> None:
    assert yannctl.AbstractPlant is AbstractPlant
    assert yannctl.check_plant is check_plant


def test_default_step_is_fourth_order() -> None:
    x, u = draws(Oscillator(), 20)
    errors = [np.abs(Oscillator(dt=0.4, substeps=s).step(x, u) - turned(x, u, 0.4)).max() for s in (2, 4)]
    assert errors[1] < 1e-5
    assert 12 < errors[0] / errors[1] < 20  # halving h divides the error by 2^4


@pytest.mark.parametrize(("stages", "order"), [(2, 4), (3, 6)])
def test_extrapolation_has_twice_the_order_of_its_stages(stages: int, order: int) -> None:
    plant, x, u = Oscillator(), np.array([0.3, -0.7]), np.array([0.2])
    function = [extrapolate(plant.rhs, ca.DM(x), ca.DM(u), 0.8, n, stages).full().ravel() for n in (1, 2)]
    errors = [np.abs(value - turned(x, u, 0.8)).max() for value in function]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


def test_runge_kutta_of_an_exponential_is_its_taylor_series() -> None:
    assert runge_kutta(lambda x, u: x, 1.0, 0.0, 0.5, 1) == pytest.approx(
        sum(0.5**k / f for k, f in enumerate((1, 1, 2, 6, 24)))
    )


def test_rate_reward_and_functions_agree() -> None:
    plant = Oscillator()
    x, u = draws(plant, 7)
    np.testing.assert_allclose(plant.rate(x, u), np.stack([x[:, 1], u[:, 0] - x[:, 0]], axis=1), rtol=1e-15)
    np.testing.assert_allclose(plant.rewards(x, u), -(x**2).sum(1) - u[:, 0] ** 2, rtol=1e-14)
    for function, values in (
        (plant.step_function(), plant.step(x, u)),
        (plant.rate_function(), plant.rate(x, u)),
        (plant.reward_function(), plant.rewards(x, u)[:, None]),
    ):
        assert function.name_in() == ["x", "u"]
        np.testing.assert_allclose(function(x.T, u.T).full().T, values, rtol=1e-14, atol=1e-15)


def test_inputs_are_clipped_in_step_and_reward_only() -> None:
    plant, x = Oscillator(), np.array([0.1, 0.2])
    np.testing.assert_array_equal(plant.step(x, [3.0]), plant.step(x, plant.u_max))
    assert plant.rewards(x, [3.0]) == plant.rewards(x, plant.u_max)
    assert plant.rate(x, [3.0])[1] == pytest.approx(2.9)
    smooth = plant.step_function(bounded=False)(x, [3.0]).full().ravel()
    np.testing.assert_allclose(smooth, turned(x, np.array([3.0]), 0.1), atol=1e-8)
    assert float(plant.reward_function(bounded=False)(x, [3.0])) == pytest.approx(-9.05)


def test_angles_come_back_wrapped() -> None:
    plant = Oscillator(angles=(0,), dt=1e-9, substeps=1)
    edge = np.nextafter(np.pi, 0)
    angles = np.array([np.pi, -np.pi, 3.5, -3.5, edge, -edge, 7 * np.pi, 1e5, np.nextafter(-np.pi, -4)])
    wrapped = plant.step(np.stack([angles, np.zeros(9)], axis=1), [0.0])[:, 0]
    assert ((wrapped >= -np.pi) & (wrapped < np.pi)).all()
    np.testing.assert_allclose(np.exp(1j * wrapped), np.exp(1j * angles), atol=1e-8)


def test_batches_broadcast() -> None:
    plant = Oscillator()
    x, u = draws(plant, 6)
    whole = plant.step(x.reshape(2, 3, 2), u[0])
    np.testing.assert_array_equal(whole.reshape(6, 2), plant.step(x, np.tile(u[0], (6, 1))))
    assert plant.rewards(x[0], u[0]).shape == ()
    assert plant.step(np.zeros((0, 2)), np.zeros((0, 1))).shape == (0, 2)


def test_torch_and_numpy_steps_agree() -> None:
    plant = Pendulum(integrator="accurate")
    x, u = draws(plant, 10)
    np.testing.assert_allclose(plant.step_tape.torch(torch.tensor(x), torch.tensor(u)), plant.step(x, u), atol=1e-12)


@pytest.mark.parametrize(
    ("x", "u", "text"),
    [
        ([np.nan, 0.0], [0.0], r"x\[0\]: position is nan"),
        ([[0.0, 0.0], [0.0, np.inf]], [0.0], r"x\[1, 1\]: speed is inf"),
        ([0.0, 0.0], [np.nan], r"u\[0\]: force is nan"),
        ([0.0, 0.0, 0.0], [0.0], r"x: shape \(3,\)"),
        ([0.0, 0.0], np.float64(0.0), r"u: shape \(\)"),
    ],
)
@pytest.mark.parametrize("method", ["step", "rate", "rewards"])
def test_bad_input_names_the_channel(x: list, u: list, text: str, method: str) -> None:
    with pytest.raises(ModelError, match=text):
        getattr(Oscillator(), method)(x, u)


def test_starts_are_reproducible_and_inside() -> None:
    plant = Oscillator()
    starts = plant.sample_starts(100, 3)
    np.testing.assert_array_equal(starts, plant.sample_starts(100, 3))
    np.testing.assert_array_equal(starts, plant.sample_starts(100, np.random.default_rng(3)))
    assert ((starts >= plant.x_min) & (starts <= plant.x_max)).all()
    assert not np.array_equal(starts, plant.sample_starts(100, 4))


def test_rollout_repeats_step() -> None:
    plant = Oscillator()
    x0, _ = draws(plant, 5)
    result = plant.rollout(lambda x: -2.0 * x[:, :1], x0, 8)
    assert result.x.shape == (5, 9, 2)
    assert (np.abs(result.u) <= 0.5).all()
    assert (np.abs(result.u) == 0.5).any()
    np.testing.assert_array_equal(result.u[..., 0], np.clip(-2.0 * result.x[:, :-1, 0], -0.5, 0.5))
    np.testing.assert_array_equal(result.x[:, 1:], plant.step(result.x[:, :-1], result.u))
    np.testing.assert_array_equal(result.rewards, plant.rewards(result.x[:, :-1], result.u))
    np.testing.assert_allclose(result.returns, result.rewards.sum(1))


@pytest.mark.parametrize(("policy", "field_name"), [(lambda x: np.nan * x[:, :1], "u"), (lambda x: x, "policy")])
def test_rollout_names_a_bad_policy(policy, field_name: str) -> None:
    with pytest.raises(ModelError) as caught:
        Oscillator().rollout(policy, np.zeros((2, 2)), 3)
    assert caught.value.field == field_name


def test_plants_travel_between_processes() -> None:
    plant = Oscillator(gain=2.0)
    expected = plant.step([0.1, 0.2], [0.3])
    for twin in (pickle.loads(pickle.dumps(plant)), copy.deepcopy(plant)):
        np.testing.assert_array_equal(twin.step([0.1, 0.2], [0.3]), expected)


@pytest.mark.parametrize("plant", [Oscillator(), Pendulum(), Pendulum(integrator="accurate")], ids=str)
def test_good_plants_pass(plant: AbstractPlant) -> None:
    assert check_plant(plant) is None


class _NanReward(Oscillator):
    def reward(self, x, u):
        return ca.log(-1 - ca.sumsqr(x))


class _InfiniteRate(Oscillator):
    def rhs(self, x, u):
        return ca.vertcat(x[1], u[0] / (0 * x[0]))

    def step_map(self, x, u):
        return x


class _RootStep(Oscillator):
    def step_map(self, x, u):
        return ca.sqrt(ca.fabs(x))


class _Idle(Oscillator):
    uncertain: ClassVar = {"gain": Range(0.5, 2.0), "episode_steps": Range(1.0, 20.0)}


class _OutOfRange(Oscillator):
    disturbances: ClassVar = {"gain": Range(2.0, 3.0)}


class _Unbounded(Oscillator):
    def saturate(self, u):
        return u


class _RandomStarts(Oscillator):
    def sample_starts(self, n, seed):
        return np.random.default_rng().uniform(-1, 1, (n, 2))


@pytest.mark.parametrize(
    ("plant", "field_name"),
    [
        (Oscillator(x_names=("force", "speed")), "x_names, u_names"),
        (Oscillator(u_units=("N", "N")), "u_units"),
        (Oscillator(x_min=vector(-1.0)), "x_min"),
        (Oscillator(x_min=vector(1.0, -2.0)), "x_min"),
        (Oscillator(x_min=vector(np.nan, -2.0)), "x_min"),
        (Oscillator(u_max=vector(np.inf)), "u_max"),
        (Oscillator(dt=0.0), "dt"),
        (Oscillator(episode_steps=0), "episode_steps"),
        (Oscillator(substeps=0), "substeps"),
        (Oscillator(angles=(2,)), "angles"),
        (Oscillator(x_equilibrium=vector(0.5, 0.0)), "x_equilibrium"),
        (Oscillator(x_equilibrium=vector(0.0)), "x_equilibrium"),
        (_NanReward(), "reward"),
        (_InfiniteRate(), "rhs"),
        (_RootStep(), "step_map"),
        (_RandomStarts(), "sample_starts"),
        (_Idle(), "uncertain"),
        (_OutOfRange(), "disturbances"),
        (_Unbounded(), "saturate"),
    ],
)
def test_each_breach_is_named(plant: AbstractPlant, field_name: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_plant(plant)
    assert caught.value.field == field_name


def test_default_drawing_shows_every_state() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    Oscillator().draw(axes, np.array([0.5, -1.0]))
    assert [bar.get_height() for bar in axes.patches] == [0.5, -0.5]
