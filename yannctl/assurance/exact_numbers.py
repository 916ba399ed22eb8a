"""Exact numbers for the checker: floats as integers over a power of two, and statements that are counted.

Nothing of the code that makes certificates is imported here either.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import starmap
from typing import Any

import numpy as np


class WrongStatementError(Exception):
    """A statement does not hold."""


class Exact:
    """An array as integers over 2^shift.

    Args:
        array: floats of any shape.
    """

    def __init__(self, array: Any) -> None:
        flat = list(starmap(lambda n, d: (n, d.bit_length() - 1), map(float.as_integer_ratio, array.ravel().tolist())))
        self.shift = max((d for _, d in flat), default=0)
        whole = np.empty(len(flat), dtype=object)
        whole[:] = [n << (self.shift - d) for n, d in flat]
        self.value: Any = whole.reshape(array.shape)

    def fraction(self, *index: int) -> Fraction:
        """Give one entry.

        Args:
            index: its place.
        """
        return Fraction(self.value[index], 1 << self.shift)


class Counter:
    """Decides statements and counts them."""

    def __init__(self) -> None:
        self.n = 0

    def all(self, holds: np.ndarray, text: Callable[[tuple[int, ...]], str]) -> None:
        """Require every entry.

        Args:
            holds: truth values.
            text: words the first failure from its index.
        """
        self.n += holds.size
        if not holds.all():
            raise WrongStatementError(text(tuple(int(i) for i in np.argwhere(~holds)[0])))

    def one(self, holds: bool, text: str) -> None:
        """Require one statement.

        Args:
            holds: whether it holds.
            text: words of its failure.
        """
        self.n += 1
        if not holds:
            raise WrongStatementError(text)


def inverse_of(matrix: list[list[Fraction]]) -> list[list[Fraction]] | None:
    """Give the exact inverse by elimination, None for a singular matrix.

    Args:
        matrix: rows of a square matrix.
    """
    n = len(matrix)
    work = [[*row, *(Fraction(int(i == j)) for j in range(n))] for i, row in enumerate(matrix)]
    for k in range(n):
        pivot = next((i for i in range(k, n) if work[i][k] != 0), None)
        if pivot is None:
            return None
        work[k], work[pivot] = work[pivot], work[k]
        work[k] = [v / work[k][k] for v in work[k]]
        for i in range(n):
            if i != k and work[i][k] != 0:
                factor = work[i][k]
                work[i] = [a - factor * b for a, b in zip(work[i], work[k], strict=True)]
    return [row[n:] for row in work]


def over_common_denominator(values: list[Fraction]) -> tuple[np.ndarray, int]:
    """Give numbers as integers over one positive denominator.

    Args:
        values: the numbers.
    """
    under = math.lcm(*(v.denominator for v in values))
    whole: Any = np.empty(len(values), dtype=object)
    whole[:] = [v.numerator * (under // v.denominator) for v in values]
    return whole, under
