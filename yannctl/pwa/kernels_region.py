"""The critical region of one active set, from the least-distance form min |v|^2 s.t. M v <= D [theta; 1].

With M_W = T Q (T lower triangular, Q orthonormal rows): v = Q'T^-1 D_W [theta; 1], lam = -T'^-1 T^-1 D_W [theta; 1] and
the slack of row j is (D_j - M_j v). The region is {lam >= 0, slack >= 0} within the parameter set.
Orthogonalising M itself, not its Gram matrix, keeps the error proportional to the condition number and not its square.
"""

import typing
from typing import NamedTuple

import numpy as np

from .compilation import inner
from .kernels_dd import cut_all, facets
from .kernels_lp import facets_by_balls

NOISE = 2e-15  # rounding error of a row, relative to the numbers it is made from


class Program(NamedTuple):
    """The reduced program: rows M v <= D [theta; 1], parameter rows S theta <= s (the 2 ntheta box rows first)."""

    M: np.ndarray
    D: np.ndarray
    S: np.ndarray
    s: np.ndarray
    tolerances: np.ndarray  # licq, zero, vertex, width, step, locate, radius


class Work(NamedTuple):
    """Arrays the kernels write to, allocated once."""

    W: np.ndarray
    Q: np.ndarray
    T: np.ndarray
    Y: np.ndarray
    L: np.ndarray
    V: np.ndarray
    H: np.ndarray
    k: np.ndarray
    code: np.ndarray
    slack: np.ndarray
    order: np.ndarray
    vx: np.ndarray
    bits: np.ndarray
    vslack: np.ndarray
    used: np.ndarray
    centre: np.ndarray
    point: np.ndarray
    alpha: np.ndarray
    ratio: np.ndarray
    key: np.ndarray
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
def add_row(H, k, code, q, n, floor, noise, label):
    """Normalise row q, whose entries are written; return the new number of rows, or -1 when nothing satisfies it.

    A row without gradient is dropped when it holds; -2 says that it holds with equality. The row is relaxed by its own
    rounding error `noise`: between nearly parallel constraints the gradient can be so small that this error would open
    a gap between two regions, while the laws differ by no more than it.
    """
    k[q] += noise
    size = 0.0
    reach = 0.0
    for j in range(n):
        size += H[q, j] * H[q, j]
        reach += abs(H[q, j])
    size = np.sqrt(size)
    if size <= floor:
        if k[q] < -10.0 * floor:
            return -1
        return -2 if k[q] <= 10.0 * floor else q
    if k[q] >= reach:
        return q
    if k[q] <= -reach:
        return -1
    for j in range(n):
        H[q, j] /= size
    k[q] /= size
    code[q] = label
    return q + 1


@inner
@typing.no_type_check
def multiplier_rows(program, nw, work, q):
    """Append -L theta <= l for each active row; -1 when the region is empty or a multiplier vanishes identically."""
    n = program.S.shape[1]
    for i in range(nw):
        largest = 0.0
        for a in range(i, nw):
            pivot = 0.0
            for c in range(n + 1):
                pivot = max(pivot, abs(work.Y[a, c]))
            largest = max(largest, pivot / work.T[a, a])
        for j in range(n):
            work.H[q, j] = -work.L[i, j]
        work.k[q] = work.L[i, n]
        size = largest + 1e-3
        label = program.S.shape[0] + work.W[i]
        new = add_row(work.H, work.k, work.code, q, n, program.tolerances[1] * size, NOISE * size, label)
        if new < 0:
            return -1
        q = new
    return q


@inner
@typing.no_type_check
def slack_rows(program, nw, work, q):
    """Append M_j V theta - D_j theta <= d_j - M_j v for each inactive row; -1 when the region is empty."""
    M = program.M
    D = program.D
    n = program.S.shape[1]
    m = M.shape[0]
    nz = M.shape[1]
    base = program.S.shape[0] + m
    size = 1.0
    for c in range(n + 1):
        for a in range(nz):
            size = max(size, abs(work.V[a, c]))
    next_active = 0
    for j in range(m):
        if next_active < nw and work.W[next_active] == j:
            next_active += 1
            continue
        for c in range(n + 1):
            total = D[j, c]
            for a in range(nz):
                total -= M[j, a] * work.V[a, c]
            if c < n:
                work.H[q, c] = -total
            else:
                work.k[q] = total
        new = add_row(work.H, work.k, work.code, q, n, program.tolerances[1] * size, NOISE * size, base + j)
        if new == -1:
            return -1
        if new >= 0:
            q = new
    return q


@inner
@typing.no_type_check
def region_rows(program, nw, work):
    """Write all rows of the region of work.W[:nw] (sorted) to work.H, work.k; return their number.

    -1: empty; -2: the active rows are dependent.
    """
    n = program.S.shape[1]
    if nw > program.M.shape[1] or factor(program.M, work.W, 0, nw, work.Q, work.T, program.tolerances[0]) >= 0:
        return -2
    solve_active(program.D, work.W, nw, work.Q, work.T, work.Y, work.L, work.V)
    q = program.S.shape[0]
    for i in range(q):
        for j in range(n):
            work.H[i, j] = program.S[i, j]
        work.k[i] = program.s[i]
        work.code[i] = i
    q = multiplier_rows(program, nw, work, q)
    if q < 0:
        return q
    return slack_rows(program, nw, work, q)


@inner
@typing.no_type_check
def sort_by_slack(H, k, q, point, slack, order):
    """Order the rows by their slack at a point, least first (shell sort)."""
    n = H.shape[1]
    for i in range(q):
        total = k[i]
        for j in range(n):
            total -= H[i, j] * point[j]
        slack[i] = total
        order[i] = i
    gap = 1
    while gap < q:
        gap = 3 * gap + 1
    while gap > 1:
        gap //= 3
        for i in range(gap, q):
            held = order[i]
            size = slack[held]
            j = i
            while j >= gap and slack[order[j - gap]] > size:
                order[j] = order[j - gap]
                j -= gap
            order[j] = held


@inner
@typing.no_type_check
def irredundant(H, k, q, point, tolerances, max_parameters, work):
    """Write the rows of {H theta <= k} that carry facets to work.used and their centres; return their number.

    0 says that the set is empty or thinner than the width tolerance. work.vx holds the vertices when there are some;
    the number of vertices is returned second.
    """
    from_dd = H.shape[1] <= max_parameters
    n = H.shape[1]
    if from_dd:
        sort_by_slack(H, k, q, point, work.slack, work.order)
        limit = work.vx.shape[1]
        nv, nu = cut_all(H, k, q, work.order, n, tolerances[2], limit, work.vx, work.bits, work.vslack, work.used)
        if nv == 0:
            return 0, 0
        if nv > 0:
            found = facets(H, k, q, n, tolerances[3], nv, work.vx, work.bits, nu, work.used, work.centre)
            return found, nv
    found = facets_by_balls(
        H, k, q, n, tolerances[6], 0.1 * tolerances[6], work.used, work.centre, work.sub_H, work.sub_k,
        work.basis, work.square, work.inverse, work.lp_row, work.x, work.reflect,
    )  # fmt: skip
    return found, 0
