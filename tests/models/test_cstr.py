"""The reactor: its textbook point, its stage cost, its trip, and its integrators against CVODES."""

import casadi as ca
import numpy as np
import pytest

import yannctl
from yannctl.errors import ModelError
from yannctl.models import CSTR
from yannctl.plant import check_plant


@pytest.mark.parametrize(
    "plant",
    [CSTR(), CSTR(integrator="fast", cost="QC", set_point=0.6), CSTR(Tc_max=370.0), CSTR().perturbed(seed=3)],
    ids=["accurate", "fast", "wide", "perturbed"],
)
def test_keeps_the_contract(plant: CSTR) -> None:
    assert check_plant(plant) is None


def test_middle_steady_state_is_the_textbooks_and_unstable() -> None:
    plant = CSTR()
    assert plant.x_equilibrium == pytest.approx([0.5, 350.0], abs=2e-3)
    assert plant.u_equilibrium == pytest.approx([300.0], abs=2e-3)
    np.testing.assert_allclose(plant.rate(plant.x_equilibrium, plant.u_equilibrium), 0, atol=1e-12)
    poles = np.log(np.linalg.eigvals(yannctl.linearise(plant).A)) / plant.dt
    assert sorted(poles) == pytest.approx([-0.45, 2.83], abs=0.01)


def test_rates_by_hand() -> None:
    """r = 7.2e10 exp(-8750/340) 0.7, written once more with plain numbers."""
    r = 7.2e10 * np.exp(-8750 / 340) * 0.7
    expected = [1 * (1 - 0.7) - r, (350 - 340) + 5e4 / 239 * r + 5e4 / 23900 * (290 - 340)]
    np.testing.assert_allclose(CSTR().rate([0.7, 340.0], [290.0]), expected, rtol=1e-13)


def test_stage_cost_has_its_targets_from_the_nominal_model() -> None:
    plant = CSTR(set_point=0.6)
    T, Tc = plant.steady_state(0.6)
    np.testing.assert_allclose(plant.rate([0.6, T], [Tc]), 0, atol=1e-11)
    x, u = np.array([0.45, 352.0]), np.array([310.0])
    cost = 40 * 0.15**2 + 0.004 * (352 - T) ** 2 + 0.001 * (310 - Tc) ** 2
    assert plant.rewards(x, u) == pytest.approx(-cost, rel=1e-12)
    assert plant.perturbed({"k0": 8e10, "UA": 4.6e4}).rewards(x, u) == pytest.approx(-cost, rel=1e-12)
    assert CSTR().rewards(x, u, r=[0.6]) == pytest.approx(-cost, rel=1e-12)
    careful = 40 * 0.15**2 + 0.0004 * (352 - T) ** 2 + 0.0002 * (310 - Tc) ** 2
    assert CSTR(set_point=0.6, cost="QC").rewards(x, u) == pytest.approx(-careful, rel=1e-12)


@pytest.mark.parametrize(("integrator", "limit"), [("accurate", 1e-8), ("fast", 1e-6)])
def test_error_of_a_period_against_cvodes(integrator: str, limit: float) -> None:
    """In shares of the range (1 mol/L, 65 K), for every start whose period ends below the limit."""
    plant = CSTR(integrator=integrator)
    rng = np.random.default_rng(0)
    X, U = plant.sample_starts(300, rng), rng.uniform(plant.u_min, plant.u_max, (300, 1))
    x, u = ca.SX.sym("x", 2), ca.SX.sym("u")
    tight = {"abstol": 1e-12, "reltol": 1e-12, "max_num_steps": 100_000}
    oracle = ca.integrator("oracle", "cvodes", {"x": x, "p": u, "ode": plant.rhs(x, u)}, 0, plant.dt, tight)
    expected = oracle(x0=X.T, p=U.T)["xf"].full().T
    inside = expected[:, 1] <= plant.T_max
    assert inside.sum() > 200
    error = np.abs(plant.step(X, U) - expected)[inside] / (1.0, 65.0)
    assert error.max() <= limit


def test_ignition_trips_and_stays_finite() -> None:
    plant = CSTR()
    rng = np.random.default_rng(1)
    start = plant.sample_starts(2000, rng)
    x, first = start.copy(), np.full(2000, -1)
    for k in range(60):
        x = plant.step(x, np.full((2000, 1), 320.0))
        first = np.where((first < 0) & plant.trip(x), k, first)
    assert np.isfinite(x).all()
    assert (first >= 0).mean() > 0.5
    held = plant.rollout(lambda x: np.full((len(x), 1), 320.0), start, 60)
    np.testing.assert_array_equal(held.tripped, first >= 0)
    over = np.flatnonzero(held.tripped)
    np.testing.assert_array_equal(held.x[over, first[over] + 1], held.x[over, -1])
    blind = plant.rollout(lambda x: np.where(plant.trip(x), np.nan, 320.0)[:, None], start, 60)
    np.testing.assert_array_equal(blind.x, held.x)
    np.testing.assert_array_equal(blind.rewards, held.rewards)


def test_trip_is_about_the_temperature_only() -> None:
    plant = CSTR(T_max=360.0)
    np.testing.assert_array_equal(
        plant.trip([[0.5, 360.0], [0.5, 360.01], [1.2, 350.0], [0.5, 279.0], [0.5, np.nan]]),
        [False, True, False, True, True],
    )
    assert plant.margin([0.55, 359.0]) == pytest.approx(1 / 40)


@pytest.mark.parametrize(
    ("x", "text"),
    [([0.5, 76.9], r"x\[1\]: T is 76.9.*unit"), ([[0.5, 350.0], [500.0, 350.0]], r"x\[1, 0\]: CA is 500")],
)
def test_wrong_units_are_named(x: list, text: str) -> None:
    for method in (CSTR().step, CSTR().rewards):
        with pytest.raises(ModelError, match=text):
            method(x, [300.0])
    if np.ndim(x) == 1:
        with pytest.raises(ModelError, match=text):
            yannctl.linearise(CSTR(), x=x)


@pytest.mark.parametrize(
    "arguments",
    [
        {"dH": 5e4},
        {"Tc_max": 270.0},
        {"T_max": 300.0},
        {"set_point": 1.5},
        {"k0": -1.0},
        {"dt": 0.0},
        {"Tf": 76.9},
        {"Tc_min": 7.0},
    ],
)
def test_parameters_out_of_sense_are_named(arguments: dict) -> None:
    with pytest.raises(ModelError) as caught:
        CSTR(**arguments)
    assert caught.value.field == next(iter(arguments))


@pytest.mark.parametrize("arguments", [{"cost": "R"}, {"integrator": "euler"}])
def test_unknown_choices_are_refused(arguments: dict) -> None:
    with pytest.raises(Exception, match=next(iter(arguments))):
        CSTR(**arguments)


def test_feed_disturbances_enter_the_balance() -> None:
    plant, x, u = CSTR(), np.array([0.5, 350.0]), np.array([300.0])
    assert plant.d_names == ("CAf", "Tf", "q")
    rate = plant.rate_function(disturbances=True)
    f = np.asarray(rate(x, u, [1.02, 354.0, 103.0])).ravel() - np.asarray(rate(x, u, plant.d)).ravel()
    np.testing.assert_allclose(f, [1.03 * 0.52 - 0.5, 1.03 * 4.0], rtol=1e-9)
    cold = plant.step(x, u, d=[1.0, 345.0, 100.0])
    assert cold[1] < plant.step(x, u)[1]
