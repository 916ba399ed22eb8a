"""One validated step of an ordinary differential equation, and its repetition over a sample period.

A part (rate, Taylor polynomial, remainder) is two tapes with their work space: with its Jacobian, and the value alone.

Source: Nedialkov, Jackson, Corliss, "Validated solutions of initial value problems for ordinary differential equations"
(1999): an a-priori box by Picard iteration, a Taylor polynomial over the start set, its remainder over the box; the
sensitivities are bounded with Gronwall's lemma inside the remainder.
"""

import math
import typing

import numpy as np
from numba import njit

from .interval_kernels import _OPTIONS, _UNIT, _out, _product, bound_one

_SLACK = 1 + 1e-12  # over the rounding of a short sum of positive numbers
_PICARD = 12


@njit(**_OPTIONS)
@typing.no_type_check
def _compose(D, total, out):
    """Jacobian (2, nx, nz) of a step after others: D in the states times theirs, plus D in the kept inputs."""
    nx, nz = total.shape[1], total.shape[2]
    for i in range(nx):
        for j in range(nz):
            low, high = (D[0, i, j], D[1, i, j]) if j >= nx else (0.0, 0.0)
            for k in range(nx):
                a, b = _product(D[0, i, k], D[1, i, k], total[0, k, j], total[1, k, j])
                low, high = _out(low + a, high + b, _UNIT)
            out[0, i, j], out[1, i, j] = low, high


@njit(**_OPTIONS)
@typing.no_type_check
def _image(D_low, D_high, r_low, r_high, i):
    """Row i of an interval matrix times an interval vector."""
    low, high = 0.0, 0.0
    for j in range(r_low.size):
        a, b = _product(D_low[i, j], D_high[i, j], r_low[j], r_high[j])
        low, high = _out(low + a, high + b, _UNIT)
    return low, high


@njit(**_OPTIONS)
@typing.no_type_check
def _picard(tape, nx, h, z, box, f):
    """Find a box that holds x + [0, h] f(box); `box` is left there. Returns whether one was found."""
    _, _, _, program, constants, work = tape
    box[:] = z
    for k in range(_PICARD):
        bound_one(program, constants, work, box[0], box[1], f[0], f[1])
        inside = k > 0
        for i in range(nx):
            a, b = _product(0.0, h, f[0, i], f[1, i])
            low, high = _out(z[0, i] + a, z[1, i] + b, _UNIT)
            if not (box[0, i] <= low and high <= box[1, i]):
                inside = False
        if inside:
            return True
        for i in range(nx):
            a, b = _product(0.0, h, f[0, i], f[1, i])
            low, high = _out(z[0, i] + a, z[1, i] + b, _UNIT)
            more = 0.1 * (high - low) + 1e-12 * (abs(low) + abs(high)) + 1e-300
            if k > 0:
                more += 0.5 * (max(box[0, i] - low, 0.0) + max(high - box[1, i], 0.0))
            box[0, i], box[1, i] = min(low - more, box[0, i]), max(high + more, box[1, i])
            if not math.isfinite(box[0, i]) or not math.isfinite(box[1, i]):
                return False
    return False


@njit(**_OPTIONS)
@typing.no_type_check
def _sensitivity_growth(nx, nz, h, scale, f, S):
    """Bound the sensitivities d x(t) / d z(0) over [0, h] by Gronwall; f holds the rate and its Jacobian on the box."""
    rate = 0.0
    for i in range(nx):
        total = 0.0
        for j in range(nx):
            k = nx + j * nx + i
            total += max(abs(f[0, k]), abs(f[1, k])) * scale[j] / scale[i]
        rate = max(rate, total)
    growth = math.exp(rate * h * _SLACK) * _SLACK
    for j in range(nz):
        if j < nx:
            for i in range(nx):
                size = (growth - 1.0) * scale[i] / scale[j] * _SLACK
                S[0, i, j], S[1, i, j] = (1.0 if i == j else 0.0) - size, (1.0 if i == j else 0.0) + size
        else:
            most = 0.0
            for i in range(nx):
                k = nx + j * nx + i
                most = max(most, max(abs(f[0, k]), abs(f[1, k])) / scale[i])
            for i in range(nx):
                size = h * growth * most * scale[i] * _SLACK
                S[0, i, j], S[1, i, j] = -size, size


@njit(**_OPTIONS)
@typing.no_type_check
def _local_step(rate, taylor, remainder, nx, h, scale, z, box, f, t, r, S, J, D):
    """One Taylor step over the set z: D bounds the Jacobian of the step (with rows of the kept inputs)."""
    nz = z.shape[1]
    if not _picard(rate, nx, h, z, box, f):
        return False
    bound_one(rate[0], rate[1], rate[2], box[0], box[1], f[0], f[1])
    _sensitivity_growth(nx, nz, h, scale, f, S)
    bound_one(taylor[0], taylor[1], taylor[2], z[0], z[1], t[0], t[1])
    bound_one(remainder[0], remainder[1], remainder[2], box[0], box[1], r[0], r[1])
    for i in range(nx):
        for j in range(nz):
            k = nx + j * nx + i
            J[0, i, j], J[1, i, j] = r[0, k], r[1, k]
    for i in range(nx):
        for j in range(nz):
            k = nx + j * nx + i
            low, high = t[0, k], t[1, k]
            if j >= nx:
                low, high = _out(low + J[0, i, j], high + J[1, i, j], _UNIT)
            for m in range(nx):
                a, b = _product(J[0, i, m], J[1, i, m], S[0, m, j], S[1, m, j])
                low, high = _out(low + a, high + b, _UNIT)
            D[0, i, j], D[1, i, j] = low, high
    return True


@njit(**_OPTIONS)
@typing.no_type_check
def _advance_point(rate, taylor, remainder, nx, h, point, box, f, t, r, image):
    """One Taylor step of a set that is thin but for rounding."""
    if not _picard(rate, nx, h, point, box, f):
        return False
    bound_one(taylor[3], taylor[4], taylor[5], point[0], point[1], t[0], t[1])
    bound_one(remainder[3], remainder[4], remainder[5], box[0], box[1], r[0], r[1])
    for i in range(nx):
        image[0, i], image[1, i] = _out(t[0, i] + r[0, i], t[1, i] + r[1, i], _UNIT)
    return True


@njit(**_OPTIONS)
@typing.no_type_check
def enclose_period(rate, taylor, remainder, sizes, h, scale, zone, centre, image, D_total, tube):
    """Bound the flow over `substeps` steps of h from the set `zone` (2, nz), whose inputs are held.

    centre (2, nx): image of the middle; image (2, nx): image of the set; D_total (2, nx, nz): Jacobian;
    tube (2, nx): every state on the way. Returns whether a bound was found.
    """
    nx, substeps = sizes[0], sizes[1]
    nz = zone.shape[1]
    width = nx + nx * nz
    z, box, point = zone.copy(), zone.copy(), zone.copy()
    reach = np.empty((2, nz))
    for j in range(nz):
        middle = 0.5 * (zone[0, j] + zone[1, j])
        point[0, j], point[1, j] = middle, middle
        reach[0, j], reach[1, j] = _out(zone[0, j] - middle, zone[1, j] - middle, _UNIT)
    f, t, r = np.empty((2, width)), np.empty((2, width)), np.empty((2, width))
    S, J, D = np.empty((2, nx, nz)), np.empty((2, nx, nz)), np.empty((2, nx, nz))
    total = np.empty((2, nx, nz))
    D_total[:] = 0.0
    for i in range(nx):
        D_total[0, i, i] = D_total[1, i, i] = 1.0
    tube[:] = zone[:, :nx]
    for _ in range(substeps):
        # The middle on its own: without the spread of the set its remainder is small.
        if not _advance_point(rate, taylor, remainder, nx, h, point, box, f, t, r, centre):
            return False
        if not _local_step(rate, taylor, remainder, nx, h, scale, z, box, f, t, r, S, J, D):
            return False
        tube[0], tube[1] = np.minimum(tube[0], box[0, :nx]), np.maximum(tube[1], box[1, :nx])
        total[:] = D_total
        _compose(D, total, D_total)
        for i in range(nx):
            direct_low, direct_high = _out(t[0, i] + r[0, i], t[1, i] + r[1, i], _UNIT)
            a, b = _image(D_total[0], D_total[1], reach[0], reach[1], i)
            low, high = _out(centre[0, i] + a, centre[1, i] + b, _UNIT)
            z[0, i], z[1, i] = max(low, direct_low), min(high, direct_high)
        point[:, :nx] = centre
    image[:] = z[:, :nx]
    return True


@njit(**_OPTIONS)
@typing.no_type_check
def enclose_many(rate, taylor, remainder, sizes, h, scale, zones, centre, image, D_total, tube):
    """`enclose_period` for many sets; what could not be bounded becomes the whole line."""
    for s in range(zones.shape[0]):
        if not enclose_period(
            rate, taylor, remainder, sizes, h, scale, zones[s], centre[s], image[s], D_total[s], tube[s]
        ):
            for array in (centre, image, tube):
                array[s, 0], array[s, 1] = -np.inf, np.inf
            D_total[s, 0], D_total[s, 1] = -np.inf, np.inf
