"""The rows of the safety filter, fewest first: which inequalities on (x, u) are needed, and why the others are not.

A row left out carries its Farkas weights, so that a checker can add up the rows that imply it.
"""

from dataclasses import dataclass

import numpy as np

from yannctl.errors import ModelError
from yannctl.geometry import Polyhedron
from yannctl.solvers.lp import LinearProgram
from yannctl.types import Float, Int

from .clip_filter import ClipFilter
from .inclusion import Domain, Inclusion
from .invariant_set import InvariantSet, state_box, successor_rows

_TIGHTENING = 0.4  # of the room that the contraction leaves at the corners; it lets many nearly equal rows go
_WEAK = 1e-9  # a row whose input coefficient is smaller (in units of the box) cannot bound the input
_VIOLATED = -1e-9  # in units of the box: a row goes only with this much room
_FLOAT = 1e-12


@dataclass(frozen=True, eq=False)
class FilterRows:
    """Rows of "the whole inclusion stays in C" that a filter must hold.

    Args:
        kept: indices of the rows that are held, model * rows + row (kept,).
        implied: indices of the others (others,).
        proof: rows each of the others follows from, -1 where unused (others, width): successor rows first, then the
            rows of C, then u <= u_max and -u <= -u_min.
        weights: their weights (others, width).
        tightening: by how much each row of C is moved in for the rows that are held (rows,).
    """

    kept: Int[np.ndarray, " kept"]
    implied: Int[np.ndarray, " others"]
    proof: Int[np.ndarray, "others width"]
    weights: Float[np.ndarray, "others width"]
    tightening: Float[np.ndarray, " rows"]


def needed_rows(inclusion: Inclusion, domain: Domain, found: InvariantSet) -> FilterRows:
    """Choose the rows a filter holds for x in C and u in U: the most violated one is added until all others follow.

    Args:
        inclusion: the models.
        domain: the declared intervals.
        found: the invariant set.

    Returns:
        Rows kept, and a proof for each row left out.

    Raises:
        ModelError: a row that bounds the state alone and does not follow from C.
    """
    pairs = _Pairs(inclusion, domain, found)
    kept = _grow(pairs)
    while True:
        program = LinearProgram(pairs.held(kept), pairs.held_bounds(kept))
        names = np.concatenate([kept, pairs.n + np.arange(len(pairs.b) - pairs.n)])
        others = np.setdiff1d(np.arange(pairs.n), kept)
        proof, weights, missing = _proofs(pairs, program, names, others)
        if not missing.size:
            return FilterRows(kept, others, proof, weights, pairs.tightening)
        kept = np.sort(np.append(kept, missing))


class _Pairs:
    """All rows on (x, u), scaled to the box [-1, 1]: successor rows first, then rows of C and input bounds."""

    def __init__(self, inclusion: Inclusion, domain: Domain, found: InvariantSet) -> None:
        in_x, in_u, right = successor_rows(inclusion, found.H, found.h)
        low, high = state_box(inclusion, domain)
        low, high = np.concatenate([low, domain.u_min]), np.concatenate([high, domain.u_max])
        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        identity = np.hstack([np.zeros((inclusion.nu, inclusion.nx)), np.eye(inclusion.nu)])
        rows = np.vstack([np.hstack([in_x, in_u]), np.pad(found.H, ((0, 0), (0, inclusion.nu))), identity, -identity])
        b = np.concatenate([right, found.h, domain.u_max, -domain.u_min])
        self.n, self.nx = len(right), inclusion.nx
        self.rows, self.b = rows * half, b - rows @ middle
        room = right - np.max(np.einsum("rj,vj->rv", in_x, found.vertices) + in_u @ found.inputs.T, axis=1)
        per_row = np.maximum(room.reshape(len(inclusion), -1).min(axis=0), 0.0)
        self.tightening = _TIGHTENING * per_row
        self.tight = np.tile(self.tightening, len(inclusion))
        self.weak = np.abs(self.rows[: self.n, inclusion.nx :]).max(axis=1) < _WEAK

    def held(self, kept: np.ndarray) -> np.ndarray:
        """Coefficients of the rows that are held, C and the input bounds."""
        return np.vstack([self.rows[kept], self.rows[self.n :]])

    def held_bounds(self, kept: np.ndarray) -> np.ndarray:
        """Their right-hand sides, tightened where the filter holds them."""
        return np.concatenate([self.b[kept] - self.tight[kept], self.b[self.n :]])


def _grow(pairs: _Pairs) -> np.ndarray:
    """Add the most violated row until the corners of what is held violate none."""
    kept: list[int] = []
    while True:
        chosen = np.array(sorted(kept), dtype=int)
        corners = _corners(pairs.held(chosen), pairs.held_bounds(chosen))
        excess = (pairs.rows[: pairs.n] @ corners.T).max(axis=1) - pairs.b[: pairs.n]
        excess[chosen] = -np.inf
        strong = np.where(pairs.weak, -np.inf, excess)
        worst = int(np.argmax(strong))
        if strong[worst] <= _VIOLATED:
            if excess.max() > _VIOLATED:
                d = int(np.argmax(excess))
                raise ModelError("C", f"row {d} of the filter bounds the state alone", remedy="a smaller contraction")
            return chosen
        kept.append(worst)


def _corners(rows: np.ndarray, b: np.ndarray) -> np.ndarray:
    held = Polyhedron(rows, b)
    centre, radius = held.chebyshev()
    if not radius > 0:
        raise ModelError("C", "the filter's rows leave no interior", remedy="a smaller contraction")
    return held.corners(centre)


def _proofs(
    pairs: _Pairs, program: LinearProgram, names: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Farkas weights of each row left out, and the rows for which there are none."""
    width = pairs.rows.shape[1] + 1
    proof, weights = np.full((len(others), width), -1), np.zeros((len(others), width))
    missing = []
    for place, d in enumerate(others):
        result = program.maximise(pairs.rows[d])
        if result.status != "optimal" or result.value > pairs.b[d] - 1e-13 - _FLOAT * abs(pairs.b[d]):
            missing.append(d)
            continue
        used = np.argsort(-result.multipliers)[:width]
        used = used[result.multipliers[used] > 0]
        proof[place, : len(used)], weights[place, : len(used)] = names[used], result.multipliers[used]
    return proof, weights, np.array(missing, dtype=int)


def held_rows(
    H: Float[np.ndarray, "rows nx"],
    h: Float[np.ndarray, " rows"],
    inclusion: Inclusion,
    kept: Int[np.ndarray, " kept"],
    tightening: Float[np.ndarray, " rows"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the rows that a filter holds, G x + K u <= b.

    Args:
        H: rows of C.
        h: their right-hand sides.
        inclusion: the models.
        kept: indices of the rows to hold.
        tightening: by how much each row of C is moved in for them.

    Returns:
        Coefficients of x (kept, nx), of u (kept, nu), and right-hand sides (kept,).
    """
    in_x, in_u, right = successor_rows(inclusion, H, h - tightening)
    return in_x[kept], in_u[kept], right[kept]


def clip_from_rows(
    H: Float[np.ndarray, "rows nx"],
    h: Float[np.ndarray, " rows"],
    inclusion: Inclusion,
    kept: Int[np.ndarray, " kept"],
    tightening: Float[np.ndarray, " rows"],
    u_min: Float[np.ndarray, " one"],
    u_max: Float[np.ndarray, " one"],
    u_rate: Float[np.ndarray, " some"],
) -> ClipFilter:
    """Solve each kept row for the one input: u <= (b - a x) / k for k > 0, u >= for k < 0.

    Args:
        H: rows of C.
        h: their right-hand sides.
        inclusion: the models.
        kept: indices of the rows to hold.
        tightening: by how much each row of C is moved in for them.
        u_min: lower input bound (1,).
        u_max: upper input bound (1,).
        u_rate: most the input may differ from the last state, the input sent before (1,); empty for no limit.

    Returns:
        The filter.
    """
    in_x, in_u, right = held_rows(H, h, inclusion, kept, tightening)
    k = in_u[:, 0]
    F, g = -in_x / k[:, None], right / k
    up = k > 0
    same = np.zeros((u_rate.size, inclusion.nx))
    same[:, -1:] = 1.0
    F_low, g_low = np.vstack([F[~up], same]), np.append(g[~up], -u_rate)
    return ClipFilter(F_low, g_low, np.vstack([F[up], same]), np.append(g[up], u_rate), u_min, u_max)
