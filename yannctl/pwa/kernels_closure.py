"""Facets that face more than one neighbour: points all over them are looked at, not only their centre."""

import typing

import numpy as np

from .compilation import inner, kernel, once
from .kernels_store import INFEASIBLE, N_REGIONS, N_ROWS, OPEN


@inner
@typing.no_type_check
def has_twin(store, row, other, tolerance):
    """Tell whether region `other` has a facet with the same centre as facet `row`."""
    for twin in range(store.row_start[other], store.row_start[other + 1]):
        gap = 0.0
        for j in range(store.H.shape[1]):
            gap = max(gap, abs(store.centre[twin, j] - store.centre[row, j]))
        if gap <= tolerance:
            return True
    return False


@once
@typing.no_type_check
def rim_point(store, region, row, directions, d, point):
    """Write the point nine tenths of the way from a facet's centre to its rim; False if there is none.

    The direction is projected onto the facet first.
    """
    n = store.H.shape[1]
    along = 0.0
    for j in range(n):
        along += directions[d, j] * store.H[row, j]
    reach = np.inf
    for other in range(store.row_start[region], store.row_start[region + 1]):
        if other == row:
            continue
        slack = store.k[other]
        speed = 0.0
        for j in range(n):
            slack -= store.H[other, j] * store.centre[row, j]
            speed += store.H[other, j] * (directions[d, j] - along * store.H[row, j])
        if speed > 1e-12:
            reach = min(reach, max(slack, 0.0) / speed)
    if not reach < np.inf:
        return False
    for j in range(n):
        point[j] = store.centre[row, j] + 0.9 * reach * (directions[d, j] - along * store.H[row, j])
    return True


@inner
@typing.no_type_check
def walk(row_start, H, k, neighbour, region, theta, tolerance, most):
    """Walk from a region towards a point across facets; tell whether a region that holds it, or its absence, is found.

    The feasible parameters are convex, so a point beyond a facet with nothing feasible behind it is infeasible.
    """
    for _ in range(most):
        worst = -np.inf
        towards = OPEN
        inside = True
        for row in range(row_start[region], row_start[region + 1]):
            total = -k[row]
            for j in range(H.shape[1]):
                total += H[row, j] * theta[j]
            if total > tolerance:
                if neighbour[row] == INFEASIBLE:
                    return True
                inside = False
                if neighbour[row] >= 0 and total > worst:
                    worst = total
                    towards = neighbour[row]
        if inside:
            return True
        if towards < 0:
            return False
        region = towards
    return False


@inner
@typing.no_type_check
def outside(S, s, theta):
    """Tell whether a point lies outside the parameter set."""
    for row in range(S.shape[0]):
        total = -s[row]
        for j in range(theta.shape[0]):
            total += S[row, j] * theta[j]
        if total > 0.0:
            return True
    return False


@kernel
@typing.no_type_check
def scan(row_start, H, k, regions, theta, tolerance):
    """Return the first region that holds a point, or -1."""
    for region in range(regions):
        inside = True
        for row in range(row_start[region], row_start[region + 1]):
            total = -k[row]
            for j in range(H.shape[1]):
                total += H[row, j] * theta[j]
            if total > tolerance:
                inside = False
                break
        if inside:
            return region
    return -1


@once
@typing.no_type_check
def settled(program, store, likely, theta, tolerance):
    """Tell whether a point lies outside the parameter set or where a walk from a likely region ends."""
    if outside(program.S, program.s, theta):
        return True
    return walk(store.row_start, store.H, store.k, store.neighbour, likely, theta, tolerance, 64)


@inner
@typing.no_type_check
def region_of(store, row):
    """Return the region a row belongs to."""
    low = 0
    high = store.counts[N_REGIONS]
    while high - low > 1:
        middle = (low + high) // 2
        if store.row_start[middle] <= row:
            low = middle
        else:
            high = middle
    return low


@kernel
@typing.no_type_check
def probe(program, store, first, directions, samples, match, tolerance, point, theta, rows, points):  # noqa: C901  (one loop over facets; its cases share a dozen work arrays)
    """Write up to len(rows) pairs (facet, point) beyond which no region lies; return (their number, next facet).

    Only facets from `first` on whose neighbour has no facet with the same centre are looked at, all over. When none is
    left the sample points follow, with -1 for the facet.
    """
    n = store.H.shape[1]
    count = 0
    region = region_of(store, first)
    for row in range(first, store.counts[N_ROWS] if n > 1 else first):
        while row >= store.row_start[region + 1]:
            region += 1
        other = store.neighbour[row]
        if other < 0 or has_twin(store, row, other, match):
            continue
        if count + directions.shape[0] + samples.shape[0] > rows.shape[0]:
            return count, row
        for d in range(directions.shape[0]):
            if not rim_point(store, region, row, directions, d, point):
                continue
            for j in range(n):
                theta[j] = point[j] + program.tolerances[4] * store.H[row, j]
            if not settled(program, store, other, theta, tolerance):
                for j in range(n):
                    points[count, j] = point[j]
                rows[count] = row
                count += 1
    for sample in range(samples.shape[0]):
        for j in range(n):
            theta[j] = samples[sample, j]
            points[count, j] = samples[sample, j]
        if not settled(program, store, 0, theta, tolerance):
            rows[count] = -1
            count += 1
    return count, store.counts[N_ROWS]
