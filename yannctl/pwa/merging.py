"""Equal laws: numbering them, and the law on fewer regions."""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from .joining import Piece, group_rows, join
from .regions import polytope_vertices, scaled_rows, scaling

_EQUAL = 1e-10  # laws closer than this, relative to their size, differ by rounding
_SAME = 1e-9  # how far regions that are joined may stay away from their common facet, in scaled theta


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
    """Return the same law on fewer regions; the law it was made of goes along and answers for the value function.

    Args:
        law: a `PwaLaw`.
    """
    if not law.n_regions:
        return law
    rows, starts, number = group_rows(*scaled_rows(law)), law.row_start, law.law_index
    pieces: list[Piece] = []
    for group in np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1]):
        own = [np.arange(starts[i], starts[i + 1]) for i in group]
        if len(group) == 1:
            pieces.append(Piece(own[0], np.zeros((0, law.ntheta)), (int(group[0]),)))
            continue
        corners = [polytope_vertices(rows.H[some], rows.k[some]) for some in own]
        parts = [Piece(a, b, (int(i),)) for a, b, i in zip(own, corners, group, strict=True)]
        pieces += join(rows, parts, _SAME)
    pieces.sort(key=lambda piece: piece.regions)
    source = np.array([piece.regions[0] for piece in pieces], dtype=np.int64)
    some = np.concatenate([piece.rows for piece in pieces])
    nan = np.full((len(pieces), law.ntheta), np.nan)
    return replace(
        law, row_start=np.concatenate([[0], np.cumsum([len(piece.rows) for piece in pieces])]).astype(np.int64),
        H=law.H[some], k=law.k[some], F=law.F[source], g=law.g[source], P=None, p=nan, c=nan[:, 0], active=(),
        unmerged=law.unmerged or law, message=f"{law.message} Merged from {law.n_regions} regions.",
    )  # fmt: skip


def bitwise_laws(law: Any) -> Int[np.ndarray, " n_regions"]:
    """Return the number of each region's law; laws equal in every bit share one.

    Args:
        law: a `PwaLaw`.
    """
    flat = np.concatenate([law.F.reshape(law.n_regions, -1), law.g], axis=1)
    return np.unique(flat, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
