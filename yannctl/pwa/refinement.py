"""Gains and facets of a law without the least-distance form's loss of digits: each region's equations as they are.

With W the active rows, [H A_W'; A_W 0] [z; mu] = [-L; R_W] [theta; 1], solved in double precision and corrected by
residuals of extended precision until they vanish (Wilkinson's iterative refinement): where H is ill conditioned, or the
minimiser without rows lies far outside them, the least-distance form subtracts large numbers; these equations do not.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from yannctl.mpqp.presolve import ReducedProgram

DELICATE = 1e4  # cancellation from which on it is worth the time
_ENTRIES = 1 << 20  # numbers in the matrices solved at a time
_ROUNDS = 4
_NOISE = 2e-15  # rounding error of a row, relative to the numbers it is made from
_DEPENDENT = 1e-10  # smallest singular value of unit rows that counts as zero
_SOLVED = 1e-12  # residual, relative to the right-hand side, from which on equations count as solved


class Refinement:
    """Minimiser and multipliers of regions as functions of [theta_s; 1].

    Powers of two bring curvature and rows near one, so that the numbers of the program enter as they are.

    Args:
        reduced: the program in least-distance form.
        mpqp: the program as the caller gave it; None, or one whose H was singular, leaves the reduced one.
        active: (n_regions, rows) active rows of each region among those of the reduced program.
    """

    def __init__(self, reduced: ReducedProgram, mpqp: Any, active: np.ndarray) -> None:
        plain = reduced.plain
        self.active = active
        self.as_given = mpqp is not None and not reduced.regularisation
        if mpqp is None or reduced.regularisation:
            H, A, L, R = plain.H, plain.A, plain.L, plain.R
            self.rows, always = np.arange(len(A)), np.zeros(0, dtype=int)
        else:
            H, A = mpqp.H, mpqp.A
            L, R = np.column_stack([mpqp.F, mpqp.f]), np.column_stack([mpqp.B, mpqp.b])
            self.rows, always = reduced.rows, _independent(A, [i for i, _ in reduced.equalities])
        self.unit = _power_of_two(1.0 / np.sqrt(np.maximum(np.diag(H), 1e-300)))
        length = _power_of_two(1.0 / np.maximum(np.linalg.norm(A * self.unit, axis=1), 1e-300))
        self.H, self.L = H * np.outer(self.unit, self.unit), L * self.unit[:, None]
        self.A, self.R = A * self.unit * length[:, None], R * length[:, None]
        self.z = np.full((len(active), *self.L.shape), np.nan)
        self.mu = np.zeros((len(active), len(self.rows), self.L.shape[1]))
        self._solve(always)
        if self.as_given:
            self._scale_parameters(reduced)

    def _solve(self, always: np.ndarray) -> None:
        sizes = self.active.sum(axis=1)
        for nw in np.unique(sizes):
            regions = np.flatnonzero(sizes == nw)
            W = np.nonzero(self.active[regions])[1].reshape(len(regions), nw)
            rows = np.hstack([np.broadcast_to(always, (len(regions), len(always))), self.rows[W]])
            share = max(1, _ENTRIES // (len(self.H) + rows.shape[1]) ** 2)
            for start in range(0, len(regions), share):
                part = slice(start, start + share)
                z, mu = _solve(self.H, self.L, self.A[rows[part]], self.R[rows[part]])
                self.z[regions[part]] = z
                self.mu[regions[part, None], W[part]] = mu[:, len(always) :]

    def _scale_parameters(self, reduced: ReducedProgram) -> None:
        """Turn functions of [theta; 1] into functions of [theta_s; 1]."""
        for values in (self.z, self.mu, self.R):
            values[..., -1] += values[..., :-1] @ reduced.centre
            values[..., :-1] *= reduced.half_range

    @property
    def solved(self) -> np.ndarray:
        """(n_regions,) where the equations could be solved."""
        sums = self.z.sum(axis=(1, 2)) + self.mu.sum(axis=(1, 2))
        return np.isfinite(np.asarray(sums))

    def minimisers(self) -> Float[np.ndarray, "n_regions nz ntheta_1"]:
        """Return the minimiser of each region, that of y in z = N y + Z0 [theta_s; 1] for the reduced program."""
        return self.unit[:, None] * self.z

    def facets(
        self, region: Int[np.ndarray, " q"], row: Int[np.ndarray, " q"]
    ) -> tuple[Float[np.ndarray, "q ntheta"], Float[np.ndarray, " q"]]:
        """Return the half-spaces H theta_s <= k where rows hold or, where active, their multipliers are not negative.

        Each is relaxed by its own rounding error. A row without gradient comes back as zero or NaN.

        Args:
            region: (q,) region of each facet.
            row: (q,) row of the reduced program that becomes active or inactive on it.
        """
        z, active = self.z[region], self.active[region, row]
        A, R = self.A[self.rows[row]], self.R[self.rows[row]]
        slack = np.matmul(A[:, None, :], z)[:, 0] - R
        size = np.matmul(np.abs(A)[:, None, :], np.abs(z))[:, 0] + np.abs(R)
        values = np.where(active[:, None], -self.mu[region, row], slack)
        largest = np.abs(self.mu).max(axis=(1, 2), initial=0.0)[region]
        scale = np.where(active, largest, size.max(axis=1, initial=0.0))
        norm = np.linalg.norm(values[:, :-1], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return values[:, :-1] / norm[:, None], (_NOISE * scale - values[:, -1]) / norm


def _power_of_two(values: np.ndarray) -> np.ndarray:
    return np.exp2(np.round(np.log2(values)))


def _independent(A: np.ndarray, rows: list[int]) -> np.ndarray:
    """Return those of the rows of A that do not depend on others."""
    kept: list[int] = []
    for row in rows:
        unit = A[[*kept, row]] / np.linalg.norm(A[[*kept, row]], axis=1, keepdims=True)
        if np.linalg.matrix_rank(unit, tol=_DEPENDENT) > len(kept):
            kept.append(row)
    return np.array(kept, dtype=int)


def _solve(H: np.ndarray, L: np.ndarray, A: np.ndarray, R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return z and mu of a batch of regions with equally many active rows, NaN where the equations are singular."""
    count, nw, nv = A.shape
    system = np.zeros((count, nv + nw, nv + nw))
    system[:, :nv, :nv] = H
    system[:, nv:, :nv] = A
    system[:, :nv, nv:] = A.transpose(0, 2, 1)
    right = np.concatenate([np.broadcast_to(-L, (count, *L.shape)), R], axis=1)
    exact_system, exact_right = system.astype(np.longdouble), right.astype(np.longdouble)
    solution, residual = np.zeros(right.shape, dtype=np.longdouble), right
    try:
        inverse = np.linalg.inv(system)
    except np.linalg.LinAlgError:
        return np.full((count, nv, L.shape[1]), np.nan), np.full((count, nw, L.shape[1]), np.nan)
    for _ in range(_ROUNDS):
        solution = solution + inverse @ residual
        residual = (exact_right - exact_system @ solution).astype(float)
    left = np.abs(residual).max(axis=(1, 2), initial=0.0) > _SOLVED * np.abs(right).max(axis=(1, 2), initial=0.0)
    result = solution.astype(float)
    result[left] = np.nan
    return result[:, :nv], result[:, nv:]
