"""The closure audit: a complete law leaves nothing open beyond any facet.

The point just beyond each facet must lie in another region, outside the parameter set, or be infeasible, which an
online QP proves. Sampling cannot replace this: thin holes have no volume to hit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from yannctl.errors import ModelError

from .assembly import restored
from .closure import AT_BORDER, NOTHING, PROVED_INFEASIBLE, beyond, look, matters, missing_radius
from .kernels_audit import match_facets, on_facets, write_centres
from .kernels_store import BORDER, INFEASIBLE, OPEN
from .online import OnlineQp
from .regions import scaled_rows

_MATCH = 1e-6  # facets of two regions whose centres are this close are the same facet
_ON_FACET = 1e-9  # how far from a facet, or outside its region, a point known from the solver may lie
_MOST_VERTICES = 4096


@dataclass(frozen=True)
class OpenFacet:
    """A facet with something feasible beyond it that no region holds.

    Args:
        region: the region it belongs to.
        row: the row of the law's arrays.
        point: (ntheta,) the point just beyond it, in the units of theta.
        radius: Chebyshev radius in scaled theta of the region missing there; NaN where it could not be found.
    """

    region: int
    row: int
    point: Float[np.ndarray, " ntheta"]
    radius: float


@dataclass(frozen=True)
class Audit:
    """Result of a closure audit.

    Args:
        open_facets: facets with a hole beyond them.
        n_checked: number of facets looked at.
        n_border: number of facets on the border of the parameter set.
        n_infeasible: number of facets with a proved-infeasible point beyond them.
    """

    open_facets: tuple[OpenFacet, ...]
    n_checked: int
    n_border: int
    n_infeasible: int

    @property
    def n_open(self) -> int:
        """Number of facets with a hole beyond them."""
        return len(self.open_facets)

    @property
    def radii(self) -> Float[np.ndarray, " n_open"]:
        """(n_open,) Chebyshev radii of the missing regions, in scaled theta."""
        return np.array([facet.radius for facet in self.open_facets])


def audit(law: Any) -> Audit:
    """Check each facet of a law for a hole beyond it.

    A law from the solver, or from a file of one, knows a point of each facet and what lay beyond it; both are checked
    against the regions, not believed.

    Args:
        law: a `PwaLaw` that carries its program.

    Raises:
        ModelError: the law carries no program.
    """
    from yannctl.mpqp.presolve import presolve

    if law.mpqp is None:
        raise ModelError("law", "carries no program to audit against", remedy="take the law from solve_mpqp")
    settings, origin = law.settings, law.origin
    if origin is None and law.facet_notes is not None:
        origin = restored(law, *law.facet_notes)
    reduced = (
        presolve(law.mpqp, settings.duplicate_tolerance, settings.regularisation, settings.condition_limit)
        if origin is None
        else origin.reduced
    )
    H, k = scaled_rows(law)
    regions = np.repeat(np.arange(law.n_regions), np.diff(law.row_start))
    if origin is not None and on_facets(law.row_start, H, k, origin.centre, _ON_FACET):
        centres, neighbour = origin.centre, origin.neighbour
    else:
        origin, centres = None, _centres(law, H, k)
        neighbour = _neighbours(centres, regions)
    known = () if origin is None else (origin.code, origin.sets)
    covered = look(reduced, settings, law.row_start, H, k, regions, centres, neighbour, *known)
    return _judge(law, reduced, centres, H, regions, covered)


def _judge(
    law: Any, reduced: Any, centres: np.ndarray, normals: np.ndarray, regions: np.ndarray, covered: np.ndarray
) -> Audit:
    """Prove by online QPs that nothing is feasible beyond the facets that are left, or list them."""
    settings, step = law.settings, law.settings.step
    online = OnlineQp(reduced, settings.multiplier_tolerance)
    open_facets, border, infeasible = [], int((covered == AT_BORDER).sum()), int((covered == PROVED_INFEASIBLE).sum())

    def held(points: np.ndarray) -> bool:
        return bool((law.locate(_physical(reduced, points)) >= 0).any())

    for row in np.flatnonzero(covered == NOTHING):
        found = beyond(online, step, centres[row], normals[row], held)
        border += found == BORDER
        infeasible += found == INFEASIBLE
        if found != OPEN:
            continue
        theta = centres[row] + step * normals[row]
        radius = missing_radius(reduced, settings, theta)
        if matters(radius, settings):
            point = _physical(reduced, theta)
            open_facets.append(OpenFacet(int(regions[row]), int(row), point, radius))
    return Audit(tuple(open_facets), len(centres), border, infeasible)


def _neighbours(centres: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Return the region that shares each facet, -1 where none does."""
    direction = np.random.default_rng(0).standard_normal(centres.shape[1])
    key = centres @ (direction / np.abs(direction).sum())  # two points differ by at least as much as their keys
    neighbour = np.empty(len(regions), dtype=np.int64)
    match_facets(centres, regions, key, np.argsort(key, kind="stable"), _MATCH, neighbour)
    return neighbour


def facet_centres(
    law: Any,
) -> tuple[Float[np.ndarray, "q ntheta"], Float[np.ndarray, "q ntheta"], Int[np.ndarray, " q"]]:
    """Return a point inside each facet and its outward normal, both in scaled theta, and the facet's region.

    Args:
        law: a `PwaLaw`; rows that carry no facet get the nearest point of the region's largest ball.
    """
    H, k = scaled_rows(law)
    return _centres(law, H, k), H, np.repeat(np.arange(law.n_regions), np.diff(law.row_start))


def _centres(law: Any, H: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return a point inside each facet, in scaled theta."""
    n = law.ntheta
    if n == 1:
        return k[:, None] * H
    centres = np.empty_like(H)
    rows = int(np.diff(law.row_start).max(initial=0)) + 1
    limit = _MOST_VERTICES if n <= law.settings.vertex_parameters else 1
    write_centres(
        law.row_start, H, k, limit > 1, np.empty((n, rows)), np.empty(rows), np.empty((n, limit)),
        np.empty((limit, (rows + 2 * n + 63) // 64), dtype=np.uint64), np.empty(limit),
        np.empty((2, limit), dtype=np.int64), np.empty((rows, n - 1)), np.empty(rows), np.empty((4, n + 2, n + 2)),
        np.empty(n + 2, dtype=np.int64), centres,
    )  # fmt: skip
    return centres


def _physical(reduced: Any, theta: np.ndarray) -> np.ndarray:
    """Return scaled parameters in the units of theta."""
    return reduced.centre + reduced.half_range * theta
