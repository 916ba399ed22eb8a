"""Cells of a search tree: distances of their corners from planes, and what is known of their points.

`node`, `arena`, `tables` and `scratch` are as in `kernels_tree`.
"""

import typing

import numpy as np

from .compilation import inner
from .kernels_dd import ONE, cut

FULL = -1  # an array was too small
NOWHERE = -1  # no region holds the point
CHECK = -3  # the descent does not tell
N_WAITING, N_NODES, N_LEAVES, N_MEMBERS, DEEPEST, STAMP = range(6)  # places in `counts`
FIRST, COUNT, CORNER, CORNERS, LEVEL, LINK = range(6)  # columns of `waiting`


@inner
@typing.no_type_check
def extent(normal, offset, n, vx, first, last, distance):
    """Return the least and the largest distance of some corners from a plane."""
    spread(normal, offset, n, vx, first, last, distance)
    low = np.inf
    high = -np.inf
    for v in range(last - first):
        low = min(low, distance[v])
        high = max(high, distance[v])
    return low, high


@inner
@typing.no_type_check
def spread(normal, offset, n, vx, first, last, distance):
    """Write the distances of some corners from a plane."""
    for v in range(last - first):
        distance[v] = -offset
    for j in range(n):
        h = normal[j]
        for v in range(last - first):
            distance[v] += h * vx[j, first + v]


@inner
@typing.no_type_check
def reaches(normal, offset, width, n, vx, first, last, distance):
    """Return whether some corners lie beyond a plane by more than `width`, and whether some lie that far before it."""
    spread(normal, offset, n, vx, first, last, distance)
    before = False
    beyond = False
    for v in range(last - first):
        before |= distance[v] < -width
        beyond |= distance[v] > width
    return before, beyond


@inner
@typing.no_type_check
def free_bit(nv, words, bits):
    """Return a bit that no corner carries, or FULL."""
    for w in range(words):
        used = np.uint64(0)
        for v in range(nv):
            used |= bits[v, w]
        for b in range(64):
            if (used >> np.uint64(b)) & ONE == 0:
                return 64 * w + b
    return FULL


@inner
@typing.no_type_check
def clear_corners(node, width, tolerance, plane_of, origin, arena, tables, scratch):
    """Write the corners of what is left of a cell `width` away from the box and the planes on the way.

    They replace those in `scratch`; returns how many, 0 when nothing is left and FULL when there is no room.
    """
    H, k = tables[0], tables[1]
    _, begin, count, vx, bits = arena
    work, work_bits, slack, sides, plane, right = scratch
    n, words, limit = vx.shape[0], bits.shape[1], slack.shape[0]
    first, nv = begin[node[FIRST]], count[node[FIRST]]
    for v in range(nv):
        for j in range(n):
            work[j, v] = vx[j, first + v]
        for w in range(words):
            work_bits[v, w] = bits[first + v, w]
    at = node[LINK]
    face = 0
    while nv > 0 and (face < 2 * n or at >= 0):
        for j in range(n):
            plane[j, 0] = 0.0
        if face < 2 * n:
            plane[face >> 1, 0] = 1.0 - 2.0 * (face & 1)
            right[0] = 1.0 - width
            face += 1
        else:
            row = plane_of[at >> 1]
            sign = 1.0 - 2.0 * (at & 1)
            for j in range(n):
                plane[j, 0] = sign * H[row, j]
            right[0] = sign * k[row] - width
            at = origin[at >> 1]
        bit = free_bit(nv, words, work_bits)
        if bit < 0:
            return FULL
        nv = abs(cut(0, bit, words, plane, right, n, tolerance, nv, limit, work, work_bits, slack, sides))
        if nv > limit:
            return FULL
    return nv


@inner
@typing.no_type_check
def held(i, room, nv, corners, tables, distance):
    """Tell whether region i, moved outwards by `room`, holds the hull of some corners."""
    H, k, _, _, row_start = tables
    for row in range(row_start[i], row_start[i + 1]):
        if reaches(H[row], k[row], room, corners.shape[0], corners, 0, nv, distance)[1]:
            return False
    return True


@inner
@typing.no_type_check
def apart(i, room, nv, tables, scratch, spare, tolerance):
    """Tell whether region i, moved outwards by `room`, has nothing in common with the polytope in `scratch`."""
    H, k, _, _, row_start = tables
    work, work_bits, slack, sides, plane, right = scratch
    n, words, limit = work.shape[0], work_bits.shape[1], slack.shape[0]
    vx, bits = spare
    for v in range(nv):
        for j in range(n):
            vx[j, v] = work[j, v]
        for w in range(words):
            bits[v, w] = work_bits[v, w]
    for row in range(row_start[i], row_start[i + 1]):
        for j in range(n):
            plane[j, 0] = H[row, j]
        right[0] = k[row] + room
        bit = free_bit(nv, words, bits)
        if bit < 0:
            return False
        nv = abs(cut(0, bit, words, plane, right, n, tolerance, nv, limit, vx, bits, slack, sides))
        if nv == 0 or nv > limit:
            return nv == 0
    return False


@inner
@typing.no_type_check
def winner(first, last, inside, beside, nv, same, owner, tables, scratch, spare, distance, tolerance):
    """Return a region that holds the polytope in `scratch` by one room, none of other laws by the other; else CHECK."""
    for p in range(first, last):
        if held(owner[p], inside, nv, scratch[0], tables, distance):
            for q in range(first, last):
                rival = same[owner[q]] != same[owner[p]]
                if rival and not apart(owner[q], beside, nv, tables, scratch, spare, tolerance):
                    return CHECK
            return owner[p]
    return CHECK


@inner
@typing.no_type_check
def told(node, rooms, plane_of, origin, same, arena, tables, scratch, spare, distance):
    """Return a region whose law holds at all clear points of a node's cell, NOWHERE or CHECK.

    Clear points are farther than the width from the box and all planes on their way; without any, any answer will do.
    A region wins where all others violate their rows by more. Corners of needles moved outwards reach far into cells:
    a region whose facets are all among the planes holds the clear points so deep that the others may move inwards.
    """
    width, inside, beside, far, tolerance = rooms
    owner = arena[0]
    first, last = node[FIRST] + 1, node[FIRST] + node[COUNT]
    if first == last:
        return NOWHERE
    nv = clear_corners(node, width, tolerance, plane_of, origin, arena, tables, scratch)
    if nv <= 0:
        return owner[first] if nv == 0 else CHECK
    for attempt in range(2):
        a, b = (-0.5 * width, -0.25 * width) if attempt == 0 else (inside, beside)
        found = winner(first, last, a, b, nv, same, owner, tables, scratch, spare, distance, tolerance)
        if found >= 0:
            return found
    for p in range(first, last):
        if not apart(owner[p], far, nv, tables, scratch, spare, tolerance):
            return CHECK
    return NOWHERE
