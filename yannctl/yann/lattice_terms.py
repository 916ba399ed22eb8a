"""The terms of a lattice: which distinct laws stand in each minimum, found on vertices and certified by small LPs.

A term of a piece i is `T_i = min_{j in J_i} l_j` with `J_i` the laws that are nowhere below `l_i` on the piece, so
`T_i = u` there. The lattice equals the law when no term exceeds it anywhere: `T_i <= l_k` on every region k. That
holds when one j in J_i has `l_j <= l_k` at the vertices of k; otherwise an LP decides, and a piece that fails is
split along a law that crosses its own.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from yannctl.errors import ModelError
from yannctl.pwa import PwaLaw

SAME_LAW = 1e-9  # two laws are one when they differ by less over the box, relative to the output's size
CORNER = 1e-11  # corners are known this well, relative to the half range
PROOF = 10  # a term may exceed the law by this many of those tolerances
PRECISE = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
JUMP = 1e-6  # a law that jumps by more between neighbours, relative to its size, is discontinuous
MAX_PIECES = 4000
MAX_PROGRAMS = 1500


@dataclass(frozen=True)
class Lattice:
    """One output as a maximum of minima.

    Args:
        F: (laws, ntheta) gains of the distinct laws.
        g: (laws,) offsets.
        terms: index sets into the laws.
        certified: True when every term was proved to stay below the law, False when LPs ran out.
        merging: error that merging equal laws, and the tolerance of the proof, allow.
    """

    F: np.ndarray
    g: np.ndarray
    terms: list[np.ndarray]
    certified: bool
    merging: float


class _Pieces:
    """Corner points of the regions and of the parts they are split into, with the value of every law there."""

    def __init__(
        self, corners: list[np.ndarray], own: np.ndarray, F: np.ndarray, g: np.ndarray, tol: float, output: int
    ) -> None:
        self.F, self.g, self.tol, self.output = F, g, tol, output
        self.corners = list(corners)
        self.regions = list(corners)  # as they were before any split
        self.own = [int(index) for index in own]
        self.above = [self._compare(index, 1.0) for index in range(len(corners))]
        # (regions, laws) which laws are nowhere above the law of a region.
        self.below = np.stack([self._compare(index, -1.0) for index in range(len(corners))])

    def _compare(self, piece: int, sign: float) -> np.ndarray:
        """Tell which laws are nowhere below (sign 1) or above (sign -1) the piece's own law on it."""
        values = self.corners[piece] @ self.F.T + self.g
        return np.all(sign * (values - values[:, [self.own[piece]]]) >= -self.tol, axis=0)

    def split(self, piece: int, other: int) -> None:
        """Cut a piece where law `other` meets its own; corners are joined in pairs, a superset with the same hull."""
        points = self.corners[piece]
        gap = points @ (self.F[other] - self.F[self.own[piece]]) + self.g[other] - self.g[self.own[piece]]
        high, low = points[gap > self.tol], points[gap < -self.tol]
        a, b = gap[gap > self.tol][:, None, None], gap[gap < -self.tol][None, :, None]
        crossing = ((a * low[None] - b * high[:, None]) / (a - b)).reshape(-1, points.shape[1])
        level = points[np.abs(gap) <= self.tol]
        self.corners[piece] = hull_corners(np.vstack([high, level, crossing]))
        self.corners.append(hull_corners(np.vstack([low, level, crossing])))
        self.own.append(self.own[piece])
        self.above[piece] = self._compare(piece, 1.0)
        self.above.append(self._compare(len(self.own) - 1, 1.0))


def hull_corners(points: np.ndarray) -> np.ndarray:
    """Drop points inside the hull when there are many; flat sets are kept as they are.

    Args:
        points: (n, ntheta) points.

    Returns:
        Some of them, with the same hull.
    """
    from scipy.spatial import ConvexHull, QhullError

    if len(points) <= 4 * points.shape[1]:
        return points
    try:
        return (
            points[ConvexHull(points).vertices] if points.shape[1] > 1 else points[[points.argmin(), points.argmax()]]
        )
    except QhullError:
        return points


def lattice_terms(law: PwaLaw) -> list[Lattice]:
    """Find the lattice of each output of a continuous law.

    Args:
        law: the explicit law.

    Returns:
        One lattice an output.

    Raises:
        ModelError: if the law jumps, or splitting does not end.
    """
    corners = [np.asarray(law.vertices(index), dtype=float) for index in range(law.n_regions)]
    used = np.array([index for index, points in enumerate(corners) if len(points)])
    corners = [corners[index] for index in used]
    _check_continuous(law, corners, used)
    return [_one_output(law, corners, used, output) for output in range(law.F.shape[1])]


def _one_output(law: PwaLaw, corners: list[np.ndarray], used: np.ndarray, output: int) -> Lattice:
    """Find the lattice of one output."""
    F, g = law.F[used, output], law.g[used, output]
    size = max(float(np.max(np.abs(points @ F[i] + g[i]))) for i, points in enumerate(corners))
    steepest = float(np.max(np.abs(F) @ (law.theta_max - law.theta_min) / 2))
    tol = max(SAME_LAW * size, CORNER * steepest, np.finfo(float).tiny)
    distinct, own = _distinct(F, g, law, tol)
    F, g = F[distinct], g[distinct]
    pieces = _Pieces(corners, own, F, g, tol, output)
    certified = _certify(law, used, pieces)
    terms = _select(pieces)
    kept, inverse = np.unique(np.concatenate(terms), return_inverse=True)
    ends = np.cumsum([len(term) for term in terms])[:-1]
    return Lattice(F[kept], g[kept], [np.asarray(term) for term in np.split(inverse, ends)], certified, PROOF * tol)


def _distinct(F: np.ndarray, g: np.ndarray, law: PwaLaw, tol: float) -> tuple[np.ndarray, np.ndarray]:
    """Merge laws that differ by at most `tol` over the box; the first of each group stands for it."""
    centre, half = (law.theta_max + law.theta_min) / 2, (law.theta_max - law.theta_min) / 2
    features = np.column_stack([F * half, F @ centre + g])  # the difference over the box is their 1-norm
    first: list[int] = []
    own = np.empty(len(F), dtype=int)
    for index, feature in enumerate(features):
        near = np.abs(features[first] - feature).sum(axis=1) <= tol if first else np.zeros(0, bool)
        if near.any():
            own[index] = int(np.argmax(near))
        else:
            own[index] = len(first)
            first.append(index)
    return np.array(first), own


def _certify(law: PwaLaw, used: np.ndarray, pieces: _Pieces) -> bool:
    """Split pieces until no term exceeds the law; True when every pair is proved."""
    below = pieces.below
    programs, piece, proved = 0, 0, True
    while piece < len(pieces.own):
        doubtful = np.flatnonzero(~(below & pieces.above[piece]).any(axis=1))
        for region in doubtful.tolist():
            if programs >= MAX_PROGRAMS and not _exceeds_at_corner(pieces, piece, region):
                proved = False
                continue
            programs += 1
            if _exceeds(law, int(used[region]), pieces, piece, region):
                _split_against(pieces, piece, below[region])
                break
        else:
            piece += 1
    return proved


def _exceeds_at_corner(pieces: _Pieces, piece: int, region: int) -> bool:
    """Tell whether the term of a piece exceeds the law at a corner of a region."""
    values = pieces.regions[region] @ pieces.F.T + pieces.g
    excess = values[:, pieces.above[piece]].min(axis=1) - values[:, pieces.own[region]]
    return bool(np.any(excess > PROOF * pieces.tol))


def _exceeds(law: PwaLaw, region: int, pieces: _Pieces, piece: int, place: int) -> bool:
    """Tell whether the term of a piece exceeds the law somewhere in a region, by corners and then by one LP."""
    if _exceeds_at_corner(pieces, piece, place):
        return True
    # max t  s.t.  l_j(x) - l_k(x) >= t for j in J, x in the region.
    rows = slice(law.row_start[region], law.row_start[region + 1])
    members = np.flatnonzero(pieces.above[piece])
    own = pieces.own[place]
    n = pieces.F.shape[1]
    A = np.vstack(
        [
            np.column_stack([pieces.F[own] - pieces.F[members], np.ones(len(members))]),
            np.column_stack([law.H[rows], np.zeros(law.H[rows].shape[0])]),
        ]
    )
    b = np.concatenate([pieces.g[members] - pieces.g[own], law.k[rows]])
    bounds = [*zip(law.theta_min, law.theta_max, strict=True), (None, None)]
    result = linprog(np.append(np.zeros(n), -1.0), A_ub=A, b_ub=b, bounds=bounds, method="highs", options=PRECISE)
    if result.status != 0 or -result.fun <= PROOF * pieces.tol:
        return False
    # The LP's own tolerance, times a steep gain, can look like an excess: believe only what its point confirms.
    values = pieces.F @ result.x[:n] + pieces.g
    return bool(values[members].min() > law.extrapolate(result.x[:n])[pieces.output] + PROOF * pieces.tol)


def _split_against(pieces: _Pieces, piece: int, candidates: np.ndarray) -> None:
    """Cut a piece along a law that crosses its own, first one of the candidates."""
    values = pieces.corners[piece] @ pieces.F.T + pieces.g
    gap = values - values[:, [pieces.own[piece]]]
    crosses = (gap.max(axis=0) > pieces.tol) & (gap.min(axis=0) < -pieces.tol)
    choice = np.flatnonzero(crosses & candidates)
    if not choice.size:
        choice = np.flatnonzero(crosses)
    if not choice.size or len(pieces.own) >= MAX_PIECES:
        raise ModelError(
            "law", f"no lattice found after splitting into {len(pieces.own)} pieces", remedy='use form="gather"'
        )
    # The most even cut separates most.
    balance = np.minimum(gap.max(axis=0), -gap.min(axis=0))[choice]
    pieces.split(piece, int(choice[balance.argmax()]))


def _select(pieces: _Pieces) -> list[np.ndarray]:
    """Keep few terms: each piece is served when some kept term equals its law on it (greedy cover)."""
    above, own = np.asarray(pieces.above), np.asarray(pieces.own)
    sets = np.unique(above, axis=0)
    # Term t equals the law on piece i when it holds l_i and only laws nowhere below l_i there.
    serves = sets[:, own] & ~(sets.astype(np.int32) @ (~above).astype(np.int32).T > 0)
    open_pieces = np.ones(len(own), dtype=bool)
    terms = []
    while open_pieces.any():
        best = int((serves & open_pieces).sum(axis=1).argmax())
        terms.append(_shrink(sets[best], np.unique(own[serves[best] & open_pieces]), pieces.below))
        open_pieces &= ~serves[best]
    return terms


def _shrink(members: np.ndarray, needed: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Drop laws from a term while corners alone still prove it nowhere above the law."""
    cover = below & members  # (regions, laws)
    count = cover.sum(axis=1)
    if np.any(count == 0):  # some region was proved by an LP that may need every law
        return np.flatnonzero(members)
    kept = members.copy()
    kept[needed] = False
    for law in np.flatnonzero(kept)[np.argsort(cover[:, kept].sum(axis=0), kind="stable")]:
        if np.all(count[cover[:, law]] > 1):
            count -= cover[:, law]
            members = members & (np.arange(len(members)) != law)
    return np.flatnonzero(members)


def _check_continuous(law: PwaLaw, corners: list[np.ndarray], used: np.ndarray) -> None:
    """Refuse a law whose neighbours disagree at a common corner."""
    largest = max(
        float(np.max(np.abs(points @ law.F[i].T + law.g[i]))) for points, i in zip(corners, used, strict=True)
    )
    for points, index in zip(corners, used, strict=True):
        violation = points @ law.H.T - law.k
        worst = np.maximum.reduceat(violation, law.row_start[:-1], axis=1)
        corner, other = np.nonzero(worst <= SAME_LAW)
        there = np.einsum("cin,cn->ci", law.F[other], points[corner]) + law.g[other]
        here = points[corner] @ law.F[index].T + law.g[index]
        jump = np.abs(there - here).max(axis=1, initial=0.0)
        if jump.size and jump.max() > JUMP * max(largest, np.finfo(float).tiny):
            worst_pair = int(jump.argmax())
            raise ModelError(
                "law",
                f"jumps by {jump.max():.3g} between regions {index} and {other[worst_pair]} at "
                f"{points[corner[worst_pair]].tolist()}, so it has no lattice",
                remedy='use form="gather"',
            )
