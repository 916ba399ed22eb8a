"""Breadth-first exploration by facet flips: beyond each facet of a region, which active set takes over?

Beyond the facet where a multiplier vanishes its row leaves; beyond the one where a slack vanishes that row enters, and
when it depends on the active rows, one of them with a positive weight leaves in exchange (none: infeasible beyond).
A neighbour counts only if it holds the point `step` beyond the facet's centre; what stays open goes to an online QP.
Reference: Spjotvold, Kerrigan, Jones, Tondel and Johansen, Automatica 42(12), 2006 (on when flips fail).
"""

import typing

import numpy as np

from .compilation import inner, kernel, once
from .kernels_dd import ONE
from .kernels_region import factor, solve_active
from .kernels_store import BORDER, INFEASIBLE, N_REGIONS, N_SETS, NEXT, OPEN, find_set, holds, read_set, try_set

_NEARLY = 1e-6  # unit rows this close to the span of others may change places with one of them


@inner
@typing.no_type_check
def insert_row(parent, nw, entering, skip, W):
    """Write the sorted set parent[:nw] without position `skip` and with row `entering` (-1: none)."""
    count = 0
    for i in range(nw):
        if entering >= 0 and parent[i] > entering:
            W[count] = entering
            count += 1
            entering = -1
        if i != skip:
            W[count] = parent[i]
            count += 1
    if entering >= 0:
        W[count] = entering
        count += 1
    return count


@inner
@typing.no_type_check
def distance_to_span(M, row, nw, Q):
    """Return the length of what is left of M_row without its parts along Q[:nw]."""
    left = 0.0
    for j in range(M.shape[1]):
        left += M[row, j] * M[row, j]
    for i in range(nw):
        dot = 0.0
        for j in range(M.shape[1]):
            dot += Q[i, j] * M[row, j]
        left -= dot * dot
    return np.sqrt(max(left, 0.0))


@once
@typing.no_type_check
def exchange_weights(program, parent, nw, entering, work, centre):
    """Write alpha, M_entering = sum alpha_i M_parent_i, and the ratios lam_i/alpha_i at the facet's centre.

    Returns the number of positive weights (negative ratios are clipped to zero), -1 where the row is far from such a
    sum.
    """
    n = program.S.shape[1]
    for i in range(nw):
        work.W[i] = parent[i]
    factor(program.M, work.W, 0, nw, work.Q, work.T, 0.0)
    solve_active(program.D, work.W, nw, work.Q, work.T, work.Y, work.L, work.V)
    if distance_to_span(program.M, entering, nw, work.Q) > _NEARLY:
        return -1
    positive = 0
    for i in range(nw - 1, -1, -1):
        total = 0.0
        for j in range(program.M.shape[1]):
            total += work.Q[i, j] * program.M[entering, j]
        for a in range(i + 1, nw):
            total -= work.T[a, i] * work.x[a]
        work.x[i] = total / work.T[i, i]
    for i in range(nw):
        work.ratio[i] = np.inf
        if work.x[i] > 1e-12:
            positive += 1
            lam = work.L[i, n]
            for j in range(n):
                lam += work.L[i, j] * centre[j]
            work.ratio[i] = max(lam, 0.0) / work.x[i]
    return positive


@inner
@typing.no_type_check
def next_exchange(parent, nw, entering, work):
    """Write the set in which `entering` replaces the row with the least ratio not tried yet; return its size."""
    best = 0
    for i in range(nw):
        if work.ratio[i] < work.ratio[best]:
            best = i
    work.ratio[best] = np.inf
    return insert_row(parent, nw, entering, best, work.W)


@once
@typing.no_type_check
def step_over(program, store, parent, nw, row, centre, work):
    """Write the facet's centre, the point just beyond it and the flipped set; return its size and the entering row."""
    base = program.S.shape[0]
    m = program.M.shape[0]
    for j in range(centre.shape[0]):
        centre[j] = store.centre[row, j]
        work.point[j] = centre[j] + program.tolerances[4] * store.H[row, j]
    flipped = store.code[row] - base
    if flipped >= m:
        return insert_row(parent, nw, flipped - m, -1, work.W), flipped - m
    skip = -1
    for i in range(nw):
        if parent[i] == flipped:
            skip = i
    return insert_row(parent, nw, -1, skip, work.W), -1


@once
@typing.no_type_check
def cross(program, store, ahead, work, parent, nw, row, size, centre, max_parameters):
    """Return what lies beyond facet `row`: a region, OPEN, BORDER, INFEASIBLE, or -4 when the store is full.

    With row < 0 try the set work.W[:size] at work.point and return as `try_set` does.
    """
    if row >= 0 and store.code[row] < program.S.shape[0]:
        return BORDER
    entering = -1
    if row >= 0:
        size, entering = step_over(program, store, parent, nw, row, centre, work)
    tries = 1
    exchanging = False
    while tries > 0:
        region = try_set(program, store, ahead, work, size, work.point, max_parameters)
        if row < 0:
            return region
        if region == -3:
            return -4
        if region >= 0 and holds(store, region, work.point, program.tolerances[5]):
            return region
        tries -= 1
        if entering >= 0 and not exchanging:
            # Rows that are nearly dependent are active together only in a region thinner than the tolerance.
            exchanging = True
            tries = min(exchange_weights(program, parent, nw, entering, work, centre), 6)
            if tries == 0 and region == -2:
                return INFEASIBLE
        if tries > 0:
            size = next_exchange(parent, nw, entering, work)
    return OPEN


@once
@typing.no_type_check
def independent_rows(program, work, support, count, every):
    """Write the sorted rows of support[:count], or those that do not depend on the rows before; return their number."""
    nw = 0
    for i in range(count):
        work.W[nw] = support[i]
        if every or (
            nw < program.M.shape[1] and factor(program.M, work.W, nw, nw + 1, work.Q, work.T, program.tolerances[0]) < 0
        ):
            nw += 1
    for i in range(1, nw):
        held = work.W[i]
        j = i
        while j > 0 and work.W[j - 1] > held:
            work.W[j] = work.W[j - 1]
            j -= 1
        work.W[j] = held
    return nw


@kernel
@typing.no_type_check
def explore(program, store, ahead, work, parent, centre, until, max_parameters, support, count, point):
    """Cross the facets of regions NEXT .. until - 1; stop early, to be called again, when the store is full.

    With count >= 0 try the rows an online QP found active at a point instead, dependent ones dropped in their order,
    and return as `try_set` does; with until < 0 as well, all the rows as they are. One entry for all keeps the compiled
    code, and the time to compile it, half as large.
    """
    size = 0
    if count >= 0:
        size = independent_rows(program, work, support, count, until < 0)
        for j in range(point.shape[0]):
            work.point[j] = point[j]
    while count >= 0 or store.counts[NEXT] < min(until, store.counts[N_REGIONS]):
        region = store.counts[NEXT]
        first = -1
        last = 0
        nw = 0
        if count < 0:
            nw = read_set(store, region, program.M.shape[0], parent)
            first = store.row_start[region]
            last = store.row_start[region + 1]
        for row in range(first, last):
            if row >= 0 and store.neighbour[row] != OPEN:
                continue
            beyond = cross(program, store, ahead, work, parent, nw, row, size, centre, max_parameters)
            if row < 0:
                return beyond
            if beyond == -4:
                return -3
            store.neighbour[row] = beyond
        store.counts[NEXT] += 1
    return 0


@kernel
@typing.no_type_check
def list_flips(program, store, ahead, work, parent, centre, until):
    """Write the sets not yet tried that the flips of regions NEXT .. until - 1 lead to, with their points, to `ahead`.

    Returns False when it is full.
    """
    base = program.S.shape[0]
    for region in range(store.counts[NEXT], min(until, store.counts[N_REGIONS])):
        nw = read_set(store, region, program.M.shape[0], parent)
        for row in range(store.row_start[region], store.row_start[region + 1]):
            if store.neighbour[row] != OPEN or store.code[row] < base:
                continue
            size, _ = step_over(program, store, parent, nw, row, centre, work)
            for w in range(work.key.shape[0]):
                work.key[w] = np.uint64(0)
            for i in range(size):
                work.key[work.W[i] >> 6] |= ONE << np.uint64(work.W[i] & 63)
            index, _ = find_set(store, work.key)
            known, place = find_set(ahead, work.key)
            if index >= 0 or known >= 0:
                continue
            count = ahead.counts[N_SETS]
            if count >= ahead.sets.shape[0]:
                return False
            for w in range(work.key.shape[0]):
                ahead.sets[count, w] = work.key[w]
            for j in range(work.point.shape[0]):
                ahead.points[count, j] = work.point[j]
            ahead.table[place] = count
            ahead.counts[N_SETS] += 1
    return True


@kernel
@typing.no_type_check
def region_maps(program, store, work, maps):
    """Write v = maps[i] [theta; 1] of every region."""
    m = program.M.shape[0]
    for region in range(maps.shape[0]):
        nw = read_set(store, region, m, work.W)
        factor(program.M, work.W, 0, nw, work.Q, work.T, 0.0)
        solve_active(program.D, work.W, nw, work.Q, work.T, work.Y, work.L, work.V)
        for j in range(maps.shape[1]):
            for c in range(maps.shape[2]):
                maps[region, j, c] = work.V[j, c]
