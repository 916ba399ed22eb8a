"""Every tolerance and limit of the explicit solver, in one place.

All lengths are in scaled parameters: theta is mapped to [-1, 1] in each coordinate and every region row has unit norm.
"""

from dataclasses import dataclass

from yannctl.errors import ModelError


@dataclass(frozen=True)
class Settings:
    """Tolerances and limits of `solve_mpqp` and of the law it returns.

    Args:
        max_regions: the solver stops with status "partial" once it holds this many regions.
        max_seconds: wall-clock limit; the solver stops within half a second of it.
        max_bytes: limit on the memory of the exploration's arrays, checked before they grow.
        locate_tolerance: a point within this distance outside a region still counts as inside it.
        radius_tolerance: regions whose Chebyshev radius is below this may be left out; anything larger is found.
        licq_tolerance: an active row whose distance to the span of the others is at most this (unit rows) counts as
            linearly dependent.
        zero_tolerance: a region row whose gradient is at most this (relative to its own rounding scale) is constant.
        vertex_tolerance: a vertex within this distance of a hyperplane lies on it (double description).
        duplicate_tolerance: normalised rows closer than this are one row.
        multiplier_tolerance: multipliers of the online QP above this (relative to the largest) mark active rows.
        step: distance beyond a facet at which its neighbour is looked for.
        vertex_parameters: up to this many parameters regions are cut by double description, above by linear programs.
        max_vertices: a region with more vertices than this is cut by linear programs.
        regularisation: what is added to a singular Hessian along its flat directions, relative to the linear cost
            there, with the variables in units of their extent; less makes the law exacter and its regions less so.
        condition_limit: Hessians with a larger condition number count as singular and are regularised.
        law_tolerance: two laws closer than this, relative to the output range over the parameter box, are one law.
        seeds: number of perturbed starting points tried before the problem is given up as flat.
        repair_rounds: number of passes that look for, and explore from, facets left open.
        chunk_seconds: the compiled kernel returns to Python this often (limits, Ctrl-C, progress).
    """

    max_regions: int = 1_000_000
    max_seconds: float = float("inf")
    max_bytes: int = 4 * 2**30
    locate_tolerance: float = 1e-9
    radius_tolerance: float = 1e-8
    licq_tolerance: float = 1e-11
    zero_tolerance: float = 1e-12
    vertex_tolerance: float = 1e-11
    duplicate_tolerance: float = 1e-12
    multiplier_tolerance: float = 1e-9
    step: float = 1e-8
    vertex_parameters: int = 7
    max_vertices: int = 4096
    regularisation: float = 1e-6
    condition_limit: float = 1e13
    law_tolerance: float = 1e-8
    seeds: int = 12
    repair_rounds: int = 8
    chunk_seconds: float = 0.3

    def __post_init__(self) -> None:
        for field in ("max_regions", "max_seconds", "max_bytes", "seeds", "max_vertices"):
            if not getattr(self, field) > 0:
                raise ModelError(field, f"must be positive, got {getattr(self, field)}")
        for field in ("locate_tolerance", "radius_tolerance", "licq_tolerance", "vertex_tolerance", "step"):
            if not 0 < getattr(self, field) < 1e-2:
                raise ModelError(field, f"must lie in (0, 0.01), got {getattr(self, field)}")
