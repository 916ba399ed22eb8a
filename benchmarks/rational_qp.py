"""A quadratic program solved in rational numbers: the judge where floating-point solvers disagree.

The dual method of Goldfarb and Idnani (Mathematical Programming 27, 1983) on fractions: floats are rational numbers, so
the minimiser of the program exactly as it stands comes out, however ill conditioned it is.
"""

from fractions import Fraction
from typing import Any

import numpy as np


def fractions(array):
    return [[Fraction(float(entry)) for entry in row] for row in np.atleast_2d(array)]


def solve(matrix, right) -> Any:
    """Gauss elimination in fractions; None where the matrix is singular."""
    work = [row[:] + extra[:] for row, extra in zip(matrix, right, strict=True)]
    n = len(work)
    for i in range(n):
        pivot = next((r for r in range(i, n) if work[r][i]), None)
        if pivot is None:
            return None
        work[i], work[pivot] = work[pivot], work[i]
        head = work[i][i]
        work[i] = [entry / head for entry in work[i]]
        for r in range(n):
            if r != i and work[r][i]:
                factor = work[r][i]
                work[r] = [a - factor * b for a, b in zip(work[r], work[i], strict=True)]
    return [row[n:] for row in work]


class ExactProgram:
    """min z'Hz/2 + (f + F theta)'z  s.t.  A z <= b + B theta with H definite, in fractions.

    Opposite rows that agree to rounding are one equality: in exact arithmetic they might leave nothing feasible.
    """

    def __init__(self, mpqp):
        H, self.A = fractions(mpqp.H), fractions(mpqp.A) if mpqp.n_rows else []
        eye = [[Fraction(int(i == j)) for j in range(len(H))] for i in range(len(H))]
        self.inverse = solve(H, eye)
        self.AH = [[sum(map(_product, row, column)) for column in self.inverse] for row in self.A]
        self.gram = [[sum(map(_product, row, other)) for other in self.A] for row in self.AH]
        self.equal, self.partners = self._equalities(mpqp)
        self.f, self.F = fractions(mpqp.f)[0], fractions(mpqp.F)
        self.b, self.B = (fractions(mpqp.b)[0], fractions(mpqp.B)) if mpqp.n_rows else ([], [])

    def _equalities(self, mpqp):
        rows = np.hstack([mpqp.A, mpqp.b[:, None], mpqp.B])
        scale = np.linalg.norm(mpqp.A, axis=1, keepdims=True)
        rows = rows / np.where(scale > 0, scale, 1.0)
        size = 1e-13 * (1 + np.abs(rows).max(axis=0, initial=0.0))
        equal, partners = [], set()
        for i in range(len(rows)):
            for j in range(i):
                if (np.abs(rows[i] + rows[j]) <= size).all() and i not in partners and j not in partners:
                    partners.add(i)
                    if solve([[self.gram[a][b] for b in [*equal, j]] for a in [*equal, j]], [[0]] * (len(equal) + 1)):
                        equal.append(j)
                    else:
                        partners.add(j)  # depends on the others
        return equal, partners

    def at(self, theta):
        """Linear cost and slack of each row at the minimiser without rows."""
        theta = [Fraction(float(entry)) for entry in theta]
        f = [c + sum(map(_product, row, theta)) for c, row in zip(self.f, self.F, strict=True)]
        right = [c + sum(map(_product, row, theta)) for c, row in zip(self.b, self.B, strict=True)]
        return f, [c + sum(map(_product, row, f)) for c, row in zip(right, self.AH, strict=True)]

    def solve(self, theta):
        """The minimiser as floats, None where no z is feasible."""
        f, slack = self.at(theta)
        lam = self._multipliers(slack)
        if lam is None:
            return None
        linear = [c + sum(lam[i] * self.A[i][j] for i in lam) for j, c in enumerate(f)]
        return np.array([float(-sum(map(_product, row, linear))) for row in self.inverse])

    def _multipliers(self, free):
        start = solve([[self.gram[i][j] for j in self.equal] for i in self.equal], [[-free[i]] for i in self.equal])
        lam = {i: row[0] for i, row in zip(self.equal, start, strict=True)}
        while True:
            slack = [s + sum(lam[i] * self.gram[i][j] for i in lam) for j, s in enumerate(free)]
            others = [j for j in range(len(slack)) if j not in self.partners and j not in self.equal]
            worst = min(others, key=lambda j: slack[j], default=None)
            if worst is None or slack[worst] >= 0:
                return {i: value for i, value in lam.items() if value}
            lam[worst] = Fraction(0)
            if not self._add(lam, worst, slack[worst]):
                return None

    def _add(self, lam, row, slack):
        """Raise the multiplier of a violated row until it holds, dropping rows whose multiplier falls to zero."""
        while slack < 0:
            rows = [i for i in lam if i != row]
            gram = [[self.gram[i][j] for j in rows] for i in rows]
            change = [-r[0] for r in solve(gram, [[self.gram[i][row]] for i in rows])]
            gain = self.gram[row][row] + sum(c * self.gram[i][row] for c, i in zip(change, rows, strict=True))
            free = zip(change, rows, strict=True)
            limits = [(-lam[i] / c, i) for c, i in free if c < 0 and i not in self.equal]
            step, leaving = min(limits, default=(None, None))
            full = -slack / gain if gain > 0 else None
            if step is None and full is None:
                return False
            if full is not None and (step is None or full < step):
                step, leaving = full, None
            for c, i in zip(change, rows, strict=True):
                lam[i] += step * c
            lam[row] += step
            slack += step * gain
            if leaving is not None:
                del lam[leaving]
        return True


def _product(a, b):
    return a * b
