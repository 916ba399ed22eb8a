"""The reactor's filter: the warmest coolant up to the proposed one whose validated enclosure stays below the border.

Most proposals pass by one a-priori box of the whole period (Picard). Where the worst parameters are proved beforehand
(`monotone_kernels`), one thin trajectory with them bounds all others; elsewhere all parameters are bounded at once.
Plain floats say which coolant to try; whatever is given has been accepted by an enclosure itself.
"""

import math
import typing

import numpy as np
from numba import njit

from yannctl.tape.kernel import run_tape

from .flow_kernels import _advance_point, _picard, enclose_period
from .interval_kernels import _OPTIONS, _UNIT, _out, _product

_SLACK = 1e-6  # [K], far above the rounding of the sum and of a simulation
_FINE = 0.01  # [K], of the coolant
_AIM = 0.01  # [K], room that is left below the border when a coolant is looked for
_STEEP = 0.5  # room lost a kelvin of coolant, where nothing better is known
_AHEAD = 9  # coolants that are looked at in one pass
_TRIALS = 3
_ABOVE = 1 + 1e-12  # over the rounding of a sum of positive numbers
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
def _cell_of(cells, x):
    """Warmest coolant whose worst parameters are proved at a state, and how far CA moves with them; -inf for none."""
    CA, T, warmest, moved, _, _ = cells
    i = int((x[0] - CA[0]) / (CA[1] - CA[0]))
    j = int((x[1] - T[0]) / (T[1] - T[0]))
    i, j = min(max(i, 0), CA.size - 2), min(max(j, 0), T.size - 2)
    # The division may miss by one cell; what is used is what holds the state.
    if x[0] < CA[i] or x[0] > CA[i + 1] or x[1] < T[j] or x[1] > T[j + 1]:
        return -np.inf, 0.0
    return warmest[i, j], moved[i, j]


@njit(**_OPTIONS)
@typing.no_type_check
def _room_below(lines, low, high, CA, T):
    """Least room [K] of a state below the lines that are met between two concentrations."""
    first, last = 0, lines.shape[0]
    while last - first > 1:
        middle = (first + last) // 2
        if lines[middle, 2] <= low:
            first = middle
        else:
            last = middle
    # One line earlier: where two lines meet, both hold.
    least, k = np.inf, max(first - 1, 0)
    while k < lines.shape[0] and lines[k, 2] <= high:
        if lines[k, 3] >= low:
            room = lines[k, 1] - _SLACK - (T - lines[k, 0] * CA)
            if not room >= 0.0 and not room < 0.0:
                return -np.inf
            least = min(least, room)
        k += 1
    return least


@njit(**_OPTIONS)
@typing.no_type_check
def _worst_slack(flow, work, lines, T_max, CA_max, worst, moved, x, u):
    """`_slack` of the one trajectory with the worst parameters; other parameters end at most `moved` further in CA."""
    rate, taylor, remainder, sizes, h, _ = flow
    point, image, box, f = work[0], work[2], work[5], work[6]
    point[0, 0] = point[1, 0] = x[0]
    point[0, 1] = point[1, 1] = x[1]
    point[0, 2] = point[1, 2] = u
    point[0, 3:] = worst
    point[1, 3:] = worst
    highest = x[1]
    for _ in range(sizes[1]):
        if not _advance_point(rate, taylor, remainder, 2, h, point, box, f, work[7], work[8], image):
            return -np.inf
        # f holds on the whole box, so T stays below its start plus what that rate can add.
        highest = max(highest, min(box[1, 1], (point[1, 1] + max(h * f[1, 1], 0.0)) * _ABOVE))
        point[:, :2] = image
    low, high = image[0, 0], (image[1, 0] + moved) * _ABOVE
    if not (low >= 0.0 and high <= CA_max and math.isfinite(highest)):
        return -np.inf
    return min(T_max - highest, _room_below(lines, low, high, image[1, 0], image[1, 1]))


@njit(**_OPTIONS)
@typing.no_type_check
def look_ahead(flow, step, lines, T_max, CA_max, worst, moved, x, u_min, u, rooms):
    """Rooms of equally spaced coolants from u_min to u, in one pass of plain floats: they only say where to look."""
    constants, slots = flow[1][4], flow[1][5].shape[1]
    n, nz = rooms.size, 3 + worst.size
    z, after, highest = np.empty((n, nz)), np.empty((n, 2)), np.full(n, x[1])
    for s in range(n):
        z[s, 0], z[s, 1], z[s, 2] = x[0], x[1], u_min + (u - u_min) * (s / (n - 1))
        z[s, 3:] = worst
    for _ in range(flow[3][1]):
        run_tape(step, constants, slots, z, after)
        for s in range(n):
            z[s, 0], z[s, 1] = after[s, 0], after[s, 1]
            highest[s] = max(highest[s], after[s, 1])
    for s in range(n):
        CA, T = z[s, 0], z[s, 1]
        rooms[s] = -np.inf
        if CA >= 0.0 and CA + moved <= CA_max and math.isfinite(T):
            rooms[s] = min(T_max - highest[s], _room_below(lines, CA, CA + moved, CA, T))


@njit(**_OPTIONS)
@typing.no_type_check
def _search_worst(flow, work, lines, cells, T_max, CA_max, moved, u_min, x, u):
    """The warmest coolant found up to u by the worst trajectory, and whether it is u itself; u_min is always safe."""
    rooms, worst = work[9], cells[4]
    look_ahead(flow, cells[5], lines, T_max, CA_max, worst, moved, x, u_min, u, rooms)
    last = rooms.size - 1
    if rooms[last] > 0.0 and _worst_slack(flow, work, lines, T_max, CA_max, worst, moved, x, u) >= 0.0:
        return u, True
    step = (u - u_min) / last
    k = 0
    while k < last and rooms[k + 1] > 0.0:
        k += 1
    if not rooms[k] > 0.0:
        return u_min, False
    slope = _STEEP
    if k < last and math.isfinite(rooms[k + 1]):
        slope = (rooms[k] - rooms[k + 1]) / step
    wanted = u_min + k * step + (rooms[k] - _AIM) / slope
    for _ in range(_TRIALS):
        wanted = min(wanted, u - _FINE)
        if not wanted > u_min + _FINE:
            break
        room = _worst_slack(flow, work, lines, T_max, CA_max, worst, moved, x, wanted)
        if room >= 0.0:
            return wanted, False
        wanted = wanted + (room - 2.0 * _AIM) / slope if math.isfinite(room) else 0.5 * (u_min + wanted)
    return u_min, False


@njit(**_OPTIONS)
@typing.no_type_check
def _warmest(flow, work, lines, cells, T_max, CA_max, p, u_min, x, u):
    """The warmest coolant found up to the proposed one that is proved safe; full cooling otherwise."""
    if u <= u_min or _plainly_safe(flow, work, lines, T_max, CA_max, p, x, u):
        return u
    proved, moved = _cell_of(cells, x)
    found = u_min
    if proved > u_min:
        found, whole = _search_worst(flow, work, lines, cells, T_max, CA_max, moved, u_min, x, min(u, proved))
        if not whole or u <= proved:
            return found
    # Warmer than what is proved for one corner, or no such proof: all parameters at once.
    if _slack(flow, work, lines, T_max, CA_max, p, x, u) >= 0.0:
        return u
    return found


@njit(**_OPTIONS)
@typing.no_type_check
def work_space(flow, n_p):
    """Arrays the kernels write to: zone, centre, image, Jacobian, tube, box, rates, two Taylor terms and rooms."""
    nz = 3 + n_p
    return (
        np.empty((2, nz)), np.empty((2, 2)), np.empty((2, 2)), np.empty((2, 2, nz)), np.empty((2, 2)),
        np.empty((2, nz)), np.empty((2, 2 + 2 * nz)), np.empty((2, 2)), np.empty((2, 2)), np.empty(_AHEAD),
    )  # fmt: skip


@njit(**_OPTIONS)
@typing.no_type_check
def filter_coolant(flow, lines, cells, T_max, CA_max, p, u_min, x, u, out):
    """Filter each state's proposal, between coldest and warmest coolant."""
    work = work_space(flow, p.shape[1])
    for k in range(x.shape[0]):
        out[k] = _warmest(flow, work, lines, cells, T_max, CA_max, p, u_min, x[k], u[k])


@njit(**_OPTIONS)
@typing.no_type_check
def filter_one_coolant(flow, lines, cells, T_max, T_low, CA_max, p, u_min, u_max, x, u):
    """Filter one state that is surely in the set; NaN for any other, and for a proposal that is not finite."""
    share, heat = x[0], x[1]
    if not (math.isfinite(u) and 0.0 <= share <= CA_max and T_low <= heat <= T_max - _LOWERED):
        return np.nan
    for k in range(lines.shape[0]):
        if lines[k, 2] <= share <= lines[k, 3] and not heat <= lines[k, 0] * share + lines[k, 1] - _LOWERED:
            return np.nan
    work = work_space(flow, p.shape[1])
    return _warmest(flow, work, lines, cells, T_max, CA_max, p, u_min, x, min(max(u, u_min), u_max))
