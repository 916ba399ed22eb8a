"""Building a search tree: regions clipped to cells by double description, planes scored on the clipped corners.

A node holds m polytopes as flat arrays: `owner` (m,) their regions, `start` (m + 1,) where their corners begin in `vx`
(corners, ntheta) and `bits` (corners, words), the rows each corner lies on. Polytope 0 is the node's cell, owner -1.
Scratch is (plane, right, vx, bits, slack): one polytope in the layout of the double description.
"""

import typing

import numpy as np

from .compilation import inner, kernel
from .kernels_clip import box_vertices, cut

FULL = -1  # an array was too small


@inner
@typing.no_type_check
def store(nv, n, words, scratch, end, vx, bits):
    """Append the polytope in scratch to flat arrays; return their new length or FULL."""
    if end + nv > vx.shape[0]:
        return FULL
    for v in range(nv):
        for j in range(n):
            vx[end + v, j] = scratch[2][j, v]
        for w in range(words):
            bits[end + v, w] = scratch[3][v, w]
    return end + nv


@inner
@typing.no_type_check
def fetch(n, words, first, last, vx, bits, scratch):
    """Copy a polytope to scratch; return its number of corners or FULL."""
    if last - first > scratch[4].shape[0]:
        return FULL
    for v in range(first, last):
        for j in range(n):
            scratch[2][j, v - first] = vx[v, j]
        for w in range(words):
            scratch[3][v - first, w] = bits[v, w]
    return last - first


@kernel
@typing.no_type_check
def expand(H, k, row_start, room, size, words, tolerance, scratch, start, vx, bits):
    """Write the corners of every region, its rows moved outwards by `room`, inside the box [-size, size]^ntheta.

    Returns the number of corners, or FULL.
    """
    n = H.shape[1]
    plane, right, work, work_bits, slack = scratch
    end = 0
    for i in range(row_start.shape[0] - 1):
        start[i] = end
        nv = box_vertices(n, words, work, work_bits)
        for v in range(nv):
            for j in range(n):
                work[j, v] *= size
        slot = 2 * n
        for row in range(row_start[i], row_start[i + 1]):
            for j in range(n):
                plane[slot, j] = H[row, j]
            right[slot] = k[row] + room
            nv = cut(slot, plane, right, n, words, tolerance, nv, slack.shape[0], work, work_bits, slack)
            slot += 1
            if nv <= 0:
                break
        if nv < 0:
            return FULL
        end = store(nv, n, words, scratch, end, vx, bits)
        if end < 0:
            return FULL
    start[row_start.shape[0] - 1] = end
    return end


@inner
@typing.no_type_check
def extent(normal, offset, n, vx, first, last):
    """Return the least and the largest distance of some corners from a plane."""
    low = np.inf
    high = -np.inf
    for v in range(first, last):
        total = -offset
        for j in range(n):
            total += normal[j] * vx[v, j]
        low = min(low, total)
        high = max(high, total)
    return low, high


@inner
@typing.no_type_check
def score(normal, offset, width, owner, start, vx, group, stamps, stamp):
    """Return how many groups of regions reach to the negative and to the positive side of a plane.

    A region reaches beyond the plane when it does by more than `width`; `stamps` (groups, 2) tells who was counted.
    """
    left = 0
    right = 0
    n = vx.shape[1]
    for p in range(1, owner.shape[0]):
        g = group[owner[p]]
        if stamps[g, 0] == stamp and stamps[g, 1] == stamp:
            continue
        low, high = extent(normal, offset, n, vx, start[p], start[p + 1])
        if high > width and stamps[g, 1] != stamp:
            stamps[g, 1] = stamp
            right += 1
        if (low < -width or high <= width) and stamps[g, 0] != stamp:
            stamps[g, 0] = stamp
            left += 1
    return left, right


@kernel
@typing.no_type_check
def choose(H, k, planes, row_start, node, width, peel, work_limit, weight, group, m, stamps, stamp, seen, candidates):
    """Return the row whose plane splits a node's `m` groups of regions best (-1: none does), and the next free stamp.

    The score is the larger side plus `weight` times the groups that are on both. A plane with no region beyond it comes
    before all others when the cell reaches beyond it by more than `peel`. `seen` (planes,) is zero on entry and on
    exit; about `work_limit` corners are measured.
    """
    owner, start, vx = node
    count = 0
    last = owner.shape[0] - 1
    for p in range(1, last + 1):
        for row in range(row_start[owner[p]], row_start[owner[p] + 1]):
            if seen[planes[row]] == 0:
                seen[planes[row]] = 1
                candidates[count] = row
                count += 1
    for c in range(count):
        seen[planes[candidates[c]]] = 0
    most = max(32, work_limit // max(1, start[last + 1] - start[1]))
    stride = max(1.0, count / most)
    best = np.inf
    index = -1
    position = 0.0
    while position < count:
        row = candidates[int(position)]
        position += stride
        left, right = score(H[row], k[row], width, owner, start, vx, group, stamps, stamp)
        stamp += 1
        if right == 0 and start[1] > 0:
            _, high = extent(H[row], k[row], vx.shape[1], vx, 0, start[1])
            if high > peel:
                peel = high
                best = -1.0
                index = row
        if max(left, right) < m:
            value = max(left, right) + weight * (left + right - m)
            if value < best:
                best = value
                index = row
    return index, stamp


@kernel
@typing.no_type_check
def clip(sign, normal, offset, slot, width, words, tolerance, owner, start, vx, bits, scratch, new):
    """Write the polytopes of a child: sign +1 keeps normal'x >= offset, -1 the other side.

    A region that reaches beyond the plane by at most `width` stays on one side as a whole: the positive one if it
    reaches further there, else the negative one. Returns (number of polytopes, number of corners), or FULL twice.
    """
    n = vx.shape[1]
    plane, right, work, work_bits, slack = scratch
    new_owner, new_start, new_vx, new_bits = new
    for j in range(n):
        plane[slot, j] = -sign * normal[j]
    right[slot] = -sign * offset
    m = 0
    end = 0
    for p in range(owner.shape[0]):
        low, high = extent(normal, offset, n, vx, start[p], start[p + 1])
        both = high > width and low < -width
        if p > 0 and not both and (high > width) != (sign > 0):
            continue
        nv = fetch(n, words, start[p], start[p + 1], vx, bits, scratch)
        if nv > 0 and (p == 0 or both):
            nv = cut(slot, plane, right, n, words, tolerance, nv, slack.shape[0], work, work_bits, slack)
        if nv < 0:
            return FULL, FULL
        if p > 0 and nv == 0:
            continue
        new_owner[m] = owner[p]
        new_start[m] = end
        end = store(nv, n, words, scratch, end, new_vx, new_bits)
        if end < 0:
            return FULL, FULL
        m += 1
    new_start[m] = end
    return m, end


@kernel
@typing.no_type_check
def farthest(H, k, first, last, vx, room):
    """Return which of the rows first ... last - 1 the corners exceed most, -1 when none by more than `room`."""
    index = -1
    for row in range(first, last):
        _, high = extent(H[row], k[row], vx.shape[1], vx, 0, vx.shape[0])
        if high > room:
            room = high
            index = row
    return index
