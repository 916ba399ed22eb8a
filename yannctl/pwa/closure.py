"""Closure of an exploration: no facet may face a hole, also where neighbours share only part of a facet."""

from typing import Any

import numpy as np

from .kernels import locate_one
from .kernels_closure import probe_facets
from .kernels_store import N_REGIONS, N_ROWS

_MATCH = 1e-6  # facets of two neighbours whose centres are this close are the same facet
_SAMPLES = 16  # random parameters checked once the facets are closed
_ROOM = 4096  # open points handled at a time


def repair(exploration: Any) -> None:
    """Explore from holes beside facets that only partly match their neighbour's, until none is found.

    Args:
        exploration: an exploration that has run; its store grows.
    """
    first = 0
    for _ in range(exploration.settings.repair_rounds):
        if exploration.stopped:
            return
        before = exploration.n_regions
        end = int(exploration.store.counts[N_ROWS])
        _probe_facets(exploration, first)
        first = end
        _probe_samples(exploration)
        exploration.unresolved = exploration.n_regions - before
        if not exploration.unresolved:
            return
        exploration.run()


def covered(exploration: Any, theta: np.ndarray) -> bool:
    """Tell whether a scaled parameter lies in a region.

    Args:
        exploration: the exploration.
        theta: scaled parameter.
    """
    store = exploration.store
    starts = store.row_start[: int(store.counts[N_REGIONS]) + 1]
    _, violation = locate_one(theta.reshape(1, -1), 0, starts, store.H, store.k)
    return violation <= exploration.settings.locate_tolerance


def _probe_facets(exploration: Any, row: int) -> None:
    """Look beyond several points of each facet without a twin, from facet `row` on."""
    n = len(exploration.centre)
    if n == 1:
        return
    directions = np.random.default_rng(0).standard_normal((n + 2, n))
    directions = np.vstack([directions, -directions])
    rows, points = np.zeros(_ROOM, dtype=np.int64), np.zeros((_ROOM, n))
    point, theta = np.zeros(n), np.zeros(n)
    tolerance = exploration.settings.locate_tolerance
    while row < int(exploration.store.counts[N_ROWS]):
        count, row = probe_facets(
            exploration.program, exploration.store, row, directions, _MATCH, tolerance, point, theta, rows, points
        )
        for facet, place in zip(rows[:count], points[:count], strict=True):
            normal = exploration.store.H[facet].copy()
            if not covered(exploration, place + exploration.settings.step * normal):
                exploration.beyond(place.copy(), normal)


def _probe_samples(exploration: Any) -> None:
    """Add the regions of random feasible parameters that are not covered."""
    generator = np.random.default_rng(1)
    for theta in generator.uniform(-1, 1, (_SAMPLES, len(exploration.centre))):
        if exploration.online.inside(theta) and not covered(exploration, theta):
            exploration.add(theta)
