"""Growing a search tree: regions clipped to cells by double description, planes scored on the clipped corners.

A node holds m polytopes: owner (m,) their regions, begin and size (m,) their corners among vx (ntheta, corners) and
bits (corners, words), the rows each corner lies on. Polytope 0 is the node's cell, owner -1. All nodes that wait lie
one after the other in these arrays, the next one to split last, so its children take its place.
"""

import typing

import numpy as np

from .compilation import inner, kernel
from .kernels_cell import (
    CHECK,
    CORNER,
    CORNERS,
    COUNT,
    DEEPEST,
    FIRST,
    FULL,
    LEVEL,
    LINK,
    N_LEAVES,
    N_MEMBERS,
    N_NODES,
    N_WAITING,
    STAMP,
    extent,
    free_bit,
    reaches,
    told,
)
from .kernels_dd import box_vertices, cut


@inner
@typing.no_type_check
def store(nv, n, words, scratch, end, vx, bits):
    """Append the polytope in scratch to flat arrays; return their new length or FULL."""
    if end + nv > bits.shape[0]:
        return FULL
    for j in range(n):
        for v in range(nv):
            vx[j, end + v] = scratch[0][j, v]
    for v in range(nv):
        for w in range(words):
            bits[end + v, w] = scratch[1][v, w]
    return end + nv


@kernel
@typing.no_type_check
def expand(H, k, row_start, room, size, words, tolerance, scratch, arena):  # noqa: C901
    """Write the parameter box and the corners of every region, its rows moved outwards by `room`, inside a larger box.

    Returns (polytopes, corners), or FULL twice.
    """
    n = H.shape[1]
    owner, begin, count, vx, bits = arena
    work, work_bits, slack, sides, plane, right = scratch
    limit = slack.shape[0]
    end = 0
    m = 0
    for i in range(-1, row_start.shape[0] - 1):
        nv = box_vertices(n, work, work_bits)
        for v in range(nv):
            for w in range(1, words):
                work_bits[v, w] = np.uint64(0)
            if i >= 0:
                for j in range(n):
                    work[j, v] *= size
        bit = 2 * n
        if i >= 0:
            for row in range(row_start[i], row_start[i + 1]):
                for j in range(n):
                    plane[j, 0] = H[row, j]
                right[0] = k[row] + room
                new = cut(0, bit, words, plane, right, n, tolerance, nv, limit, work, work_bits, slack, sides)
                if new < -limit:
                    return FULL, FULL
                bit += new > 0
                nv = abs(new)
                if nv == 0:
                    break
        if nv == 0:
            continue
        last = store(nv, n, words, scratch, end, vx, bits)
        if last < 0:
            return FULL, FULL
        owner[m], begin[m], count[m] = i, end, nv
        m += 1
        end = last
    return m, end


@inner
@typing.no_type_check
def score(normal, offset, width, weight, best, m, stride, node, arena, group, stamps, stamp, distance):
    """Return the score of a plane, and how many groups of regions reach beyond it.

    The larger side plus `weight` times the groups on both, infinite when no side loses a group or once it is not below
    `best`. A region reaches beyond the plane when it does by more than `width`; `stamps` tells who was counted.
    """
    owner, begin, count, vx, _ = arena
    n = vx.shape[0]
    left = 0
    right = 0
    for p in range(node[FIRST] + 1, node[FIRST] + node[COUNT], stride):
        g = group[owner[p]]
        if stamps[g, 0] == stamp and stamps[g, 1] == stamp:
            continue
        before, beyond = reaches(normal, offset, width, n, vx, begin[p], begin[p] + count[p], distance)
        if beyond and stamps[g, 1] != stamp:
            stamps[g, 1] = stamp
            right += 1
        if (before or not beyond) and stamps[g, 0] != stamp:
            stamps[g, 0] = stamp
            left += 1
        if right > 0 and max(left, right) >= best:
            return np.inf, right
    if max(left, right) >= m:
        return np.inf, right
    return max(left, right) + weight * (left + right - m), right


@inner
@typing.no_type_check
def candidates_of(node, arena, tables, seen, candidates):
    """List the planes of all facets of a node's regions; `seen` (planes,) is zero on entry and on exit."""
    planes, row_start = tables[2], tables[4]
    count = 0
    for p in range(node[FIRST] + 1, node[FIRST] + node[COUNT]):
        i = arena[0][p]
        for row in range(row_start[i], row_start[i + 1]):
            if seen[planes[row]] == 0:
                seen[planes[row]] = 1
                candidates[count] = planes[row]
                count += 1
    for c in range(count):
        seen[candidates[c]] = 0
    return count


@inner
@typing.no_type_check
def groups_of(node, stride, arena, group, stamps, stamp):
    """Return the number of groups among (every `stride`-th of) a node's regions."""
    m = 0
    for p in range(node[FIRST] + 1, node[FIRST] + node[COUNT], stride):
        g = group[arena[0][p]]
        m += stamps[g, 0] != stamp
        stamps[g, 0] = stamp
    return m


@inner
@typing.no_type_check
def choose(node, arena, tables, group, alone, limits, stamps, counts, seen, candidates, distance):
    """Return the row whose plane splits a node's groups of regions best, -1 when none does.

    A plane with no region beyond it comes before all others when the cell reaches beyond it by more than `peel`.
    """
    H, k, _, plane_row, _ = tables
    width, peel_least, work, most_regions, weight, peel_groups = limits
    _, begin, size, vx, _ = arena
    stride = 1 + (node[COUNT] - 2) // most_regions
    counts[STAMP] += 1
    m = groups_of(node, stride, arena, group, stamps, counts[STAMP])
    if m == 1 and not alone:
        return -1
    peel = peel_least if alone or m <= peel_groups else np.inf
    count = candidates_of(node, arena, tables, seen, candidates)
    most = max(32.0, work * stride // max(1, node[CORNERS]))
    ahead = max(1.0, count / most)
    best = np.inf
    index = -1
    position = 0.0
    cell = begin[node[FIRST]]
    while position < count:
        row = plane_row[candidates[int(position)]]
        position += ahead
        counts[STAMP] += 1
        value, beyond = score(
            H[row], k[row], width, weight, best, m, stride, node, arena, group, stamps, counts[STAMP], distance
        )
        if peel < np.inf:
            _, high = extent(H[row], k[row], vx.shape[0], vx, cell, cell + size[node[FIRST]], distance)
            if beyond == 0 and high > peel:
                peel = high
                best = -1.0
                index = row
        if value < best:
            best = value
            index = row
    return index


@inner
@typing.no_type_check
def clip(sign, row, width, tolerance, node, m, end, tables, arena, scratch, distance):  # noqa: C901
    """Append the polytopes of a child at m, their corners at `end`: sign +1 keeps h'x >= k, -1 the other side.

    A region that reaches beyond the plane by at most `width` stays on one side as a whole: the positive one if it
    reaches further there, else the negative one. Returns (polytopes, corners) after it, or FULL twice.
    """
    H, k = tables[0], tables[1]
    owner, begin, count, vx, bits = arena
    work, work_bits, slack, sides, plane, right = scratch
    n, words, limit = vx.shape[0], bits.shape[1], slack.shape[0]
    for j in range(n):
        plane[j, 0] = -sign * H[row, j]
    right[0] = -sign * k[row]
    if m + node[COUNT] > owner.shape[0]:
        return FULL, FULL
    for p in range(node[FIRST], node[FIRST] + node[COUNT]):
        first, nv = begin[p], count[p]
        before, beyond = reaches(H[row], k[row], width, n, vx, first, first + nv, distance)
        both = before and beyond
        if p > node[FIRST] and not both and beyond != (sign > 0):
            continue
        for j in range(n):
            for v in range(nv):
                work[j, v] = vx[j, first + v]
        for v in range(nv):
            for w in range(words):
                work_bits[v, w] = bits[first + v, w]
        if p == node[FIRST] or both:
            bit = free_bit(nv, words, work_bits)
            if bit < 0:
                return FULL - 1, FULL - 1
            nv = abs(cut(0, bit, words, plane, right, n, tolerance, nv, limit, work, work_bits, slack, sides))
            if nv > limit:
                return FULL - 1, FULL - 1
        if p > node[FIRST] and nv == 0:
            continue
        last = store(nv, n, words, scratch, end, vx, bits)
        if last < 0:
            return FULL, FULL
        owner[m], begin[m], count[m] = owner[p], end, nv
        m += 1
        end = last
    return m, end


@inner
@typing.no_type_check
def settle(node, m, end, arena):
    """Move everything after a node's place down onto it: polytopes up to m, corners up to `end`."""
    owner, begin, count, vx, bits = arena
    polytopes, corners = node[COUNT], node[CORNERS]
    for p in range(node[FIRST] + polytopes, m):
        owner[p - polytopes], begin[p - polytopes], count[p - polytopes] = owner[p], begin[p] - corners, count[p]
    for j in range(vx.shape[0]):
        for v in range(node[CORNER] + corners, end):
            vx[j, v - corners] = vx[j, v]
    for v in range(node[CORNER] + corners, end):
        for w in range(bits.shape[1]):
            bits[v - corners, w] = bits[v, w]


@inner
@typing.no_type_check
def link(node, target, child):
    """Let a node's parent know where it went."""
    if node[LINK] >= 0:
        child[node[LINK] >> 1, node[LINK] & 1] = target


@kernel
@typing.no_type_check
def grow(tables, groups, limits, caps, arena, waiting, out, counts, marks, scratch):  # noqa: C901
    """Split waiting nodes until none is left; return True then, False when an array is too small.

    `out` is (plane (nodes,) row of each node, child (nodes, 2), leaf (leaves, 2) its answer and number of members,
    members, origin (nodes,) the link to each node). A leaf i appears among the children as -1 - i.
    """
    rooms, deepest, most_nodes = caps
    tolerance = rooms[4]
    same, alone = groups
    plane, child, leaf, members, origin = out
    stamps, seen, candidates, distance, spare = marks
    while counts[N_WAITING] > 0:
        node = waiting[counts[N_WAITING] - 1]
        end_m, end = node[FIRST] + node[COUNT], node[CORNER] + node[CORNERS]
        if (
            counts[N_NODES] == len(plane) or counts[N_LEAVES] == len(leaf) or counts[N_WAITING] + 2 > len(waiting)
            or counts[N_MEMBERS] + node[COUNT] > len(members)
        ):  # fmt: skip
            return False
        row = -1
        answer = told(node, rooms, plane, origin, same, arena, tables, scratch, spare, distance)
        if answer == CHECK and node[LEVEL] < deepest and counts[N_NODES] < most_nodes:
            row = choose(node, arena, tables, same, False, limits, stamps, counts, seen, candidates, distance)
            if row < 0:
                row = choose(node, arena, tables, alone, True, limits, stamps, counts, seen, candidates, distance)
        m = e = m2 = e2 = FULL - 1
        if row >= 0:
            m, e = clip(-1, row, limits[0], tolerance, node, end_m, end, tables, arena, scratch, distance)
            if m >= 0:
                m2, e2 = clip(1, row, limits[0], tolerance, node, m, e, tables, arena, scratch, distance)
            if FULL in (m, m2):
                return False
        counts[N_WAITING] -= 1
        if m2 < 0:
            link(node, -1 - counts[N_LEAVES], child)
            leaf[counts[N_LEAVES], 0] = answer
            leaf[counts[N_LEAVES], 1] = node[COUNT] - 1
            for p in range(node[FIRST] + 1, end_m):
                members[counts[N_MEMBERS]] = arena[0][p]
                counts[N_MEMBERS] += 1
            counts[N_LEAVES] += 1
            continue
        here = counts[N_NODES]
        link(node, here, child)
        plane[here] = row
        origin[here] = node[LINK]
        counts[N_NODES] += 1
        settle(node, m2, e2, arena)
        first, corner, level = node[FIRST], node[CORNER], node[LEVEL] + 1
        counts[DEEPEST] = max(counts[DEEPEST], level)
        for side in range(2):
            child_m, child_e = (m - end_m, e - end) if side == 0 else (m2 - m, e2 - e)
            new = waiting[counts[N_WAITING]]
            new[FIRST], new[COUNT], new[CORNER], new[CORNERS] = first, child_m, corner, child_e
            new[LEVEL], new[LINK] = level, 2 * here + side
            first += child_m
            corner += child_e
            counts[N_WAITING] += 1
    return True


@kernel
@typing.no_type_check
def share(plane, child, leaf, table, target):
    """Write where each node goes when nodes that ask and answer the same are one, and a question without use none.

    `leaf` (leaves,) is the number of each leaf's answer, `table` (a power of two, at least twice the nodes) is -1
    everywhere. In `target` (nodes,) a node that stays has its own number, -1 - i leads to answer i. Nodes come after
    their parents, so they are visited from the last to the first; afterwards `child` speaks of targets.
    """
    mask = np.uint64(len(table) - 1)
    for i in range(len(plane) - 1, -1, -1):
        for side in range(2):
            c = child[i, side]
            child[i, side] = target[c] if c >= 0 else -1 - leaf[-1 - c]
        low, high = child[i, 0], child[i, 1]
        if low == high:
            target[i] = low
            continue
        mixed = np.uint64(plane[i]) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ np.uint64(low)) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed = (mixed ^ (mixed >> np.uint64(29)) ^ np.uint64(high)) * np.uint64(0x165667B19E3779F9)
        slot = (mixed ^ (mixed >> np.uint64(32))) & mask
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = i
                target[i] = i
                break
            if plane[other] == plane[i] and child[other, 0] == low and child[other, 1] == high:
                target[i] = other
                break
            slot = (slot + np.uint64(1)) & mask


@kernel
@typing.no_type_check
def arrange(root, child, level, order):
    """Write to `order` the nodes that `root` leads to, parents first; return their number and the longest way.

    `level` (nodes,) is zero on entry; on exit it holds each node's longest way from the root, counted from 1.
    """
    count = 0
    depth = 0
    level[root] = 1
    for i in range(root, len(child)):
        if level[i] == 0:
            continue
        order[count] = i
        count += 1
        depth = max(depth, level[i])
        for side in range(2):
            c = child[i, side]
            if c >= 0:
                level[c] = max(level[c], level[i] + 1)
    return count, depth
