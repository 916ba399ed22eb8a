"""Geometry of one region of a law: corners and largest ball, on demand."""

from typing import Any

import numpy as np
from jaxtyping import Float

from .kernels_dd import cut_box
from .kernels_lp import largest_ball
from .settings import Settings

_MOST_VERTICES = 1 << 17


def scaling(law: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and half-range of the parameter box of a law.

    Args:
        law: a `PwaLaw`.
    """
    return (law.theta_max + law.theta_min) / 2, (law.theta_max - law.theta_min) / 2


def scaled_rows(law: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return all rows of a law in scaled parameters, with unit norm.

    Args:
        law: a `PwaLaw`.
    """
    centre, half = scaling(law)
    H, k = law.H * half, law.k - law.H @ centre
    norm = np.linalg.norm(H, axis=1)
    norm = np.where(norm > 0, norm, 1.0)
    return H / norm[:, None], k / norm


def polytope_vertices(
    H: Float[np.ndarray, "rows n"], k: Float[np.ndarray, " rows"], tolerance: float = 1e-11
) -> Float[np.ndarray, "nv n"]:
    """Return the corners of {x in [-1, 1]^n: H x <= k}, no rows when it has no interior.

    Args:
        H: (rows, n) unit rows.
        k: (rows,) right-hand sides.
        tolerance: a vertex this close to a row lies on it.
    """
    n = H.shape[1]
    rows, right = np.ascontiguousarray(H.T), np.require(k, requirements=["C", "W"])
    words = (len(right) + 2 * n + 63) // 64
    limit = 64 << n
    while limit <= max(_MOST_VERTICES, 64 << n):
        vx, bits, slack = np.empty((n, limit)), np.zeros((limit, words), dtype=np.uint64), np.empty(limit)
        nv = cut_box(
            rows, right, len(right), n, tolerance, limit, vx, bits, slack, np.empty((2, limit), dtype=np.int64)
        )
        if nv >= 0:
            return vx[:, :nv].T.copy()
        limit *= 4
    raise MemoryError(f"a region with {len(k)} rows in {n} parameters has more than {_MOST_VERTICES} vertices")


def ball(H: Float[np.ndarray, "rows n"], k: Float[np.ndarray, " rows"]) -> tuple[Float[np.ndarray, " n"], float]:
    """Return centre and radius of the largest ball in {x: H x <= k, |x_j| <= 2}; negative radius when empty.

    Args:
        H: (rows, n) unit rows.
        k: (rows,) right-hand sides.
    """
    n = H.shape[1]
    work = np.zeros((2, n + 1, n + 1))
    x = np.zeros(n + 1)
    basis = np.zeros(n + 1, dtype=np.int64)
    rows, right = np.require(H, requirements=["C", "W"]), np.require(k, requirements=["C", "W"])
    if not largest_ball(rows, right, len(k), n, 2.0, basis, work[0], work[1], np.zeros(n + 1), x):
        return np.full(n, np.nan), np.nan
    return x[:n].copy(), float(x[n])


def vertices(law: Any, i: int) -> Float[np.ndarray, "nv ntheta"]:
    """Return the corners of region i in the units of theta, in order around the polygon for two parameters.

    Args:
        law: a `PwaLaw`.
        i: index of the region.
    """
    centre, half = scaling(law)
    H, k = _scaled_region(law, i)
    corners = polytope_vertices(H, k, Settings().vertex_tolerance)
    if law.ntheta == 2 and len(corners):
        middle = corners.mean(axis=0)
        corners = corners[np.argsort(np.arctan2(corners[:, 1] - middle[1], corners[:, 0] - middle[0]))]
    return centre + half * corners


def chebyshev(law: Any, i: int) -> tuple[Float[np.ndarray, " ntheta"], float]:
    """Return the Chebyshev centre of region i in the units of theta and its radius in scaled theta.

    Args:
        law: a `PwaLaw`.
        i: index of the region.
    """
    centre, half = scaling(law)
    x, radius = ball(*_scaled_region(law, i))
    return centre + half * x, radius


def _scaled_region(law: Any, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of region i in scaled parameters."""
    centre, half = scaling(law)
    rows = slice(law.row_start[i], law.row_start[i + 1])
    H, k = law.H[rows] * half, law.k[rows] - law.H[rows] @ centre
    norm = np.linalg.norm(H, axis=1)
    norm = np.where(norm > 0, norm, 1.0)
    return H / norm[:, None], k / norm
