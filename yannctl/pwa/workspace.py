"""Arrays of the exploration: made once, grown by doubling."""

from functools import cache

import numpy as np

from yannctl.mpqp.presolve import ReducedProgram

from .kernels_region import Program, Work
from .kernels_store import N_REGIONS, N_ROWS, N_SETS, Store, rehash
from .settings import Settings


def make_program(reduced: ReducedProgram, settings: Settings) -> Program:
    """Return the kernels' view of a reduced program.

    Args:
        reduced: the program in least-distance form.
        settings: tolerances.
    """
    tolerances = np.array([
        settings.licq_tolerance, settings.zero_tolerance, settings.vertex_tolerance, settings.radius_tolerance,
        settings.step, 0.3 * settings.step, settings.radius_tolerance,
    ])  # fmt: skip
    arrays = (reduced.M, reduced.D, reduced.S, reduced.s, reduced.M.T, reduced.D.T, tolerances)
    return Program(*(np.ascontiguousarray(array, dtype=float) for array in arrays))


def make_work(program: Program, settings: Settings) -> Work:
    """Return the kernels' work arrays.

    Args:
        program: gives the sizes.
        settings: gives the largest number of vertices.
    """
    m, nz = program.M.shape
    base, n = program.S.shape
    q = base + m
    nv = settings.max_vertices if n <= settings.vertex_parameters else 1
    na = nz + 2
    shapes = {
        "W": (max(na, m + 1), np.int64), "Q": ((na, nz), float), "T": ((na, na), float), "Y": ((na, n + 1), float),
        "L": ((na, n + 1), float), "V": ((nz, n + 1), float), "H": ((n, q), float), "k": (q, float),
        "size": (q, float), "reach": (q, float), "scale": (q, float), "slack": (q, float), "order": (q, np.int64),
        "vx": ((n, nv), float), "bits": ((nv, (q + 63) // 64), np.uint64), "vslack": (nv, float),
        "sides": ((2, nv), np.int64), "used": (q, np.int64), "count": (q, np.int64), "centre": ((q, n), float),
        "point": (n, float), "ratio": (na, float), "key": ((m + 63) // 64 + (m == 0), np.uint64),
        "rows": ((q, n), float), "right": (q, float), "basis": (n + 2, np.int64), "square": ((n + 2, n + 2), float),
        "inverse": ((n + 2, n + 2), float),
        "lp_row": (n + 2, float),
        "x": (max(n + 2, na), float), "sub_H": ((q, max(n - 1, 1)), float),
        "sub_k": (q, float), "reflect": (n, float),
    }  # fmt: skip
    work = Work(**{name: np.empty(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()})
    work.H[:, :base] = program.S.T
    work.k[:base] = program.s
    return work


def make_store(program: Program, regions: int = 256, points: int = 0) -> Store:
    """Return an empty store.

    Args:
        program: gives the sizes.
        regions: number of regions there is room for at first.
        points: number of sets whose point is kept.
    """
    m, n = program.M.shape[0], program.S.shape[1]
    rows, sets = max(8 * regions * n, 4 * (m + len(program.s))), max(4 * regions, points)
    words = (m + 63) // 64 + (m == 0)
    return Store(
        counts=np.zeros(8, dtype=np.int64), row_start=np.zeros(regions + 1, dtype=np.int64), H=np.zeros((rows, n)),
        k=np.zeros(rows), code=np.zeros(rows, dtype=np.int32), centre=np.zeros((rows, n)),
        neighbour=np.zeros(rows, dtype=np.int64), sets=np.zeros((sets, words), dtype=np.uint64),
        set_region=np.zeros(sets, dtype=np.int64), region_set=np.zeros(regions + 1, dtype=np.int64),
        table=np.full(_power_of_two(2 * sets), -1, dtype=np.int64), points=np.zeros((points, n)),
    )  # fmt: skip


def nothing_ahead(program: Program) -> Store:
    """Return a store without room, for an exploration without workers.

    Args:
        program: gives the sizes.
    """
    m, n = program.M.shape[0], program.S.shape[1]
    return _nothing((m + 63) // 64 + (m == 0), n)


@cache
def _nothing(words: int, n: int) -> Store:
    whole, rows, numbers = np.zeros(8, dtype=np.int64), np.zeros((0, n)), np.zeros(0)
    return Store(
        counts=whole, row_start=whole, H=rows, k=numbers, code=np.zeros(0, dtype=np.int32), centre=rows,
        neighbour=whole, sets=np.zeros((0, words), dtype=np.uint64), set_region=whole, region_set=whole, table=whole,
        points=rows,
    )  # fmt: skip


def store_bytes(store: Store) -> int:
    """Return the memory of a store in bytes.

    Args:
        store: the store.
    """
    return sum(array.nbytes for array in store)


def grow(store: Store, most: int) -> Store:
    """Return a copy with twice the room of whatever is more than half full.

    Args:
        store: the store that is full.
        most: number of regions there shall never be more room for.
    """
    counts = store.counts
    arrays = store._asdict()
    if 2 * counts[N_REGIONS] + 2 >= len(store.row_start):
        for name in ("row_start", "region_set"):
            arrays[name] = _doubled(arrays[name])[: most + 1]
    if 2 * counts[N_ROWS] + 2 * store.H.shape[1] >= len(store.k):
        for name in ("H", "k", "code", "centre", "neighbour"):
            arrays[name] = _doubled(arrays[name])
    larger = 2 * counts[N_SETS] + 2 >= len(store.sets)
    if larger:
        for name in ("sets", "set_region"):
            arrays[name] = _doubled(arrays[name])
        arrays["table"] = np.full(2 * len(store.table), -1, dtype=np.int64)
    result = Store(**arrays)
    if larger:
        rehash(result)
    return result


def _doubled(array: np.ndarray) -> np.ndarray:
    result = np.zeros((2 * len(array), *array.shape[1:]), dtype=array.dtype)
    result[: len(array)] = array
    return result


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()
