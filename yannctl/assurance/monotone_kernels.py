"""Which way a reactor's temperature moves with each parameter, proved over cells of states and coolants.

With sigma_i = (p_max_i - p_min_i) dx/dp_i the sensitivities obey d sigma/dt = f_x sigma + f_p (p_max - p_min) and are
zero at the start. State and sensitivities are bounded together over one period, in validated steps, for every state of
a cell, every coolant of a range and every parameter. Where their signs hold all the way, the worst parameters are one
corner, known beforehand, and one thin trajectory bounds all others.
"""

import math
import typing

import numpy as np
from numba import njit

from .barrier_kernels import look_ahead
from .flow_kernels import _advance_point
from .interval_kernels import _OPTIONS, bound_one

PIECES = 8  # of the range of coolants
_DENORMAL = 1e-140  # what outward rounding makes of an exact zero


@njit(**_OPTIONS)
@typing.no_type_check
def _keep_signs(rate, box, face, f, n_p, signs):
    """Whether no sensitivity crosses zero while all states are in `box`: T moves with `signs`, CA against them.

    At each face of that orthant the rate must not point out of it, the other sensitivities being inside (Nagumo).
    """
    face[:] = box
    for k in range(2, 2 + 2 * n_p):
        if (signs[(k - 2) // 2] > 0.0) == (k % 2 == 1):
            face[0, k], face[1, k] = max(box[0, k], 0.0), max(box[1, k], 0.0)
        else:
            face[0, k], face[1, k] = min(box[0, k], 0.0), min(box[1, k], 0.0)
    for k in range(2, 2 + 2 * n_p):
        low, high = face[0, k], face[1, k]
        face[0, k] = face[1, k] = 0.0
        bound_one(rate[3], rate[4], rate[5], face[0], face[1], f[0], f[1])
        inward = f[0, k] if (signs[(k - 2) // 2] > 0.0) == (k % 2 == 1) else -f[1, k]
        if not inward >= -_DENORMAL:
            return False
        face[0, k], face[1, k] = low, high
    return True


@njit(**_OPTIONS)
@typing.no_type_check
def _prove_signs(parts, h, steps, zone, signs, lines):
    """Bound one cell over a period; give how far CA moves with all parameters [mol/L], NaN where a sign is not proved.

    zone (2, 2 + 2 n_p + 1 + n_p): states, sensitivities (zero), coolant, parameters. At the end the signs must hold
    along the normals of the border too.
    """
    rate, taylor, remainder = parts
    n_p = signs.size
    nx = 2 + 2 * n_p
    z, box, face = zone.copy(), zone.copy(), zone.copy()
    f, t, r, image = np.empty((2, nx)), np.empty((2, nx)), np.empty((2, nx)), np.empty((2, nx))
    for _ in range(steps):
        if not _advance_point(rate, taylor, remainder, nx, h, z, box, f, t, r, image):
            return np.nan
        if not _keep_signs(rate, box, face, f, n_p, signs):
            return np.nan
        z[:, :nx] = image
    steepest = 0.0
    for k in range(lines.shape[0]):
        if lines[k, 3] >= z[0, 0] and lines[k, 2] <= z[1, 0]:
            steepest = max(steepest, -lines[k, 0])
    moved = 0.0
    for i in range(n_p):
        C, T = 2 + 2 * i, 3 + 2 * i
        low = z[0, T] + steepest * z[0, C] if signs[i] > 0.0 else -z[1, T] - steepest * z[1, C]
        if not low >= 0.0:
            return np.nan
        moved += max(abs(z[0, C]), abs(z[1, C]))
    return moved * (1 + 1e-12) if math.isfinite(moved) else np.nan


@njit(**_OPTIONS)
@typing.no_type_check
def _halve(zone, piece, n_p, corner):
    """Make `piece` one of the 2^(2 + n_p) combinations of halves of states and parameters."""
    piece[:] = zone
    for i in range(2 + n_p):
        j = i if i < 2 else zone.shape[1] - n_p + i - 2
        middle = 0.5 * (zone[0, j] + zone[1, j])
        if (corner >> i) % 2 == 0:
            piece[0, j] = middle
        else:
            piece[1, j] = middle


@njit(**_OPTIONS)
@typing.no_type_check
def _prove_in_halves(parts, h, steps, zone, signs, lines):
    """`_prove_signs` on the whole cell and all parameters, then on each combination of halves of all of them."""
    whole = _prove_signs(parts, h, steps, zone, signs, lines)
    if whole >= 0.0:
        return whole
    piece, most = zone.copy(), 0.0
    for corner in range(2 ** (2 + signs.size)):
        _halve(zone, piece, signs.size, corner)
        way = _prove_signs(parts, h, steps, piece, signs, lines)
        if not way >= 0.0:
            return np.nan
        most = max(most, way)
    return most


@njit(**_OPTIONS)
@typing.no_type_check
def _prove_in_quarters(parts, h, steps, zone, signs, lines):
    """`_prove_in_halves` on the whole cell, then on each combination of halves."""
    whole = _prove_in_halves(parts, h, steps, zone, signs, lines)
    if whole >= 0.0:
        return whole
    piece, most = zone.copy(), 0.0
    for corner in range(2 ** (2 + signs.size)):
        _halve(zone, piece, signs.size, corner)
        way = _prove_in_halves(parts, h, steps, piece, signs, lines)
        if not way >= 0.0:
            return np.nan
        most = max(most, way)
    return most


@njit(**_OPTIONS)
@typing.no_type_check
def prove_cells(parts, h, steps, flow, cells, highest, p, signs, lines, u_min, u_max):
    """For each cell of the grid up to the border: the warmest coolant proved, and how far CA moves below it.

    Coolants too warm for the coolest state of a cell are not tried: nobody would look there.
    """
    CA, T, warmest, moved, worst, program = cells
    n_p = signs.size
    rooms, corner = np.empty(PIECES + 1), np.empty(2)
    zone = np.zeros((2, 3 + 3 * n_p))
    zone[:, 3 + 2 * n_p :] = p
    for i in range(CA.size - 1):
        for j in range(T.size - 1):
            warmest[i, j], moved[i, j] = -np.inf, 0.0
            if T[j] > highest[i]:
                continue
            zone[0, 0], zone[1, 0] = CA[i], CA[i + 1]
            zone[0, 1], zone[1, 1] = T[j], min(T[j + 1], highest[i])
            corner[0], corner[1] = CA[i], T[j]
            look_ahead(flow, program, lines, T[-1], CA[-1], worst, 0.0, corner, u_min, u_max, rooms)
            for k in range(PIECES):
                if k > 0 and not rooms[k] >= 0.0:
                    break
                cold, warm = u_min + (u_max - u_min) * (k / PIECES), u_min + (u_max - u_min) * ((k + 1) / PIECES)
                if k == PIECES - 1:
                    warm = u_max
                zone[0, 2 + 2 * n_p], zone[1, 2 + 2 * n_p] = cold, warm
                way = _prove_in_quarters(parts, h, steps, zone, signs, lines)
                if not way >= 0.0:
                    break
                warmest[i, j], moved[i, j] = warm, max(moved[i, j], way)
