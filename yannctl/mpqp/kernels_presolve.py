"""The parts of presolve that go through rows pair by pair or entry by entry, compiled."""

import typing

import numpy as np

from yannctl.pwa.compilation import inner, kernel

KEPT, ZERO, IMPLIED = 0, 1, 2  # what a row is: kept, without a decision variable, implied by a parallel row
_PARALLEL = 1 - 1e-9  # cosine from which on unit rows can be parallel


@inner
@typing.no_type_check
def parallel(A, i, j, sign, tolerance):
    """Tell whether unit rows A_i and sign A_j agree within the tolerance."""
    cosine = 0.0
    for c in range(A.shape[1]):
        if abs(A[i, c] - sign * A[j, c]) > tolerance:
            return False
        cosine += A[i, c] * A[j, c]
    return cosine * sign > _PARALLEL


@inner
@typing.no_type_check
def normalise(A, R, state):
    """Give the rows unit norm in place; mark those without a decision variable."""
    for i in range(A.shape[0]):
        norm = 0.0
        for c in range(A.shape[1]):
            norm += A[i, c] * A[i, c]
        norm = np.sqrt(norm)
        size = norm
        for c in range(R.shape[1]):
            size += abs(R[i, c])
        state[i] = KEPT
        if norm <= 1e-13 * size:
            state[i] = ZERO
            continue
        unit = 1.0 / norm
        for c in range(A.shape[1]):
            A[i, c] *= unit
        for c in range(R.shape[1]):
            R[i, c] *= unit


@inner
@typing.no_type_check
def rounding(R, i, tolerance):
    """Return the difference from row i's right-hand side that counts as none."""
    size = 1.0
    for c in range(R.shape[1]):
        size += abs(R[i, c])
    return tolerance * size


@inner
@typing.no_type_check
def gap(R, i, j, sign):
    """Return constant, sum of sizes of the other coefficients and largest size of R_i + sign R_j."""
    n = R.shape[1] - 1
    constant = R[i, n] + sign * R[j, n]
    spread = 0.0
    largest = abs(constant)
    for c in range(n):
        size = abs(R[i, c] + sign * R[j, c])
        spread += size
        largest = max(largest, size)
    return constant, spread, largest


@inner
@typing.no_type_check
def drop_implied(A, R, tolerance, state):
    """Mark rows that another one with the same left-hand side implies on the whole parameter box."""
    for i in range(A.shape[0]):
        for j in range(i + 1, A.shape[0]):
            if state[i] != KEPT:
                break
            if state[j] == KEPT and parallel(A, i, j, 1.0, tolerance):
                constant, spread, _ = gap(R, j, i, -1.0)
                spread -= rounding(R, i, tolerance)
                if constant >= spread:
                    state[j] = IMPLIED
                elif -constant >= spread:
                    state[i] = IMPLIED


@kernel
@typing.no_type_check
def tidy(A, R, tolerance, state, pairs):
    """Give the rows unit norm in place and write to `state` what each is: KEPT, ZERO or IMPLIED.

    Opposite rows that make an equality go to `pairs`, first the one that is kept; the last two that contradict each
    other on the whole parameter box to pairs[-1], which stays (0, 0) without such. Returns the number of equalities.
    """
    m = A.shape[0]
    normalise(A, R, state)
    drop_implied(A, R, tolerance, state)
    count = 0
    for i in range(m):
        if state[i] != KEPT:
            continue
        for j in range(i + 1, m):
            if state[j] == KEPT and parallel(A, i, j, -1.0, tolerance):
                constant, spread, largest = gap(R, i, j, 1.0)
                size = rounding(R, i, tolerance)
                if largest <= size:
                    state[j] = IMPLIED
                    pairs[count, 0], pairs[count, 1] = i, j
                    count += 1
                elif constant + spread < -size:
                    pairs[m, 0], pairs[m, 1] = i, j
    return count


@inner
@typing.no_type_check
def bounds(A, R, upper, lower, drop):
    """Write the bounds that rows with one entry give for all parameters; mark the other rows."""
    n = R.shape[1] - 1
    for i in range(A.shape[0]):
        entries = 0
        place = 0
        for c in range(A.shape[1]):
            if A[i, c] != 0.0:
                entries += 1
                place = c
        drop[i] = entries != 1
        if drop[i]:
            continue
        most = R[i, n]
        for c in range(n):
            most += abs(R[i, c])
        if A[i, place] > 0.0:
            upper[place] = min(upper[place], most / A[i, place])
        else:
            lower[place] = max(lower[place], most / A[i, place])


@kernel
@typing.no_type_check
def never_active(A, R, upper, lower, drop):
    """Mark rows that the bounds on single variables keep strictly inactive for all parameters; return their number."""
    n = R.shape[1] - 1
    for c in range(A.shape[1]):
        upper[c], lower[c] = np.inf, -np.inf
    bounds(A, R, upper, lower, drop)
    count = 0
    for i in range(A.shape[0]):
        if not drop[i]:
            continue
        peak = 0.0
        for c in range(A.shape[1]):
            if A[i, c] != 0.0:
                peak += A[i, c] * (upper[c] if A[i, c] > 0.0 else lower[c])
        least = R[i, n]
        for c in range(n):
            least -= abs(R[i, c])
        drop[i] = peak < least - 1e-9 * (1.0 + abs(least))
        count += drop[i]
    return count


@inner
@typing.no_type_check
def factorise(H, unit):
    """Write unit = 1/sqrt(diag H) and L of L L' = H scaled by it over H; False where H is not numerically definite."""
    n = H.shape[0]
    for i in range(n):
        if not H[i, i] > 0.0:
            return False
        unit[i] = 1.0 / np.sqrt(H[i, i])
    for i in range(n):
        for j in range(i + 1):
            total = H[i, j] * (unit[i] * unit[j])
            for k in range(j):
                total -= H[i, k] * H[j, k]
            if j < i:
                H[i, j] = total / H[j, j]
            elif total > 0.0:
                H[i, i] = np.sqrt(total)
            else:
                return False
    return True


@kernel
@typing.no_type_check
def invert_root(H, unit, inverse):
    """Write L^-T, H scaled to a unit diagonal being L L', and unit = 1/sqrt(diag H); return its squared norm.

    Returns -1 where H is not numerically definite. H is overwritten.
    """
    if not factorise(H, unit):
        return -1.0
    square = 0.0
    for i in range(H.shape[0]):
        for j in range(H.shape[0]):
            inverse[j, i] = 0.0
        inverse[i, i] = 1.0 / H[i, i]
        for j in range(i):
            total = 0.0
            for k in range(j, i):
                total += H[i, k] * inverse[j, k]
            inverse[j, i] = -total / H[i, i]
        for j in range(i + 1):
            square += inverse[j, i] * inverse[j, i]
    return square


@kernel
@typing.no_type_check
def scale_rows(M, D, shift):
    """Give the rows of M unit norm and D - shift the largest size one, both in place.

    Returns:
        (what D - shift was divided by, largest size in shift, largest size in D).
    """
    largest_shift = 0.0
    largest = 0.0
    scale = 0.0
    for i in range(M.shape[0]):
        norm = 0.0
        for c in range(M.shape[1]):
            norm += M[i, c] * M[i, c]
        norm = np.sqrt(norm)
        for c in range(M.shape[1]):
            M[i, c] /= norm
        for c in range(D.shape[1]):
            largest = max(largest, abs(D[i, c]))
            largest_shift = max(largest_shift, abs(shift[i, c]))
            D[i, c] = (D[i, c] - shift[i, c]) / norm
            scale = max(scale, abs(D[i, c]))
    if scale == 0.0:
        scale = 1.0
    for i in range(D.shape[0]):
        for c in range(D.shape[1]):
            D[i, c] /= scale
    return scale, largest_shift, largest
