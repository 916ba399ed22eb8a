"""From explored active sets to a `PwaLaw` in the units of theta."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt

from yannctl.mpqp.presolve import ReducedProgram, in_scaled, presolve

from .kernels_explore import region_maps
from .kernels_store import N_REGIONS, N_ROWS, NEXT
from .law import PwaLaw
from .merging import share_laws
from .refinement import DELICATE, Refinement
from .settings import Settings

_NEAR = 1e-3  # a facet that moves by more than this when it is recomputed stays as it was explored


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


def restored(law: PwaLaw, centre: np.ndarray, neighbour: np.ndarray, code: np.ndarray) -> Origin | None:
    """Return the origin of a law from what a file keeps of it; None where that does not fit the law's program.

    Args:
        law: a law that carries its program and active rows.
        centre: (q, ntheta) a point inside each facet, in scaled theta.
        neighbour: (q,) the region beyond it, or a negative code.
        code: (q,) which parameter row, multiplier or slack vanishes on it.
    """
    settings = law.settings
    reduced = presolve(law.mpqp, settings.duplicate_tolerance, settings.regularisation, settings.condition_limit)
    m, place = len(reduced.M), {int(row): i for i, row in enumerate(reduced.rows)}
    shapes = centre.shape == law.H.shape and neighbour.shape == code.shape == law.k.shape
    if not shapes or len(law.active) != law.n_regions or reduced.problem:
        return None
    if ((code < 0) | (code >= len(reduced.s) + 2 * m)).any() or (neighbour >= law.n_regions).any():
        return None
    sets = np.zeros((law.n_regions, max(1, -(-m // 64))), dtype=np.uint64)
    for region, rows in enumerate(law.active):
        for i in (place[row] for row in rows if row in place):
            sets[region, i >> 6] |= np.uint64(1 << (i & 63))
    return Origin(reduced, centre, neighbour.astype(np.int64), code.astype(np.int64), sets)


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
    sets = store.sets[store.region_set[:n_regions]]
    rows, right, centre = store.H[:n_rows], store.k[:n_rows], store.centre[:n_rows].copy()
    if reduced.plain.cancellation < DELICATE:
        gains, curvature = _gains_and_cost(reduced, maps, n_out)
    else:
        refined = Refinement(reduced, mpqp, active_bits(sets, len(reduced.M)))
        gains, curvature = _refined_gains_and_cost(reduced, mpqp, refined, maps)
        gains = gains[:, :n_out]
        rows, right = _refined_facets(reduced, refined, store, n_regions)
        centre += (right - (rows * centre).sum(axis=1))[:, None] * rows
    F = gains[..., :n] / reduced.half_range
    g = gains[..., n] - F @ reduced.centre
    share_laws(F, g, reduced.centre, reduced.half_range)
    H = rows / reduced.half_range
    status, message = _outcome(exploration, n_regions)
    law = PwaLaw(
        row_start=store.row_start[: n_regions + 1].copy(), H=H, k=right + H @ reduced.centre,
        F=F, g=g,
        theta_min=np.array(mpqp.theta_min), theta_max=np.array(mpqp.theta_max),
        **_value(mpqp, reduced, curvature), active=_active_sets(exploration, n_regions),
        theta_names=tuple(mpqp.theta_names), out_names=tuple(mpqp.out_names), status=status, message=message, mpqp=mpqp,
        settings=exploration.settings,
    )  # fmt: skip
    neighbour, code = store.neighbour[:n_rows].copy(), store.code[:n_rows].copy()
    law.__dict__["origin"] = Origin(reduced, centre, neighbour, code, sets)
    return law


def _gains_and_cost(reduced: ReducedProgram, maps: np.ndarray, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Return z[:n_out] and twice the cost of each region as a linear and a quadratic function of [theta_s; 1]."""
    cost = np.matmul(maps.transpose(0, 2, 1), maps) * reduced.scale**2 + reduced.C
    return np.matmul(reduced.Zv[:n_out], maps) + reduced.Zt[:n_out], cost


def _refined_gains_and_cost(
    reduced: ReducedProgram, mpqp: Any, refined: Refinement, maps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same from the regions' own equations, where these can be solved."""
    plain, solved = reduced.plain, refined.solved[:, None, None]
    explored = np.matmul(reduced.Zv, maps) + reduced.Zt
    if refined.as_given:
        z = np.where(solved, refined.minimisers(), explored)
        return z, _cost(mpqp.H, in_scaled(mpqp.F, mpqp.f, reduced.centre, reduced.half_range), z)
    y = np.where(solved, refined.minimisers(), np.linalg.pinv(plain.N) @ (explored - plain.Z0))
    return np.matmul(plain.N, y) + plain.Z0, _cost(plain.H, plain.L, y) + plain.C


def _cost(H: np.ndarray, L: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return z'Hz + 2 z'L of each region as a quadratic function of [theta_s; 1]."""
    cross = np.matmul(z.transpose(0, 2, 1), L)
    return np.matmul(z.transpose(0, 2, 1), H @ z) + cross + cross.transpose(0, 2, 1)


def active_bits(sets: np.ndarray, m: int) -> np.ndarray:
    """Return the active rows of regions as an array of truth values.

    Args:
        sets: (n_regions, words) active rows as bits.
        m: number of rows.
    """
    words = sets.astype("<u8")
    bits = np.unpackbits(words.view(np.uint8).reshape(len(sets), -1), axis=1, bitorder="little")
    return bits[:, :m].astype(bool)


def _refined_facets(
    reduced: ReducedProgram, refined: Refinement, store: Any, n_regions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the facets' rows from the regions' own equations, the explored ones where these are far off."""
    n_rows = int(store.row_start[n_regions])
    H, k = store.H[:n_rows].copy(), store.k[:n_rows].copy()
    base, m = len(reduced.s), len(reduced.M)
    inner = np.flatnonzero(store.code[:n_rows] >= base)
    region = np.repeat(np.arange(n_regions), np.diff(store.row_start[: n_regions + 1]))[inner]
    rows, right = refined.facets(region, (store.code[inner] - base) % m)
    near = np.abs(rows - H[inner]).max(axis=1, initial=0.0) + np.abs(right - k[inner]) < _NEAR
    H[inner[near]], k[inner[near]] = rows[near], right[near]
    return H, k


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
    region, row = np.nonzero(active_bits(store.sets[store.region_set[:n_regions]], len(reduced.M)))
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
            f"{n_regions} regions, {exploration.unresolved} facets stayed open: something feasible lies beyond them"
            f" that no region holds; law.audit() lists them; more repair_rounds let the solver look longer.{note}"
        )
    return "complete", f"{n_regions} regions.{note}"
