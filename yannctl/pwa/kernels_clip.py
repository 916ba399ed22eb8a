"""Cutting one polytope by one plane at a time, for the search tree, whose cells are cut again and again.

The same double description as in `kernels_dd`, but each row keeps the bit of its own number, so that a polytope can be
put away and cut further later. Arrays: H (rows, ntheta), vx (ntheta, nv) coordinates, bits (nv, words) rows each vertex
lies on.
"""

import typing

import numpy as np

from .compilation import inner, kernel
from .kernels_dd import ONE, count_bits


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
