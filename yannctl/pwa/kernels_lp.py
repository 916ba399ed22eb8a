"""Largest ball in a polytope by the dual simplex method, for regions with many parameters and for radii.

max r  s.t.  H x + r <= k,  +-x_j + r <= bound.  The basis starts from box rows, so no first phase is needed: the two
sides of x_0 with weight 1/2 each already carry the objective; every step takes in the most violated row.
"""

import typing

import numpy as np

from .compilation import inner, kernel

_REFRESH = 12  # steps between fresh inverses of the basis


@inner
@typing.no_type_check
def lp_row(row, H, q, d, out):
    """Write row `row` of the program in (x, r); rows from q on are the box."""
    for j in range(d):
        out[j] = 0.0
    if row < q:
        for j in range(d):
            out[j] = H[row, j]
    elif row < q + d:
        out[row - q] = 1.0
    else:
        out[row - q - d] = -1.0
    out[d] = 1.0


@inner
@typing.no_type_check
def bring_pivot(A, inverse, size, col):
    """Swap the row with the largest entry of a column into place, scaled to one; False when all are zero."""
    pivot = col
    for i in range(col + 1, size):
        if abs(A[i, col]) > abs(A[pivot, col]):
            pivot = i
    if abs(A[pivot, col]) < 1e-14:
        return False
    scale = 1.0 / A[pivot, col]
    for j in range(size):
        A[col, j], A[pivot, j] = A[pivot, j], A[col, j]
        inverse[col, j], inverse[pivot, j] = inverse[pivot, j], inverse[col, j]
        A[col, j] *= scale
        inverse[col, j] *= scale
    return True


@inner
@typing.no_type_check
def invert(A, size, inverse):
    """Write the inverse of the square matrix A (destroyed) by Gauss-Jordan with partial pivoting."""
    for i in range(size):
        for j in range(size):
            inverse[i, j] = 1.0 if i == j else 0.0
    for col in range(size):
        if not bring_pivot(A, inverse, size, col):
            return False
        for i in range(size):
            factor = A[i, col]
            if i != col and factor != 0.0:
                for j in range(size):
                    A[i, j] -= factor * A[col, j]
                    inverse[i, j] -= factor * inverse[col, j]
    return True


@inner
@typing.no_type_check
def refresh(basis, H, k, q, d, bound, square, inverse, x, row):
    """Recompute the inverse of the basis matrix and the basic point x."""
    size = d + 1
    for i in range(size):
        lp_row(basis[i], H, q, d, row)
        for j in range(size):
            square[i, j] = row[j]
    if not invert(square, size, inverse):
        return False
    for j in range(size):
        x[j] = 0.0
    for _ in range(2):  # the second pass takes out the error of the inverse
        for i in range(size):
            lp_row(basis[i], H, q, d, row)
            square[0, i] = k[basis[i]] if basis[i] < q else bound
            for j in range(size):
                square[0, i] -= row[j] * x[j]
        for j in range(size):
            for i in range(size):
                x[j] += inverse[j, i] * square[0, i]
    return True


@inner
@typing.no_type_check
def most_violated(H, k, q, d, bound, x, tolerance):
    """Return the row violated most at x, or -1."""
    worst = tolerance
    entering = -1
    for i in range(q + 2 * d):
        if i < q:
            total = x[d] - k[i]
            for j in range(d):
                total += H[i, j] * x[j]
        elif i < q + d:
            total = x[i - q] + x[d] - bound
        else:
            total = -x[i - q - d] + x[d] - bound
        if total > worst:
            worst = total
            entering = i
    return entering


@inner
@typing.no_type_check
def leaving(inverse, row, size, stage, change, weight):
    """Return the basis position that leaves, or -1.

    Of the ratios of weight to change within 1e-13 of the least it is the one with the largest change (Harris), which
    keeps the basis well conditioned. From stage 1 on the objective is tilted by some 1e-10 in another direction each
    stage: this ends cycles.
    """
    bound = np.inf
    for i in range(size):
        change[i] = 0.0
        weight[i] = inverse[size - 1, i]
        for j in range(size):
            change[i] += row[j] * inverse[j, i]
        if stage > 0:
            for j in range(size - 1):
                weight[i] += 1e-10 * (1.0 + (0.618 * (j + 1) * stage) % 1.0) * inverse[j, i]
        weight[i] = max(weight[i], 0.0)
        if change[i] > 1e-10:
            bound = min(bound, (weight[i] + 1e-13) / change[i])
    place = -1
    for i in range(size):
        if change[i] > 1e-10 and weight[i] <= bound * change[i] and (place < 0 or change[i] > change[place]):
            place = i
    return place


@inner
@typing.no_type_check
def exchange_row(place, violation, inverse, size, x, change):
    """Update the inverse and the basic point for the row that enters at basis position `place`."""
    for j in range(size):
        inverse[j, place] /= change[place]
        x[j] -= violation * inverse[j, place]
        for i in range(size):
            if i != place:
                inverse[j, i] -= change[i] * inverse[j, place]


@inner
@typing.no_type_check
def first_basis(basis, q, d):
    """Write the basis of both sides of x_0 and the upper sides of the other coordinates."""
    basis[0] = q
    basis[1] = q + d
    for j in range(1, d):
        basis[j + 1] = q + j


@kernel
@typing.no_type_check
def largest_ball(H, k, q, d, bound, basis, square, inverse, row, x):
    """Write the centre of the largest ball in {x: H x <= k, |x_j| <= bound} to x[:d] and its radius to x[d].

    Returns False when the iteration fails; a negative radius says the rows contradict each other. The inverse of the
    basis is updated, made afresh every so many steps and before the answer is accepted.
    """
    size = d + 1
    change = square[0]
    age = _REFRESH
    restarts = 0
    first_basis(basis, q, d)
    for step in range(50 * (size + 10)):
        if age >= _REFRESH:
            if not refresh(basis, H, k, q, d, bound, square, inverse, x, row):  # from the start, tilted
                restarts += 1
                first_basis(basis, q, d)
                if restarts > 3 or not refresh(basis, H, k, q, d, bound, square, inverse, x, row):
                    return False
            age = 0
        entering = most_violated(H, k, q, d, bound, x, 1e-12)
        if entering < 0:
            if age == 0:
                return True
            age = _REFRESH
            continue
        lp_row(entering, H, q, d, row)
        place = leaving(inverse, row, size, restarts + step // (3 * (size + 10)), change, square[1])
        if place < 0:
            if age == 0:
                return False
            age = _REFRESH
            continue
        violation = -(k[entering] if entering < q else bound)
        for j in range(size):
            violation += row[j] * x[j]
        exchange_row(place, violation, inverse, size, x, change)
        basis[place] = entering
        age += 1
    return False


@inner
@typing.no_type_check
def facet_rows(i, H, k, first, last, n, out_H, out_k, reflect):
    """Write rows first .. last - 1 within the hyperplane of row i; return their number, -1 when the facet is empty.

    The reflection I - 2 w w' takes the normal to the first axis; the hyperplane's coordinates are the other n - 1 axes.
    """
    sign = 1.0 if H[i, 0] >= 0 else -1.0
    norm = 0.0
    for j in range(n):
        reflect[j] = H[i, j] + (sign if j == 0 else 0.0)
        norm += reflect[j] * reflect[j]
    count = 0
    for other in range(first, last):
        if other == i:
            continue
        dot = 0.0
        along = 0.0
        for j in range(n):
            dot += H[other, j] * reflect[j]
            along += H[other, j] * H[i, j]
        size = 0.0
        for j in range(1, n):
            out_H[count, j - 1] = H[other, j] - 2.0 * dot * reflect[j] / norm
            size += out_H[count, j - 1] ** 2
        right = k[other] - along * k[i]
        size = np.sqrt(size)
        if size < 1e-12:
            if right < -1e-10 or (right < 1e-12 and along > 0 and other < i):
                return -1
            continue
        for j in range(n - 1):
            out_H[count, j] /= size
        out_k[count] = right / size
        count += 1
    return count


@inner
@typing.no_type_check
def facet_point(i, H, k, n, reflect, x, out):
    """Write the point of hyperplane i with coordinates x in it."""
    norm = 0.0
    dot = 0.0
    for j in range(n):
        norm += reflect[j] * reflect[j]
        if j > 0:
            dot += reflect[j] * x[j - 1]
    for j in range(n):
        out[j] = k[i] * H[i, j] - 2.0 * dot * reflect[j] / norm
        if j > 0:
            out[j] += x[j - 1]


@inner
@typing.no_type_check
def facets_by_balls(
    H, k, q, n, radius, facet_radius, used, centre, sub_H, sub_k, basis, square, inverse, row, x, reflect
):
    """Keep in `used` the rows that carry a facet of {H x <= k} and write their centres; 0 when the set is thin."""
    if not largest_ball(H, k, q, n, 2.0, basis, square, inverse, row, x) or x[n] < radius:
        return 0
    found = 0
    for i in range(q):
        count = facet_rows(i, H, k, 0, q, n, sub_H, sub_k, reflect)
        if count < 0:
            continue
        if not largest_ball(sub_H, sub_k, count, n - 1, 4.0 * n, basis, square, inverse, row, x):
            continue
        if x[n - 1] < facet_radius:
            continue
        used[found] = i
        facet_point(i, H, k, n, reflect, x, centre[found])
        found += 1
    return found
