"""Facets that face more than one neighbour: points all over them are looked at, not only their centre."""

import typing

import numpy as np

from .compilation import inner, kernel
from .kernels_store import N_REGIONS, N_ROWS, holds


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


@inner
@typing.no_type_check
def rim_point(store, region, row, direction, point):
    """Write the point nine tenths of the way from a facet's centre to its rim; False if there is none.

    The direction is projected onto the facet first.
    """
    n = store.H.shape[1]
    along = 0.0
    for j in range(n):
        along += direction[j] * store.H[row, j]
    reach = np.inf
    for other in range(store.row_start[region], store.row_start[region + 1]):
        if other == row:
            continue
        slack = store.k[other]
        speed = 0.0
        for j in range(n):
            slack -= store.H[other, j] * store.centre[row, j]
            speed += store.H[other, j] * (direction[j] - along * store.H[row, j])
        if speed > 1e-12:
            reach = min(reach, max(slack, 0.0) / speed)
    if not reach < np.inf:
        return False
    for j in range(n):
        point[j] = store.centre[row, j] + 0.9 * reach * (direction[j] - along * store.H[row, j])
    return True


@inner
@typing.no_type_check
def covered(program, store, likely, theta, tolerance):
    """Tell whether a point lies in a region (the likely one is tried first) or outside the parameter set."""
    if holds(store, likely, theta, tolerance):
        return True
    for row in range(program.S.shape[0]):
        total = -program.s[row]
        for j in range(theta.shape[0]):
            total += program.S[row, j] * theta[j]
        if total > 0.0:
            return True
    for region in range(store.counts[N_REGIONS]):  # noqa: SIM110 a generator does not compile
        if holds(store, region, theta, tolerance):
            return True
    return False


@kernel
@typing.no_type_check
def probe_facets(program, store, first, directions, match, tolerance, point, theta, rows, points):
    """Write up to len(rows) pairs (facet, point on it) beyond which no region lies; return (their number, next facet).

    Only facets from `first` on whose neighbour has no facet with the same centre are looked at.
    """
    n = store.H.shape[1]
    count = 0
    region = np.searchsorted(store.row_start[: store.counts[N_REGIONS] + 1], first, side="right") - 1
    for row in range(first, store.counts[N_ROWS]):
        while row >= store.row_start[region + 1]:
            region += 1
        other = store.neighbour[row]
        if other < 0 or has_twin(store, row, other, match):
            continue
        if count + directions.shape[0] > rows.shape[0]:
            return count, row
        for d in range(directions.shape[0]):
            if not rim_point(store, region, row, directions[d], point):
                continue
            for j in range(n):
                theta[j] = point[j] + program.tolerances[4] * store.H[row, j]
            if not covered(program, store, other, theta, tolerance):
                for j in range(n):
                    points[count, j] = point[j]
                rows[count] = row
                count += 1
    return count, store.counts[N_ROWS]
