"""The closure audit: a complete law leaves nothing open beyond any facet.

The point just beyond each facet must lie in another region, outside the parameter set, or be infeasible, which an
online QP proves. Sampling cannot replace this: thin holes have no volume to hit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from yannctl.errors import ModelError

from .exploration import Exploration
from .online import OnlineQp
from .regions import ball, scaled_rows

_STEPS = (1.0, 3.0)  # multiples of settings.step: what is open at one and closed at the other is thinner than that


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

    Args:
        law: a `PwaLaw` that carries its program.

    Raises:
        ModelError: the law carries no program.
    """
    from yannctl.mpqp.presolve import presolve

    if law.mpqp is None:
        raise ModelError("law", "carries no program to audit against", remedy="take the law from solve_mpqp")
    settings = law.settings
    reduced = presolve(law.mpqp, settings.duplicate_tolerance, settings.regularisation, settings.condition_limit)
    online = OnlineQp(reduced, settings.multiplier_tolerance)
    centres, normals, regions = facet_centres(law)
    covered = np.zeros(len(centres), dtype=bool)
    border = np.zeros(len(centres), dtype=bool)
    for factor in _STEPS:
        beyond = centres + factor * settings.step * normals
        covered |= law.locate(_physical(reduced, beyond)) >= 0
        border |= (beyond @ reduced.S.T > reduced.s).any(axis=1)
    open_facets, infeasible = [], 0
    for row in np.flatnonzero(~covered & ~border):
        theta = centres[row] + settings.step * normals[row]
        support = online.support(theta)
        if support is None or online.support(centres[row] + _STEPS[-1] * settings.step * normals[row]) is None:
            infeasible += 1
            continue
        radius = _missing_radius(reduced, settings, theta)
        if np.isnan(radius) or radius > settings.radius_tolerance:
            point = _physical(reduced, theta)
            open_facets.append(OpenFacet(int(regions[row]), int(row), point, radius))
    return Audit(tuple(open_facets), len(centres), int(border.sum()), infeasible)


def facet_centres(
    law: Any,
) -> tuple[Float[np.ndarray, "q ntheta"], Float[np.ndarray, "q ntheta"], Int[np.ndarray, " q"]]:
    """Return a point inside each facet and its outward normal, both in scaled theta, and the facet's region.

    Args:
        law: a `PwaLaw`; rows that carry no facet get the nearest point of the region's largest ball.
    """
    H, k = scaled_rows(law)
    regions = np.repeat(np.arange(law.n_regions), np.diff(law.row_start))
    centres = np.empty_like(H)
    n = law.ntheta
    for i in range(law.n_regions):
        rows = np.arange(law.row_start[i], law.row_start[i + 1])
        for row in rows:
            others = rows[rows != row]
            centres[row] = _facet_centre(H[row], k[row], H[others], k[others]) if n > 1 else k[row] * H[row]
    return centres, H, regions


def _facet_centre(normal: np.ndarray, right: Any, H: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the centre of the largest ball of the facet on {normal'x = right}, in its own hyperplane."""
    n = len(normal)
    basis = np.linalg.svd(normal[None])[2][1:].T  # (n, n-1), orthonormal, spans the hyperplane
    start = right * normal
    inside = H @ basis
    size = np.linalg.norm(inside, axis=1)
    keep = size > 1e-12
    eye = np.eye(n - 1)
    rows = np.vstack([inside[keep] / size[keep, None], eye, -eye])
    bound = np.concatenate([(k - H @ start)[keep] / size[keep], np.full(2 * (n - 1), 4.0 * n)])
    x, _ = ball(rows / 1.0, bound)
    return start + basis @ np.nan_to_num(x)


def _physical(reduced: Any, theta: np.ndarray) -> np.ndarray:
    """Return scaled parameters in the units of theta."""
    return reduced.centre + reduced.half_range * theta


def _missing_radius(reduced: Any, settings: Any, theta: np.ndarray) -> float:
    """Return the Chebyshev radius of the region of the rows active at theta, NaN when it cannot be made."""
    probe = Exploration(reduced, settings)
    region = probe.add(theta)
    if region < 0:
        return np.nan
    rows = slice(probe.store.row_start[region], probe.store.row_start[region + 1])
    return ball(probe.store.H[rows], probe.store.k[rows])[1]
