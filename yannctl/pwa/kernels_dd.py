"""Double description: cut the parameter box by half-spaces, keeping the vertices and which rows each lies on.

Two vertices joined by an edge on opposite sides of a new half-space give a new vertex on it. They are joined when they
share ntheta - 1 rows and one of them is simple (lies on exactly ntheta rows), or when no third vertex lies on all the
rows they share (Fukuda and Prodon, 1996).
Arrays: H (ntheta, rows), k (rows,) with the 2 ntheta box rows first, vx (ntheta, nv) coordinates, bits (nv, words)
which rows each vertex lies on: bit i stands for the i-th row that cut something, so one word nearly always suffices.
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


@inner
@typing.no_type_check
def box_vertices(n, vx, bits):
    """Write the 2^n corners of [-1, 1]^n; row j is theta_j <= 1, row n + j is -theta_j <= 1."""
    nv = 1 << n
    for v in range(nv):
        word = np.uint64(0)
        for j in range(n):
            row = n + j
            vx[j, v] = -1.0
            if (v >> j) & 1:
                row = j
                vx[j, v] = 1.0
            word |= ONE << np.uint64(row)
        bits[v, 0] = word
    return nv


@inner
@typing.no_type_check
def between(bits, words, nv, a, b):
    """Tell whether a third vertex lies on all rows that vertices a and b share."""
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
            return True
    return False


@inner
@typing.no_type_check
def measure(row, H, k, n, tolerance, nv, vx, slack, sides):
    """Write each vertex's distance inside a row and list those outside and inside; return how many they are."""
    right = k[row]
    for v in range(nv):
        slack[v] = right
    for j in range(n):
        h = H[j, row]
        for v in range(nv):
            slack[v] -= h * vx[j, v]
    outside = 0
    inside = 0
    for v in range(nv):
        if slack[v] < -tolerance:
            sides[0, outside] = v
            outside += 1
        elif slack[v] > tolerance:
            sides[1, inside] = v
            inside += 1
    return outside, inside


@inner
@typing.no_type_check
def split_edge(a, b, end, bit, n, words, vx, bits, slack):
    """Write, as vertex `end`, where the edge from outside vertex a to inside vertex b meets the row."""
    ratio = slack[b] / (slack[b] - slack[a])
    for j in range(n):
        vx[j, end] = vx[j, b] + ratio * (vx[j, a] - vx[j, b])
    for w in range(words):
        bits[end, w] = bits[a, w] & bits[b, w]
    bits[end, bit >> 6] |= ONE << np.uint64(bit & 63)


@inner
@typing.no_type_check
def cut_next(row, bit, H, k, n, tolerance, nv, limit, vx, bits, slack, sides):
    """Cut as `cut` does, where `bit` rises by one with each row that cut: words beyond its own are not used yet."""
    words = (bit >> 6) + 1
    if (bit & 63) == 0:
        for v in range(nv):
            bits[v, words - 1] = np.uint64(0)
    return cut(row, bit, words, H, k, n, tolerance, nv, limit, vx, bits, slack, sides)


@inner
@typing.no_type_check
def cut(row, bit, words, H, k, n, tolerance, nv, limit, vx, bits, slack, sides):
    """Cut the polytope by column `row` of H, k in place; the new facet's vertices get bit `bit`, free until then.

    Returns the new number of vertices: -nv when the row does not cut, 0 when nothing of full dimension is left, and
    -limit - 1 when there is no room.
    """
    outside, inside = measure(row, H, k, n, tolerance, nv, vx, slack, sides)
    if inside == 0:
        return 0
    if outside == 0:
        return -nv
    end = nv
    for i in range(outside):
        a = sides[0, i]
        simple = size_of(bits, words, a) == n
        for position in range(inside):
            b = sides[1, position]
            shared = 0
            for w in range(words):
                shared += count_bits(bits[a, w] & bits[b, w])
            if shared < n - 1:
                continue
            if not simple and size_of(bits, words, b) != n and between(bits, words, nv, a, b):
                continue
            if end >= limit:
                return -limit - 1
            split_edge(a, b, end, bit, n, words, vx, bits, slack)
            end += 1
    return compact(nv, end, n, words, tolerance, vx, bits, slack, bit)


@inner
@typing.no_type_check
def size_of(bits, words, v):
    """Return the number of rows vertex v lies on."""
    size = 0
    for w in range(words):
        size += count_bits(bits[v, w])
    return size


@inner
@typing.no_type_check
def compact(nv, end, n, words, tolerance, vx, bits, slack, bit):
    """Drop the vertices cut off, mark those on the new row and close the gaps."""
    mask = ONE << np.uint64(bit & 63)
    last = end
    v = 0
    while v < min(nv, last):
        if slack[v] < -tolerance:
            last -= 1
            for j in range(n):
                vx[j, v] = vx[j, last]
            for w in range(words):
                bits[v, w] = bits[last, w]
            slack[v] = slack[last] if last < nv else np.inf
        else:
            if slack[v] <= tolerance:
                bits[v, bit >> 6] |= mask
            v += 1
    return last


@inner
@typing.no_type_check
def count_edges(bits, words, n, nv, degree):
    """Write the number of edges at each vertex."""
    for v in range(nv):
        degree[v] = 0
    for a in range(nv):
        simple = size_of(bits, words, a) == n
        for b in range(a + 1, nv):
            shared = 0
            for w in range(words):
                shared += count_bits(bits[a, w] & bits[b, w])
            if shared < n - 1:
                continue
            if simple or size_of(bits, words, b) == n or not between(bits, words, nv, a, b):
                degree[a] += 1
                degree[b] += 1


@inner
@typing.no_type_check
def all_simple(bits, nu, n, nv):
    """Tell whether each vertex lies on just n rows."""
    for v in range(nv):  # noqa: SIM110  (the compiler knows no generator)
        if size_of(bits, ((nu - 1) >> 6) + 1, v) != n:
            return False
    return True


@inner
@typing.no_type_check
def closed(bits, nu, n, nv, degree):
    """Tell whether at least n edges leave each vertex; where rows nearly coincide, vertices may have been lost."""
    if n == 1:
        return nv == 2
    count_edges(bits, ((nu - 1) >> 6) + 1, n, nv, degree)
    for v in range(nv):  # noqa: SIM110  (the compiler knows no generator)
        if degree[v] < n:
            return False
    return True


@inner
@typing.no_type_check
def reach_from(point, n, nv, vx, work):
    """Return the largest distance of a vertex from a point."""
    for v in range(nv):
        work[v] = 0.0
    for j in range(n):
        middle = point[j]
        for v in range(nv):
            work[v] += (vx[j, v] - middle) * (vx[j, v] - middle)
    largest = 0.0
    for v in range(nv):
        largest = max(largest, work[v])
    return np.sqrt(largest)


@inner
@typing.no_type_check
def cut_all(H, k, order, count, distance, point, n, tolerance, limit, vx, bits, slack, sides, used):
    """Cut the box by the rows order[:count], which stand in order of their distance from a point.

    Once that distance exceeds the farthest vertex's no row that is left can cut. Returns (number of vertices, number of
    rows that may carry a facet); those rows go to `used`, in the order of their bits. A negative number of vertices
    says that there is no room, or that vertices may have been lost before nothing was left.
    """
    nv = box_vertices(n, vx, bits)
    nu = 2 * n
    for row in range(nu):
        used[row] = row
    reach = np.inf
    for i in range(count):
        row = order[i]
        if row < 2 * n:
            continue
        if distance[row] > reach:
            break
        new = cut_next(row, nu, H, k, n, tolerance, nv, limit, vx, bits, slack, sides)
        if new == 0 and not (all_simple(bits, nu, n, nv) and closed(bits, nu, n, nv, sides[0])):
            new = -limit - 1
        if new == 0 or new < -limit:
            return new, 0
        if new > 0:
            nv = new
            used[nu] = row
            nu += 1
            reach = 1.000001 * reach_from(point, n, nv, vx, slack)
    return nv, nu


@kernel
@typing.no_type_check
def cut_box(H, k, q, n, tolerance, limit, vx, bits, slack, sides):
    """Cut the box by the first q columns of H, k; return the number of vertices, or -1 when there is no room."""
    nv = box_vertices(n, vx, bits)
    bit = 2 * n
    for row in range(q):
        new = cut_next(row, bit, H, k, n, tolerance, nv, limit, vx, bits, slack, sides)
        if new == 0:
            return 0
        if new < -limit:
            return -1
        if new > 0:
            nv = new
            bit += 1
    return nv
