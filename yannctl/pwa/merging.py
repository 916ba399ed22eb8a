"""Equal laws: numbering them, and joining neighbours whose union is convex.

Two neighbours are replaced by the rows of each that hold on the other. Their union is convex exactly when that envelope
equals it; it does when the only row of each that the other violates is the facet they share (Bemporad, Fukuda and
Torrisi, Computational Geometry 18(3), 2001).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from .regions import polytope_vertices, scaled_rows, scaling

_EQUAL = 1e-10  # laws closer than this, relative to their size, differ by rounding
_SAME = 1e-8  # two rows or points of scaled theta closer than this are the same


def number_laws(law: Any) -> Int[np.ndarray, " n_regions"]:
    """Return the number of each region's law; laws closer than `settings.law_tolerance` share a number.

    The distance is the largest difference of the outputs over the parameter box, relative to the range of the outputs.

    Args:
        law: a `PwaLaw`.
    """
    centre, half = scaling(law)
    maps = np.concatenate([law.F * half, (law.g + law.F @ centre)[..., None]], axis=2).reshape(law.n_regions, -1)
    size = _output_size(law)
    maps = (maps.reshape(law.n_regions, law.n_out, -1) / size[:, None]).reshape(law.n_regions, -1)
    direction = np.random.default_rng(0).standard_normal(maps.shape[1])
    direction /= np.linalg.norm(direction)
    key = maps @ direction
    order = np.argsort(key, kind="stable")
    tolerance = law.settings.law_tolerance
    number = np.full(law.n_regions, -1, dtype=np.int64)
    heads: list[int] = []
    for i in order:
        for head in reversed(heads):
            if key[i] - key[head] > tolerance * np.sqrt(maps.shape[1]):
                break
            if np.abs(maps[i] - maps[head]).sum() <= tolerance:
                number[i] = number[head]
                break
        if number[i] < 0:
            number[i] = len(heads)
            heads.append(int(i))
    _, first, number = np.unique(number, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number].astype(np.int64)


def share_laws(
    F: Float[np.ndarray, "n_regions n_out ntheta"],
    g: Float[np.ndarray, "n_regions n_out"],
    centre: Float[np.ndarray, " ntheta"],
    half: Float[np.ndarray, " ntheta"],
    tolerance: float = _EQUAL,
) -> None:
    """Make gains and offsets that differ by rounding only equal in every bit, in place: the first region's stay.

    Args:
        F: (n_regions, n_out, ntheta) gains.
        g: (n_regions, n_out) offsets.
        centre: (ntheta,) centre of the parameter box.
        half: (ntheta,) half-range of the parameter box.
        tolerance: largest difference over the parameter box, relative to the law's own size there.
    """
    n = len(F)
    if n < 2:
        return
    maps = np.concatenate([F * half, (g + F @ centre)[..., None]], axis=2)
    size = np.abs(maps).sum(axis=2).max(axis=0)
    maps = (maps / np.where(size > 0, size, 1.0)[:, None]).reshape(n, -1)
    own = np.maximum(np.abs(maps).max(axis=1), 1e-6)
    direction = np.random.default_rng(0).standard_normal(maps.shape[1])
    key = maps @ direction
    order = np.argsort(key, kind="stable")
    gap = np.diff(key[order]) > tolerance * own[order[1:]] * np.abs(direction).sum()
    runs = np.concatenate([[0], np.cumsum(gap)])
    head = np.full(runs[-1] + 1, n)
    np.minimum.at(head, runs, order)
    source = np.empty(n, np.int64)
    source[order] = head[runs]
    close = (np.abs(maps - maps[source]) <= tolerance * own[:, None]).all(axis=1)
    source[~close] = np.flatnonzero(~close)
    F[:], g[:] = F[source], g[source]


def _output_size(law: Any) -> np.ndarray:
    """Return a range of each output: the spread of the laws' values at the middles of the regions, at least tiny."""
    centres, _ = _centres(law)
    outputs = np.einsum("nij,nj->ni", law.F, centres) + law.g
    outputs = outputs[np.isfinite(outputs).all(axis=1)]
    size = np.ptp(outputs, axis=0) if len(outputs) else np.ones(law.n_out)
    return np.where(size > 0, size, np.maximum(np.abs(outputs).max(axis=0, initial=0.0), 1e-300))


def _centres(law: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the Chebyshev centres (units of theta) and radii of all regions."""
    from .regions import chebyshev

    pairs = [chebyshev(law, i) for i in range(law.n_regions)]
    if not pairs:
        return np.empty((0, law.ntheta)), np.empty(0)
    return np.array([centre for centre, _ in pairs]), np.array([radius for _, radius in pairs])


def merge(law: Any) -> Any:
    """Return the same law on fewer regions, merging pairs with equal laws and a convex union until none is left.

    Args:
        law: a `PwaLaw`. Value functions and active sets may differ between merged regions and are therefore dropped.
    """
    H, k = scaled_rows(law)
    pieces = [
        _Piece(H[s:e], k[s:e], i) for i, (s, e) in enumerate(zip(law.row_start[:-1], law.row_start[1:], strict=True))
    ]
    result: list[_Piece] = []
    for number in range(law.n_laws):
        result += _merge_group([pieces[i] for i in np.flatnonzero(law.law_index == number)])
    result.sort(key=lambda piece: piece.source)
    return _rebuilt(law, result)


class _Piece:
    """A polytope of scaled theta with the region whose law it carries."""

    def __init__(self, H: np.ndarray, k: np.ndarray, source: int) -> None:
        self.H, self.k, self.source = H, k, source
        self.vertices = polytope_vertices(H, k)


def _merge_group(group: list[_Piece]) -> list[_Piece]:
    """Merge pieces of one law greedily: a merged piece is offered to all others again."""
    done: list[_Piece] = []
    while group:
        piece = group.pop()
        for position, other in enumerate(done):
            union = _union(piece, other)
            if union is not None:
                del done[position]
                group.append(union)
                break
        else:
            done.append(piece)
    return done


def _union(a: _Piece, b: _Piece) -> _Piece | None:
    """Return the union of two pieces if it is convex, else None.

    The envelope keeps each piece's rows that hold on the other. The union is convex when the envelope equals it: the
    only rows dropped are one facet seen from both sides.
    """
    if not len(a.vertices) or not len(b.vertices):
        return None
    out_a = (a.H @ b.vertices.T - a.k[:, None]).max(axis=1) > _SAME
    out_b = (b.H @ a.vertices.T - b.k[:, None]).max(axis=1) > _SAME
    if out_a.sum() != 1 or out_b.sum() != 1:
        return None
    i, j = int(np.argmax(out_a)), int(np.argmax(out_b))
    if np.abs(a.H[i] + b.H[j]).max() > _SAME or abs(a.k[i] + b.k[j]) > _SAME:
        return None
    H, k = _distinct(np.vstack([a.H[~out_a], b.H[~out_b]]), np.concatenate([a.k[~out_a], b.k[~out_b]]))
    union = _Piece(H, k, min(a.source, b.source))
    on_facet = np.abs(union.vertices @ union.H.T - union.k) <= 10 * _SAME
    keep = on_facet.sum(axis=0) >= H.shape[1]
    return _Piece(H[keep], k[keep], union.source)


def _distinct(H: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows without repetitions; of two rows with one normal the tighter stays."""
    keep: list[int] = []
    for i in np.argsort(k, kind="stable"):
        if not any(np.abs(H[i] - H[j]).max() <= _SAME for j in keep):
            keep.append(int(i))
    return H[np.sort(keep)], k[np.sort(keep)]


def _rebuilt(law: Any, pieces: list[_Piece]) -> Any:
    """Return the law on the given pieces."""
    centre, half = scaling(law)
    source = np.array([piece.source for piece in pieces], dtype=np.int64)
    n, ntheta = len(pieces), law.ntheta
    H = np.concatenate([piece.H for piece in pieces] or [np.zeros((0, ntheta))]) / half
    k = np.concatenate([piece.k for piece in pieces] or [np.zeros(0)]) + H @ centre
    starts = np.concatenate([[0], np.cumsum([len(piece.k) for piece in pieces])]).astype(np.int64)
    nan = np.full(n, np.nan)
    return replace(
        law, row_start=starts, H=H, k=k, F=law.F[source], g=law.g[source], P=np.zeros((n, ntheta, ntheta)),
        p=np.zeros((n, ntheta)), c=nan, active=(), message=f"{law.message} Merged from {law.n_regions} regions.",
    )  # fmt: skip
