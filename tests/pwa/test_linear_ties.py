"""Linear programs in small integers: many bases fit at once, facets lie 1e-6 apart once H is made definite."""

import numpy as np
import pytest
from scipy.optimize import linprog

from yannctl import MpQp, solve_mpqp
from yannctl.pwa.evaluation import apply
from yannctl.pwa.kernels import evaluate_many, locate_many


def program(seed):
    g = np.random.default_rng([seed, 10])
    n, ntheta, m = int(g.integers(2, 5)), int(g.integers(1, 6)), int(g.integers(3, 9))
    A = g.integers(-1, 2, (m, n)).astype(float)
    A[~A.any(axis=1)] = 1.0
    box = np.vstack([np.eye(n), -np.eye(n)])
    g.integers(-1, 2, (n, n))
    return MpQp(
        H=np.zeros((n, n)), f=g.integers(-1, 2, n), F=g.integers(-1, 2, (n, ntheta)), A=np.vstack([A, box]),
        b=np.concatenate([g.integers(0, 3, m), np.full(2 * n, 2)]),
        B=np.vstack([g.integers(-1, 2, (m, ntheta)), np.zeros((2 * n, ntheta))]),
        theta_min=np.full(ntheta, -2.0), theta_max=np.full(ntheta, 2.0), n_out=n,
    )  # fmt: skip


def check(seed):
    mpqp = program(seed)
    law = solve_mpqp(mpqp)
    assert law.status in {"complete", "infeasible"}, law.message
    assert law.audit().n_open == 0
    points = np.random.default_rng(seed).uniform(mpqp.theta_min, mpqp.theta_max, (60, law.ntheta))
    u = law(points)
    for theta, z in zip(points, u, strict=True):
        best = linprog(mpqp.f + mpqp.F @ theta, mpqp.A, mpqp.b + mpqp.B @ theta, bounds=(None, None), method="highs")
        assert (best.x is None) == bool(np.isnan(z).any())
        if best.x is not None:
            assert (mpqp.A @ z - mpqp.b - mpqp.B @ theta).max() <= 1e-9
            assert mpqp.value_of(z, theta) - best.fun <= 1e-4


@pytest.mark.parametrize("seed", [7, 20, 22])
def test_ties_leave_no_facet_open(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_many_programs_with_ties(seed):
    check(seed)


def test_a_search_tree_that_would_lead_astray_is_not_used():
    """Corners told wrongly between facets 1e-6 apart: the law is scanned instead, and stays the same everywhere."""
    law = solve_mpqp(program(35))
    points = np.ascontiguousarray(np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (4000, law.ntheta)))
    region, wanted = np.empty(len(points), np.int64), np.empty((len(points), law.n_out))
    locate_many(points, law.row_start, law.H, law.k, law.settings.locate_tolerance, region)
    evaluate_many(points, region, law.F, law.g, wanted)
    treed = law.with_tree()
    np.testing.assert_array_equal(apply(treed, points, law.settings.locate_tolerance), wanted)
    np.testing.assert_array_equal(treed.locate(points), region)
