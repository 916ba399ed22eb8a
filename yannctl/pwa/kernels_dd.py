"""Double description: cut the parameter box by half-spaces, keeping the vertices and which rows each lies on.

Two vertices joined by an edge on opposite sides of a new half-space give a new vertex on it. They are joined when they
share ntheta - 1 rows and one of them is simple (lies on exactly ntheta rows), or when no third vertex lies on all the
rows they share (Fukuda and Prodon, 1996).
Arrays: vx (ntheta, nv) coordinates, bits (nv, words) rows each vertex lies on.
"""

import typing

import numpy as np

from .compilation import inner, kernel

ONE = np.uint64(1)


@inner
@typing.no_type_check
def count_bits(x):
    """Return the number of set bits of a 64-bit word."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel
@typing.no_type_check
def box_vertices(n, words, vx, bits):
    """Write the 2^n corners of [-1, 1]^n; row j is theta_j <= 1, row n + j is -theta_j <= 1."""
    nv = 1 << n
    for v in range(nv):
        for w in range(words):
            bits[v, w] = np.uint64(0)
        for j in range(n):
            row = n + j
            vx[j, v] = -1.0
            if (v >> j) & 1:
                row = j
                vx[j, v] = 1.0
            bits[v, row >> 6] |= ONE << np.uint64(row & 63)
    return nv


@inner
@typing.no_type_check
def adjacent(bits, words, n, nv, a, b):
    """Tell whether vertices a and b are joined by an edge."""
    shared = 0
    size_a = 0
    size_b = 0
    for w in range(words):
        shared += count_bits(bits[a, w] & bits[b, w])
        size_a += count_bits(bits[a, w])
        size_b += count_bits(bits[b, w])
    if shared < n - 1:
        return False
    if n in (size_a, size_b):
        return True
    for v in range(nv):
        if v in (a, b):
            continue
        inside = True
        for w in range(words):
            both = bits[a, w] & bits[b, w]
            if both & bits[v, w] != both:
                inside = False
                break
        if inside:
            return False
    return True


@inner
@typing.no_type_check
def measure(row, H, k, n, tolerance, nv, vx, slack):
    """Write each vertex's distance inside a row; return how many lie outside and how many inside."""
    outside = 0
    inside = 0
    for v in range(nv):
        total = k[row]
        for j in range(n):
            total -= H[row, j] * vx[j, v]
        slack[v] = total
        if total < -tolerance:
            outside += 1
        elif total > tolerance:
            inside += 1
    return outside, inside


@inner
@typing.no_type_check
def split_edge(a, b, end, row, n, words, vx, bits, slack):
    """Write, as vertex `end`, where the edge from outside vertex a to inside vertex b meets the row."""
    ratio = slack[b] / (slack[b] - slack[a])
    for j in range(n):
        vx[j, end] = vx[j, b] + ratio * (vx[j, a] - vx[j, b])
    for w in range(words):
        bits[end, w] = bits[a, w] & bits[b, w]
    bits[end, row >> 6] |= ONE << np.uint64(row & 63)


@kernel
@typing.no_type_check
def cut(row, H, k, n, words, tolerance, nv, limit, vx, bits, slack):
    """Cut the polytope by row `row` of H theta <= k in place.

    Returns the new number of vertices: unchanged arrays when the row does not cut, 0 when nothing of full dimension is
    left, -1 when there is no room.
    """
    outside, inside = measure(row, H, k, n, tolerance, nv, vx, slack)
    if inside == 0:
        return 0
    if outside == 0:
        return nv
    end = nv
    for a in range(nv):
        if slack[a] >= -tolerance:
            continue
        for b in range(nv):
            if slack[b] <= tolerance or not adjacent(bits, words, n, nv, a, b):
                continue
            if end >= limit:
                return -1
            split_edge(a, b, end, row, n, words, vx, bits, slack)
            end += 1
    return compact(nv, end, n, words, tolerance, vx, bits, slack, row >> 6, ONE << np.uint64(row & 63))


@inner
@typing.no_type_check
def compact(nv, end, n, words, tolerance, vx, bits, slack, word, mask):
    """Drop the vertices cut off, mark those on the new row and close the gaps."""
    new = 0
    for v in range(end):
        if v < nv:
            if slack[v] < -tolerance:
                continue
            if slack[v] <= tolerance:
                bits[v, word] |= mask
        if new != v:
            for j in range(n):
                vx[j, new] = vx[j, v]
            for w in range(words):
                bits[new, w] = bits[v, w]
        new += 1
    return new


@inner
@typing.no_type_check
def cut_all(H, k, q, order, n, tolerance, limit, vx, bits, slack, used):
    """Cut the box by all rows in the given order (the first 2n rows of H are the box itself).

    Returns (number of vertices, number of rows that may carry a facet); those rows go to `used`.
    """
    words = (q + 63) >> 6
    nv = box_vertices(n, words, vx, bits)
    nu = 2 * n
    for row in range(nu):
        used[row] = row
    for i in range(q):
        row = order[i]
        if row < 2 * n:
            continue
        new = cut(row, H, k, n, words, tolerance, nv, limit, vx, bits, slack)
        if new <= 0:
            return new, 0
        if slack_cut(slack, nv, tolerance):
            used[nu] = row
            nu += 1
        nv = new
    return nv, nu


@inner
@typing.no_type_check
def slack_cut(slack, nv, tolerance):
    """Tell whether some vertex was cut off."""
    for v in range(nv):  # noqa: SIM110 a generator does not compile
        if slack[v] < -tolerance:
            return True
    return False


@inner
@typing.no_type_check
def carried_by_another(i, rows, nr, bits, nv):
    """Tell whether all vertices on row rows[i] also lie on another row (a lower-dimensional face, or a twin)."""
    word = rows[i] >> 6
    shift = np.uint64(rows[i] & 63)
    for other in range(nr):
        if other == i or rows[other] < 0:
            continue
        word_o = rows[other] >> 6
        shift_o = np.uint64(rows[other] & 63)
        inside = True
        larger = False
        for v in range(nv):
            on = (bits[v, word] >> shift) & ONE
            on_o = (bits[v, word_o] >> shift_o) & ONE
            if on and not on_o:
                inside = False
                break
            if on_o and not on:
                larger = True
        if inside and (larger or other < i):
            return True
    return False


@inner
@typing.no_type_check
def all_simple(n, words, nv, bits):
    """Tell whether every vertex lies on exactly n rows."""
    for v in range(nv):
        size = 0
        for w in range(words):
            size += count_bits(bits[v, w])
        if size != n:
            return False
    return True


@inner
@typing.no_type_check
def count_on(row, nv, bits):
    """Return the number of vertices on a row."""
    count = 0
    for v in range(nv):
        if (bits[v, row >> 6] >> np.uint64(row & 63)) & ONE:
            count += 1
    return count


@inner
@typing.no_type_check
def facets(H, k, q, n, width, nv, vx, bits, nu, used, centre):
    """Keep in `used` the rows that carry a facet and write the mean of each facet's vertices.

    Returns their number, or 0 when the polytope is thinner than `width` across one of its facets.
    """
    simple = all_simple(n, (q + 63) >> 6, nv, bits)
    for i in range(nu):
        if count_on(used[i], nv, bits) < n:
            used[i] = -1
    for i in range(nu):
        if used[i] < 0:
            continue
        if not simple and carried_by_another(i, used, nu, bits, nv):
            used[i] = -1
        elif thickness(H, k, used[i], n, nv, vx) < width:
            return 0
    return gather_facets(n, nv, vx, bits, nu, used, centre)


@inner
@typing.no_type_check
def thickness(H, k, row, n, nv, vx):
    """Return the largest distance of a vertex from a row."""
    best = 0.0
    for v in range(nv):
        total = k[row]
        for j in range(n):
            total -= H[row, j] * vx[j, v]
        best = max(best, total)
    return best


@inner
@typing.no_type_check
def gather_facets(n, nv, vx, bits, nu, used, centre):
    """Close the gaps in `used` and write the facets' vertex means."""
    found = 0
    for i in range(nu):
        row = used[i]
        if row < 0:
            continue
        for j in range(n):
            centre[found, j] = 0.0
        count = 0
        for v in range(nv):
            if (bits[v, row >> 6] >> np.uint64(row & 63)) & ONE:
                count += 1
                for j in range(n):
                    centre[found, j] += vx[j, v]
        for j in range(n):
            centre[found, j] /= count
        used[found] = row
        found += 1
    return found
