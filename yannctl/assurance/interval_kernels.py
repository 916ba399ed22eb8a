"""Interval arithmetic behind `IntervalTape`: every operation rounds outward, so the bounds hold for real numbers.

A sum, product, quotient or root of floats is within half a unit in the last place of the exact one; moving the ends
out by one unit encloses it. The functions of the mathematical library are taken to be within four units (they state
one), and their ends move out by eight. A NaN anywhere becomes the whole line.
"""

import math
import typing

import numpy as np
from numba import njit

from yannctl.tape.opcodes import Op

_UNIT = 2.3e-16  # a little more than one unit in the last place, relative
_LIBRARY = 8 * _UNIT
_TINY = 1e-150  # far above the underflow it stands for; its products do not become slow denormal numbers
_PI = math.pi
_FAR = 1e6  # beyond it the argument of sin and cos is not reduced
_OPTIONS = {"cache": True, "error_model": "numpy"}


@njit(inline="always", **_OPTIONS)
@typing.no_type_check
def _out(low, high, unit):
    low = low - (abs(low) * unit + _TINY)
    high = high + (abs(high) * unit + _TINY)
    if low <= high:
        return low, high
    return -np.inf, np.inf


@njit(**_OPTIONS)
@typing.no_type_check
def _product(a, b, c, d):
    p, q, r, s = a * c, a * d, b * c, b * d
    if math.isnan(p + q + r + s):
        return -np.inf, np.inf
    return _out(min(p, q, r, s), max(p, q, r, s), _UNIT)


@njit(**_OPTIONS)
@typing.no_type_check
def _quotient(a, b, c, d):
    if c <= 0.0 <= d:
        return -np.inf, np.inf
    p, q, r, s = a / c, a / d, b / c, b / d
    if math.isnan(p + q + r + s):
        return -np.inf, np.inf
    return _out(min(p, q, r, s), max(p, q, r, s), _UNIT)


@njit(**_OPTIONS)
@typing.no_type_check
def _square(a, b):
    low, high = a * a, b * b
    if low > high:
        low, high = high, low
    if a <= 0.0 <= b:
        low = 0.0
    low, high = _out(low, high, _UNIT)
    return max(low, 0.0), high


@njit(**_OPTIONS)
@typing.no_type_check
def _sine(a, b):
    if not (b - a < 2 * _PI and abs(a) < _FAR and abs(b) < _FAR):
        return -1.0, 1.0
    slack = 1e-9  # far above the error of the reduction: a peak near the end counts as inside
    low, high = min(math.sin(a), math.sin(b)), max(math.sin(a), math.sin(b))
    low, high = _out(low, high, _LIBRARY)
    if math.floor((b + slack - _PI / 2) / (2 * _PI)) != math.floor((a - slack - _PI / 2) / (2 * _PI)):
        high = 1.0
    if math.floor((b + slack + _PI / 2) / (2 * _PI)) != math.floor((a - slack + _PI / 2) / (2 * _PI)):
        low = -1.0
    return max(low, -1.0), min(high, 1.0)


@njit(**_OPTIONS)
@typing.no_type_check
def _tangent(a, b):
    slack = 1e-9
    if not (abs(a) < _FAR and abs(b) < _FAR):
        return -np.inf, np.inf
    if math.floor((b + slack + _PI / 2) / _PI) != math.floor((a - slack + _PI / 2) / _PI):
        return -np.inf, np.inf
    return _out(math.tan(a), math.tan(b), _LIBRARY)


@njit(**_OPTIONS)
@typing.no_type_check
def _power(a, b, c, d):
    if c == d and c == math.floor(c) and abs(c) < 1e9:
        p, q = a**c, b**c
        low, high = min(p, q), max(p, q)
        if a <= 0.0 <= b:
            if c < 0:
                return -np.inf, np.inf
            if c % 2 == 0:
                low = 0.0 if c > 0 else 1.0
        low, high = _out(low, high, _LIBRARY)
        return (max(low, 0.0) if c % 2 == 0 else low), high
    if a < 0.0:
        return -np.inf, np.inf
    if a == 0.0 and c <= 0.0:
        return 0.0, np.inf
    p, q, r, s = a**c, a**d, b**c, b**d
    low, high = _out(min(p, q, r, s), max(p, q, r, s), _LIBRARY)
    return max(low, 0.0), high


@njit(**_OPTIONS)
@typing.no_type_check
def _hyperbolic_cosine(a, b):
    low, high = min(math.cosh(a), math.cosh(b)), max(math.cosh(a), math.cosh(b))
    if a <= 0.0 <= b:
        low = 1.0
    low, high = _out(low, high, _LIBRARY)
    return max(low, 1.0), high


@njit(**_OPTIONS)
@typing.no_type_check
def _clamped(function_low, function_high, least, most):
    low, high = _out(function_low, function_high, _LIBRARY)
    return max(low, least), min(high, most)


@njit(**_OPTIONS)
@typing.no_type_check
def _truth(surely, possibly):
    return (1.0 if surely else 0.0), (1.0 if possibly else 0.0)


@njit(**_OPTIONS)
@typing.no_type_check
def _simple(code, a, b, c, d):
    if code == Op.ADD:
        return _out(a + c, b + d, _UNIT)
    if code == Op.SUB:
        return _out(a - d, b - c, _UNIT)
    if code == Op.MUL:
        return _product(a, b, c, d)
    if code == Op.DIV:
        return _quotient(a, b, c, d)
    if code == Op.NEG:
        return -b, -a
    if code == Op.SQ:
        return _square(a, b)
    if code == Op.INV:
        return _quotient(1.0, 1.0, a, b)
    return 2.0 * a, 2.0 * b


@njit(**_OPTIONS)
@typing.no_type_check
def _rounding(code, a, b, c, d):
    if code == Op.FMIN:
        return min(a, c), min(b, d)
    if code == Op.FMAX:
        return max(a, c), max(b, d)
    if code == Op.FABS:
        return (0.0 if a <= 0.0 <= b else min(abs(a), abs(b))), max(abs(a), abs(b))
    if code == Op.FLOOR:
        return math.floor(a) * 1.0, math.floor(b) * 1.0
    if code == Op.CEIL:
        return math.ceil(a) * 1.0, math.ceil(b) * 1.0
    return (-1.0 if a < 0.0 else (1.0 if a > 0.0 else 0.0)), (1.0 if b > 0.0 else (-1.0 if b < 0.0 else 0.0))


@njit(**_OPTIONS)
@typing.no_type_check
def _logical(code, a, b, c, d):
    zero_a, zero_c = a <= 0.0 <= b, c <= 0.0 <= d
    only_a, only_c = a == 0.0 == b, c == 0.0 == d
    if code == Op.IF_ELSE_ZERO:
        if only_a:
            return 0.0, 0.0
        return (min(c, 0.0), max(d, 0.0)) if zero_a else (c, d)
    if code == Op.NOT:
        return _truth(only_a, zero_a)
    if code == Op.LT:
        return _truth(b < c, a < d)
    if code == Op.LE:
        return _truth(b <= c, a <= d)
    if code == Op.EQ:
        return _truth(a == b == c == d, a <= d and c <= b)
    if code == Op.NE:
        return _truth(b < c or d < a, not (a == b == c == d))
    if code == Op.AND:
        return _truth(not zero_a and not zero_c, not only_a and not only_c)
    return _truth(not zero_a or not zero_c, not only_a or not only_c)


@njit(**_OPTIONS)
@typing.no_type_check
def _pair(code, a, b, c, d):
    if code == Op.POW:
        return _power(a, b, c, d)
    size_a, size_c = max(abs(a), abs(b)), max(abs(c), abs(d))
    if code == Op.HYPOT:
        low, high = _square(a, b)
        more_low, more_high = _square(c, d)
        return _clamped(math.sqrt(max(low + more_low, 0.0)), math.sqrt(high + more_high), 0.0, np.inf)
    if code == Op.COPYSIGN:
        return (0.0 if c > 0.0 else -1.0) * size_a, size_a
    if code == Op.ATAN2:
        if c > 0.0:
            p, q, r, s = math.atan2(a, c), math.atan2(a, d), math.atan2(b, c), math.atan2(b, d)
            return _clamped(min(p, q, r, s), max(p, q, r, s), -4.0, 4.0)
        return -3.1415926535897936, 3.1415926535897936
    size = min(size_a, size_c)  # FMOD keeps the sign of its first operand
    return (-size if a < 0.0 else 0.0), (size if b > 0.0 else 0.0)


@njit(**_OPTIONS)
@typing.no_type_check
def _domain(code, a, b):
    least, most = -np.inf, np.inf
    if code in (Op.SQRT, Op.LOG):
        least = 0.0
    elif code == Op.LOG1P:
        least = -1.0
    elif code in (Op.ASIN, Op.ACOS, Op.ATANH):
        least, most = -1.0, 1.0
    elif code == Op.ACOSH:
        least = 1.0
    return a >= least and b <= most


@njit(**_OPTIONS)
@typing.no_type_check
def _exponential(code, a, b):
    if code == Op.SQRT:
        return _clamped(math.sqrt(a), math.sqrt(b), 0.0, np.inf)
    if code == Op.EXP:
        return _clamped(math.exp(a), math.exp(b), 0.0, np.inf)
    if code == Op.LOG:
        return _out(np.log(a), np.log(b), _LIBRARY)
    if code == Op.EXPM1:
        return _clamped(math.expm1(a), math.expm1(b), -1.0, np.inf)
    return _out(np.log1p(a), np.log1p(b), _LIBRARY)


@njit(**_OPTIONS)
@typing.no_type_check
def _trigonometric(code, a, b):
    if code == Op.SIN:
        return _sine(a, b)
    if code == Op.COS:
        low, high = _out(a + _PI / 2, b + _PI / 2, 4e-16 * 1.0)
        return _sine(low - 1e-15, high + 1e-15)
    if code == Op.TAN:
        return _tangent(a, b)
    if code == Op.ASIN:
        return _out(math.asin(a), math.asin(b), _LIBRARY)
    if code == Op.ACOS:
        return _out(math.acos(b), math.acos(a), _LIBRARY)
    return _out(math.atan(a), math.atan(b), _LIBRARY)


@njit(**_OPTIONS)
@typing.no_type_check
def _hyperbolic(code, a, b):
    if code == Op.SINH:
        return _out(math.sinh(a), math.sinh(b), _LIBRARY)
    if code == Op.COSH:
        return _hyperbolic_cosine(a, b)
    if code == Op.TANH:
        return _clamped(math.tanh(a), math.tanh(b), -1.0, 1.0)
    if code == Op.ASINH:
        return _out(math.asinh(a), math.asinh(b), _LIBRARY)
    if code == Op.ACOSH:
        return _clamped(math.acosh(a), math.acosh(b), 0.0, np.inf)
    if code == Op.ATANH:
        return _out(np.arctanh(a), np.arctanh(b), _LIBRARY)
    return _clamped(math.erf(a), math.erf(b), -1.0, 1.0)


@njit(**_OPTIONS)
@typing.no_type_check
def _apply(code, a, b, c, d):
    if code <= Op.INV:
        return _simple(code, a, b, c, d)
    if code <= Op.FMAX:
        return _rounding(code, a, b, c, d)
    if code <= Op.OR:
        return _logical(code, a, b, c, d)
    if code <= Op.COPYSIGN:
        return _pair(code, a, b, c, d)
    if not _domain(code, a, b):
        return -np.inf, np.inf
    if code <= Op.LOG1P:
        return _exponential(code, a, b)
    if code <= Op.ATAN:
        return _trigonometric(code, a, b)
    return _hyperbolic(code, a, b)


@njit(inline="always", **_OPTIONS)
@typing.no_type_check
def _store(work, o, low, high, unit):
    low = low - (abs(low) * unit + _TINY)
    high = high + (abs(high) * unit + _TINY)
    if low <= high:
        work[0, o], work[1, o] = low, high
    else:
        work[0, o], work[1, o] = -np.inf, np.inf


@njit(inline="always", **_OPTIONS)
@typing.no_type_check
def _multiply_into(work, o, a, b, c, d):
    """`_product` with the signs that occur most first."""
    if a >= 0.0 and c >= 0.0:
        _store(work, o, a * c, b * d, _UNIT)
    elif b <= 0.0 and c >= 0.0:
        _store(work, o, a * d, b * c, _UNIT)
    elif a >= 0.0 and d <= 0.0:
        _store(work, o, b * c, a * d, _UNIT)
    elif b <= 0.0 and d <= 0.0:
        _store(work, o, b * d, a * c, _UNIT)
    else:
        work[0, o], work[1, o] = _product(a, b, c, d)


@njit(inline="always", **_OPTIONS)
@typing.no_type_check
def _divide_into(work, o, a, b, c, d):
    """`_quotient` with a positive divisor first."""
    if c > 0.0 and a >= 0.0:
        _store(work, o, a / d, b / c, _UNIT)
    elif c > 0.0 and b <= 0.0:
        _store(work, o, a / c, b / d, _UNIT)
    else:
        work[0, o], work[1, o] = _quotient(a, b, c, d)


@njit(**_OPTIONS)
@typing.no_type_check
def _apply_into(work, o, code, a, b):
    left, right = _apply(code, work[0, a], work[1, a], work[0, b], work[1, b])
    if not left <= right:
        left, right = -np.inf, np.inf
    work[0, o], work[1, o] = left, right


@njit(**_OPTIONS)
@typing.no_type_check
def bound_one(program, constants, work, low, high, out_low, out_high):
    """Bound every output of the tape on one box; `work` is (2, slots)."""
    for i in range(constants.size):
        work[0, i] = constants[i]
        work[1, i] = constants[i]
    for k in range(program.shape[0]):
        code, o, a, b = np.int64(program[k, 0]), program[k, 1], program[k, 2], program[k, 3]
        if code == Op.LOAD:
            work[0, o], work[1, o] = low[a], high[a]
        elif code == Op.STORE:
            out_low[o], out_high[o] = work[0, a], work[1, a]
        elif code == Op.SQ or (code == Op.MUL and a == b):
            work[0, o], work[1, o] = _square(work[0, a], work[1, a])
        elif code == Op.MUL:
            _multiply_into(work, o, work[0, a], work[1, a], work[0, b], work[1, b])
        elif code == Op.ADD:
            _store(work, o, work[0, a] + work[0, b], work[1, a] + work[1, b], _UNIT)
        elif code == Op.SUB:
            _store(work, o, work[0, a] - work[1, b], work[1, a] - work[0, b], _UNIT)
        elif code == Op.DIV:
            _divide_into(work, o, work[0, a], work[1, a], work[0, b], work[1, b])
        else:
            _apply_into(work, o, code, a, b)


@njit(**_OPTIONS)
@typing.no_type_check
def bound_many(program, constants, n_slots, low, high, out_low, out_high):
    """Bound every output of the tape on each of many boxes."""
    work = np.empty((2, n_slots))
    for s in range(low.shape[0]):
        bound_one(program, constants, work, low[s], high[s], out_low[s], out_high[s])
