"""Kernels of the safety filter of several inputs: the tests around the explicit law, without array work."""

import math
import typing

from numba import njit

LONG, PASSES, ASKS = range(3)  # what `enter` says of a state and a proposal


@njit(cache=True)
@typing.no_type_check
def meets(G, K, b, x, u):
    """Whether (x, u) meets every row G x + K u <= b, as computed; a NaN does not."""
    for i in range(b.size):
        value = 0.0
        for j in range(x.size):
            value += G[i, j] * x[j]
        for j in range(u.size):
            value += K[i, j] * u[j]
        if not value <= b[i]:
            return False
    return True


@njit(cache=True)
@typing.no_type_check
def meets_many(G, K, b, u_min, u_max, x, u, out):
    """`meets` and the input bounds, for a batch."""
    for k in range(x.shape[0]):
        good = True
        for j in range(u.shape[1]):
            if not (u_min[j] <= u[k, j] <= u_max[j]):
                good = False
        out[k] = good and meets(G, K, b, x[k], u[k])


@njit(cache=True)
@typing.no_type_check
def enter(H, h, G, K, b, u_min, u_max, x, u, theta):
    """Write (x, u clipped to its bounds) into theta; say whether it passes, asks the law, or goes the long way."""
    nx = x.size
    for i in range(h.size):
        value = 0.0
        for j in range(nx):
            value += H[i, j] * x[j]
        if not value <= h[i]:
            return LONG
    for j in range(u.size):
        if not math.isfinite(u[j]):
            return LONG
        theta[nx + j] = min(max(u[j], u_min[j]), u_max[j])
    for j in range(nx):
        theta[j] = x[j]
    return PASSES if meets(G, K, b, x, theta[nx:]) else ASKS


@njit(cache=True)
@typing.no_type_check
def leave(G, K, b, middle, half, u_min, u_max, x, v, out):
    """Write the law's answer v in units of the inputs, and tell whether it meets the rows."""
    for j in range(v.size):
        value = middle[j] + half[j] * v[j]
        if not math.isfinite(value):
            return False
        out[j] = min(max(value, u_min[j]), u_max[j])
    return meets(G, K, b, x, out)
