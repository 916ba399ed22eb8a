"""Closure of an exploration: no facet may face a hole, also where neighbours share only part of a facet."""

from functools import cache
from typing import Any

import numpy as np

from .kernels_closure import probe
from .kernels_store import N_ROWS

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
        _probe(exploration, first)
        first = end
        exploration.unresolved = exploration.n_regions - before
        if not exploration.unresolved:
            return
        exploration.run()


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
