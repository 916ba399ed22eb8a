"""The critical region of one active set, from the least-distance form min |v|^2 s.t. M v <= D [theta; 1].

With M_W = T Q (T lower triangular, Q orthonormal rows): v = Q'T^-1 D_W [theta; 1], lam = -T'^-1 T^-1 D_W [theta; 1] and
the slack of row j is (D_j - M_j v). The region is {lam >= 0, slack >= 0} within the parameter set.
Orthogonalising M itself, not its Gram matrix, keeps the error proportional to the condition number and not its square.
"""

import typing
from typing import NamedTuple

import numpy as np

from .compilation import inner, once
from .kernels_dd import cut_all
from .kernels_facets import facets, sort_by_slack
from .kernels_lp import facets_by_balls

NOISE = 2e-15  # rounding error of a row, relative to the numbers it is made from


class Program(NamedTuple):
    """The reduced program: rows M v <= D [theta; 1], parameter rows S theta <= s (the 2 ntheta box rows first)."""

    M: np.ndarray
    D: np.ndarray
    S: np.ndarray
    s: np.ndarray
    Mt: np.ndarray  # M and D transposed, for loops over all rows at once
    Dt: np.ndarray
    tolerances: np.ndarray  # licq, zero, vertex, width, step, locate, radius


class Work(NamedTuple):
    """Arrays the kernels write to, allocated once. Columns of H and k are the parameter rows, then the rows of M."""

    W: np.ndarray
    Q: np.ndarray
    T: np.ndarray
    Y: np.ndarray
    L: np.ndarray
    V: np.ndarray
    H: np.ndarray
    k: np.ndarray
    size: np.ndarray
    reach: np.ndarray
    scale: np.ndarray
    slack: np.ndarray
    order: np.ndarray
    vx: np.ndarray
    bits: np.ndarray
    vslack: np.ndarray
    sides: np.ndarray
    used: np.ndarray
    count: np.ndarray
    centre: np.ndarray
    point: np.ndarray
    ratio: np.ndarray
    key: np.ndarray
    rows: np.ndarray
    right: np.ndarray
    basis: np.ndarray
    square: np.ndarray
    inverse: np.ndarray
    lp_row: np.ndarray
    x: np.ndarray
    sub_H: np.ndarray
    sub_k: np.ndarray
    reflect: np.ndarray


@inner
@typing.no_type_check
def project_out(Q, T, i):
    """Take the parts along Q[:i] out of Q[i], add them to T[i], and return the length of what remains."""
    size = 0.0
    nz = Q.shape[1]
    for a in range(i):
        dot = 0.0
        for j in range(nz):
            dot += Q[i, j] * Q[a, j]
        T[i, a] += dot
        for j in range(nz):
            Q[i, j] -= dot * Q[a, j]
    for j in range(nz):
        size += Q[i, j] * Q[i, j]
    return np.sqrt(size)


@inner
@typing.no_type_check
def factor(M, W, first, last, Q, T, tolerance):
    """Orthogonalise rows W[first:last] of M after those before them; return the first dependent position or -1.

    A row that loses more than half of its length is orthogonalised again (Kahan's "twice is enough").
    """
    nz = M.shape[1]
    for i in range(first, last):
        for j in range(nz):
            Q[i, j] = M[W[i], j]
        for a in range(i):
            T[i, a] = 0.0
        size = 1.0
        for _ in range(3):
            before = size
            size = project_out(Q, T, i)
            if size > 0.5 * before or size <= 1e-15:
                break
        T[i, i] = size
        if size <= tolerance:
            return i
        for j in range(nz):
            Q[i, j] /= size
    return -1


@inner
@typing.no_type_check
def solve_active(D, W, nw, Q, T, Y, L, V):
    """Write lam = L [theta; 1] and v = V [theta; 1] of the active rows W from their factors."""
    columns = D.shape[1]
    nz = Q.shape[1]
    for i in range(nw):
        for c in range(columns):
            total = D[W[i], c]
            for a in range(i):
                total -= T[i, a] * Y[a, c]
            Y[i, c] = total / T[i, i]
    for i in range(nw - 1, -1, -1):
        for c in range(columns):
            total = -Y[i, c]
            for a in range(i + 1, nw):
                total -= T[a, i] * L[a, c]
            L[i, c] = total / T[i, i]
    for j in range(nz):
        for c in range(columns):
            total = 0.0
            for a in range(nw):
                total += Q[a, j] * Y[a, c]
            V[j, c] = total


@inner
@typing.no_type_check
def slack_rows(Mt, Dt, V, base, H, k, scale):
    """Write M_j V theta - D_j theta <= d_j - M_j v for every row j, active or not; one pass of the rows at a time."""
    n = H.shape[0]
    nz, m = Mt.shape
    largest = 1.0
    for c in range(n + 1):
        for a in range(nz):
            largest = max(largest, abs(V[a, c]))
    for j in range(m):
        scale[base + j] = largest
        k[base + j] = Dt[n, j]
    for a in range(nz):
        factor_k = V[a, n]
        for j in range(m):
            k[base + j] -= factor_k * Mt[a, j]
    for c in range(n):
        for j in range(m):
            H[c, base + j] = -Dt[c, j]
        for a in range(nz):
            value = V[a, c]
            for j in range(m):
                H[c, base + j] += value * Mt[a, j]


@inner
@typing.no_type_check
def multiplier_rows(W, nw, T, Y, L, base, H, k, scale):
    """Write -L theta <= l in the place of each active row."""
    n = H.shape[0]
    for i in range(nw):
        largest = 0.0
        for a in range(i, nw):
            pivot = 0.0
            for c in range(n + 1):
                pivot = max(pivot, abs(Y[a, c]))
            largest = max(largest, pivot / T[a, a])
        column = base + W[i]
        for c in range(n):
            H[c, column] = -L[i, c]
        k[column] = L[i, n]
        scale[column] = -largest - 1e-3


@inner
@typing.no_type_check
def measure_rows(H, base, q, size, reach):
    """Write 2-norm and 1-norm of the gradients of columns base .. q - 1."""
    for j in range(q - base):
        size[base + j] = 0.0
        reach[base + j] = 0.0
    for c in range(H.shape[0]):
        for j in range(q - base):
            entry = H[c, base + j]
            size[base + j] += entry * entry
            reach[base + j] += abs(entry)
    for j in range(q - base):
        size[base + j] = np.sqrt(size[base + j])


@inner
@typing.no_type_check
def keep_rows(H, k, base, q, size, reach, scale, zero, order):
    """Normalise the rows that can matter and list them, after the parameter rows; -1 when the region is empty.

    A row without gradient is dropped when it holds; a multiplier that vanishes identically makes the region empty.
    Each row is relaxed by its own rounding error: between nearly parallel constraints the gradient can be so small that
    this error would open a gap between two regions, while the laws differ by no more than it.
    """
    count = base
    for i in range(base):
        order[i] = i
    for i in range(base, q):
        floor = zero * abs(scale[i])
        right = k[i] + NOISE * abs(scale[i])
        if size[i] <= floor:
            if right < -10.0 * floor or (scale[i] < 0.0 and right <= 10.0 * floor):
                return -1
        elif right <= -reach[i]:
            return -1
        elif right < reach[i]:
            for c in range(H.shape[0]):
                H[c, i] /= size[i]
            k[i] = right / size[i]
            order[count] = i
            count += 1
    return count


@once
@typing.no_type_check
def region_rows(program, nw, work):
    """Write the rows of the region of work.W[:nw] (sorted) to work.H, work.k; return how many stand in work.order.

    -1: empty; -2: the active rows are dependent.
    """
    if nw > program.M.shape[1] or factor(program.M, work.W, 0, nw, work.Q, work.T, program.tolerances[0]) >= 0:
        return -2
    base = program.S.shape[0]
    q = base + program.M.shape[0]
    solve_active(program.D, work.W, nw, work.Q, work.T, work.Y, work.L, work.V)
    slack_rows(program.Mt, program.Dt, work.V, base, work.H, work.k, work.scale)
    multiplier_rows(work.W, nw, work.T, work.Y, work.L, base, work.H, work.k, work.scale)
    measure_rows(work.H, base, q, work.size, work.reach)
    zero = program.tolerances[1]
    return keep_rows(work.H, work.k, base, q, work.size, work.reach, work.scale, zero, work.order)


@once
@typing.no_type_check
def irredundant(count, point, tolerances, max_parameters, work):
    """Write those of the rows work.order[:count] that carry facets to work.used and their centres; return their number.

    0 says that the set is empty or thinner than the width tolerance.
    """
    n = work.H.shape[0]
    if n <= max_parameters:
        sort_by_slack(work.H, work.k, count, point, work.slack, work.order)
        nv, nu = cut_all(
            work.H, work.k, work.order, count, work.slack, point, n, tolerances[2], work.vx.shape[1], work.vx,
            work.bits, work.vslack, work.sides, work.used,
        )  # fmt: skip
        found = 0
        if nv > 0:
            found = facets(
                work.H, work.k, n, tolerances[3], nv, work.vx, work.bits, nu, work.sides[0], work.used, work.count,
                work.centre,
            )  # fmt: skip
        if nv >= 0 and found >= 0:
            return found
    for i in range(count):
        for j in range(n):
            work.rows[i, j] = work.H[j, work.order[i]]
        work.right[i] = work.k[work.order[i]]
    found = facets_by_balls(
        work.rows, work.right, count, n, tolerances[6], 0.1 * tolerances[6], work.used, work.centre, work.sub_H,
        work.sub_k, work.basis, work.square, work.inverse, work.lp_row, work.x, work.reflect,
    )  # fmt: skip
    for i in range(found):
        work.used[i] = work.order[work.used[i]]
    return found
