"""The reactor's filter: bisection between full cooling and the proposed coolant against the validated enclosure."""

import typing

import numpy as np
from numba import njit

from .flow_kernels import enclose_period
from .interval_kernels import _OPTIONS, _UNIT, _out, _product

_SLACK = 1e-6  # [K], far above the rounding of the sum and of a simulation


@njit(**_OPTIONS)
@typing.no_type_check
def _safe(flow, work, lines, T_max, CA_max, p, x, u):
    """Whether every state one period later is below the border, and T never exceeds its limit on the way."""
    rate, taylor, remainder, sizes, h, scale = flow
    zone, centre, image, D, tube = work
    zone[0, 0] = zone[1, 0] = x[0]
    zone[0, 1] = zone[1, 1] = x[1]
    zone[0, 2] = zone[1, 2] = u
    zone[0, 3:], zone[1, 3:] = p[0], p[1]
    if not enclose_period(rate, taylor, remainder, sizes, h, scale, zone, centre, image, D, tube):
        return False
    if not (tube[1, 1] <= T_max and image[0, 0] >= 0.0 and image[1, 0] <= CA_max):
        return False
    for k in range(lines.shape[0]):
        met = lines[k, 3] >= image[0, 0] and lines[k, 2] <= image[1, 0]
        if met and not _below(lines[k, 0], lines[k, 1], D, zone, centre):
            return False
    return True


@njit(**_OPTIONS)
@typing.no_type_check
def _below(slope, offset, D, zone, centre):
    """T <= slope CA + offset on the whole image, by the mean-value form along the line's normal; slope < 0."""
    high = centre[1, 1] - slope * centre[1, 0]
    for j in range(2, zone.shape[1]):
        middle = 0.5 * (zone[0, j] + zone[1, j])
        a, b = _product(slope, slope, D[0, 0, j], D[1, 0, j])
        low_d, high_d = _out(D[0, 1, j] - b, D[1, 1, j] - a, _UNIT)
        low_r, high_r = _out(zone[0, j] - middle, zone[1, j] - middle, _UNIT)
        _, most = _product(low_d, high_d, low_r, high_r)
        high += most
    return high + _SLACK <= offset


@njit(**_OPTIONS)
@typing.no_type_check
def filter_coolant(flow, lines, T_max, CA_max, p, u_min, halvings, x, u, out):
    """For each state, the warmest coolant up to the proposed one that is proved safe; full cooling otherwise."""
    nz = 3 + p.shape[1]
    work = (
        np.empty((2, nz)), np.empty((2, 2)), np.empty((2, 2)), np.empty((2, 2, nz)), np.empty((2, 2)),
    )  # fmt: skip
    for k in range(x.shape[0]):
        if _safe(flow, work, lines, T_max, CA_max, p, x[k], u[k]):
            out[k] = u[k]
            continue
        low, high = u_min, u[k]
        for _ in range(halvings):
            middle = 0.5 * (low + high)
            if _safe(flow, work, lines, T_max, CA_max, p, x[k], middle):
                low = middle
            else:
                high = middle
        out[k] = low
