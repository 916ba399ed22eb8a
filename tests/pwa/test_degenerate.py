"""Random degenerate programs: no hole, no wrong law, checked against an online QP and the KKT conditions."""

import numpy as np
import pytest

from yannctl import MpQp, solve_mpqp
from yannctl.pwa.audit import facet_centres
from yannctl.solvers.qp import QpSettings


def degenerate(seed):
    """A random program with rows repeated, parallel, nearly parallel, weakly redundant, and flat directions."""
    g = np.random.default_rng(seed)
    n, m, ntheta = g.integers(2, 5), g.integers(3, 7), g.integers(1, 4)
    root, half = g.standard_normal((n, n)), g.standard_normal((m, n))
    A = np.vstack([half, -half])
    b, B = g.random(2 * m) + 0.05, -A @ g.standard_normal((n, ntheta))
    if seed % 3 == 0:
        B += 0.3 * g.standard_normal(B.shape)  # not feasible everywhere
    F = g.standard_normal((n, ntheta))
    for _ in range(3):
        kind, i, j = g.integers(6), g.integers(2 * m), g.integers(2 * m)
        row, right, slope = A[i].copy(), b[i], B[i].copy()
        if kind == 0:
            row, right, slope = 3 * row, 3 * right, 3 * slope
        elif kind == 1:
            right, slope = right + 0.1 * g.standard_normal(), slope + 0.1 * g.standard_normal(ntheta)
        elif kind == 2:
            row += 10.0 ** -g.integers(6, 14) * g.standard_normal(n)
        elif kind == 3:
            row, right, slope = row + A[j], right + b[j], slope + B[j]
        elif kind == 4:
            F[:, 0] = 0.0
            B[:, 0] = 0.0
            slope[0] = 0.0
        else:
            right, slope = 0.0, np.zeros(ntheta)  # through the origin
            row *= 1e-3
        A, b, B = np.vstack([A, row]), np.append(b, right), np.vstack([B, slope])
    H = root @ root.T + 0.1 * np.eye(n)
    one = np.ones(ntheta)
    return MpQp(H=H, f=g.standard_normal(n), F=F, A=A, b=b, B=B, theta_min=-one, theta_max=one, n_out=int(n))


def beside_facets(law, g, count):
    """Points 1e-6 on either side of random facets."""
    centres, normals, _ = facet_centres(law)
    pick = g.integers(len(centres), size=count)
    half, middle = (law.theta_max - law.theta_min) / 2, (law.theta_max + law.theta_min) / 2
    points = middle + half * (centres[pick] + g.choice([-1e-6, 1e-6], (count, 1)) * normals[pick])
    return points[((points >= law.theta_min) & (points <= law.theta_max)).all(axis=1)]


def holes_and_error(law, mpqp, seed, count):
    """Number of feasible points without a region, and the largest error of the law, in units of its output."""
    g = np.random.default_rng(seed)
    points = g.uniform(mpqp.theta_min, mpqp.theta_max, (count, law.ntheta))
    if law.n_regions:
        points = np.vstack([points, beside_facets(law, g, count)])
    exact = mpqp.solve_qp_batch(points)
    feasible = np.array([status == "optimal" for status in exact.status])
    u = law(points)
    missing = feasible & np.isnan(u).any(axis=1)
    missing &= ~touches(mpqp, points)
    both = feasible & ~np.isnan(u).any(axis=1)
    if not both.any():
        return int(missing.sum()), 0.0
    gap = np.abs(u - exact.z)[both].max(axis=1) / (1 + np.abs(exact.z[both]).max())
    doubtful = gap > 1e-8
    if doubtful.any():  # rows parallel to 1e-6 and less: let feasibility and cost decide between the two solvers
        x, theta = u[both][doubtful], points[both][doubtful]
        violation = (x @ mpqp.A.T - mpqp.b - theta @ mpqp.B.T).max(axis=1)
        closer = mpqp.solve_qp_batch(theta, QpSettings(primal_tolerance=1e-12))  # 1e-9 is worth more than this in cost
        best = np.where(closer.status == "optimal", closer.value, exact.value[both][doubtful])  # it may be too tight
        worse = mpqp.value_of(x, theta) - best
        gap[doubtful] = np.where((violation < 1e-9) & (worse < 1e-9 * (1 + np.abs(best))), 0, gap[doubtful])
    return int(missing.sum()), float(gap.max())


def touches(mpqp, points):
    """Points feasible only within the QP's tolerance: a shift of the right-hand side by 1e-8 makes them infeasible."""
    scale = np.linalg.norm(mpqp.A, axis=1)
    tight = MpQp(
        H=mpqp.H, f=mpqp.f, F=mpqp.F, A=mpqp.A, b=mpqp.b - 1e-8 * scale, B=mpqp.B, theta_min=mpqp.theta_min,
        theta_max=mpqp.theta_max, n_out=mpqp.n_out,
    )  # fmt: skip
    return np.array([status != "optimal" for status in tight.solve_qp_batch(points).status])


def check_program(seed, count=150):
    mpqp = degenerate(seed)
    law = solve_mpqp(mpqp)
    holes, error = holes_and_error(law, mpqp, seed, count)
    assert law.status in {"complete", "infeasible"}, (seed, law.message)
    assert holes == 0, seed
    assert error <= 1e-8, (seed, error)
    assert law.audit().n_open == 0, seed


@pytest.mark.parametrize("seed", range(20))
def test_degenerate_programs_have_no_holes(seed):
    check_program(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 520))
def test_500_degenerate_programs_have_no_holes(seed):
    check_program(seed, 400)
