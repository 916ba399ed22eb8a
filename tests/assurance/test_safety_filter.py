import time

import numpy as np
import pytest

from yannctl.assurance import PolytopicSet, ResidualMonitor, SafetyFilter, attack, target
from yannctl.assurance.falsifier import POLICIES, Target
from yannctl.assurance.recovery import LineRecovery
from yannctl.errors import ModelError
from yannctl.tape import ExpressionTape


@pytest.fixture
def pendulum(designs):
    return PolytopicSet(designs("pendulum-upright")[1])


def test_inside_it_is_the_nearest_safe_input_and_nothing_is_flagged(pendulum):
    x = np.random.default_rng(0).uniform([-0.2, -0.5], [0.2, 0.5], (200, 2))
    x = x[pendulum.contains(x)]
    u = np.random.default_rng(1).uniform(-3, 3, (len(x), 1))
    decision = SafetyFilter(pendulum)(x, u), SafetyFilter(pendulum).decide(x, u)
    np.testing.assert_array_equal(decision[0], pendulum.nearest(x, u))
    assert not decision[1].outside.any()
    assert not decision[1].trip.any()
    np.testing.assert_array_equal(decision[1].changed, (decision[0] != u)[:, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_proposal_that_is_not_finite_becomes_the_laws_then_is_filtered(pendulum, bad):
    x = np.array([0.05, 0.1])
    given = SafetyFilter(pendulum, law=lambda s: np.full((len(s), 1), 99.0))(x, [bad])
    assert given[0] == pendulum.interval(x)[1]
    assert SafetyFilter(pendulum)(x, [bad])[0] == pytest.approx(pendulum.interval(x).mean())
    # A law that fails too is not believed.
    assert np.isfinite(SafetyFilter(pendulum, law=lambda s: np.full((len(s), 1), np.nan))(x, [bad])).all()


def test_every_state_in_three_boxes_gets_a_finite_input_and_the_right_flag(pendulum):
    """Fault class B1."""
    rng = np.random.default_rng(0)
    x = rng.uniform([-0.75, -3], [0.75, 3], (100_000, 2))
    x[:100] = np.nan
    x[100:200, 1] = np.inf
    guard = SafetyFilter(pendulum, domain_min=[-0.5, -2], domain_max=[0.5, 2], safe_action=[0.0])
    decision = guard.decide(x, rng.uniform(-5, 5, (len(x), 1)))
    assert np.isfinite(decision.u).all()
    assert (np.abs(decision.u) <= 2).all()
    H, h = pendulum.certificate.found.H, pendulum.certificate.found.h
    inside = (np.nan_to_num(x, nan=9.0, posinf=9.0) @ H.T <= h).all(axis=1)
    np.testing.assert_array_equal(decision.outside, ~inside)
    domain = (np.abs(x) <= [0.5, 2]).all(axis=1)
    np.testing.assert_array_equal(decision.trip, ~domain & ~inside)
    assert (decision.u[decision.trip] == 0).all()


def test_recovery_is_the_least_violation(pendulum):
    clip = pendulum.clip
    rng = np.random.default_rng(2)
    x = rng.uniform([-1, -3], [1, 3], (200, 2))
    grid = np.linspace(-2, 2, 2001)
    low = (clip.F_low @ x.T + clip.g_low[:, None]).max(axis=0)
    high = (clip.F_high @ x.T + clip.g_high[:, None]).min(axis=0)
    cost = np.maximum(low[:, None] - grid, grid - high[:, None])
    u = LineRecovery(clip)(x)[:, 0]
    assert (np.maximum(low - u, u - high) <= cost.min(axis=1) + 1e-9).all()


def test_recovery_brings_the_nominal_pendulum_back(designs, pendulum):
    chosen = designs("pendulum-upright")[0]
    step = ExpressionTape.from_function(chosen.step)
    x = np.array([[0.255, -0.2], [-0.255, 0.1], [0.1, -1.02]])
    guard = SafetyFilter(pendulum)
    assert guard.decide(x, np.full((3, 1), np.nan)).outside.all()
    for _ in range(5):
        x = step.evaluate(x, guard(x, np.full((3, 1), np.nan)), np.array([10.0, 1.0]))
    assert pendulum.contains(x).all()


def test_bounds_one_step_ahead_hold(designs, pendulum):
    chosen = designs("pendulum-upright")[0]
    step = ExpressionTape.from_function(chosen.step)
    rng = np.random.default_rng(3)
    x, u = rng.uniform([-0.25, -1], [0.25, 1], (500, 2)), rng.uniform(-2, 2, (500, 1))
    bounds = pendulum.enclose(x, u)
    for p in ([9.9, 0.97], [10.1, 0.97], [9.9, 1.03], [10.1, 1.03]):
        after = step.evaluate(x, u, np.array(p))
        assert ((after >= bounds[:, 0]) & (after <= bounds[:, 1])).all()


def test_the_monitor_stays_calm_inside_the_bounds_and_alarms_outside(designs):
    """Fault class B8: parameters beyond what is certified."""
    chosen, certificate = designs("robot-corridor")
    step = ExpressionTape.from_function(chosen.step)
    d = chosen.domain
    rng = np.random.default_rng(4)
    x, u = rng.uniform(d.x_min, d.x_max, (2000, 2)), rng.uniform(d.u_min, d.u_max, (2000, 1))
    monitor = ResidualMonitor(certificate.inclusion)
    middle = 0.5 * (d.p_min + d.p_max)
    assert not monitor.update(x, u, step.evaluate(x, u, middle))
    far = middle.copy()
    far[-1] = 0.03  # three times the side slip that is certified
    assert monitor.update(x, u, step.evaluate(x, u, far))
    assert monitor.worst > 1


def test_one_python_call_is_cheap(pendulum):
    """A loose bound of the work, in processor time: the stated figure is measured on a quiet machine."""
    guard, x, u = SafetyFilter(pendulum), np.array([0.05, 0.1]), np.array([0.3])
    guard(x, u)
    start = time.process_time()
    for _ in range(2000):
        guard(x, u)
    assert (time.process_time() - start) / 2000 < 1e-3


@pytest.mark.parametrize(
    "policy", [pytest.param(name, marks=[] if name in {"greedy", "nan"} else pytest.mark.slow) for name in POLICIES]
)
def test_attacks_are_repelled_and_would_have_succeeded(policy):
    outcome = attack(target("robot-corridor"), policy, 10_000, 200, seed=0)
    assert outcome.violations == outcome.exits == outcome.infeasible == 0
    assert outcome.unfiltered_violated >= 0.9
    assert outcome.ok
    episode, step = outcome.upper_bounds()
    assert episode == pytest.approx(1 - 0.05 ** (1 / 50))
    assert step < 3.1e-4


def test_a_filter_for_a_smaller_uncertainty_is_broken():
    """The attack is able to break what is not proved: parameters twice as far out as certified."""
    whole = target("pendulum-upright")
    wider = Target(**{**vars(whole), "p_min": np.array([8.0, 0.8]), "p_max": np.array([12.0, 1.2])})
    outcome = attack(wider, "greedy", 4000, 200)
    assert outcome.exits > 0
    assert not outcome.ok


def test_bad_input_is_named(pendulum):
    with pytest.raises(ModelError, match="safe_action"):
        SafetyFilter(pendulum, safe_action=[5.0])
    with pytest.raises(ModelError, match="u: has shape"):
        SafetyFilter(pendulum)(np.zeros(2), np.zeros(3))
    with pytest.raises(ModelError, match="policy"):
        attack(target("pendulum-upright"), "kind", 100)
