"""The operations an `ExpressionTape` knows: their codes, their C99 text and their torch functions."""

import enum
import math
from collections.abc import Callable
from typing import Any


class Op(enum.IntEnum):
    """What one instruction does with its operands a and b; the groups of four are those of the kernel.

    The compiled kernel holds these numbers: touch `kernel.py` when they change, or a cached kernel keeps the old.
    """

    LOAD = 0
    STORE = 1
    ADD = 4
    SUB = 5
    MUL = 6
    DIV = 7
    NEG = 8
    SQ = 9
    TWICE = 10
    INV = 11
    FABS = 12
    SIGN = 13
    FLOOR = 14
    CEIL = 15
    FMIN = 16
    FMAX = 17
    IF_ELSE_ZERO = 18
    NOT = 19
    LT = 20
    LE = 21
    EQ = 22
    NE = 23
    AND = 24
    OR = 25
    FMOD = 26
    ATAN2 = 27
    POW = 28
    HYPOT = 29
    COPYSIGN = 30
    SQRT = 31
    EXP = 32
    LOG = 33
    EXPM1 = 34
    LOG1P = 35
    SIN = 36
    COS = 37
    TAN = 38
    ASIN = 39
    ACOS = 40
    ATAN = 41
    SINH = 42
    COSH = 43
    TANH = 44
    ASINH = 45
    ACOSH = 46
    ATANH = 47
    ERF = 48


BINARY = frozenset(range(Op.ADD, Op.NEG)) | frozenset(range(Op.FMIN, Op.SQRT)) - {Op.NOT}

# C99 text of each operation; functions of math.h carry {f}, which is "f" in single precision.
C_TEXT = {
    Op.ADD: "{a} + {b}",
    Op.SUB: "{a} - {b}",
    Op.MUL: "{a} * {b}",
    Op.DIV: "{a} / {b}",
    Op.NEG: "-{a}",
    Op.SQ: "{a} * {a}",
    Op.TWICE: "{a} + {a}",
    Op.INV: "{one} / {a}",
    Op.SIGN: "({a} < 0) ? -{one} : (({a} > 0) ? {one} : {a})",
    Op.IF_ELSE_ZERO: "({a} != 0) ? {b} : 0",
    Op.NOT: "({a} == 0) ? 1 : 0",
    Op.LT: "({a} < {b}) ? 1 : 0",
    Op.LE: "({a} <= {b}) ? 1 : 0",
    Op.EQ: "({a} == {b}) ? 1 : 0",
    Op.NE: "({a} != {b}) ? 1 : 0",
    Op.AND: "(({a} != 0) && ({b} != 0)) ? 1 : 0",
    Op.OR: "(({a} != 0) || ({b} != 0)) ? 1 : 0",
}


def torch_operations() -> dict[Op, Callable[..., Any]]:
    """Torch function of each operation that is not simply `torch.<name>`."""
    import torch

    def truth(condition: Any, like: Any) -> Any:
        return condition.to(like.dtype)

    return {
        Op.ADD: torch.add,
        Op.SUB: torch.sub,
        Op.SQ: lambda a: a * a,
        Op.TWICE: lambda a: a + a,
        Op.INV: torch.reciprocal,
        Op.FABS: torch.abs,
        Op.IF_ELSE_ZERO: lambda a, b: torch.where(a != 0, b, torch.zeros_like(b)),
        Op.NOT: lambda a: truth(a == 0, a),
        Op.LT: lambda a, b: truth(a < b, a),
        Op.LE: lambda a, b: truth(a <= b, a),
        Op.EQ: lambda a, b: truth(a == b, a),
        Op.NE: lambda a, b: truth(a != b, a),
        Op.AND: lambda a, b: truth((a != 0) & (b != 0), a),
        Op.OR: lambda a, b: truth((a != 0) | (b != 0), a),
    }


def c_number(value: float, suffix: str) -> str:
    """Print a constant so that the compiler reads back the same number.

    Args:
        value: the constant.
        suffix: "" for double, "f" for single precision.
    """
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    text = repr(float(value)) if not suffix else format(value, ".9g")
    text = text if any(mark in text for mark in ".en") else f"{text}.0"
    return f"{text}{suffix}" if math.copysign(1.0, value) > 0 else f"({text}{suffix})"


def c_operation(op: Op, a: str, b: str, suffix: str) -> str:
    """Print one operation on the operand texts a and b.

    Args:
        op: the operation.
        a: text of the first operand.
        b: text of the second operand, unused by operations of one.
        suffix: "" for double, "f" for single precision.
    """
    if op in C_TEXT:
        return C_TEXT[op].format(a=a, b=b, one=f"1.0{suffix}")
    return f"{op.name.lower()}{suffix}({a}, {b})" if op in BINARY else f"{op.name.lower()}{suffix}({a})"
