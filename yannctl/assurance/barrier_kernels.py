"""The reactor's filter: the warmest coolant up to the proposed one whose validated enclosure stays below the border.

Most proposals pass by one a-priori box of the whole period (Picard). The others are bounded tightly, and the coolant is
searched on a lattice by the secant through the slacks; whatever is given has been accepted by the enclosure itself.
"""

import math
import typing

import numpy as np
from numba import njit

from .flow_kernels import _picard, enclose_period
from .interval_kernels import _OPTIONS, _UNIT, _out, _product

_SLACK = 1e-6  # [K], far above the rounding of the sum and of a simulation
_CELLS = 1024  # of the coolant's range up to the proposal: 0.04 K of 40 K
_NEAR = 0.03  # [K], slack below which a warmer coolant is not looked for
_LOWERED = 3e-9  # [K], more than what lies between the lines and the set's border


@njit(**_OPTIONS)
@typing.no_type_check
def _place(work, p, x, u):
    """Write state, coolant and parameters into the zone."""
    zone = work[0]
    zone[0, 0] = zone[1, 0] = x[0]
    zone[0, 1] = zone[1, 1] = x[1]
    zone[0, 2] = zone[1, 2] = u
    for i in range(p.shape[1]):
        zone[0, 3 + i], zone[1, 3 + i] = p[0, i], p[1, i]


@njit(**_OPTIONS)
@typing.no_type_check
def _plainly_safe(flow, work, lines, T_max, CA_max, p, x, u):
    """Whether one box holds every state of the period and lies below the border, which falls with CA."""
    rate, _, _, sizes, h, _ = flow
    zone, box, f = work[0], work[5], work[6]
    _place(work, p, x, u)
    if not _picard(rate, 2, h * sizes[1] * (1 + 1e-12), zone, box, f):
        return False
    if not (box[1, 1] <= T_max and box[0, 0] >= 0.0 and box[1, 0] <= CA_max):
        return False
    for k in range(lines.shape[0]):
        met = lines[k, 3] >= box[0, 0] and lines[k, 2] <= box[1, 0]
        if met and not lines[k, 0] * box[1, 0] + lines[k, 1] - box[1, 1] >= _SLACK:
            return False
    return True


@njit(**_OPTIONS)
@typing.no_type_check
def _slack(flow, work, lines, T_max, CA_max, p, x, u):
    """Least room [K] below the border one period later and below the limit on the way; -inf without a bound."""
    rate, taylor, remainder, sizes, h, scale = flow
    zone, centre, image, D, tube = work[0], work[1], work[2], work[3], work[4]
    _place(work, p, x, u)
    if not enclose_period(rate, taylor, remainder, sizes, h, scale, zone, centre, image, D, tube):
        return -np.inf
    if not (image[0, 0] >= 0.0 and image[1, 0] <= CA_max):
        return -np.inf
    least = T_max - tube[1, 1]
    if not least >= 0.0 and not least < 0.0:
        return -np.inf
    for k in range(lines.shape[0]):
        if lines[k, 3] >= image[0, 0] and lines[k, 2] <= image[1, 0]:
            room = lines[k, 1] - _SLACK - _highest(lines[k, 0], D, zone, centre)
            if not room >= 0.0 and not room < 0.0:
                return -np.inf
            least = min(least, room)
    return least


@njit(**_OPTIONS)
@typing.no_type_check
def _highest(slope, D, zone, centre):
    """Largest T - slope CA on the whole image, by the mean-value form along the line's normal; slope < 0."""
    high = centre[1, 1] - slope * centre[1, 0]
    for j in range(3, zone.shape[1]):
        middle = 0.5 * (zone[0, j] + zone[1, j])
        a, b = _product(slope, slope, D[0, 0, j], D[1, 0, j])
        low_d, high_d = _out(D[0, 1, j] - b, D[1, 1, j] - a, _UNIT)
        low_r, high_r = _out(zone[0, j] - middle, zone[1, j] - middle, _UNIT)
        _, most = _product(low_d, high_d, low_r, high_r)
        high += most
    return high


@njit(**_OPTIONS)
@typing.no_type_check
def _warmest(flow, work, lines, T_max, CA_max, p, u_min, x, u):
    """The warmest coolant found up to the proposed one that is proved safe; full cooling otherwise."""
    if _plainly_safe(flow, work, lines, T_max, CA_max, p, x, u):
        return u
    room_high = _slack(flow, work, lines, T_max, CA_max, p, x, u)
    if room_high >= 0.0:
        return u
    low, high, room_low = 0, _CELLS, np.inf
    if math.isfinite(room_high):
        # A first guess by the slope at the proposal; it only says where to look.
        D = work[3]
        rate = max(0.5 * (D[0, 1, 2] + D[1, 1, 2]), 1e-3) * (u - u_min) / _CELLS
        middle = _CELLS + math.floor((room_high - 0.5 * _NEAR) / rate)
        if middle <= 0:
            return u_min
        middle = min(middle, _CELLS - 1)
        room = _slack(flow, work, lines, T_max, CA_max, p, x, u_min + (u - u_min) * (middle / _CELLS))
        if room >= 0.0:
            low, room_low = middle, room
        else:
            high, room_high = middle, room
    if low == 0:
        room_low = _slack(flow, work, lines, T_max, CA_max, p, x, u_min)
    secant = True
    while high - low > 1 and room_low > _NEAR:
        middle = (low + high) // 2
        if secant and math.isfinite(room_high):
            share = room_low / (room_low - room_high)
            middle = min(max(low + int(share * (high - low)), low + 1), high - 1)
        room = _slack(flow, work, lines, T_max, CA_max, p, x, u_min + (u - u_min) * (middle / _CELLS))
        before = high - low
        if room >= 0.0:
            low, room_low = middle, room
        else:
            high, room_high = middle, room
        # Bisect after a secant that gained little, so that the number of steps stays bounded.
        secant = not secant or 2 * (high - low) <= before
    return u_min + (u - u_min) * (low / _CELLS)


@njit(**_OPTIONS)
@typing.no_type_check
def work_space(flow, n_p):
    """Arrays the kernels write to: zone, centre, image, Jacobian, tube, box, rates."""
    nz = 3 + n_p
    return (
        np.empty((2, nz)), np.empty((2, 2)), np.empty((2, 2)), np.empty((2, 2, nz)), np.empty((2, 2)),
        np.empty((2, nz)), np.empty((2, 2 + 2 * nz)),
    )  # fmt: skip


@njit(**_OPTIONS)
@typing.no_type_check
def filter_coolant(flow, lines, T_max, CA_max, p, u_min, x, u, out):
    """Filter each state's proposal, between coldest and warmest coolant."""
    work = work_space(flow, p.shape[1])
    for k in range(x.shape[0]):
        out[k] = _warmest(flow, work, lines, T_max, CA_max, p, u_min, x[k], u[k])


@njit(**_OPTIONS)
@typing.no_type_check
def filter_one_coolant(flow, lines, T_max, T_low, CA_max, p, u_min, u_max, x, u):
    """Filter one state that is surely in the set; NaN for any other, and for a proposal that is not finite."""
    share, heat = x[0], x[1]
    if not (math.isfinite(u) and 0.0 <= share <= CA_max and T_low <= heat <= T_max - _LOWERED):
        return np.nan
    for k in range(lines.shape[0]):
        if lines[k, 2] <= share <= lines[k, 3] and not heat <= lines[k, 0] * share + lines[k, 1] - _LOWERED:
            return np.nan
    work = work_space(flow, p.shape[1])
    return _warmest(flow, work, lines, T_max, CA_max, p, u_min, x, min(max(u, u_min), u_max))
