from copy import copy
from dataclasses import replace

import casadi as ca
import numpy as np
import pytest

from yannctl.assurance import (
    DiscreteMap,
    Domain,
    Errors,
    Filtered,
    PolytopicSet,
    ProjectedSet,
    SafetyFilter,
    Statement,
    Target,
    attack,
    bound_inclusion,
    certify,
    load_certificate,
    save_certificate,
)
from yannctl.assurance.projection_filter import EXPLICIT, LEAST, ONLINE, PASSED
from yannctl.errors import ModelError
from yannctl.pwa import Settings
from yannctl.solvers import solve_qp


def tanks():
    """Temperatures of two coupled tanks that heat themselves up, each jacket cooling both: unstable, nearly linear."""
    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u", 2), ca.SX.sym("p", 1)
    heat = x + p * x + 0.02 * x**2
    flow = 0.08 * (x[::-1] - x)
    jacket = ca.mtimes(ca.DM([[0.10, 0.03], [0.02, 0.09]]), u)
    return ca.Function("step", [x, u, p], [heat + flow - jacket])


@pytest.fixture(scope="module")
def plant():
    domain = Domain([-1, -1], [1, 1], [-1, -2], [1, 1.5], [0.12], [0.14])
    step = tanks()
    inclusion = bound_inclusion(DiscreteMap(step), domain, Errors(simulation=1e-9), 2)
    said = Statement("tanks", ("T1", "T2"), ("K", "K"), ("c1", "c2"), ("1", "1"), ("growth",), 1.0)
    return step, certify(said, domain, inclusion, 0.98)


@pytest.fixture(scope="module")
def tank_set(plant):
    return plant[1].safe_set()


def points(safe_set, n, seed=0, reach=1.0):
    """States of the set and proposals, many at the ends of both."""
    rng, corners = np.random.default_rng(seed), safe_set.certificate.found.vertices
    x = rng.dirichlet(np.full(len(corners), 0.03), n) @ corners
    x = x[safe_set.contains(x)]
    middle, half = 0.5 * (safe_set.u_min + safe_set.u_max), 0.5 * (safe_set.u_max - safe_set.u_min)
    u = middle + half * np.clip(rng.uniform(-1.5, 1.5, (len(x), safe_set.nu)), -1, 1) * reach
    return x, u


def loop(plant, safe_set):
    step, certificate = plant
    corners, d = certificate.found.vertices, certificate.domain

    def starts(n, rng):
        return rng.dirichlet(np.full(len(corners), 0.2), n) @ corners * (1 - 1e-9)

    return Target("tanks", step, d.p_min, d.p_max, d.x_min, d.x_max, safe_set, starts, 1.0)


def plant_filter(own, law):
    """The same filter with another law."""
    made = copy(own)
    object.__setattr__(made, "law", law)
    return made


def nearest_online(filter, x, u):
    """The same program, straight from the rows."""
    identity, weight = np.eye(filter.nu), 1 / (filter.u_max - filter.u_min) ** 2
    A, bounds = np.vstack([filter.K, identity, -identity]), np.append(filter.u_max, -filter.u_min)
    right = [np.append(filter.b - filter.G @ s, bounds) for s in x]
    return np.array([solve_qp(np.diag(weight), -weight * v, A, b).z for v, b in zip(u, right, strict=True)])


def test_the_explicit_filter_is_the_projection(tank_set):
    x, u = points(tank_set, 2000)
    own = tank_set.projection
    assert own.law.status == "complete"
    got, source = own.project(x, u)
    np.testing.assert_allclose(got, nearest_online(own, x, u), rtol=0, atol=1e-9)
    assert set(source) == {PASSED, EXPLICIT}
    assert (source == EXPLICIT).mean() > 0.2
    np.testing.assert_array_equal(got[source == PASSED], u[source == PASSED])


def test_a_budget_of_one_region_gives_the_same_answers_online(plant, tank_set):
    x, u = points(tank_set, 500, seed=1)
    small = plant[1].safe_set(Settings(max_regions=1))
    assert (small.projection.law.status, small.projection.law.n_regions) == ("partial", 1)
    got, source = small.projection.project(x, u)
    np.testing.assert_allclose(got, tank_set.nearest(x, u), rtol=0, atol=1e-9)
    assert (source == ONLINE).sum() > 50
    assert (source != LEAST).all()
    outcome = attack(loop(plant, small), "bang-bang", 2000, 200)
    assert outcome.ok


@pytest.mark.parametrize("policy", ["uniform", "bang-bang", "greedy", "nan"])
def test_attacks_are_repelled_and_would_have_succeeded(plant, tank_set, policy):
    outcome = attack(loop(plant, tank_set), policy, 10_000, 200)
    assert outcome.violations == outcome.exits == outcome.infeasible == 0
    assert outcome.unfiltered_violated >= 0.9


@pytest.mark.parametrize("rate", [(), (1.5,)])
def test_with_one_input_it_is_the_clip(designs, rate):
    certificate = designs("pendulum-upright")[1]
    # The second state stands in for the input sent before: only the rows matter here.
    certificate = replace(certificate, domain=replace(certificate.domain, u_rate=rate))
    clip, projected = PolytopicSet(certificate), ProjectedSet(certificate)
    x, u = points(clip, 500)
    interval = clip.interval(x)
    room = interval[:, 1] - interval[:, 0] > 1e-6
    x, u = x[room], u[room]
    assert len(x) > 200
    np.testing.assert_allclose(projected.nearest(x, u), clip.nearest(x, u), rtol=0, atol=1e-9)
    np.testing.assert_allclose(projected.action(x), clip.action(x), rtol=0, atol=1e-6)
    far = np.random.default_rng(1).uniform([-0.6, -2], [0.6, 2], (50, 2))
    np.testing.assert_allclose(projected.recover(far), clip.recover(far), rtol=0, atol=1e-6)


def test_a_proposal_outside_the_bounds_is_clipped_and_then_projected(tank_set):
    x, u = points(tank_set, 200, seed=2, reach=3.0)
    clipped = np.clip(u, tank_set.u_min, tank_set.u_max)
    assert (u != clipped).any(axis=1).mean() > 0.5
    got, source = tank_set.projection.project(x, u)
    assert set(source) == {PASSED, EXPLICIT}
    np.testing.assert_allclose(got, nearest_online(tank_set.projection, x, clipped), rtol=0, atol=1e-9)
    huge = tank_set.nearest(x, np.full(u.shape, 1e308))
    assert tank_set.projection.holds(x, huge).all()


def test_one_call_gives_the_bits_of_the_batch(tank_set):
    """Compiled calls alone inside the set; whatever is not plain goes the long way and ends the same."""
    x, u = points(tank_set, 300, seed=6, reach=1.5)
    keep, own = SafetyFilter(tank_set), tank_set.projection
    many, _ = own.project(x, u)
    quick = [own.one(state, proposal) for state, proposal in zip(x, u, strict=True)]
    assert sum(found is not None for found in quick) >= 0.99 * len(x)
    for state, proposal, expected in zip(x, u, many, strict=True):
        np.testing.assert_array_equal(keep(state, proposal), expected)
    assert own.one(np.array([2.0, 2.0]), np.zeros(2)) is None
    assert own.one(x[0], np.array([np.nan, 0.0])) is None
    assert own.one(np.array([np.nan, 0.0]), np.zeros(2)) is None
    damaged = replace(own.law, g=own.law.g + 5.0, status="complete")
    broken = plant_filter(own, damaged)
    asked = [k for k in range(len(x)) if not own.holds(x[k : k + 1], np.clip(u[k : k + 1], own.u_min, own.u_max))[0]]
    answers = [broken.one(x[k], u[k]) for k in asked]
    assert any(found is None for found in answers)
    met = [(k, found) for k, found in zip(asked, answers, strict=True) if found is not None]
    assert all(own.holds(x[k][None], found[None])[0] for k, found in met)


def test_an_answer_that_breaks_a_row_is_never_given(plant, tank_set, monkeypatch):
    own, (x, u) = plant[1].projection(), points(tank_set, 500, seed=3)
    right, before = own.project(x, u)
    object.__setattr__(own, "law", replace(own.law, g=own.law.g + 0.05))  # a damaged law
    got, source = own.project(x, u)
    assert (source == ONLINE).any()
    assert own.holds(x, got).all()
    np.testing.assert_allclose(got[source == ONLINE], right[source == ONLINE], rtol=0, atol=1e-9)
    monkeypatch.setattr(type(own), "online", lambda self, x, u: np.full(2, np.nan))  # a solver that gives up
    got, source = own.project(x, u)
    assert (source == LEAST).any()
    assert own.holds(x, got).all()
    assert (before != LEAST).all()


def test_the_whole_contract_holds(tank_set):
    """NaN and infinity become the certified law's action, the outside is flagged, far out is a trip."""
    x, u = points(tank_set, 100, seed=4)
    bad = u.copy()
    bad[::2, 0], bad[1::2, 1] = np.nan, np.inf
    keep = SafetyFilter(tank_set, domain_min=[-2, -2], domain_max=[2, 2], safe_action=[0.5, 0.5])
    np.testing.assert_array_equal(keep(x, bad), tank_set.action(x))
    assert tank_set.projection.holds(x, tank_set.action(x)).all()
    given = SafetyFilter(tank_set, law=lambda s: np.full((len(s), 2), 99.0))(x, bad)
    assert tank_set.projection.holds(x, given).all()
    decision = keep.decide([[0.0, 0.0], [1.5, 1.5], [3.0, 0.0], [np.nan, 0.0]], np.zeros((4, 2)))
    assert decision.outside.tolist() == [False, True, True, True]
    assert decision.trip.tolist() == [False, False, True, True]
    np.testing.assert_array_equal(decision.u, [[0, 0], [1.0, 1.5], [0.5, 0.5], [0.5, 0.5]])


def test_a_certificate_chooses_its_filter(plant, tank_set, designs, tmp_path):
    save_certificate(tmp_path / "tanks.certificate", plant[1])
    certificate = load_certificate(tmp_path / "tanks.certificate")
    assert isinstance(certificate.safe_set(), ProjectedSet)
    assert isinstance(designs("pendulum-upright")[1].safe_set(), PolytopicSet)
    with pytest.raises(ModelError, match="2 inputs"):
        certificate.clip()

    class Mad:
        nx, nu = 2, 2

        def __call__(self, x, reference=None):
            return np.full((len(x), 2), -1e6)

    x, _ = points(tank_set, 20, seed=5)
    assert tank_set.projection.holds(x, Filtered(Mad(), certificate)(x)).all()
