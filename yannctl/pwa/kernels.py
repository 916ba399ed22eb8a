"""The evaluation rule, compiled: every other form of a law (network, C, tree) must reproduce it bit for bit.

The violation of a row is `((H0*t0 + H1*t1) + ...) - k`, a region's violation is the largest of its rows, the region is
the one with the least violation (lowest index on ties), and `u_r = ((F_r0*t0 + F_r1*t1) + ...) + g_r`.
Leaving a region's rows as soon as they are no better than the best region so far does not change that choice.
"""

import typing

import numpy as np

from .compilation import kernel


@kernel
@typing.no_type_check
def locate_one(theta, b, row_start, H, k):
    """Return the region with the least violation at theta[b] and that violation."""
    n = H.shape[1]
    best = np.inf
    index = -1
    for j in range(n):
        if not np.isfinite(theta[b, j]):
            return index, best
    for i in range(row_start.shape[0] - 1):
        worst = -np.inf
        for row in range(row_start[i], row_start[i + 1]):
            total = H[row, 0] * theta[b, 0]
            for j in range(1, n):
                total += H[row, j] * theta[b, j]
            total -= k[row]
            if total > worst:
                worst = total
                if worst >= best:
                    break
        if worst < best:
            best = worst
            index = i
    return index, best


@kernel
@typing.no_type_check
def locate_many(theta, row_start, H, k, tolerance, index):
    """Write the region of each row of theta, or -1 where the least violation exceeds the tolerance."""
    for b in range(theta.shape[0]):
        i, violation = locate_one(theta, b, row_start, H, k)
        index[b] = i if violation <= tolerance else -1


@kernel
@typing.no_type_check
def evaluate_many(theta, index, F, g, out):
    """Write the law of each point's region, NaN where it has none."""
    n = theta.shape[1]
    for b in range(theta.shape[0]):
        i = index[b]
        for r in range(g.shape[1]):
            if i < 0:
                out[b, r] = np.nan
                continue
            total = F[i, r, 0] * theta[b, 0]
            for j in range(1, n):
                total += F[i, r, j] * theta[b, j]
            out[b, r] = total + g[i, r]


@kernel
@typing.no_type_check
def value_many(theta, index, P, p, c, out):
    """Write theta'P theta/2 + p'theta + c of each point's region, NaN where it has none."""
    n = theta.shape[1]
    for b in range(theta.shape[0]):
        i = index[b]
        if i < 0:
            out[b] = np.nan
            continue
        total = c[i]
        for j in range(n):
            inner = p[i, j]
            for a in range(n):
                inner += 0.5 * P[i, j, a] * theta[b, a]
            total += inner * theta[b, j]
        out[b] = total
