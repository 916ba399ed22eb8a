"""The runaway reactor's barrier: the reduced rates bound the plant's, full cooling holds it, attacks fail."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from yannctl.assurance import SafetyFilter, attack, runaway_barrier, target
from yannctl.assurance.runaway_set import SPREAD
from yannctl.errors import EmptySetError
from yannctl.models import RunawayReactor


@pytest.fixture(scope="module")
def kept():
    return runaway_barrier()


def contents(kept, plant, n, rng):
    """States of the set, everywhere in it."""
    CA = rng.uniform(0.0, plant.CAf, n)
    T = rng.uniform(400.0, kept.border(CA))
    excess = kept.excess + rng.uniform(-SPREAD, SPREAD, n)
    return np.column_stack([CA, np.maximum(CA + excess, 0), rng.uniform(0, plant.CSf, n), T])


def corners(plant):
    """Every corner of the uncertain parameters."""
    low, high = plant.parameter_ranges
    return np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(len(low), -1).T


def test_full_cooling_keeps_the_border_for_every_parameter_by_another_integrator(kept):
    plant = RunawayReactor()
    assert kept.room > 0.05
    assert float(kept.border(plant.x_equilibrium[0])) > plant.set_point + 10
    for CA in (0.9, 3.0):
        for p in corners(plant):
            own = plant.perturbed(p)
            start = [CA, CA + kept.excess, plant.CSf, float(kept.border(CA))]
            path = solve_ivp(
                lambda _, x, own=own: np.array(own.rhs(x, [plant.U_max])).ravel(), (0, 2), start, rtol=1e-9, atol=1e-9,
                max_step=0.02,
            )  # fmt: skip
            assert path.y[3].max() <= plant.T_max
            assert (path.y[3, 1:] <= kept.border(path.y[0, 1:]) + 1e-6).all()


def test_the_reduced_rates_are_the_plants_for_some_parameters_of_their_intervals(kept):
    plant, rng = RunawayReactor(), np.random.default_rng(0)
    rate, barrier = kept.barrier.flow.rate, kept.barrier
    x = contents(kept, plant, 200, rng)
    for i, p in enumerate(rng.uniform(*plant.parameter_ranges, (200, 3))):
        U = rng.uniform(0, plant.U_max)
        true = np.array(plant.perturbed(p).rhs(x[i], [U])).ravel()
        share = p[0] / plant.A1 * x[i, 1] / (x[i, 0] + kept.excess)
        assert barrier.p_min[0] <= share <= barrier.p_max[0]
        reduced = np.array(rate(x[i, [0, 3]], -U, [share, 0.0])).ravel()
        np.testing.assert_allclose(reduced[0], true[0], rtol=1e-9, atol=1e-9)
        assert barrier.p_min[1] <= reduced[1] - true[3] <= barrier.p_max[1]


def test_filtered_steps_stay_inside_and_within_their_bounds(kept):
    plant, rng = RunawayReactor(), np.random.default_rng(1)
    x = contents(kept, plant, 400, rng)
    x = x[kept.contains(x)]
    x[:200, 3] = kept.border(x[:200, 0]) - rng.uniform(0, 0.5, 200)
    keep = SafetyFilter(kept, safe_action=kept.u_max)
    for wanted in (0.0, np.nan, 120.0):
        u = keep(x, np.full((len(x), 1), wanted))
        assert np.isfinite(u).all()
        assert (u >= 0).all()
        assert (u <= plant.U_max).all()
        bounds = kept.enclose(x, u)
        for p in corners(plant):
            after = plant.varied_step_tape.evaluate(x, u, np.tile(p, (len(x), 1)), np.tile(plant.d, (len(x), 1)))
            assert kept.contains(after).all()
            assert ((after >= bounds[:, 0] - 1e-6) & (after <= bounds[:, 1] + 1e-6)).all()
    far = x[kept.margin(x) > 0.1]
    np.testing.assert_array_equal(keep(far, np.zeros((len(far), 1))), 0.0)


def test_attacks_fail_behind_the_filter_and_succeed_without():
    outcome = attack(target("runaway-limit"), "greedy", 600, 60, seed=0)
    assert outcome.ok, outcome


def test_too_little_cooling_is_refused():
    with pytest.raises(EmptySetError, match="full cooling"):
        runaway_barrier(RunawayReactor(U_max=60.0))


def test_states_beside_the_feeds_line_are_outside(kept):
    inside = np.array([1.8, 2.6, 3.0, 450.0])
    assert kept.contains(inside)
    for i, value in ((1, 2.7), (2, 3.1), (3, 470.0), (0, np.nan)):
        other = inside.copy()
        other[i] = value
        assert not kept.contains(other)
