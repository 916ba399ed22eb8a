"""What `PwaLaw` does to evaluate itself: checked arrays, points as a matrix, regions by scanning or by search tree."""

from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import ModelError

if TYPE_CHECKING:
    from .law import PwaLaw
    from .search_tree import Lookup, SearchTree

STATUSES = ("complete", "partial", "infeasible", "unbounded")
MANY_POINTS = 1_000_000  # scanning the regions for this many takes about as long as building a search tree


def points_of(law: "PwaLaw", theta: Any) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the parameters as a matrix, and the shape of their batch.

    Args:
        law: the law they are for.
        theta: (..., ntheta) parameters.

    Raises:
        ModelError: the last dimension is not ntheta.
    """
    points = np.asarray(theta, dtype=float)
    if points.ndim == 0 or points.shape[-1] != law.ntheta:
        raise ModelError("theta", f"expected shape (..., {law.ntheta}), got {points.shape}")
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


def build_tree(law: "PwaLaw") -> None:
    """Build the search tree of a law and keep it.

    Args:
        law: the law.
    """
    from . import tree_building

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


def _lookup_for(law: "PwaLaw", count: int) -> "Lookup | None":
    """Return the look-up tables; they are made on the way when scanning takes longer."""
    if law._lookup is None and not law._untreeable and count >= MANY_POINTS:
        build_tree(law)
    return law._lookup


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
