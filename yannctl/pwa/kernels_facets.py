"""Which rows of a cut polytope carry a facet, and the order in which rows are best cut."""

import typing

import numpy as np

from .compilation import inner
from .kernels_dd import ONE, closed, count_bits


@inner
@typing.no_type_check
def sort_by_slack(H, k, count, point, slack, order):
    """Order the listed rows by their slack at a point, least first (shell sort)."""
    n = H.shape[0]
    for i in range(count):
        row = order[i]
        total = k[row]
        for j in range(n):
            total -= H[j, row] * point[j]
        slack[row] = total
    gap = 1
    while gap < count:
        gap = 3 * gap + 1
    while gap > 1:
        gap //= 3
        for i in range(gap, count):
            held = order[i]
            size = slack[held]
            j = i
            while j >= gap and slack[order[j - gap]] > size:
                order[j] = order[j - gap]
                j -= gap
            order[j] = held


@inner
@typing.no_type_check
def carried_by_another(i, count, nr, bits, nv):
    """Tell whether all vertices on row i also lie on another row (a lower-dimensional face, or a twin)."""
    word = i >> 6
    shift = np.uint64(i & 63)
    for other in range(nr):
        if other == i or count[other] < count[i]:
            continue
        word_o = other >> 6
        shift_o = np.uint64(other & 63)
        inside = True
        for v in range(nv):
            if (bits[v, word] >> shift) & ONE and not (bits[v, word_o] >> shift_o) & ONE:
                inside = False
                break
        if inside and (count[other] > count[i] or other < i):
            return True
    return False


@inner
@typing.no_type_check
def sum_vertices(n, nv, vx, bits, nu, count, centre):
    """Write the number of vertices on each row and their sum; return whether every vertex lies on just n rows."""
    words = ((nu - 1) >> 6) + 1
    simple = True
    for i in range(nu):
        count[i] = 0
        for j in range(n):
            centre[i, j] = 0.0
    for v in range(nv):
        size = 0
        for w in range(words):
            word = bits[v, w]
            while word != np.uint64(0):
                rest = word & (word - ONE)
                i = 64 * w + count_bits((word ^ rest) - ONE)
                word = rest
                size += 1
                count[i] += 1
                for j in range(n):
                    centre[i, j] += vx[j, v]
        simple = simple and size == n
    return simple


@inner
@typing.no_type_check
def facets(H, k, n, width, nv, vx, bits, nu, degree, used, count, centre):
    """Keep in `used` the rows that carry a facet and write the mean of each facet's vertices.

    Returns their number, or -1 when the vertices are not those of a polytope, or of one thinner than `width` across one
    of its facets, which a linear program has to tell apart.
    """
    if not closed(bits, nu, n, nv, degree):
        return -1
    simple = sum_vertices(n, nv, vx, bits, nu, count, centre)
    for i in range(nu):
        if count[i] < n:
            count[i] = 0
    found = 0
    for i in range(nu):
        if count[i] == 0 or (not simple and carried_by_another(i, count, nu, bits, nv)):
            continue
        row = used[i]
        if thin(H, k, row, n, nv, vx, width):
            return -1
        used[found] = row
        for j in range(n):
            centre[found, j] = centre[i, j] / count[i]
        found += 1
    return found


@inner
@typing.no_type_check
def thin(H, k, row, n, nv, vx, width):
    """Tell whether no vertex is farther than `width` from a row."""
    for v in range(nv):
        total = k[row]
        for j in range(n):
            total -= H[j, row] * vx[j, v]
        if total >= width:
            return False
    return True
