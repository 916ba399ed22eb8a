"""Elementary functions that need no mathematics library, the same operations in numpy and in C, so the same bits.

tanh and the normal distribution behind GELU, `gelu(x) = x (1/2 + S(x))` with `S(x) = erf(x / sqrt 2) / 2`, are odd and
level off: polynomials on intervals of 1/4, exact zero at zero, a constant beyond the last interval. Cosine and sine
subtract whole quarter turns in three parts (Cody and Waite) and sum Taylor terms.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from yannctl.types import Float

STEP = 0.25
ANGLE_END = 1000.0  # rad; beyond it the reduction loses digits, and the result is NaN
_DEGREE = {"double": 11, "float": 6}
_END = {  # where the function equals its limit to the last bit
    ("tanh", "double"): 19.25,
    ("tanh", "float"): 9.25,
    ("normal", "double"): 8.5,
    ("normal", "float"): 5.75,
}
# pi/2 in three parts of few bits, so that count * part is exact for counts below 2^10.
_PARTS = {
    "float": (1.5703125, 0.00048351287841796875, 3.139164786504813e-7),
    "double": (1.570796325802803, 9.920935791635221e-10, 5.170182981794105e-19),
}


@dataclass(frozen=True)
class OddTable:
    """An odd function that levels off, as polynomials on intervals of 1/4.

    Args:
        values: coefficients (intervals, degree + 1), lowest power first, of the distance from the left end.
        end: where the last interval ends.
        limit: value from there on.
    """

    values: Float[np.ndarray, "intervals terms"]
    end: float
    limit: float

    def __call__(self, x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Evaluate the function with the operations of the C text.

        Args:
            x: arguments, in the precision of the table; NaN gives NaN.

        Returns:
            Values of the shape of x.
        """
        real = self.values.dtype.type
        size = np.where(x < 0, -x, x)
        inner = size < real(self.end)
        bounded = np.where(inner, size, real(0))
        index = (bounded * real(1 / STEP)).astype(np.int64)
        t = bounded - index.astype(real) * real(STEP)
        value = self.values[index, -1]
        for power in range(self.values.shape[1] - 2, -1, -1):
            value = value * t + self.values[index, power]
        value = np.where(inner, value, np.where(size >= real(self.end), real(self.limit), size))
        return np.where(x < 0, -value, value)


@cache
def odd_table(kind: str, precision: str) -> OddTable:
    """Make the table of a function by interpolation at Chebyshev nodes.

    Args:
        kind: "tanh", or "normal" for erf(x / sqrt 2) / 2.
        precision: "double" or "float".

    Returns:
        The table.
    """
    function: Callable[[float], float] = math.tanh if kind == "tanh" else lambda x: 0.5 * math.erf(x / math.sqrt(2.0))
    end, degree = _END[kind, precision], _DEGREE[precision]
    nodes = STEP * 0.5 * (1 - np.cos(np.pi * (np.arange(degree) + 0.5) / degree))
    rows = []
    for i in range(round(end / STEP)):
        left = i * STEP
        start = function(left)
        slopes = [(function(left + t) - start) / t for t in nodes]
        rows.append(
            [start, *np.linalg.solve(np.vander(nodes / STEP, increasing=True), slopes) / STEP ** np.arange(degree)]
        )
    dtype = np.float64 if precision == "double" else np.float32
    return OddTable(np.array(rows).astype(dtype), end, function(50.0))


@dataclass(frozen=True)
class QuarterTurns:
    """Constants of cosine and sine, in one precision.

    Args:
        parts: pi/2 in three parts.
        cos_terms: Taylor coefficients of the cosine in r^2, lowest power first.
        sin_terms: those of the sine divided by r.
    """

    parts: Float[np.ndarray, " 3"]
    cos_terms: Float[np.ndarray, " n_cos"]
    sin_terms: Float[np.ndarray, " n_sin"]

    def __call__(self, angle: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate cosine and sine with the operations of the C text.

        Args:
            angle: angles (n,) [rad]; NaN beyond 1000 rad.

        Returns:
            Cosine and sine (n,).
        """
        real = self.parts.dtype.type
        good = (angle >= real(-ANGLE_END)) & (angle <= real(ANGLE_END))
        bounded = np.where(good, angle, real(0))
        turns = bounded * real(2 / math.pi)
        quarter = np.where(turns < 0, turns - real(0.5), turns + real(0.5)).astype(np.int64)
        count = quarter.astype(real)
        r = ((bounded - count * self.parts[0]) - count * self.parts[1]) - count * self.parts[2]
        s = r * r
        c, d = _horner(self.cos_terms, s), r * _horner(self.sin_terms, s)
        phase = quarter % 4
        cosine = np.select([phase == 0, phase == 1, phase == 2], [c, -d, -c], d)
        sine = np.select([phase == 0, phase == 1, phase == 2], [d, c, -d], -c)
        return np.where(good, cosine, real(np.nan)), np.where(good, sine, real(np.nan))


@cache
def quarter_turns(precision: str) -> QuarterTurns:
    """Make the constants of cosine and sine.

    Args:
        precision: "double" or "float".

    Returns:
        The constants.
    """
    dtype, terms = (np.float64, 9) if precision == "double" else (np.float32, 6)
    cos_terms = [(-1) ** k / math.factorial(2 * k) for k in range(terms)]
    sin_terms = [(-1) ** k / math.factorial(2 * k + 1) for k in range(terms)]
    return QuarterTurns(np.array(_PARTS[precision], dtype), np.array(cos_terms, dtype), np.array(sin_terms, dtype))


def relu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Rectify; NaN stays NaN.

    Args:
        x: arguments.

    Returns:
        max(x, 0).
    """
    return np.where(x < 0, x.dtype.type(0), x)


def activation(kind: str, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    """Give the numpy form of an activation.

    Args:
        kind: "relu", "tanh" or "gelu".
        precision: "double" or "float".

    Returns:
        Function of an array of that precision.
    """
    if kind == "relu":
        return relu
    if kind == "tanh":
        return odd_table("tanh", precision)
    normal = odd_table("normal", precision)

    def gelu(x: np.ndarray) -> np.ndarray:
        return x * (normal(x) + x.dtype.type(0.5))

    return gelu


def _horner(terms: np.ndarray, s: np.ndarray) -> np.ndarray:
    value = np.full_like(s, terms[-1])
    for term in terms[-2::-1]:
        value = value * s + term
    return value
