"""What `PwaLaw` does to evaluate itself: checked arrays, points as a matrix, regions by scanning or by search tree."""

from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import ModelError

if TYPE_CHECKING:
    from .law import PwaLaw
    from .search_tree import Lookup, SearchTree

STATUSES = ("complete", "partial", "infeasible", "unbounded")
# Measured seconds a region, for 1, 2, 3 and 4 parameters: scanning it for a point, and building the tree.
SCAN_SECONDS = (5e-9, 5e-9, 11e-9, 19e-9)
BUILD_SECONDS = (35e-6, 35e-6, 160e-6, 1.7e-3)
LOAD_SECONDS = 0.04  # compiled kernels from the cache


def points_of(law: "PwaLaw", theta: Any) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the parameters as a matrix, and the shape of their batch.

    Args:
        law: the law they are for.
        theta: (..., ntheta) parameters.

    Raises:
        ModelError: it is no array of real numbers, or its last dimension is not ntheta. NaN and infinities are points
            that no region holds.
    """
    try:
        points = np.asarray(theta)
    except ValueError as cause:
        raise ModelError("theta", f"not a rectangular array ({cause})", remedy="give rows of equal length") from cause
    if points.dtype.kind not in "biuf":
        raise ModelError("theta", f"expected real numbers, got an array of {points.dtype}", remedy="give floats")
    if points.ndim == 0 or points.shape[-1] != law.ntheta:
        names = ", ".join(law.theta_names or ())
        raise ModelError("theta", f"expected shape (..., {law.ntheta}), got {points.shape}", remedy=f"give {names}")
    points = points.astype(float, copy=False)
    return np.require(points.reshape(-1, law.ntheta), requirements=["C", "W"]), points.shape[:-1]


def locate(law: "PwaLaw", points: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the region of each point, -1 where the least violation exceeds the tolerance.

    Args:
        law: the law.
        points: (n, ntheta) contiguous parameters.
        tolerance: violation that is forgiven, scaled units.
    """
    from .kernels import locate_many

    lookup = _lookup_for(law, len(points))
    index = np.full(len(points), -1, dtype=np.int64) if lookup is None else lookup.locate(points)
    if lookup is None:
        locate_many(points, law.row_start, law.H, law.k, tolerance, index)
    elif tolerance != law.settings.locate_tolerance and (left := np.flatnonzero(index < 0)).size:
        rest = np.empty(len(left), dtype=np.int64)
        locate_many(points[left], law.row_start, law.H, law.k, tolerance, rest)
        index[left] = rest
    return index


def apply(law: "PwaLaw", theta: Any, tolerance: float) -> np.ndarray:
    """Return u = F_i theta + g_i, NaN where the least violation exceeds the tolerance.

    Args:
        law: the law.
        theta: (..., ntheta) parameters.
        tolerance: violation that is forgiven, scaled units.
    """
    from .kernels import evaluate_many

    points, batch = points_of(law, theta)
    lookup = _lookup_for(law, len(points))
    if lookup is not None and tolerance == law.settings.locate_tolerance:
        return lookup.many(points).reshape(*batch, law.n_out)
    out = np.empty((len(points), law.n_out))
    evaluate_many(points, locate(law, points, tolerance), law.F, law.g, out)
    return out.reshape(*batch, law.n_out)


def build_tree(law: "PwaLaw", progress: bool = False) -> None:
    """Build the search tree of a law and keep it.

    Args:
        law: the law.
        progress: whether a line is shown while kernels are compiled.
    """
    from . import tree_building
    from .compilation import announce
    from .kernels_tree import grow

    if progress:
        announce(grow)
    attach_tree(law, tree_building.build_tree(law))


def attach_tree(law: "PwaLaw", tree: "SearchTree | None") -> None:
    """Keep a tree of this law; the arrays it was built from stay as they are, so no result changes.

    Args:
        law: the law.
        tree: its tree, None when it has none.
    """
    from .search_tree import Lookup

    law.__dict__["_untreeable"] = tree is None
    law.__dict__["_lookup"] = None if tree is None else Lookup(law, tree)


def apply_online(law: "PwaLaw", theta: Any) -> np.ndarray:
    """Return the law, and the solution of the program where no region holds theta: NaN where it has none.

    Args:
        law: a law that carries its program.
        theta: (..., ntheta) parameters.

    Raises:
        ModelError: the law carries no program.
    """
    if law.mpqp is None:
        raise ModelError("online", "the law carries no program to solve", remedy="take the law from solve_mpqp")
    points, batch = points_of(law, theta)
    out = apply(law, points, law.settings.locate_tolerance)
    left = np.flatnonzero(np.isnan(out).any(axis=1) & np.isfinite(points).all(axis=1))
    if len(left):
        result = law.mpqp.solve_qp_batch(points[left])
        solved = np.array([status == "optimal" for status in result.status])
        out[left[solved]] = result.z[solved][:, : law.n_out]
    return out.reshape(*batch, law.n_out)


def _lookup_for(law: "PwaLaw", count: int) -> "Lookup | None":
    """Return the look-up tables; they are made on the way when scanning one batch takes longer than that."""
    if law._lookup is None and not law._untreeable and count >= break_even(law):
        build_tree(law)
    return law._lookup


def break_even(law: "PwaLaw") -> float:
    """Return the number of points for which scanning all regions takes as long as building a search tree first.

    Args:
        law: the law.

    Returns:
        The number, infinite for more than four parameters, whose trees may take minutes.
    """
    if law.n_regions == 0 or law.ntheta > len(SCAN_SECONDS):
        return np.inf
    build = LOAD_SECONDS + law.n_regions * BUILD_SECONDS[law.ntheta - 1]
    return build / (law.n_regions * SCAN_SECONDS[law.ntheta - 1])


def check_arrays(law: "PwaLaw") -> None:
    """Raise ModelError where the arrays of a law do not fit together.

    Args:
        law: the law.
    """
    n, n_out, ntheta = law.F.shape
    shapes = {
        "row_start": (n + 1,), "H": (law.k.size, ntheta), "g": (n, n_out), "P": (n, ntheta, ntheta), "p": (n, ntheta),
        "c": (n,), "theta_min": (ntheta,), "theta_max": (ntheta,),
    }  # fmt: skip
    for name, shape in shapes.items():
        if getattr(law, name).shape != shape:
            raise ModelError(name, f"expected shape {shape}, got {getattr(law, name).shape}")
    for name in ("H", "k", "F", "g", "theta_min", "theta_max"):
        if not np.isfinite(getattr(law, name)).all():
            raise ModelError(name, "has an entry that is not finite")
    if law.row_start[0] != 0 or law.row_start[-1] != law.k.size or (np.diff(law.row_start) < 0).any():
        raise ModelError("row_start", f"must rise from 0 to {law.k.size}")
    if law.status not in STATUSES:
        raise ModelError("status", f"expected one of {STATUSES}, got {law.status!r}")
    for name, size in (("active", n if law.active else 0), ("theta_names", ntheta), ("out_names", n_out)):
        if len(getattr(law, name)) != size:
            raise ModelError(name, f"expected {size} entries, got {len(getattr(law, name))}")
