"""The regions found so far: growing arrays, and a hash table of the active sets already tried."""

import typing
from typing import NamedTuple

import numpy as np

from .compilation import inner, kernel, once
from .kernels_dd import ONE
from .kernels_region import irredundant, region_rows

OPEN = -1
BORDER = -2
INFEASIBLE = -3
N_REGIONS, N_ROWS, N_SETS, NEXT = 0, 1, 2, 3
_UNKNOWN = -9


class Store(NamedTuple):
    """The regions found so far, as growing arrays."""

    counts: np.ndarray
    row_start: np.ndarray
    H: np.ndarray
    k: np.ndarray
    code: np.ndarray
    centre: np.ndarray
    neighbour: np.ndarray
    sets: np.ndarray
    set_region: np.ndarray
    region_set: np.ndarray
    table: np.ndarray
    points: np.ndarray  # where each set was evaluated, in a store made ahead of the exploration; else without rows


@inner
@typing.no_type_check
def find_set(store, key):
    """Return (index of the active set or -1, its place in the hash table)."""
    words = store.sets.shape[1]
    value = np.uint64(0xCBF29CE484222325)
    for w in range(words):
        value ^= key[w]
        value *= np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(29)
    mask = store.table.shape[0] - 1
    place = np.int64(value & np.uint64(0x7FFFFFFFFFFFFFFF)) & mask
    while store.table[place] >= 0:
        index = store.table[place]
        same = True
        for w in range(words):
            if store.sets[index, w] != key[w]:
                same = False
                break
        if same:
            return index, place
        place = (place + 1) & mask
    return -1, place


@kernel
@typing.no_type_check
def rehash(store):
    """Fill an empty hash table with all active sets."""
    for index in range(store.counts[N_SETS]):
        _, place = find_set(store, store.sets[index])
        store.table[place] = index


@inner
@typing.no_type_check
def read_set(store, region, m, W):
    """Write the sorted active rows of a region; return their number."""
    index = store.region_set[region]
    count = 0
    for j in range(m):
        if (store.sets[index, j >> 6] >> np.uint64(j & 63)) & ONE:
            W[count] = j
            count += 1
    return count


@once
@typing.no_type_check
def try_set(program, store, ahead, work, nw, point, max_parameters):
    """Return the region of work.W[:nw] (sorted), added if new; -1 no region, -2 dependent, -3 store is full.

    A set that was evaluated at the same point in the store `ahead` is taken from there, which gives the same bits.
    With max_parameters < 0 a set not tried yet is not tried: -3.
    """
    words = store.sets.shape[1]
    for w in range(words):
        work.key[w] = np.uint64(0)
    for i in range(nw):
        work.key[work.W[i] >> 6] |= ONE << np.uint64(work.W[i] & 63)
    index, place = find_set(store, work.key)
    if index >= 0:
        return store.set_region[index]
    full = store.counts[N_SETS] >= store.sets.shape[0] or 2 * store.counts[N_SETS] >= store.table.shape[0]
    if full or max_parameters < 0:
        return -3
    result = copy_result(store, ahead, work.key, point)
    if result == _UNKNOWN:
        q = region_rows(program, nw, work)
        result = -2 if q == -2 else -1
        found = irredundant(q, point, program.tolerances, max_parameters, work) if q >= 0 else 0
        if found > 0:
            result = add_region(store, work.H, work.k, work.key, work.used, work.centre, found, program.S.shape[0])
    if result == -3:
        return -3
    index = store.counts[N_SETS]
    for w in range(words):
        store.sets[index, w] = work.key[w]
    store.set_region[index] = result
    if result >= 0:
        store.region_set[result] = index
    store.table[place] = index
    store.counts[N_SETS] += 1
    return result


@inner
@typing.no_type_check
def copy_result(store, ahead, key, point):
    """Return what `try_set` found for a set at a point in the store `ahead`, its region added here; or _UNKNOWN."""
    if ahead.counts[N_SETS] == 0:
        return _UNKNOWN
    index, _ = find_set(ahead, key)
    if index < 0:
        return _UNKNOWN
    for j in range(point.shape[0]):
        if ahead.points[index, j] != point[j]:
            return _UNKNOWN
    source = ahead.set_region[index]
    if source < 0:
        return source
    region = store.counts[N_REGIONS]
    start = store.counts[N_ROWS]
    first = ahead.row_start[source]
    found = ahead.row_start[source + 1] - first
    if region + 1 >= store.row_start.shape[0] or start + found > store.k.shape[0]:
        return -3
    for i in range(found):
        for j in range(point.shape[0]):
            store.H[start + i, j] = ahead.H[first + i, j]
            store.centre[start + i, j] = ahead.centre[first + i, j]
        store.k[start + i] = ahead.k[first + i]
        store.code[start + i] = ahead.code[first + i]
        store.neighbour[start + i] = OPEN
    store.row_start[region + 1] = start + found
    store.counts[N_ROWS] += found
    store.counts[N_REGIONS] += 1
    return region


@inner
@typing.no_type_check
def add_region(store, H, k, key, used, centre, found, base):
    """Append the facets in `used` as a new region; -3 when there is no room."""
    n = H.shape[0]
    m = H.shape[1] - base
    region = store.counts[N_REGIONS]
    start = store.counts[N_ROWS]
    if region + 1 >= store.row_start.shape[0] or start + found > store.k.shape[0]:
        return -3
    for i in range(found):
        row = used[i]
        for j in range(n):
            store.H[start + i, j] = H[j, row]
            store.centre[start + i, j] = centre[i, j]
        store.k[start + i] = k[row]
        store.code[start + i] = row
        if row >= base and not (key[(row - base) >> 6] >> np.uint64((row - base) & 63)) & ONE:
            store.code[start + i] = row + m  # the slack, not the multiplier, vanishes beyond
        store.neighbour[start + i] = OPEN
    store.row_start[region + 1] = start + found
    store.counts[N_ROWS] += found
    store.counts[N_REGIONS] += 1
    return region


@inner
@typing.no_type_check
def holds(store, region, point, tolerance):
    """Tell whether a region holds a point."""
    for row in range(store.row_start[region], store.row_start[region + 1]):
        total = -store.k[row]
        for j in range(point.shape[0]):
            total += store.H[row, j] * point[j]
        if total > tolerance:
            return False
    return True
