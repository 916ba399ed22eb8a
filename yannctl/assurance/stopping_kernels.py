"""The robot's filter: the formulas of `StoppingSet` for one state, and bisection of the speed."""

import math
import typing

import numpy as np
from numba import njit

_OPTIONS = {"cache": True, "error_model": "numpy"}
_HALVINGS = 12
_SLACK = 1e-6  # what an accepted command must leave, over the error of a simulation [m]
_ROUND = 1e-12  # outward, over the rounding of the closed forms [m]


@njit(**_OPTIONS)
@typing.no_type_check
def _largest_sine(low, high):
    """Largest sine on [low, high], rounded up."""
    turn = 2 * math.pi
    if not (high - low < turn):
        return 1.0
    if math.floor((high + 1e-9 - math.pi / 2) / turn) != math.floor((low - 1e-9 - math.pi / 2) / turn):
        return 1.0
    return min(max(math.sin(low), math.sin(high)) + 4e-16, 1.0)


@njit(**_OPTIONS)
@typing.no_type_check
def _side(ey, psi, way, low, high):
    """Larger bound of +ey and -ey after covering `way` with headings psi + [low, high]."""
    left = ey + way * max(_largest_sine(psi + low, psi + high), 0.0)
    right = -ey + way * max(_largest_sine(-psi - high, -psi - low), 0.0)
    if math.isnan(left + right):
        return np.inf
    return max(left, right) + _ROUND


@njit(**_OPTIONS)
@typing.no_type_check
def _fits(data, x, v_command, w_command):
    """Whether the period under the command and the stop after it stay in the corridor."""
    half_width, bend, lag_min, lag_max, speed_gain, turn_gain, dt, decay_min, decay_max = data[:9]
    v, w = x[2] - v_command, x[3] - w_command
    held_min, held_max = lag_min * (1 - decay_min), lag_max * (1 - decay_max)
    v_one, v_two = v_command + v * decay_min, v_command + v * decay_max
    w_one, w_two = w_command + w * decay_min, w_command + w * decay_max
    covered = max(dt * v_command + v * held_min, dt * v_command + v * held_max)
    way = speed_gain * max(covered, 0.0) * (1 + 1e-12)
    most = dt * max(abs(x[3]), abs(w_command)) * turn_gain
    size = most
    one_way = (x[3] >= 0) == (w_command >= 0)
    if one_way:
        turned = max(abs(dt * w_command + w * held_min), abs(dt * w_command + w * held_max))
        size = min(turn_gain * turned, most)
    size *= 1 + 1e-12
    right = (0.0 if one_way and w_command < 0 else size) + bend * way
    left = -(0.0 if one_way and w_command >= 0 else size) - bend * way
    rest = lag_max * speed_gain * max(v_one, v_two, 0.0)
    turn = lag_max * turn_gain * max(abs(w_one), abs(w_two)) + bend * rest
    side = _side(x[0], x[1], way + rest, left - turn, right + turn)
    return side <= half_width - _SLACK and min(v_one, v_two) >= 0


@njit(**_OPTIONS)
@typing.no_type_check
def _slowed(data, x, v, w):
    """The command within bounds and the wheels' diamond (turn first), slowed until it fits; a stop where none does."""
    v_min, w_min, v_max, w_max, half_track = data[9:]
    w = min(max(w, w_min), w_max)
    v = min(max(v, v_min), v_max, max(v_max - half_track * abs(w), 0.0))
    if _fits(data, x, v, w):
        return v, w
    if not _fits(data, x, 0.0, w):
        return 0.0, 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if _fits(data, x, middle * v, w):
            low = middle
        else:
            high = middle
    return low * v, w


@njit(**_OPTIONS)
@typing.no_type_check
def filter_commands(data, x, u, out):
    """Filter each state's command."""
    for k in range(x.shape[0]):
        out[k, 0], out[k, 1] = _slowed(data, x[k], u[k, 0], u[k, 1])


@njit(**_OPTIONS)
@typing.no_type_check
def filter_one_command(data, x, u):
    """Filter one state that is in the set; NaN for any other, and for a command that is not finite."""
    half_width, bend, _, lag_max, speed_gain, turn_gain = data[:6]
    if not (math.isfinite(u[0]) and math.isfinite(u[1]) and x[2] >= 0.0):
        return np.nan, np.nan
    way = lag_max * speed_gain * x[2]
    turn = lag_max * turn_gain * abs(x[3]) + bend * way
    if not _side(x[0], x[1], way, -turn, turn) <= half_width:
        return np.nan, np.nan
    return _slowed(data, x, u[0], u[1])
