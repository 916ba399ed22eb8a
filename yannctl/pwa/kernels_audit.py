"""Points on all facets of a law and what lies beyond them, from the geometry of the regions alone."""

import typing

import numpy as np

from .compilation import inner, kernel
from .kernels_closure import outside, walk
from .kernels_dd import cut_box
from .kernels_lp import facet_point, facet_rows, largest_ball
from .kernels_region import factor
from .kernels_store import INFEASIBLE, ONE


@inner
@typing.no_type_check
def vertex_mean(row, H, k, n, tolerance, nv, vx, centre):
    """Write the mean of the vertices on a row; return False when fewer than n lie on it."""
    count = 0
    for j in range(n):
        centre[row, j] = 0.0
    for v in range(nv):
        total = k[row]
        for j in range(n):
            total -= H[row, j] * vx[j, v]
        if abs(total) <= tolerance:
            count += 1
            for j in range(n):
                centre[row, j] += vx[j, v]
    for j in range(n):
        centre[row, j] /= max(count, 1)
    return count >= n


@kernel
@typing.no_type_check
def write_centres(row_start, H, k, by_vertices, Ht, kt, vx, bits, vslack, sides, sub_H, sub_k, square, basis, centre):
    """Write a point inside each facet: the mean of its vertices, or the middle of its largest ball.

    square holds four (n+2, n+2) matrices of work space; rows that carry no facet get the point nearest to one.
    """
    n = H.shape[1]
    limit = vx.shape[1]
    for region in range(row_start.shape[0] - 1):
        start = row_start[region]
        q = row_start[region + 1] - start
        nv = -1
        if by_vertices:
            for i in range(q):
                kt[i] = k[start + i]
                for j in range(n):
                    Ht[j, i] = H[start + i, j]
            nv = cut_box(Ht, kt, q, n, 1e-11, limit, vx, bits, vslack, sides)
        for row in range(start, start + q):
            if nv > 0 and vertex_mean(row, H, k, n, 1e-10, nv, vx, centre):
                continue
            ball_centre(start, q, row, H, k, sub_H, sub_k, square, basis, centre)


@inner
@typing.no_type_check
def ball_centre(start, q, row, H, k, sub_H, sub_k, square, basis, centre):
    """Write the middle of the largest ball of a facet."""
    n = H.shape[1]
    reflect = square[2, 0]
    x = square[2, 1]
    rest = facet_rows(row, H, k, start, start + q, n, sub_H, sub_k, reflect)
    if rest < 0 or not largest_ball(sub_H, sub_k, rest, n - 1, 4.0 * n, basis, square[0], square[1], square[3, 0], x):
        for j in range(n):
            x[j] = 0.0
    facet_point(row, H, k, n, reflect, x, centre[row])


@kernel
@typing.no_type_check
def match_facets(centre, regions, key, order, tolerance, neighbour):
    """Write the region on the other side of each facet whose centre another region's facet shares, else -1."""
    for row in range(order.shape[0]):
        neighbour[row] = -1
    for i in range(order.shape[0]):
        a = order[i]
        position = i + 1
        while position < order.shape[0] and key[order[position]] - key[a] <= tolerance:
            b = order[position]
            position += 1
            gap = 0.0
            for j in range(centre.shape[1]):
                gap = max(gap, abs(centre[a, j] - centre[b, j]))
            if gap <= tolerance and regions[a] != regions[b]:
                neighbour[a] = regions[b]
                neighbour[b] = regions[a]
                break


@kernel
@typing.no_type_check
def on_facets(row_start, H, k, centre, tolerance):
    """Tell whether each row's point lies on it and within its region."""
    for region in range(row_start.shape[0] - 1):
        for row in range(row_start[region], row_start[region + 1]):
            for other in range(row_start[region], row_start[region + 1]):
                total = -k[other]
                for j in range(H.shape[1]):
                    total += H[other, j] * centre[row, j]
                if total > tolerance or (other == row and not total >= -tolerance):
                    return False
    return True


@kernel
@typing.no_type_check
def look_beyond(row_start, H, k, S, s, regions, neighbour, centre, step, tolerance, theta, covered):
    """Write 1 for each facet beyond whose centre a walk finds a region, 2 for the border of the parameter set, else 0.

    The neighbours, -1 where unknown, only say where the walk begins and leads; the region it ends in holds the point.
    """
    for row in range(regions.shape[0]):
        for j in range(H.shape[1]):
            theta[j] = centre[row, j] + step * H[row, j]
        covered[row] = 0
        if outside(S, s, theta):
            covered[row] = 2
        elif neighbour[row] >= 0 and walk(row_start, H, k, neighbour, neighbour[row], theta, tolerance, 64):
            covered[row] = 1


@inner
@typing.no_type_check
def combine(A, W, nw, j, Q, T, x):
    """Write x with A_j = sum_i x_i A_W[i] as well as that can be; return the length of what is left of A_j."""
    factor(A, W, 0, nw, Q, T, 0.0)
    for i in range(nw - 1, -1, -1):
        total = 0.0
        for a in range(A.shape[1]):
            total += Q[i, a] * A[j, a]
        for a in range(i + 1, nw):
            total -= T[a, i] * x[a]
        x[i] = total / T[i, i]
    left = 0.0
    for a in range(A.shape[1]):
        total = A[j, a]
        for i in range(nw):
            total -= x[i] * A[W[i], a]
        left += total * total
    return np.sqrt(left)


@kernel
@typing.no_type_check
def prove_infeasible(A, R, base, sets, code, regions, neighbour, H, centre, step, W, Q, T, x, covered):
    """Write 3 for each facet beyond whose centre, by a Farkas vector y, no z with |z| <= 1000 is feasible.

    y = e_j - sum x_i e_W[i] >= 0 takes y'A to (almost) zero; y'R [theta; 1] < 0 then contradicts A z <= R [theta; 1].
    Row j is the one that enters at the facet, W are the active rows of its region.
    """
    m = A.shape[0]
    n = H.shape[1]
    for row in range(regions.shape[0]):
        j = code[row] - base - m
        if covered[row] != 0 or neighbour[row] != INFEASIBLE or j < 0:
            continue
        nw = 0
        for i in range(m):
            if (sets[regions[row], i >> 6] >> np.uint64(i & 63)) & ONE:
                W[nw] = i
                nw += 1
        left = combine(A, W, nw, j, Q, T, x)
        right = R[j, n]
        size = abs(right)
        for c in range(n):
            right += R[j, c] * (centre[row, c] + step * H[row, c])
        for i in range(nw):
            value = R[W[i], n]
            for c in range(n):
                value += R[W[i], c] * (centre[row, c] + step * H[row, c])
            right -= min(x[i], 0.0) * value
            size += abs(x[i] * value)
            left += max(x[i], 0.0)  # what is dropped to keep y >= 0 changes y'A by as much
        if right < -1000.0 * left - 1e-14 * size:
            covered[row] = 3
