"""The runaway reactor: its documented steady state, its two runaways, and its integrators against CVODES."""

import casadi as ca
import numpy as np
import pytest
from scipy.optimize import brentq

import yannctl
from yannctl.errors import ModelError
from yannctl.models import RunawayReactor
from yannctl.plant import check_plant


@pytest.mark.parametrize(
    "plant", [RunawayReactor(), RunawayReactor(integrator="fast", set_point=460.0), RunawayReactor().perturbed(seed=2)]
)
def test_keeps_the_contract(plant: RunawayReactor) -> None:
    assert check_plant(plant) is None


def test_documented_steady_state() -> None:
    """The balances by hand: a root search for CA at 450 K, then the heat balance for U."""
    k1 = 4e14 * np.exp(-1.28e5 / (8.314 * 450))
    CA = brentq(lambda c: (4.3 - c) - k1 * c * (c + 0.8), 0, 4.3, xtol=1e-14)
    U = (45.6e3 * (4.3 - CA) - 2000 * (450 - 400)) * 4000 / (3600 * 5.3 * (450 - 373))
    plant = RunawayReactor()
    np.testing.assert_allclose(plant.x_equilibrium, [CA, CA + 0.8, 3.0, 450.0], rtol=1e-8)
    np.testing.assert_allclose(plant.u_equilibrium, [U], rtol=1e-6)
    assert plant.x_equilibrium == pytest.approx([1.773, 2.573, 3.0, 450.0], abs=1e-3)
    assert plant.u_equilibrium == pytest.approx([41.5], abs=0.05)
    np.testing.assert_allclose(plant.rate(plant.x_equilibrium, plant.u_equilibrium), 0, atol=1e-11)


def test_operating_point_is_unstable_and_can_be_stabilised() -> None:
    lin = yannctl.linearise(RunawayReactor())
    poles = np.log(np.linalg.eigvals(lin.A).astype(complex)) / lin.dt
    assert poles.real.max() == pytest.approx(0.74, abs=0.01)
    ocp = yannctl.Ocp(lin, Q=[0.1] * 4, R=1e-4, N=2, u_min=[0.0], u_max=[250.0])
    assert np.abs(np.linalg.eigvals(lin.A - lin.B @ ocp.K)).max() < 1


@pytest.mark.parametrize(("integrator", "limit"), [("accurate", 1e-8), ("fast", 1e-6)])
def test_error_of_a_period_against_cvodes(integrator: str, limit: float) -> None:
    plant, rng = RunawayReactor(integrator=integrator), np.random.default_rng(0)
    X, U = rng.uniform([0, 0, 2.5, 400], [3.0, 3.8, 3.0, 480.0], (200, 4)), rng.uniform(0, 250, (200, 1))
    x, u = ca.SX.sym("x", 4), ca.SX.sym("u")
    tight = {"abstol": 1e-12, "reltol": 1e-12, "max_num_steps": 100_000}
    oracle = ca.integrator("oracle", "cvodes", {"x": x, "p": u, "ode": plant.rhs(x, u)}, 0, plant.dt, tight)
    expected = oracle(x0=X.T, p=U.T)["xf"].full().T
    inside = expected[:, 3] <= plant.T_max
    assert inside.sum() > 120
    assert (np.abs(plant.step(X, U) - expected)[inside] / (plant.x_max - plant.x_min)).max() <= limit


def test_without_cooling_the_solvent_decomposes() -> None:
    """The main reaction alone cannot pass 400 K + 98 K; with the solvent the tank goes far beyond, and stays finite."""
    plant = RunawayReactor()
    both = plant.rollout(lambda x: np.zeros((len(x), 1)), plant.x_equilibrium + np.array([0.3, 0.3, 0.0, 10.0]), 60)
    assert both.tripped.all()
    x = plant.x_equilibrium + np.array([0.3, 0.3, 0.0, 10.0])
    inert = RunawayReactor(A2=1e70)
    y, hottest, without = x, 0.0, 0.0
    for _ in range(240):
        x, y = plant.step(x, [0.0]), inert.step(y, [0.0])
        hottest, without = max(hottest, x[3]), max(without, y[3])
    assert without < 500.0 < 600.0 < hottest
    assert np.isfinite(x).all()


def test_full_cooling_saves_the_warm_start() -> None:
    plant = RunawayReactor()
    held = plant.rollout(
        lambda x: np.full((len(x), 1), 250.0), plant.x_equilibrium + np.array([0.0, 0.0, 0.0, 15.0]), 60
    )
    assert not held.tripped.any()


def test_stage_cost_by_hand() -> None:
    plant = RunawayReactor()
    x, u = plant.x_equilibrium + np.array([0.1, -0.2, -0.3, 4.0]), plant.u_equilibrium + 20
    cost = 0.1 * (0.01 + 0.04 + 0.09 + 16) + 1e-4 * 400
    assert plant.rewards(x, u) == pytest.approx(-cost, rel=1e-9)
    assert plant.perturbed(seed=1).rewards(x, u) == pytest.approx(-cost, rel=1e-9)


@pytest.mark.parametrize(
    "arguments", [{"dH2": 1.0}, {"T_max": 520.0}, {"set_point": 350.0}, {"A1": 0.0}, {"Tf": 127.0}]
)
def test_parameters_out_of_sense_are_named(arguments: dict) -> None:
    with pytest.raises(ModelError) as caught:
        RunawayReactor(**arguments)
    assert caught.value.field == next(iter(arguments))
