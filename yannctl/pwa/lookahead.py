"""Regions evaluated ahead of the exploration by several workers: joblib gives the work to processes or machines.

The exploration itself stays serial. Before it crosses the facets of its next regions, the active sets that their flips
lead to are shared out; a worker's answer is used only for the same set at the same point, where it has the same bits as
the exploration's own would have. So the law does not depend on the number of workers, nor on how they share the work.
"""

import itertools
from typing import Any

import joblib
import numpy as np

from .kernels_explore import explore, list_flips
from .kernels_region import Program
from .kernels_store import N_REGIONS, N_ROWS, N_SETS, NEXT, Store
from .settings import Settings
from .workspace import grow, make_store, make_work, nothing_ahead

REGIONS = 4096  # regions whose flips are shared out at a time
LEAST = 256  # sets; for fewer, handing them out takes longer than evaluating them


class Lookahead:
    """Workers that evaluate active sets.

    Args:
        program: the kernels' view of the program.
        settings: tolerances.
        n_jobs: number of workers; joblib's configuration says where they run.
    """

    def __init__(self, program: Program, settings: Settings, n_jobs: int) -> None:
        self.program, self.settings, self.n_jobs = program, settings, n_jobs
        self._workers = joblib.Parallel(n_jobs=n_jobs).__enter__()

    def close(self) -> None:
        """Send the workers home."""
        self._workers.__exit__(None, None, None)

    def evaluate(self, store: Store, work: Any, parent: np.ndarray, centre: np.ndarray) -> tuple[Store, int]:
        """Return a store of the sets that the next regions' flips lead to, and the region up to which it reaches.

        Args:
            store: the regions found so far.
            work: work arrays.
            parent: work array for an active set.
            centre: work array for a point.
        """
        until = min(int(store.counts[NEXT]) + REGIONS, int(store.counts[N_REGIONS]))
        facets = int(store.row_start[until] - store.row_start[store.counts[NEXT]])
        ahead = make_store(self.program, 1, facets + 1)
        list_flips(self.program, store, ahead, work, parent, centre, until)
        count = int(ahead.counts[N_SETS])
        if count < LEAST:
            return nothing_ahead(self.program), until
        bounds = np.linspace(0, count, 2 * self.n_jobs + 1).astype(int)
        answers = self._workers(
            joblib.delayed(evaluate_sets)(self.program, self.settings, ahead.sets[a:b].copy(), ahead.points[a:b].copy())
            for a, b in itertools.pairwise(bounds)
        )
        return _joined(ahead, list(answers)), until


def evaluate_sets(program: Program, settings: Settings, sets: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return (region of each set or why there is none, rows of each region, H, k, code, centre).

    Args:
        program: the kernels' view of the program.
        settings: tolerances.
        sets: (count, words) active sets as bits.
        points: (count, ntheta) the point beyond the facet that leads to each.
    """
    program = Program(*(np.require(array, requirements=["C", "W"]) for array in program))  # shared memory is read-only
    work, store, nothing = make_work(program, settings), make_store(program), nothing_ahead(program)
    parent, centre = np.zeros(program.M.shape[0] + 1, dtype=np.int64), np.zeros(program.S.shape[1])
    bits = np.unpackbits(sets.astype("<u8").view(np.uint8).reshape(len(sets), -1), axis=1, bitorder="little")
    position, row = np.nonzero(bits)
    starts = np.searchsorted(position, np.arange(len(sets) + 1))
    result = np.empty(len(sets), dtype=np.int64)
    for i, point in enumerate(np.array(points)):
        rows = np.ascontiguousarray(row[starts[i] : starts[i + 1]])
        while True:
            arrays = (program, store, nothing, work, parent, centre)
            result[i] = explore(*arrays, -1, settings.vertex_parameters, rows, len(rows), point)
            if result[i] != -3:
                break
            store = grow(store, len(sets) + 1)
    regions, rows = int(store.counts[N_REGIONS]), int(store.counts[N_ROWS])
    lengths = np.diff(store.row_start[: regions + 1])
    return result, lengths, *(array[:rows].copy() for array in (store.H, store.k, store.code, store.centre))


def _joined(ahead: Store, answers: list[Any]) -> Store:
    """Return the store of all answers, in the order of their sets."""
    results, lengths, *arrays = (list(part) for part in zip(*answers, strict=True))
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in lengths])[:-1]])
    regions = [np.where(part >= 0, part + offset, part) for part, offset in zip(results, offsets, strict=True)]
    H, k, code, centre = (np.concatenate(parts) for parts in arrays)
    row_start = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return ahead._replace(row_start=row_start, H=H, k=k, code=code, centre=centre, set_region=np.concatenate(regions))
