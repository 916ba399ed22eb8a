"""Compiled clip of one input to [largest lower line, smallest upper line], in one fixed order of operations."""

import math
import typing

from numba import njit


@njit(cache=True)
@typing.no_type_check
def input_interval(F_low, g_low, F_high, g_high, u_min, u_max, x):
    """Ends of the safe interval of one state; a NaN makes both ends NaN."""
    low = u_min
    for i in range(g_low.size):
        value = g_low[i]
        for j in range(x.size):
            value += F_low[i, j] * x[j]
        if not value <= low:
            low = value
    high = u_max
    for i in range(g_high.size):
        value = g_high[i]
        for j in range(x.size):
            value += F_high[i, j] * x[j]
        if not value >= high:
            high = value
    return low, high


@njit(cache=True)
@typing.no_type_check
def clip_one(F_low, g_low, F_high, g_high, u_min, u_max, x, u):
    """Clip one input; comparisons are written so that a NaN ends at a bound."""
    low, high = input_interval(F_low, g_low, F_high, g_high, u_min, u_max, x)
    if not math.isfinite(u):
        u = 0.5 * (low + high)
    if not u >= low:
        u = low
    if not u <= high:
        u = high
    if not u >= u_min:
        u = u_min
    if not u <= u_max:
        u = u_max
    return u


@njit(cache=True)
@typing.no_type_check
def clip_many(F_low, g_low, F_high, g_high, u_min, u_max, x, u, out):
    """Clip a batch."""
    for k in range(u.size):
        out[k] = clip_one(F_low, g_low, F_high, g_high, u_min, u_max, x[k], u[k])


@njit(cache=True)
@typing.no_type_check
def interval_many(F_low, g_low, F_high, g_high, u_min, u_max, x, out):
    """Ends of the safe intervals of a batch."""
    for k in range(x.shape[0]):
        out[k, 0], out[k, 1] = input_interval(F_low, g_low, F_high, g_high, u_min, u_max, x[k])


@njit(cache=True)
@typing.no_type_check
def filter_one(H, h, F_low, g_low, F_high, g_high, u_min, u_max, x, u):
    """Clip one input if x is inside {H x <= h} and u is finite, else NaN."""
    if not math.isfinite(u):
        return math.nan
    for i in range(h.size):
        value = 0.0
        for j in range(x.size):
            value += H[i, j] * x[j]
        if not value <= h[i]:
            return math.nan
    return clip_one(F_low, g_low, F_high, g_high, u_min, u_max, x, u)
