"""Closure of an exploration: no facet may face a hole, also where neighbours share only part of a facet."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .kernels_audit import look_beyond, prove_infeasible
from .kernels_closure import probe, scan
from .kernels_store import BORDER, INFEASIBLE, N_ROWS, OPEN
from .online import OnlineQp
from .refinement import Refinement
from .regions import ball

_MATCH = 1e-6  # facets of two neighbours whose centres are this close are the same facet
_SAMPLES = 16  # random parameters checked once the facets are closed
NOTHING, COVERED, AT_BORDER, PROVED_INFEASIBLE = 0, 1, 2, 3  # what was found beyond a facet
_ROOM = 4096  # open points handled at a time


def repair(exploration: Any) -> None:
    """Explore from holes beside facets that only partly match their neighbour's, then open ones, until none is left.

    `exploration.unresolved` is the number of facets with a hole beyond them at the end, by the audit's rule.

    Args:
        exploration: an exploration that has run; its store grows.
    """
    first = 0
    for _ in range(exploration.settings.repair_rounds):
        if exploration.stopped:
            return
        before = exploration.n_regions
        end = int(exploration.store.counts[N_ROWS])
        _probe(exploration, first)
        first = end
        if exploration.n_regions == before:
            rows, radii = open_facets(exploration)
            exploration.unresolved = int(matters(radii, exploration.settings).sum())
            _reach_out(exploration, rows)
            if exploration.n_regions == before:
                return
        exploration.run()
    exploration.unresolved = int(matters(open_facets(exploration)[1], exploration.settings).sum())


def open_facets(exploration: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the facets with something feasible beyond them that no region holds, and the radii of what is missing.

    Args:
        exploration: an exploration that has run.
    """
    store, settings = exploration.store, exploration.settings
    q, regions = int(store.counts[N_ROWS]), exploration.n_regions
    row_start, H, k, centre = store.row_start[: regions + 1], store.H[:q], store.k[:q], store.centre[:q]
    owner = np.repeat(np.arange(regions), np.diff(row_start))
    known = store.neighbour[:q], store.code[:q], store.sets[store.region_set[:regions]]
    covered = look(exploration.reduced, settings, row_start, H, k, owner, centre, *known)

    def held(points: np.ndarray) -> bool:
        return any(scan(row_start, H, k, regions, theta, settings.locate_tolerance) >= 0 for theta in points)

    rows, radii = [], []
    for row in np.flatnonzero(covered == NOTHING):
        if beyond(exploration.online, settings.step, centre[row], H[row], held) == OPEN:
            rows.append(int(row))
            radii.append(missing_radius(exploration.reduced, settings, centre[row] + settings.step * H[row]))
    return np.array(rows, dtype=int), np.array(radii)


def matters(radius: Any, settings: Any) -> Any:
    """Tell whether a missing region must be found: not when it is known to be thinner than the tolerance.

    Args:
        radius: its Chebyshev radius in scaled theta, NaN where unknown.
        settings: the tolerances.
    """
    return ~(np.asarray(radius) <= settings.radius_tolerance)


def look(
    reduced: Any, settings: Any, row_start: np.ndarray, H: np.ndarray, k: np.ndarray, owner: np.ndarray,
    centre: np.ndarray, neighbour: np.ndarray, code: np.ndarray | None = None, sets: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Return for each facet what lies just beyond it, as far as geometry and a certificate tell.

    Args:
        reduced: the program in least-distance form.
        settings: the tolerances.
        row_start: (n_regions+1,) first row of each region.
        H: (q, ntheta) unit rows in scaled theta.
        k: (q,) their right-hand sides.
        owner: (q,) the region of each row.
        centre: (q, ntheta) a point of each facet.
        neighbour: (q,) where a walk begins and leads, or a negative code.
        code: (q,) which parameter row, multiplier or slack vanishes on the facet; None when unknown.
        sets: (n_regions, words) active rows as bits; None when unknown.

    Returns:
        (q,) COVERED, AT_BORDER, PROVED_INFEASIBLE or NOTHING.
    """
    covered = np.empty(len(k), dtype=np.int64)
    look_beyond(
        row_start, H, k, reduced.S, reduced.s, owner, np.maximum(neighbour, -1), centre, settings.step,
        settings.locate_tolerance, np.empty(H.shape[1]), covered,
    )  # fmt: skip
    if code is not None:
        nv = reduced.M.shape[1]
        prove_infeasible(
            *reduced.plain.unit_rows(), len(reduced.s), sets, code, owner, neighbour, H, centre, settings.step,
            np.empty(nv, np.int64), np.empty((nv, nv)), np.empty((nv, nv)), np.empty(nv), covered,
        )  # fmt: skip
    return covered


def beyond(online: Any, step: float, centre: np.ndarray, normal: np.ndarray, held: Callable[[np.ndarray], bool]) -> int:
    """Return what lies just beyond a facet: a region (0), BORDER, INFEASIBLE by an online QP, or OPEN.

    Args:
        online: the `OnlineQp` of the program.
        step: distance beyond the facet; what is open there and closed at three times as far is thinner than that.
        centre: point of the facet, in scaled theta.
        normal: its outward normal.
        held: tells whether a region holds one of several points.
    """
    theta, farther = centre + step * normal, centre + 3.0 * step * normal
    if not online.inside(farther):
        return BORDER
    if not online.feasible(theta):
        return INFEASIBLE
    if held(np.array([theta, farther])):
        return 0
    return OPEN if online.feasible(farther) else INFEASIBLE


def missing_radius(reduced: Any, settings: Any, theta: np.ndarray) -> float:
    """Return the Chebyshev radius of the region of the rows active at theta, NaN when it cannot be made.

    Args:
        reduced: the program in least-distance form.
        settings: the tolerances.
        theta: scaled parameter.
    """
    online = OnlineQp(reduced, settings.multiplier_tolerance)
    support = online.support(theta)
    if support is None:
        return np.nan
    active = np.zeros((1, len(reduced.M)), dtype=bool)
    active[0, support] = True
    region = Refinement(reduced, None, active)
    if not region.solved[0]:
        return np.nan
    H, k = region.facets(np.zeros(len(reduced.M), dtype=int), np.arange(len(reduced.M)))
    matter = np.isfinite(H).all(axis=1)
    return ball(np.vstack([reduced.S, H[matter]]), np.concatenate([reduced.s, k[matter]]))[1]


def _reach_out(exploration: Any, rows: np.ndarray) -> None:
    """Try the rows active at points farther and farther beyond open facets until new regions turn up.

    Near the facet an online QP may keep the active rows of the region itself, within its tolerance.
    """
    for row in rows:
        centre, normal = exploration.store.centre[row].copy(), exploration.store.H[row].copy()
        before = exploration.n_regions
        for distance in np.geomspace(10 * exploration.settings.step, 2.0, 24):
            theta = centre + distance * normal
            if not exploration.online.inside(theta) or exploration.add(theta) == INFEASIBLE:
                break
            if exploration.n_regions > before:
                break


def _probe(exploration: Any, row: int) -> None:
    """Look beyond several points of each facet without a twin, from facet `row` on, and at a few random parameters."""
    directions, samples = _points(len(exploration.centre))
    n = len(exploration.centre)
    rows, points = np.zeros(_ROOM, dtype=np.int64), np.zeros((_ROOM, n))
    point, theta = np.zeros(n), np.zeros(n)
    tolerance = exploration.settings.locate_tolerance
    end = int(exploration.store.counts[N_ROWS])
    while row < end:
        before = exploration.n_regions
        count, row = probe(
            exploration.program, exploration.store, row, directions, samples, _MATCH, tolerance, point, theta, rows,
            points,
        )  # fmt: skip
        for facet, place in zip(rows[:count].tolist(), points[:count].copy(), strict=True):
            normal = exploration.store.H[facet].copy() if facet >= 0 else np.zeros(n)
            beside = place + exploration.settings.step * normal
            if any(exploration.holds(new, beside, tolerance) for new in range(before, exploration.n_regions)):
                continue
            if exploration.known(beside, tolerance):
                continue
            if facet >= 0:
                exploration.beyond(place, normal)
            else:
                exploration.add(place)


@cache
def _points(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions along which facets are probed and the random parameters that are looked at."""
    directions = np.random.default_rng(0).standard_normal((n + 2, n))
    return np.vstack([directions, -directions]), np.random.default_rng(1).uniform(-1, 1, (_SAMPLES, n))
