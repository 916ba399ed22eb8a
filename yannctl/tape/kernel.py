"""The numba kernel behind `ExpressionTape`: instructions outside, a block of samples inside.

A block of 128 samples fits the first cache, so the cost of reading the instructions vanishes and the simple
operations are vectorised. The operations are those of C99 without contraction: the numbers equal CasADi's and the C
text's. Work slots of operands and results differ by construction, which keeps the loops free of aliasing.
"""

import math
import typing

import numpy as np
from numba import njit

from .opcodes import Op

BLOCK = 128
_OPTIONS = {"cache": True, "error_model": "numpy"}  # a division by zero gives inf, as in C


@njit(**_OPTIONS)
@typing.no_type_check
def _sums(code, w, o, a, b, n):
    if code == Op.ADD:
        for s in range(n):
            w[o, s] = w[a, s] + w[b, s]
    elif code == Op.SUB:
        for s in range(n):
            w[o, s] = w[a, s] - w[b, s]
    elif code == Op.MUL:
        for s in range(n):
            w[o, s] = w[a, s] * w[b, s]
    else:
        for s in range(n):
            w[o, s] = w[a, s] / w[b, s]


@njit(**_OPTIONS)
@typing.no_type_check
def _powers(code, w, o, a, b, n):
    if code == Op.NEG:
        for s in range(n):
            w[o, s] = -w[a, s]
    elif code == Op.SQ:
        for s in range(n):
            w[o, s] = w[a, s] * w[a, s]
    elif code == Op.TWICE:
        for s in range(n):
            w[o, s] = w[a, s] + w[a, s]
    else:
        for s in range(n):
            w[o, s] = 1.0 / w[a, s]


@njit(**_OPTIONS)
@typing.no_type_check
def _roundings(code, w, o, a, b, n):
    if code == Op.FABS:
        for s in range(n):
            w[o, s] = math.fabs(w[a, s])
    elif code == Op.SIGN:
        for s in range(n):
            w[o, s] = -1.0 if w[a, s] < 0.0 else (1.0 if w[a, s] > 0.0 else w[a, s])
    elif code == Op.FLOOR:
        for s in range(n):
            w[o, s] = np.floor(w[a, s])
    else:
        for s in range(n):
            w[o, s] = np.ceil(w[a, s])


@njit(**_OPTIONS)
@typing.no_type_check
def _choices(code, w, o, a, b, n):
    if code == Op.FMIN:
        for s in range(n):
            w[o, s] = w[a, s] if (w[a, s] < w[b, s] or w[b, s] != w[b, s]) else w[b, s]
    elif code == Op.FMAX:
        for s in range(n):
            w[o, s] = w[a, s] if (w[a, s] > w[b, s] or w[b, s] != w[b, s]) else w[b, s]
    elif code == Op.IF_ELSE_ZERO:
        for s in range(n):
            w[o, s] = w[b, s] if w[a, s] != 0.0 else 0.0
    else:
        for s in range(n):
            w[o, s] = 1.0 if w[a, s] == 0.0 else 0.0


@njit(**_OPTIONS)
@typing.no_type_check
def _comparisons(code, w, o, a, b, n):
    if code == Op.LT:
        for s in range(n):
            w[o, s] = 1.0 if w[a, s] < w[b, s] else 0.0
    elif code == Op.LE:
        for s in range(n):
            w[o, s] = 1.0 if w[a, s] <= w[b, s] else 0.0
    elif code == Op.EQ:
        for s in range(n):
            w[o, s] = 1.0 if w[a, s] == w[b, s] else 0.0
    else:
        for s in range(n):
            w[o, s] = 1.0 if w[a, s] != w[b, s] else 0.0


@njit(**_OPTIONS)
@typing.no_type_check
def _pairs(code, w, o, a, b, n):
    if code == Op.AND:
        for s in range(n):
            w[o, s] = 1.0 if (w[a, s] != 0.0 and w[b, s] != 0.0) else 0.0
    elif code == Op.OR:
        for s in range(n):
            w[o, s] = 1.0 if (w[a, s] != 0.0 or w[b, s] != 0.0) else 0.0
    elif code == Op.FMOD:
        for s in range(n):
            w[o, s] = np.fmod(w[a, s], w[b, s])
    else:
        for s in range(n):
            w[o, s] = math.atan2(w[a, s], w[b, s])


@njit(**_OPTIONS)
@typing.no_type_check
def _binary_functions(code, w, o, a, b, n):
    if code == Op.POW:
        for s in range(n):
            w[o, s] = math.pow(w[a, s], w[b, s])
    elif code == Op.HYPOT:
        for s in range(n):
            w[o, s] = math.hypot(w[a, s], w[b, s])
    elif code == Op.COPYSIGN:
        for s in range(n):
            w[o, s] = math.copysign(w[a, s], w[b, s])
    else:
        for s in range(n):
            w[o, s] = math.sqrt(w[a, s])


@njit(**_OPTIONS)
@typing.no_type_check
def _exponentials(code, w, o, a, b, n):
    if code == Op.EXP:
        for s in range(n):
            w[o, s] = math.exp(w[a, s])
    elif code == Op.LOG:
        for s in range(n):
            w[o, s] = math.log(w[a, s])
    elif code == Op.EXPM1:
        for s in range(n):
            w[o, s] = math.expm1(w[a, s])
    else:
        for s in range(n):
            w[o, s] = math.log1p(w[a, s])


@njit(**_OPTIONS)
@typing.no_type_check
def _trigonometry(code, w, o, a, b, n):
    if code == Op.SIN:
        for s in range(n):
            w[o, s] = math.sin(w[a, s])
    elif code == Op.COS:
        for s in range(n):
            w[o, s] = math.cos(w[a, s])
    elif code == Op.TAN:
        for s in range(n):
            w[o, s] = math.tan(w[a, s])
    else:
        for s in range(n):
            w[o, s] = math.asin(w[a, s])


@njit(**_OPTIONS)
@typing.no_type_check
def _inverses(code, w, o, a, b, n):
    if code == Op.ACOS:
        for s in range(n):
            w[o, s] = math.acos(w[a, s])
    elif code == Op.ATAN:
        for s in range(n):
            w[o, s] = math.atan(w[a, s])
    elif code == Op.SINH:
        for s in range(n):
            w[o, s] = math.sinh(w[a, s])
    else:
        for s in range(n):
            w[o, s] = math.cosh(w[a, s])


@njit(**_OPTIONS)
@typing.no_type_check
def _hyperbolics(code, w, o, a, b, n):
    if code == Op.TANH:
        for s in range(n):
            w[o, s] = math.tanh(w[a, s])
    elif code == Op.ASINH:
        for s in range(n):
            w[o, s] = math.asinh(w[a, s])
    elif code == Op.ACOSH:
        for s in range(n):
            w[o, s] = math.acosh(w[a, s])
    else:
        for s in range(n):
            w[o, s] = math.atanh(w[a, s])


@njit(**_OPTIONS)
@typing.no_type_check
def run_tape(program, constants, n_slots, stacked, result):  # noqa: C901  (a dispatch table)
    """Run the program on every row of `stacked` (samples, n_in) and write `result` (samples, n_out)."""
    n_samples = stacked.shape[0]
    width = min(BLOCK, n_samples)
    w = np.empty((n_slots, width))
    for i in range(constants.size):
        for s in range(width):
            w[i, s] = constants[i]
    for start in range(0, n_samples, BLOCK):
        n = min(BLOCK, n_samples - start)
        for k in range(program.shape[0]):
            code = program[k, 0]
            # Unsigned, so that no negative index is looked after in the loops.
            o, a, b = np.uint64(program[k, 1]), np.uint64(program[k, 2]), np.uint64(program[k, 3])
            if code == Op.LOAD:
                for s in range(n):
                    w[o, s] = stacked[start + s, a]
            elif code == Op.STORE:
                for s in range(n):
                    result[start + s, o] = w[a, s]
            elif code < Op.NEG:
                _sums(code, w, o, a, b, n)
            elif code < Op.FABS:
                _powers(code, w, o, a, b, n)
            elif code < Op.FMIN:
                _roundings(code, w, o, a, b, n)
            elif code < Op.LT:
                _choices(code, w, o, a, b, n)
            elif code < Op.AND:
                _comparisons(code, w, o, a, b, n)
            elif code < Op.POW:
                _pairs(code, w, o, a, b, n)
            elif code < Op.EXP:
                _binary_functions(code, w, o, a, b, n)
            elif code < Op.SIN:
                _exponentials(code, w, o, a, b, n)
            elif code < Op.ACOS:
                _trigonometry(code, w, o, a, b, n)
            elif code < Op.TANH:
                _inverses(code, w, o, a, b, n)
            elif code < Op.ERF:
                _hyperbolics(code, w, o, a, b, n)
            else:
                for s in range(n):
                    w[o, s] = math.erf(w[a, s])
