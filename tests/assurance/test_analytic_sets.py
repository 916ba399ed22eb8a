import numpy as np
import pytest
from scipy.integrate import solve_ivp

from yannctl.assurance import attack, covered_share, reactor_barrier, robot_stopping_set, target
from yannctl.assurance.barrier_set import BarrierSet
from yannctl.errors import EmptySetError
from yannctl.models import CSTR, DifferentialDrive


@pytest.fixture(scope="module")
def barrier():
    return reactor_barrier()


def test_the_barrier_is_where_backward_integration_puts_it(barrier):
    """Full cooling with the worst parameters, integrated by another program from the border: it never gets above."""
    assert barrier.corners[0, 0] == pytest.approx(0.272, abs=2e-3)
    np.testing.assert_allclose(
        barrier.border(np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])),
        [364.0, 358.5, 354.0, 350.4, 347.4, 344.8, 342.6, 340.6],
        atol=0.2,
    )
    assert barrier.room > 0.1
    rate = barrier.flow.rate
    for CA in (0.35, 0.6, 0.95):
        for multipliers in ([1.1, 0.9], [1.1, 1.1], [0.9, 0.9]):
            p = np.array(multipliers) * [7.2e10, 5e4]
            path = solve_ivp(
                lambda _, s, p=p: np.array(rate(s, 280.0, p)).ravel(), (0, 3), [CA, float(barrier.border(CA))],
                rtol=1e-10, atol=1e-10, max_step=0.02,
            )  # fmt: skip
            after = path.y[:, 1:]
            assert (after[1] <= barrier.border(after[0]) + 1e-6).all()
            assert after[1].max() <= 365


def test_the_barrier_covers_its_share_of_the_starts():
    assert covered_share("reactor-limit", 20_000) >= 0.65
    assert covered_share("robot-stop", 20_000) >= 0.85


def test_the_reactor_filter_lets_pass_what_is_safe_and_cools_where_it_must(barrier):
    rng = np.random.default_rng(0)
    x = rng.uniform([0.2, 310], [1, 365], (400, 2))
    x = x[barrier.contains(x)]
    for wanted in (280.0, 300.0, 320.0):
        u = barrier.nearest(x, np.full((len(x), 1), wanted))
        assert ((u >= 280) & (u <= wanted)).all()
        assert (u == wanted).mean() > 0.5
    near = np.array([[0.6, float(barrier.border(0.6)) - 0.01], [0.6, float(barrier.border(0.6)) - 1e-6]])
    np.testing.assert_allclose(barrier.nearest(near, np.full((2, 1), 320.0))[:, 0], [280.0, 280.0], atol=0.5)
    # Validated bounds hold the plant's own step for the worst parameters.
    u = barrier.nearest(x, np.full((len(x), 1), 310.0))
    bounds = barrier.enclose(x, u)
    plant = CSTR()
    for p in ([6.48e10, 4.5e4], [7.92e10, 4.5e4], [6.48e10, 5.5e4], [7.92e10, 5.5e4]):
        after = plant.step(x, u, p=np.tile(p, (len(x), 1)))
        assert barrier.contains(after).all()
        assert ((after >= bounds[:, 0] - 1e-7) & (after <= bounds[:, 1] + 1e-7)).all()


def test_too_warm_a_coolant_or_too_high_a_border_is_refused(barrier):
    with pytest.raises(EmptySetError, match="full cooling does not hold"):
        reactor_barrier(mismatch=0.4)
    higher = barrier.corners.copy()
    higher[:, 1] += 2.0 * (higher[:, 0] - higher[0, 0]) ** 2
    made = {name: getattr(barrier, name) for name in ("flow", "T_max", "T_low", "u_min", "u_max", "p_min", "p_max")}
    with pytest.raises(EmptySetError, match="does not hold the border between"):
        BarrierSet(corners=higher, **made)


def robot_states(n, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform([-0.1, -1.2, 0, -1, 0], [0.1, 1.2, 0.2, 1, 1], (n, 5))


def test_stopping_stays_in_the_corridor_for_all_parameters():
    stopping, plant = robot_stopping_set(), DifferentialDrive()
    x = robot_states(4000, 0)
    x = x[stopping.contains(x)]
    assert len(x) > 2000
    rng = np.random.default_rng(1)
    low, high = plant.parameter_ranges
    p = np.where(rng.random((len(x), 3)) < 0.5, low, high)
    reach = stopping.reach(x)
    for _ in range(30):
        x = plant.step(x, np.zeros((len(x), 2)), p=p)
        assert (np.abs(x[:, 0]) <= 0.1).all()
        assert (x[:, 0] <= reach[:, 0] + 1e-9).all()
        assert (-x[:, 0] <= reach[:, 1] + 1e-9).all()
        assert (stopping.margin(x) >= -1e-7).all()


def test_one_period_and_the_stop_after_it_are_bounded():
    stopping, plant = robot_stopping_set(), DifferentialDrive()
    x = robot_states(4000, 2)
    x = x[stopping.contains(x)]
    rng = np.random.default_rng(3)
    u = stopping.nearest(x, rng.uniform(plant.u_min, plant.u_max, (len(x), 2)))
    assert (np.abs(u[:, 0]) + 0.08 * np.abs(u[:, 1]) <= 0.22 + 1e-12).all()
    p = rng.uniform(*plant.parameter_ranges, (len(x), 3))
    after, bounds = plant.step(x, u, p=p), stopping.enclose(x, u)
    assert stopping.contains(after).all()
    assert ((after >= bounds[:, 0] - 1e-9) & (after <= bounds[:, 1] + 1e-9))[:, :4].all()


def test_the_filtered_robot_makes_progress():
    """A filter that always stops is safe and useless: a plain law behind it still follows the path at speed."""
    stopping, plant = robot_stopping_set(), DifferentialDrive()
    x = robot_states(200, 4) * [0.5, 0.3, 0, 0, 1]
    x = x[stopping.contains(x)]
    start = x[:, 4].copy()
    for _ in range(100):
        kappa = plant.curvature(x[:, 4])
        turn = np.clip(0.15 * kappa - 30 * x[:, 0] - 4 * x[:, 1], -2.0, 2.0)
        wanted = np.column_stack([np.clip(0.22 - 0.08 * np.abs(turn), 0, 0.2), turn])
        x = plant.step(x, stopping.nearest(x, wanted))
        assert stopping.contains(x).all()
    assert np.median(x[:, 4] - start) / (100 * plant.dt) > 0.03


@pytest.mark.parametrize(("name", "steps"), [("robot-stop", 2000), ("reactor-limit", 800)])
@pytest.mark.parametrize("policy", [pytest.param("bang-bang", marks=pytest.mark.slow), "greedy"])
def test_attacks_are_repelled(name, steps, policy):
    outcome = attack(target(name), policy, steps, steps // 20, seed=1)
    assert outcome.violations == outcome.exits == outcome.infeasible == 0
    assert outcome.unfiltered_violated >= 0.9


def test_one_call_gives_what_many_give_and_searches_as_well_as_bisection(barrier):
    """The enclosure decides each coolant on its own; plain bisection against it finds hardly a warmer one."""
    rng = np.random.default_rng(7)
    CA = rng.uniform(barrier.corners[0, 0], 0.99, 60)
    x = np.column_stack([CA, barrier.border(CA) - 10.0 ** rng.uniform(-3, 1, 60)])
    wanted = rng.uniform(285, 320, (60, 1))
    given = barrier.nearest(x, wanted)
    for state, proposal, u in zip(x, wanted, given, strict=True):
        np.testing.assert_array_equal(barrier.filter_one(state, proposal), u)
    low, high = np.full(60, 280.0), wanted[:, 0].copy()
    whole = barrier.nearest(x, wanted)[:, 0] == wanted[:, 0]
    for _ in range(10):
        middle = 0.5 * (low + high)
        safe = barrier.nearest(x, middle[:, None])[:, 0] == middle
        low, high = np.where(safe, middle, low), np.where(safe, high, middle)
    best = np.where(whole, wanted[:, 0], low)
    assert (given[:, 0] <= best + 0.05).all()
    assert (best - given[:, 0]).mean() < 0.5
    assert barrier.filter_one(np.array([0.6, 364.0]), np.array([300.0])) is None
    assert barrier.filter_one(x[0], np.array([np.nan])) is None


def test_one_command_is_filtered_as_many_are():
    stopping = robot_stopping_set()
    x = robot_states(2000, 8)
    u = np.random.default_rng(9).uniform(stopping.u_min - 0.1, stopping.u_max + 0.1, (2000, 2))
    given, inside = stopping.nearest(x, u), stopping.contains(x)
    for state, proposal, result, within in zip(x, u, given, inside, strict=True):
        alone = stopping.filter_one(state, proposal)
        assert (alone is not None) == within
        if within:
            np.testing.assert_array_equal(alone, result)
    # What was accepted leaves room for the period and the stop, by the formulas of the set itself.
    bounds = stopping.enclose(x[inside], given[inside])
    assert (np.abs(bounds[:, :, 0]) <= 0.1).all()
    assert stopping.filter_one(x[0], np.array([np.nan, 0.0])) is None


def test_the_worst_parameters_of_a_cell_are_the_corner_that_was_proved(barrier):
    """Against the plant's own integrator: no other parameters end hotter, nor further above the border."""
    cells, rng, plant = barrier.cells, np.random.default_rng(11), CSTR()
    np.testing.assert_array_equal(cells.worst, [barrier.p_max[0], barrier.p_min[1]])
    CA = rng.uniform(0.2, 0.98, 600)
    x = np.column_stack([CA, np.minimum(barrier.border(CA), 364.9) - rng.uniform(0.05, 12.0, 600)])
    column = np.searchsorted(cells.CA, x[:, 0]) - 1
    row = np.searchsorted(cells.T, x[:, 1]) - 1
    warmest = cells.warmest[column, row]
    assert (warmest > 280).mean() > 0.95
    known = warmest > 280
    x, warmest, moved = x[known], warmest[known], cells.moved[column, row][known]
    u = (280 + rng.random(len(x)) * (warmest - 280))[:, None]
    for share in (0.25, 1.0):
        short = CSTR(dt=share * plant.dt)
        worst = short.step(x, u, p=np.tile(cells.worst, (len(x), 1)))
        for _ in range(4):
            after = short.step(x, u, p=rng.uniform(barrier.p_min, barrier.p_max, (len(x), 2)))
            assert (after[:, 1] <= worst[:, 1] + 1e-6).all()
            assert (after[:, 0] >= worst[:, 0] - 1e-9).all()
            assert (after[:, 0] <= worst[:, 0] + moved + 1e-9).all()


def test_the_reactor_filter_never_passes_what_any_parameters_could_make_unsafe(barrier):
    """Every input it gives, at hostile states, keeps all corners and random parameters inside, also on the way."""
    rng = np.random.default_rng(12)
    CA = rng.uniform(0.1, 0.99, 1500)
    x = np.column_stack([CA, np.minimum(barrier.border(CA), 365.0) - 10.0 ** rng.uniform(-6, 1, 1500)])
    u = barrier.nearest(x, np.full((1500, 1), 320.0))
    assert (u > 280).mean() > 0.3
    corners = [[a, b] for a in (0.9, 1.1) for b in (0.9, 1.1)]
    for share in (0.3, 0.7, 1.0):
        plant = CSTR(dt=share * CSTR().dt)
        for p in (*(np.tile(c, (1500, 1)) for c in corners), rng.uniform(0.9, 1.1, (1500, 2))):
            after = plant.step(x, u, p=p * [7.2e10, 5e4])
            assert (after[:, 1] <= 365.0).all()
            assert share < 1 or barrier.contains(after).all()


def test_states_without_a_proof_of_the_corner_are_bounded_with_all_parameters_at_once(barrier):
    from dataclasses import replace

    plain = BarrierSet(**{
        name: getattr(barrier, name)
        for name in ("flow", "corners", "T_max", "T_low", "u_min", "u_max", "p_min", "p_max")
    })  # fmt: skip
    none = replace(barrier.cells, warmest=np.full_like(barrier.cells.warmest, -np.inf))
    object.__setattr__(plain, "cells", none)
    rng = np.random.default_rng(13)
    CA = rng.uniform(0.3, 0.95, 300)
    x = np.column_stack([CA, barrier.border(CA) - rng.uniform(0.1, 12.0, 300)])
    u = np.full((300, 1), 310.0)
    wide, thin = plain.nearest(x, u)[:, 0], barrier.nearest(x, u)[:, 0]
    assert set(np.unique(wide)) <= {280.0, 310.0}
    assert ((wide == 310.0) & (thin < 310.0)).mean() < 0.01
    assert thin.mean() > wide.mean() + 1.0
