"""Joining polytopes with one law into fewer convex ones, without ever covering a point that none of them covers.

Two pieces that share a facet become the polytope of all their other rows when no other row of either cuts the other:
that polytope lies in the two, whatever the tolerance (after Bemporad, Fukuda and Torrisi, Comput. Geom. 18(3), 2001).
Several pieces of which no two can be joined may still have a convex union, like the blades of a pinwheel. Their
envelope, the rows that hold on all of them, is cut up by the pieces; when nothing is left it equals their union.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from .regions import polytope_vertices

NEAR = 1e-8  # two rows of scaled theta closer than this describe one plane
CARRIES = 1e-7  # a corner this close to a row counts as lying on it when the row may be dropped
MOST_PIECES = 24  # a convex union of more pieces at once is not looked for
MOST_PARTS = 200  # a polytope that falls into more parts counts as not covered


@dataclass(frozen=True, eq=False)
class Rows:
    """Unit rows H x <= k in scaled parameters, and which of them describe one plane.

    Args:
        H: (rows, ntheta) normals.
        k: (rows,) right-hand sides.
        plane: (rows,) number of each row's plane.
        side: (rows,) +1 or -1: rows of one plane and side have one normal, of different sides opposite ones.
        head: (planes,) a row of each plane.
    """

    H: Float[np.ndarray, "rows ntheta"]
    k: Float[np.ndarray, " rows"]
    plane: Int[np.ndarray, " rows"]
    side: Int[np.ndarray, " rows"]
    head: Int[np.ndarray, " planes"]


def group_rows(H: Float[np.ndarray, "rows ntheta"], k: Float[np.ndarray, " rows"]) -> Rows:
    """Return the rows with the number of each one's plane; rows within `NEAR` (either sign) share one.

    Args:
        H: (rows, ntheta) unit normals.
        k: (rows,) right-hand sides.
    """
    if not len(k):
        none = np.zeros(0, np.int64)
        return Rows(H, k, none, none, none)
    first = np.argmax(np.abs(H) > 1e-6, axis=1)
    side = np.sign(H[np.arange(len(k)), first]).astype(np.int64)
    rows = np.column_stack([H, k]) * side[:, None]
    key = rows @ np.random.default_rng(0).uniform(0.5, 1.0, rows.shape[1])
    order = np.argsort(key, kind="stable")
    runs = np.concatenate([[0], np.cumsum(np.diff(key[order]) > NEAR)])
    head = order[np.flatnonzero(np.diff(runs, prepend=-1))][runs]
    apart = np.abs(rows[order] - rows[head]).max(axis=1) > NEAR
    source = np.empty(len(k), np.int64)
    source[order] = np.where(apart, order, head)
    strays = np.sort(order[apart])
    if len(strays):  # different planes with nearly one key
        _, where, inverse = np.unique(
            np.round(rows[strays] / NEAR).astype(np.int64), axis=0, return_index=True, return_inverse=True
        )
        source[strays] = strays[where][inverse.ravel()]
    heads, plane = np.unique(source, return_inverse=True)
    return Rows(H, k, plane.ravel().astype(np.int64), side, heads)


@dataclass(frozen=True, eq=False)
class Piece:
    """A polytope of some rows, the regions it is made of, and their corners.

    Args:
        rows: indices of its rows.
        corners: (corners, ntheta) corners of the regions it is made of; its own are among them.
        regions: the regions it is made of, rising.
    """

    rows: np.ndarray
    corners: np.ndarray
    regions: tuple[int, ...]


@dataclass
class _Group:
    """The pieces of one law, and which of them have a plane as a facet."""

    pieces: dict[int, Piece] = field(default_factory=dict)
    at: dict[tuple[int, int], set[int]] = field(default_factory=dict)
    added: int = 0

    def add(self, piece: Piece, rows: Rows) -> int:
        number, self.added = self.added, self.added + 1
        self.pieces[number] = piece
        for key in zip(rows.plane[piece.rows].tolist(), rows.side[piece.rows].tolist(), strict=True):
            self.at.setdefault(key, set()).add(number)
        return number

    def remove(self, number: int, rows: Rows) -> Piece:
        piece = self.pieces.pop(number)
        for key in zip(rows.plane[piece.rows].tolist(), rows.side[piece.rows].tolist(), strict=True):
            self.at[key].discard(number)
        return piece

    def beside(self, number: int, rows: Rows) -> list[tuple[int, int]]:
        """Return (plane, piece) for the pieces on the other side of the planes of a piece's facets."""
        own = self.pieces[number].rows
        pairs = zip(rows.plane[own].tolist(), rows.side[own].tolist(), strict=True)
        return [(plane, other) for plane, side in pairs for other in sorted(self.at.get((plane, -side), ()))]


def join(rows: Rows, pieces: Sequence[Piece], tolerance: float, several: bool = True) -> list[Piece]:
    """Return fewer pieces with the same union.

    Args:
        rows: the rows of all pieces.
        pieces: pieces with one law.
        tolerance: how far pieces may overlap with or stay away from their common facet.
        several: whether unions of more than two pieces at once are looked for.
    """
    group = _Group()
    waiting = [group.add(piece, rows) for piece in pieces if len(piece.corners)]
    flat = [piece for piece in pieces if not len(piece.corners)]
    tried: set[frozenset[int]] = set()
    while True:
        _join_pairs(group, rows, waiting, tolerance)
        union = _join_several(group, rows, tolerance, tried) if several and len(group.pieces) > 2 else None
        if union is None:
            return flat + list(group.pieces.values())
        waiting = [union]


def _join_pairs(group: _Group, rows: Rows, waiting: list[int], tolerance: float) -> None:
    """Join the waiting pieces with neighbours until none can be joined."""
    while waiting:
        number = waiting.pop()
        if number not in group.pieces:
            continue
        for plane, other in group.beside(number, rows):
            union = _pair(rows, group.pieces[number], group.pieces[other], plane, tolerance)
            if union is not None:
                group.remove(number, rows)
                group.remove(other, rows)
                waiting.append(group.add(union, rows))
                break


def _pair(rows: Rows, a: Piece, b: Piece, plane: int, tolerance: float) -> Piece | None:
    """Return the union of two pieces on either side of a plane when it is convex, else None."""
    on_a, on_b = rows.plane[a.rows] == plane, rows.plane[b.rows] == plane
    i, j = a.rows[on_a][0], b.rows[on_b][0]
    if np.abs(rows.H[i] + rows.H[j]).max() > tolerance or rows.k[i] + rows.k[j] < -tolerance:
        return None
    rest_a, rest_b = a.rows[~on_a], b.rows[~on_b]
    if not (_hold(rows, rest_a, b.corners, tolerance) and _hold(rows, rest_b, a.corners, tolerance)):
        return None
    return _union(rows, np.concatenate([rest_a, rest_b]), (a, b))


def _hold(rows: Rows, some: np.ndarray, corners: np.ndarray, tolerance: float) -> bool:
    return bool((rows.H[some] @ corners.T <= rows.k[some, None] + tolerance).all())


def _union(rows: Rows, some: np.ndarray, pieces: Iterable[Piece]) -> Piece:
    """Return a piece of the given rows, those that carry no facet left out."""
    corners = _distinct(np.concatenate([piece.corners for piece in pieces]))
    order = np.lexsort([-rows.k[some], rows.side[some], rows.plane[some]])  # the looser of two equal rows stays
    some = some[order]
    first = np.ones(len(some), bool)
    first[1:] = (np.diff(rows.plane[some]) != 0) | (np.diff(rows.side[some]) != 0)
    some = some[first]
    carried = (np.abs(rows.H[some] @ corners.T - rows.k[some, None]) <= CARRIES).sum(axis=1)
    some = some[carried >= rows.H.shape[1]]
    hull = (np.abs(rows.H[some] @ corners.T - rows.k[some, None]) <= CARRIES).any(axis=0)
    return Piece(some, corners[hull], tuple(sorted(i for piece in pieces for i in piece.regions)))


def _distinct(corners: np.ndarray) -> np.ndarray:
    """Return the corners without repetitions in their bits."""
    return np.unique(corners, axis=0)


def _join_several(group: _Group, rows: Rows, tolerance: float, tried: set[frozenset[int]]) -> int | None:
    """Join three or more pieces into one, once; return its number, None when no such union is found.

    Args:
        group: the pieces.
        rows: their rows.
        tolerance: as in `join`.
        tried: pairs of neighbours, and sets of pieces, that lead to no union; more are added.
    """
    stack = _Stack(group, rows)
    for number in list(group.pieces):
        for _, other in group.beside(number, rows):
            pair = frozenset((number, other))
            if pair in tried:
                continue
            tried.add(pair)
            members = _closed(group, rows, stack, pair, tolerance)
            if members is None or members in tried:
                continue
            tried.add(members)
            pieces = [group.pieces[i] for i in sorted(members)]
            envelope = _envelope(rows, pieces, tolerance)
            if _covered(rows, envelope, pieces, tolerance):
                for i in members:
                    group.remove(i, rows)
                return group.add(_union(rows, envelope, pieces), rows)
    return None


class _Stack:
    """All pieces of a group in one array, for quick tests."""

    def __init__(self, group: _Group, rows: Rows) -> None:
        self.rows = rows
        self.numbers = np.array(list(group.pieces))
        pieces = list(group.pieces.values())
        self.some = np.concatenate([piece.rows for piece in pieces])
        self.begin = np.concatenate([[0], np.cumsum([len(piece.rows) for piece in pieces])])[:-1]
        self.low = np.array([piece.corners.min(axis=0) for piece in pieces])
        self.high = np.array([piece.corners.max(axis=0) for piece in pieces])

    def reaching(self, corners: np.ndarray, tolerance: float) -> np.ndarray:
        """Return the pieces that no row of theirs and no coordinate keeps away from a polytope with these corners."""
        near = (self.low < corners.max(axis=0) - tolerance) & (self.high > corners.min(axis=0) + tolerance)
        beyond = self.rows.H[self.some] @ corners.T > self.rows.k[self.some, None] - tolerance
        apart = np.logical_or.reduceat(beyond.all(axis=1), self.begin)
        return self.numbers[near.all(axis=1) & ~apart]

    def hold(self, points: np.ndarray, tolerance: float) -> bool:
        """Tell whether each point lies in one of the pieces."""
        excess = self.rows.H[self.some] @ points.T - self.rows.k[self.some, None]
        return bool((np.maximum.reduceat(excess, self.begin, axis=0).min(axis=0) <= tolerance).all())


def _envelope(rows: Rows, pieces: Sequence[Piece], tolerance: float) -> np.ndarray:
    """Return the rows of some pieces that hold on all of them."""
    some = np.concatenate([piece.rows for piece in pieces])
    corners = np.concatenate([piece.corners for piece in pieces])
    return some[(rows.H[some] @ corners.T <= rows.k[some, None] + tolerance).all(axis=1)]


def _closed(
    group: _Group, rows: Rows, stack: _Stack, members: frozenset[int], tolerance: float
) -> frozenset[int] | None:
    """Return the pieces that reach into the envelope of some pieces, theirs included, and so on.

    None when they are two or too many, or when some point of the envelope lies in no piece.
    """
    while True:
        envelope = _envelope(rows, [group.pieces[i] for i in sorted(members)], tolerance)
        corners = polytope_vertices(rows.H[envelope], rows.k[envelope])
        if not len(corners):
            return None
        weights = np.random.default_rng(0).dirichlet(np.full(len(corners), 0.3), 64)
        if not stack.hold(weights @ corners, tolerance):
            return None
        others = [i for i in stack.reaching(corners, 2 * tolerance).tolist() if i not in members]
        new = [i for i in others if _overlap(rows, envelope, group.pieces[i].rows, tolerance)]
        if not new:
            return members if len(members) > 2 else None
        members = members.union(new)
        if len(members) > MOST_PIECES:
            return None


def _overlap(rows: Rows, some: np.ndarray, others: np.ndarray, tolerance: float) -> bool:
    """Tell whether two polytopes share more than a facet."""
    both = np.concatenate([some, others])
    return len(polytope_vertices(rows.H[both], rows.k[both] - 2 * tolerance)) > 0


def _covered(rows: Rows, envelope: np.ndarray, pieces: Sequence[Piece], tolerance: float) -> bool:
    """Tell whether some pieces cover a polytope: each leaves what lies beyond its rows, one row after the other."""
    rest: list[tuple[Any, Any]] = [(rows.H[envelope], rows.k[envelope])]
    for piece in pieces:
        rest = [part for whole in rest for part in _beyond(rows, whole, piece, tolerance)]
        if len(rest) > MOST_PARTS:
            return False
    return not rest


def _beyond(rows: Rows, whole: tuple[Any, Any], piece: Piece, tolerance: float) -> list[tuple[Any, Any]]:
    """Return the parts of a polytope outside a piece."""
    H, k = whole
    left: list[tuple[Any, Any]] = []
    for row in piece.rows:
        part = np.vstack([H, -rows.H[row]]), np.append(k, -rows.k[row] - tolerance)
        if len(polytope_vertices(*part)):
            left.append(part)
        H, k = np.vstack([H, rows.H[row]]), np.append(k, rows.k[row] + tolerance)
    return left
