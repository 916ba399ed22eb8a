"""Gains of a law without the least-distance form's loss of digits: each region's equations, solved as they are.

With W the active rows, [H A_W'; A_W 0] [y; mu] = [-L; R_W] [theta; 1]. Where the minimiser without rows lies far
outside them, as with large weights on soft constraints, the least-distance form subtracts large numbers; these
equations do not.
"""

import numpy as np
from jaxtyping import Float, UInt

from yannctl.mpqp.presolve import PlainProgram

DELICATE = 1e4  # cancellation from which on it is worth the time
_ENTRIES = 1 << 22  # numbers in the matrices solved at a time


def refine(
    plain: PlainProgram, sets: UInt[np.ndarray, "n_regions words"], maps: Float[np.ndarray, "n_regions nv ntheta_1"]
) -> Float[np.ndarray, "n_regions nv ntheta_1"]:
    """Return y = maps[i] [theta; 1] of every region, recomputed.

    Args:
        plain: the program.
        sets: active rows of each region, as bits.
        maps: (n_regions, nv, ntheta+1) values to keep where the equations are singular.
    """
    unit = 1.0 / np.sqrt(np.diag(plain.H))
    H, L = plain.H * np.outer(unit, unit), plain.L * unit[:, None]
    A, R = plain.unit_rows()
    result = maps.copy()
    bits = np.unpackbits(sets.astype("<u8").view(np.uint8).reshape(len(sets), -1), axis=1, bitorder="little")
    sizes = bits.sum(axis=1)
    for nw in np.unique(sizes):
        regions = np.flatnonzero(sizes == nw)
        rows = np.nonzero(bits[regions])[1].reshape(len(regions), nw)
        share = max(1, _ENTRIES // (len(H) + int(nw)) ** 2)
        for start in range(0, len(regions), share):
            part = slice(start, start + share)
            y = _solve(H, L, A[rows[part]], R[rows[part]])
            good = np.isfinite(y).all(axis=(1, 2))
            result[regions[part][good]] = unit[:, None] * y[good]
    return result


def _solve(H: np.ndarray, L: np.ndarray, A: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Return y of a batch of regions with equally many active rows, NaN for the batch when one is singular.

    The residual is solved for once more: the rows then hold to rounding however large the linear cost is.
    """
    count, nw, nv = A.shape
    system = np.zeros((count, nv + nw, nv + nw))
    system[:, :nv, :nv] = H
    system[:, nv:, :nv] = A
    system[:, :nv, nv:] = A.transpose(0, 2, 1)
    right = np.concatenate([np.broadcast_to(-L, (count, *L.shape)), R], axis=1)
    try:
        solution = np.linalg.solve(system, right)
        solution += np.linalg.solve(system, right - system @ solution)
        return solution[:, :nv]
    except np.linalg.LinAlgError:
        return np.full((count, nv, L.shape[1]), np.nan)
