"""Intervals of integers over 2^128 for the checkers: a second, independent arithmetic with outward rounding.

Only Python integers are used, so no rounding mode, library function or compiler is trusted. The exponential is a
Taylor polynomial with its remainder after halving the argument (Brent, Zimmermann, "Modern Computer Arithmetic", 2010).
"""

import typing
from fractions import Fraction

_BITS = 128
_ONE = 1 << _BITS
_TERMS = 22  # remainder of the series below 2^-(7 * 23) for |y| <= 1/128


class FixedInterval:
    """All real numbers from `low` to `high`, both integers over 2^128.

    Args:
        low: lower end.
        high: upper end.
    """

    __slots__ = ("high", "low")

    @typing.no_type_check
    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    @classmethod
    def of(cls, value: float | Fraction, other: float | Fraction | None = None) -> "FixedInterval":
        """Enclose one number, or all between two.

        Args:
            value: a finite number, the lower end.
            other: upper end, None for the same number.
        """
        n, d = value.as_integer_ratio()
        m, e = (value if other is None else other).as_integer_ratio()
        return cls((n << _BITS) // d, -((-m << _BITS) // e))

    @typing.no_type_check
    def __add__(self, other: "FixedInterval") -> "FixedInterval":
        return FixedInterval(self.low + other.low, self.high + other.high)

    @typing.no_type_check
    def __sub__(self, other: "FixedInterval") -> "FixedInterval":
        return FixedInterval(self.low - other.high, self.high - other.low)

    @typing.no_type_check
    def __neg__(self) -> "FixedInterval":
        return FixedInterval(-self.high, -self.low)

    @typing.no_type_check
    def __mul__(self, other: "FixedInterval") -> "FixedInterval":
        ends = (self.low * other.low, self.low * other.high, self.high * other.low, self.high * other.high)
        return FixedInterval(min(ends) >> _BITS, -(-max(ends) >> _BITS))

    @typing.no_type_check
    def __truediv__(self, other: "FixedInterval") -> "FixedInterval":
        """Quotient by an interval of positive numbers."""
        if other.low <= 0:
            raise ZeroDivisionError("the divisor is not positive")
        low = (self.low << _BITS) // (other.high if self.low >= 0 else other.low)
        high = -((-self.high << _BITS) // (other.low if self.high >= 0 else other.high))
        return FixedInterval(low, high)

    def exp(self) -> "FixedInterval":
        """Exponential, for arguments between -4096 and 4096."""
        if self.low < -4096 * _ONE or self.high > 4096 * _ONE:
            raise OverflowError("the argument of exp is too large")
        return FixedInterval(_exp_of(self.low).low, _exp_of(self.high).high)


def _exp_of(x: int) -> FixedInterval:
    """Enclose exp(x / 2^128)."""
    halvings = max(0, abs(x).bit_length() - _BITS + 7)
    y = FixedInterval(x >> halvings, -(-x >> halvings))
    term = total = FixedInterval(_ONE, _ONE)
    for k in range(1, _TERMS + 1):
        term = term * y
        term = FixedInterval(term.low // k, -(-term.high // k))
        total = total + term
    # |y| <= 1/128, so the rest of the series is below twice its first term.
    rest = max(abs(term.low), abs(term.high)) + 1
    total = FixedInterval(total.low - rest, total.high + rest)
    for _ in range(halvings):
        total = total * total
    return total
