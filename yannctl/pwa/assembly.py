"""From explored active sets to a `PwaLaw` in the units of theta."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt

from yannctl.mpqp.presolve import ReducedProgram

from .kernels_explore import region_maps
from .kernels_store import N_REGIONS, N_ROWS, NEXT
from .law import PwaLaw
from .merging import share_laws
from .refinement import DELICATE, refine
from .settings import Settings


@dataclass(frozen=True)
class Origin:
    """What the solver knows beyond a law's own arrays.

    Args:
        reduced: the program in least-distance form.
        centre: (q, ntheta) a point inside each facet, in scaled theta.
        neighbour: (q,) the region beyond it, or a negative code.
        code: (q,) which parameter row, multiplier or slack vanishes on it.
        sets: (n_regions, words) active rows of the reduced program as bits.
    """

    reduced: ReducedProgram
    centre: Float[np.ndarray, "q ntheta"]
    neighbour: Int[np.ndarray, " q"]
    code: Int[np.ndarray, " q"]
    sets: UInt[np.ndarray, "n_regions words"]


def assemble(mpqp: Any, exploration: Any) -> PwaLaw:
    """Return the law of all regions found.

    Args:
        mpqp: the program as the caller gave it.
        exploration: the finished or stopped exploration.
    """
    reduced, store, program = exploration.reduced, exploration.store, exploration.program
    n_regions, n_rows = int(store.counts[N_REGIONS]), int(store.counts[N_ROWS])
    n = len(reduced.centre)
    maps = np.empty((n_regions, program.M.shape[1], n + 1))
    region_maps(program, store, exploration.work, maps)
    n_out = mpqp.n_out
    gains, curvature = _gains_and_cost(reduced, store.sets[store.region_set[:n_regions]], maps, n_out)
    F = gains[..., :n] / reduced.half_range
    g = gains[..., n] - F @ reduced.centre
    share_laws(F, g, reduced.centre, reduced.half_range)
    H = store.H[:n_rows] / reduced.half_range
    status, message = _outcome(exploration, n_regions)
    law = PwaLaw(
        row_start=store.row_start[: n_regions + 1].copy(), H=H, k=store.k[:n_rows] + H @ reduced.centre,
        F=F, g=g,
        theta_min=np.array(mpqp.theta_min), theta_max=np.array(mpqp.theta_max),
        **_value(mpqp, reduced, curvature), active=_active_sets(exploration, n_regions),
        theta_names=tuple(mpqp.theta_names), out_names=tuple(mpqp.out_names), status=status, message=message, mpqp=mpqp,
        settings=exploration.settings,
    )  # fmt: skip
    centre, neighbour, code = (array[:n_rows].copy() for array in (store.centre, store.neighbour, store.code))
    sets = store.sets[store.region_set[:n_regions]]
    law.__dict__["origin"] = Origin(reduced, centre, neighbour, code, sets)
    return law


def _gains_and_cost(
    reduced: ReducedProgram, sets: np.ndarray, maps: np.ndarray, n_out: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return z[:n_out] and twice the cost of each region as a linear and a quadratic function of [theta_s; 1]."""
    plain = reduced.plain
    if plain.cancellation < DELICATE:
        cost = np.matmul(maps.transpose(0, 2, 1), maps) * reduced.scale**2 + reduced.C
        return np.matmul(reduced.Zv[:n_out], maps) + reduced.Zt[:n_out], cost
    unrefined = np.linalg.pinv(plain.N) @ (np.matmul(reduced.Zv, maps) + reduced.Zt - plain.Z0)
    y = refine(plain, sets, unrefined)
    cross = np.matmul(y.transpose(0, 2, 1), plain.L)
    cost = np.matmul(y.transpose(0, 2, 1), plain.H @ y) + cross + cross.transpose(0, 2, 1) + plain.C
    return np.matmul(plain.N[:n_out], y) + plain.Z0[:n_out], cost


def empty_law(mpqp: Any, settings: Settings, status: str, message: str) -> PwaLaw:
    """Return a law without regions.

    Args:
        mpqp: the program.
        settings: the tolerances.
        status: "infeasible" or "unbounded".
        message: what happened and what to do about it.
    """
    n, n_out = len(mpqp.theta_min), mpqp.n_out
    return PwaLaw(
        row_start=np.zeros(1, dtype=np.int64), H=np.zeros((0, n)), k=np.zeros(0), F=np.zeros((0, n_out, n)),
        g=np.zeros((0, n_out)), theta_min=np.array(mpqp.theta_min), theta_max=np.array(mpqp.theta_max),
        theta_names=tuple(mpqp.theta_names), out_names=tuple(mpqp.out_names), status=status, message=message, mpqp=mpqp,
        settings=settings,
    )  # fmt: skip


def _value(mpqp: Any, reduced: Any, curvature: np.ndarray) -> dict[str, np.ndarray]:
    """Return P, p, c of V = theta'P theta/2 + p'theta + c from the curvature in [theta_s; 1] and Y, y, y0."""
    n = len(reduced.centre)
    P = curvature[:, :n, :n] / np.outer(reduced.half_range, reduced.half_range)
    slope = curvature[:, :n, n] / reduced.half_range
    p = slope - P @ reduced.centre
    c = curvature[:, n, n] / 2 - slope @ reduced.centre + np.einsum("i,nij,j->n", reduced.centre, P, reduced.centre) / 2
    return {"P": P + mpqp.Y, "p": p + mpqp.y, "c": c + mpqp.y0}


def _active_sets(exploration: Any, n_regions: int) -> tuple[tuple[int, ...], ...]:
    """Return each region's active rows as indices of the original program; equalities are always active."""
    reduced, store = exploration.reduced, exploration.store
    if not n_regions:
        return ()
    equal = [i for i, _ in reduced.equalities]
    words = store.sets[store.region_set[:n_regions]].astype("<u8")
    bits = np.unpackbits(words.view(np.uint8).reshape(n_regions, -1), axis=1, bitorder="little")
    region, row = np.nonzero(bits)
    rows = reduced.rows[row].tolist()
    ends = np.searchsorted(region, np.arange(n_regions + 1)).tolist()
    return tuple(tuple(sorted(equal + rows[s:e])) for s, e in itertools.pairwise(ends))


def _outcome(exploration: Any, n_regions: int) -> tuple[str, str]:
    """Return status and message of a finished or stopped exploration."""
    note = ""
    if exploration.reduced.regularisation:
        added = exploration.reduced.regularisation
        note = (
            f" H is singular: up to {added:.3g} was added to it along flat directions, with z in units of its extent,"
            f" so the law's cost may exceed the least by {added * exploration.reduced.M.shape[1] / 2:.3g}."
        )
    if exploration.stopped:
        left = n_regions - int(exploration.store.counts[NEXT])
        return "partial", (
            f"stopped by {exploration.stopped} with {n_regions} regions, {left} of them not yet explored from; raise"
            f" the limit, shorten the horizon, or narrow the parameter box.{note}"
        )
    if exploration.unresolved:
        return "partial", (
            f"{exploration.unresolved} facets stayed open after {exploration.settings.repair_rounds} repairs; see"
            f" law.audit() and raise repair_rounds.{note}"
        )
    return "complete", f"{n_regions} regions.{note}"
