"""Bound of a lattice: every term is bounded from above by one of its laws, and one term from below, piece by piece."""

import numpy as np

from yannctl.pwa import PwaLaw

from .bound_parts import EQUAL, ErrorBound, largest, numbers, proved, rounding_unit
from .lattice import LatticeActor
from .lattice_terms import hull_corners
from .parts import law_scale

MAX_PIECES = 500  # parts of one region of a lattice


def lattice_bound(actor: LatticeActor, law: PwaLaw, corners: list[np.ndarray]) -> ErrorBound:
    """Bound the error of the lattice form.

    Args:
        actor: the network.
        law: the explicit law.
        corners: (corners, ntheta) corners of each region.

    Returns:
        The bound.
    """
    rounding = (law.ntheta + 2) * rounding_unit(actor.outputs[0].F.dtype) * law_scale(law)
    worst, where, small = 0.0, -1, EQUAL * law_scale(law)
    for output, part in enumerate(actor.outputs):
        F, g = numbers(part.F), numbers(part.g)
        for i, points in enumerate(corners):
            if not len(points):
                continue
            # How far each law of the lattice lies above the region's own: an affine function a law.
            rise = F - law.F[i, output], g - law.g[i, output]
            above = _terms_above(part.members, law, rise, i, points, max(worst, small))
            below = -_terms_below(part.members, points, rise, max(above, worst, small))
            if max(above, below) > worst:
                worst, where = max(above, below), i
    total = float(worst + rounding)
    return proved(total, rounding, where)


def _terms_above(
    terms: list[list[int]],
    law: PwaLaw,
    rise: tuple[np.ndarray, np.ndarray],
    i: int,
    points: np.ndarray,
    allowed: float,
) -> float:
    """Bound how far the largest term rises above the law in a region: one law of each term by corners, else an LP."""
    gap = points @ rise[0].T + rise[1]
    highest = gap.max(axis=0)
    rows = slice(law.row_start[i], law.row_start[i + 1])
    worst = -np.inf
    for term in terms:
        value = float(highest[term].min())
        if value > max(allowed, worst):
            # max t  s.t.  t <= l_j - l_i for all j of the term, x in the region
            bounded = np.column_stack([-rise[0][term], np.ones(len(term))])
            A = np.vstack([bounded, np.column_stack([law.H[rows], np.zeros(rows.stop - rows.start)])])
            b = np.concatenate([rise[1][term], law.k[rows]])
            reach = np.append(np.abs(points).max(axis=0), np.abs(gap[:, term]).max())
            c = np.append(np.zeros(law.ntheta), 1.0)
            value = min(value, largest(A, b, c, reach))
        worst = max(worst, value)
    return worst


def _terms_below(
    terms: list[list[int]], points: np.ndarray, rise: tuple[np.ndarray, np.ndarray], allowed: float
) -> float:
    """Bound from below how far the largest term lies above the law, splitting where one term does not serve all.

    A minimum of affine functions is concave, so it is least at a corner; the corners of parts are found where a law
    crosses the region's own (joined in pairs: more points than corners, with the same hull).
    """
    gap = points @ rise[0].T + rise[1]
    at_corners = np.max([gap[:, term].min(axis=1) for term in terms], axis=0)
    wanted = min(-allowed, float(at_corners.min()))  # no bound can be better than the value at a corner
    least, pieces, made = np.inf, [points], 1
    while pieces:
        points = pieces.pop()
        gap = points @ rise[0].T + rise[1]
        reached = max(float(gap[:, term].min()) for term in terms)
        balance = np.minimum(gap.max(axis=0), -gap.min(axis=0))
        crossing = int(balance.argmax())
        if reached < wanted and balance[crossing] > allowed and made < MAX_PIECES:
            pieces += _cut(points, gap[:, crossing])
            made += 1
        else:
            least = min(least, reached)
    return least


def _cut(points: np.ndarray, level: np.ndarray) -> list[np.ndarray]:
    """Cut a set of corners where an affine function with these values is zero."""
    up, down = np.flatnonzero(level > 0), np.flatnonzero(level < 0)
    share = (level[up][:, None] / (level[up][:, None] - level[down][None]))[..., None]
    middle = (points[up][:, None] + share * (points[down][None] - points[up][:, None])).reshape(-1, points.shape[1])
    return [hull_corners(np.vstack([points[side], middle])) for side in (level >= 0, level <= 0)]
