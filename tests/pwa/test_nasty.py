"""Programs made to break an explicit solver: scaled, degenerate, thin, singular; exact and online solvers judge."""

import sys
from pathlib import Path

import clarabel
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

from yannctl import MpQp, solve_mpqp
from yannctl.pwa.audit import facet_centres

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from rational_qp import ExactProgram


def plain(g, n=None, m=None, ntheta=None):
    """A random program, feasible everywhere in two cases of three."""
    n, ntheta, m = n or int(g.integers(2, 6)), ntheta or int(g.integers(1, 5)), m or int(g.integers(3, 9))
    root, half = g.standard_normal((n, n)), g.standard_normal((m, n))
    A = np.vstack([half, -half])
    B = -A @ g.standard_normal((n, ntheta)) + (g.random() < 0.4) * 0.3 * g.standard_normal((2 * m, ntheta))
    return {
        "H": root @ root.T + 0.1 * np.eye(n), "f": g.standard_normal(n), "F": g.standard_normal((n, ntheta)), "A": A,
        "b": g.random(2 * m) + 0.05, "B": B, "theta_min": -np.ones(ntheta), "theta_max": np.ones(ntheta), "n_out": n,
    }  # fmt: skip


def with_rows(p, A, b, B):
    return p | {"A": np.vstack([p["A"], A]), "b": np.append(p["b"], b), "B": np.vstack([p["B"], B])}


def in_units(p, g, decades=4.0):
    """The same program with variables, parameters, rows and cost in units that differ by many powers of ten."""
    z, theta = 10.0 ** g.uniform(-3, 3, len(p["f"])), 10.0 ** g.uniform(-decades, decades, len(p["theta_min"]))
    row, cost = 10.0 ** g.uniform(-4, 4, len(p["b"])), 10.0 ** g.uniform(-4, 4)
    return p | {
        "H": cost * p["H"] * np.outer(z, z), "f": cost * p["f"] * z, "F": cost * p["F"] * np.outer(z, theta),
        "A": p["A"] * np.outer(row, z), "b": row * p["b"], "B": p["B"] * np.outer(row, theta),
        "theta_min": p["theta_min"] / theta, "theta_max": p["theta_max"] / theta,
    }  # fmt: skip


def equalities(g):
    p = plain(g, n=int(g.integers(3, 7)))
    a, size = g.standard_normal(len(p["f"])), 10.0 ** g.uniform(-3, 3)
    b, B = 0.1 * g.standard_normal(), 0.3 * g.standard_normal(len(p["theta_min"]))
    return with_rows(p, [a, -size * a], [b, -size * b], [B, -size * B])


def dependent_equalities(g):
    p = plain(g, n=5)
    a, b, B = g.standard_normal((2, 5)), 0.1 * g.standard_normal(2), 0.3 * g.standard_normal((2, len(p["theta_min"])))
    a, b, B = np.vstack([a, a.sum(0)]), np.append(b, b.sum()), np.vstack([B, B.sum(0)])
    return with_rows(p, np.vstack([a, -a]), np.concatenate([b, -b]), np.vstack([B, -B]))


def nearly_parallel(g):
    p = plain(g)
    for _ in range(4):
        i, gap = int(g.integers(len(p["b"]))), 10.0 ** -g.uniform(6, 13) * g.integers(0, 2, 3)
        shift = gap[0] * g.standard_normal(len(p["f"])), gap[2] * g.standard_normal(len(p["theta_min"]))
        p = with_rows(p, p["A"][i] + shift[0], p["b"][i] + gap[1] * g.standard_normal(), p["B"][i] + shift[1])
    return p


def thin(g):
    """Feasible only in a slab of parameters 1e-3 to 1e-9 wide."""
    p = plain(g, ntheta=int(g.integers(2, 4)))
    direction, width = g.standard_normal(len(p["theta_min"])), 10.0 ** -g.uniform(3, 9)
    return with_rows(p, np.zeros((2, len(p["f"]))), [width, width], [direction, -direction])


def flat(g):
    p = plain(g, ntheta=int(g.integers(2, 5)))
    p["B"][:, 0] = p["F"][:, 0] = 0.0
    return p


def set_by_rows(g):
    """A box of parameters far larger than the polytope that rows leave of it."""
    p = plain(g)
    n, reach = len(p["theta_min"]), 10.0 ** g.uniform(1, 5)
    rows = np.vstack([np.eye(n), -np.eye(n), g.standard_normal((3, n))])
    right = np.concatenate([np.ones(2 * n), 0.5 * np.ones(3)])
    return p | {
        "theta_min": np.full(n, -reach),
        "theta_max": np.full(n, reach),
        "theta_A": np.vstack([rows, 2 * rows[-1:]]),
        "theta_b": np.append(right, 1.0),
    }


def ill_conditioned(g):
    p = plain(g)
    Q, _ = np.linalg.qr(g.standard_normal(p["H"].shape))
    H = Q @ np.diag(10.0 ** np.linspace(0, -g.uniform(3, 8), len(Q))) @ Q.T
    return p | {"H": (H + H.T) / 2}


def bounded(p):
    eye, n = np.eye(len(p["f"])), len(p["theta_min"])
    return with_rows(p, np.vstack([eye, -eye]), 3 * np.ones(2 * len(eye)), np.zeros((2 * len(eye), n)))


def singular(g):
    p = bounded(plain(g, n=int(g.integers(3, 6))))
    root = g.standard_normal((len(p["f"]) - 1, len(p["f"])))
    return p | {"H": root.T @ root}


def linear(g):
    p = bounded(plain(g, n=int(g.integers(3, 6))))
    return p | {"H": np.zeros_like(p["H"])}


def ties(g):
    """Small integers: regions that meet in points, rows that meet everywhere."""
    n, ntheta, m = int(g.integers(2, 5)), int(g.integers(1, 4)), int(g.integers(4, 12))
    A, root = g.integers(-2, 3, (m, n)).astype(float), g.integers(-1, 2, (n, n))
    A[~A.any(axis=1)] = 1.0
    box = np.vstack([np.eye(n), -np.eye(n)])
    return {
        "H": root @ root.T + np.eye(n), "f": g.integers(-2, 3, n), "F": g.integers(-2, 3, (n, ntheta)),
        "A": np.vstack([A, box]), "b": np.concatenate([g.integers(0, 3, m), np.full(2 * n, 4)]),
        "B": np.vstack([g.integers(-1, 2, (m, ntheta)), np.zeros((2 * n, ntheta))]),
        "theta_min": np.full(ntheta, -2.0), "theta_max": np.full(ntheta, 2.0), "n_out": n,
    }  # fmt: skip


def soft(g):
    """A slack with a weight of 1e2 to 1e6 and little curvature."""
    p = plain(g, n=3, m=3)
    rows, zero = len(p["b"]), np.zeros((1, len(p["theta_min"])))
    H = np.zeros((4, 4))
    H[:3, :3], H[3, 3] = p["H"], 10.0 ** g.uniform(-3, 3)
    A = np.vstack([np.hstack([p["A"], -np.ones((rows, 1))]), [0, 0, 0, -1]])
    return p | {
        "H": H, "f": np.append(p["f"], 10.0 ** g.uniform(2, 6)), "F": np.vstack([p["F"], zero]), "A": A,
        "b": np.append(p["b"] - 0.3, 0), "B": np.vstack([p["B"], zero]), "n_out": 4,
    }  # fmt: skip


KINDS = {
    "units": lambda g: in_units(plain(g), g), "equalities": equalities, "dependent": dependent_equalities,
    "equalities in units": lambda g: in_units(equalities(g), g), "nearly parallel": nearly_parallel, "thin": thin,
    "flat": flat, "set by rows": set_by_rows, "ill conditioned": ill_conditioned, "singular": singular,
    "linear": linear, "linear in units": lambda g: in_units(linear(g), g, 2), "ties": ties, "soft": soft,
    "one parameter": lambda g: in_units(plain(g, ntheta=1), g), "many": lambda g: plain(g, 3, 3, int(g.integers(5, 9))),
}  # fmt: skip
SINGULAR = {"singular", "linear", "linear in units"}


def program(kind, seed):
    return MpQp(**KINDS[kind](np.random.default_rng([seed, sorted(KINDS).index(kind)])))


def points_of(law, mpqp, seed, count=60):
    """Points of the box, and on either side of facets."""
    g = np.random.default_rng(seed)
    lower, upper = mpqp.theta_min, mpqp.theta_max
    points = g.uniform(lower, upper, (count, law.ntheta))
    if law.n_regions:
        centres, normals, _ = facet_centres(law)
        pick = g.integers(len(centres), size=2 * count)
        beside = centres[pick] + g.choice([-1e-6, 1e-6, -1e-7, 1e-7], (2 * count, 1)) * normals[pick]
        points = np.vstack([points, (upper + lower) / 2 + (upper - lower) / 2 * beside])
    return points[((points >= lower) & (points <= upper)).all(axis=1)]


def natural(mpqp):
    """Units of z in which the curvature is one, and the length of each row in them."""
    root = np.sqrt(np.diag(mpqp.H))
    unit = np.where(root > 0, root, 1.0)
    length = np.linalg.norm(mpqp.A / unit, axis=1)
    half = (mpqp.theta_max - mpqp.theta_min) / 2
    return unit, np.where(length > 0, length, np.maximum(np.abs(mpqp.B * half).sum(axis=1), 1e-300))


def clearly_feasible(mpqp, theta):
    """Whether all parameters 1e-8 away along an axis are feasible."""
    unit, length = natural(mpqp)
    half = (mpqp.theta_max - mpqp.theta_min) / 2
    rows = np.hstack([mpqp.A / unit / length[:, None], -np.ones((len(length), 1))])
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    for axis in np.vstack([np.eye(len(theta)), -np.eye(len(theta))]):
        at = theta + 1e-8 * half * axis
        if mpqp.theta_A is not None and (mpqp.theta_A @ at > mpqp.theta_b).any():
            return False
        bounds = [(None, None)] * mpqp.n_z + [(-1, None)]
        right = (mpqp.b + mpqp.B @ at) / length
        result = linprog(np.append(np.zeros(mpqp.n_z), 1.0), rows, right, bounds=bounds, method="highs", options=tight)
        if result.x is None or result.x[-1] > 1e-11:
            return False
    return True


def by_clarabel(mpqp, theta):
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-11
    unit, length = natural(mpqp)
    solution = clarabel.DefaultSolver(
        sp.csc_matrix(np.triu(mpqp.H / np.outer(unit, unit))), (mpqp.f + mpqp.F @ theta) / unit,
        sp.csc_matrix(mpqp.A / length[:, None] / unit), (mpqp.b + mpqp.B @ theta) / length,
        [clarabel.NonnegativeConeT(mpqp.n_rows)], settings,
    ).solve()  # fmt: skip
    return np.array(solution.x) / unit


def holes(law, mpqp, points, feasible):
    """Number of clearly feasible points that no region holds to within 1e-8."""
    count = 0
    for theta in points[feasible & (law.locate(points) < 0)]:
        ends = zip(law.row_start[:-1], law.row_start[1:], strict=True)
        nearest = min((np.max(law.H[s:e] @ theta - law.k[s:e]) for s, e in ends), default=np.inf)
        count += int(nearest > 1e-8 and clearly_feasible(mpqp, theta))
    return count


def wrong(law, mpqp, points, online, tolerance=1e-8):
    """Number of points where the law differs by more than the tolerance times its range from the exact minimiser.

    That is computed, in rational numbers, where the online solver differs from the law.
    """
    count, exact = 0, None
    size = np.ptp(online, axis=0)
    size = np.maximum(size, 1e-2 * (size * natural(mpqp)[0]).max() / natural(mpqp)[0])
    u = law(points)
    for i in np.flatnonzero((np.abs(u - online) / size).max(axis=1) > tolerance):
        exact = exact or ExactProgram(mpqp)
        z = exact.solve(points[i])
        count += int(z is None or (np.abs(u[i] - z) / size).max() > tolerance)
    return count


def least_cost(mpqp, theta):
    """The least cost by Clarabel; of a linear program by the simplex method, which stays feasible in any units."""
    if mpqp.H.any():
        return mpqp.value_of(by_clarabel(mpqp, theta), theta)
    unit, linear = 1 / np.abs(mpqp.A).max(axis=0), mpqp.f + mpqp.F @ theta
    length, size = np.linalg.norm(mpqp.A * unit, axis=1), np.abs(linear * unit).max()
    rows, right = mpqp.A * unit / length[:, None], (mpqp.b + mpqp.B @ theta) / length
    result = linprog(linear * unit / size, rows, right, bounds=(None, None), method="highs-ds")
    return size * result.fun


def excess(law, mpqp, points):
    """By how much the law's cost exceeds the least, relative to the costs' size, at some points."""
    u, best = law(points), np.array([least_cost(mpqp, theta) for theta in points])
    return ((mpqp.value_of(u, points) - best) / (np.ptp(best) + np.abs(best).max() + 1e-300)).max(initial=0.0)


def judge(kind, seed):
    mpqp = program(kind, seed)
    law = solve_mpqp(mpqp)
    assert law.status in {"complete", "infeasible"}, law.message
    points = points_of(law, mpqp, seed)
    solved = mpqp.solve_qp_batch(points)
    feasible = solved.status == "optimal"
    assert holes(law, mpqp, points, feasible) == 0
    both = feasible & (law.locate(points) >= 0)
    if not both.any():
        return
    if kind in SINGULAR:
        assert excess(law, mpqp, points[both][:20]) < 1e-5
    else:
        assert wrong(law, mpqp, points[both], solved.z[both]) == 0
        assert law.audit().n_open == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0])
def test_nasty_programs(kind, seed):
    judge(kind, seed)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("nearly parallel", 13),  # a row that enters nearly parallel to an active one: the flip must exchange them
        ("nearly parallel", 21),  # double description lost vertices between two facets 1e-9 apart
        ("ill conditioned", 16),  # gains and facets wrong by 1e-7 of the range
        ("equalities in units", 20),  # elimination in units that differ by ten decades
        ("linear in units", 5),  # infeasible facets called open: the regularised rows are too far from the origin
        ("linear", 12),  # a missing region thinner than the tolerance called open
    ],
)
def test_programs_that_once_came_out_wrong(kind, seed):
    judge(kind, seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(1, 25))
def test_many_nasty_programs(kind, seed):
    judge(kind, seed)


def test_large_soft_weights_cost_no_digits():
    """With a slack weight of 1e6 the law still meets its active rows to rounding, closer than an online QP does."""
    g = np.random.default_rng(3)
    p = soft(g)
    p["f"][3], p["H"][3, 3] = 1e6, 1e-3
    mpqp = MpQp(**p)
    law = solve_mpqp(mpqp)
    for region in law.regions:
        z, rows = law(region.centre), list(region.active_set)
        assert np.abs(mpqp.A[rows] @ z - mpqp.b[rows] - mpqp.B[rows] @ region.centre).max(initial=0.0) < 1e-14
        np.testing.assert_allclose(z, by_clarabel(mpqp, region.centre), rtol=0, atol=1e-6)
        np.testing.assert_allclose(law.value(region.centre), mpqp.solve_qp(region.centre).value, rtol=1e-8)
