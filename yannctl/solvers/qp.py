"""Strictly convex quadratic programs with DAQP, a dual active-set method (Arnström, Bemporad and Axehill, 2022).

The program is `min_z z'Hz/2 + f'z  s.t.  A z <= b`, with multipliers lam >= 0 such that `H z + f + A'lam = 0`.
"""

from dataclasses import dataclass
from typing import Any

import daqp
import numpy as np

from yannctl.types import Float

_STATUS = {1: "optimal", -1: "infeasible", -2: "failed", -3: "unbounded", -4: "iteration limit", -5: "failed"}


@dataclass(frozen=True)
class QpSettings:
    """Tolerances of the online solver.

    Attributes:
        primal_tolerance: largest violation of a row that counts as satisfied, rows scaled to unit norm.
        dual_tolerance: most negative multiplier that counts as zero.
        iteration_limit: number of active-set changes before giving up.
        proximal: weight of the proximal term that stands in where H is singular; 0 asks for H positive definite.
        polish: whether the active rows are solved once more as equations, which takes the error to rounding.
    """

    primal_tolerance: float = 1e-9
    dual_tolerance: float = 1e-12
    iteration_limit: int = 10_000
    proximal: float = 1e-6
    polish: bool = True


@dataclass(frozen=True)
class QpResult:
    """Outcome of one quadratic program, or of a batch when the arrays have a leading axis.

    Attributes:
        z: minimiser (nz,), NaN where there is none.
        value: cost at the minimiser; +inf where infeasible, -inf where unbounded.
        multipliers: lam (m,), zero on inactive rows.
        status: "optimal", "infeasible", "unbounded", "iteration limit" or "failed"; an array of these for a batch.
    """

    z: Float[np.ndarray, "*batch nz"]
    value: Any
    multipliers: Float[np.ndarray, "*batch m"]
    status: Any


class QuadraticProgram:
    """One family of programs with fixed H and A, solved again and again for new f and b.

    Args:
        H: Hessian (nz, nz), symmetric, positive (semi)definite.
        A: rows (m, nz).
        settings: tolerances.
    """

    def __init__(
        self, H: Float[np.ndarray, "nz nz"], A: Float[np.ndarray, "m nz"], settings: QpSettings | None = None
    ) -> None:
        self.settings = QpSettings() if settings is None else settings
        norms = np.linalg.norm(A, axis=1)
        self._row_scale = 1.0 / np.where(norms > 0, norms, 1.0)
        self._H = np.array(H, dtype=float, order="C")  # the solver asks for writable memory
        self._A = np.array(A, dtype=float)
        self._A_scaled = np.ascontiguousarray(A * self._row_scale[:, None])
        self._singular = not _is_definite(self._H)
        self._model: Any = None

    def solve(self, f: Float[np.ndarray, " nz"], b: Float[np.ndarray, " m"]) -> QpResult:
        """Minimise `z'Hz/2 + f'z` subject to `A z <= b`.

        Args:
            f: linear cost (nz,).
            b: right-hand sides (m,).

        Returns:
            Minimiser, value, multipliers and status.
        """
        f = np.array(f, dtype=float)
        upper = np.array(b * self._row_scale, dtype=float)
        lower = np.full(len(upper), -1e30)
        if self._model is None or not len(upper):  # DAQP cannot update a program without rows
            flag = self._start(f, upper, lower)
        else:
            # `sense` is given so that each solve starts cold: the answer must not depend on the one before.
            flag = self._model.update(f=f, bupper=upper, blower=lower, sense=np.zeros(len(upper), dtype=np.int32))
        if flag < 0:
            self._model = None
            return self._no_result(_STATUS.get(int(flag), "failed"))
        model: Any = self._model
        z, _, flag, info = model.solve()
        status = _STATUS.get(int(flag), "failed")
        if status != "optimal":
            return self._no_result(status)
        lam = np.maximum(np.array(info["lam"], dtype=float)[-len(upper) :] if len(upper) else np.zeros(0), 0.0)
        z, lam = self._polished(np.array(z, dtype=float), lam, f, upper)
        return QpResult(z, float(z @ self._H @ z / 2 + f @ z), lam * self._row_scale, "optimal")

    def _start(self, f: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> int:
        self._model = daqp.Model()
        self._model.settings = {
            "primal_tol": self.settings.primal_tolerance,
            "dual_tol": self.settings.dual_tolerance,
            "iter_limit": self.settings.iteration_limit,
            "eps_prox": self.settings.proximal if self._singular else 0.0,
        }
        flag, _ = self._model.setup(self._H, f, self._A_scaled, upper, lower, np.zeros(len(upper), dtype=np.int32))
        return int(flag)

    def _polished(
        self, z: np.ndarray, lam: np.ndarray, f: np.ndarray, upper: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve the equations of the active rows once more; keep the result only where it is at least as good."""
        if not self.settings.polish or self._singular:
            return z, lam
        rows = np.flatnonzero(lam > 0)
        W = self._A_scaled[rows]
        kkt = np.block([[self._H, W.T], [W, np.zeros((len(rows), len(rows)))]])
        try:
            solution = np.linalg.solve(kkt, np.concatenate([-f, upper[rows]]))
        except np.linalg.LinAlgError:
            return z, lam
        z_new, lam_new = solution[: len(z)], np.zeros_like(lam)
        lam_new[rows] = solution[len(z) :]
        worst = np.max(self._A_scaled @ z_new - upper, initial=0.0)
        if not np.isfinite(solution).all() or worst > self.settings.primal_tolerance or lam_new.min(initial=0.0) < 0:
            return z, lam
        return z_new, lam_new

    def _no_result(self, status: str) -> QpResult:
        value = {"infeasible": np.inf, "unbounded": -np.inf}.get(status, np.nan)
        return QpResult(np.full(len(self._H), np.nan), value, np.full(len(self._A), np.nan), status)


def solve_qp(
    H: Float[np.ndarray, "nz nz"],
    f: Float[np.ndarray, " nz"],
    A: Float[np.ndarray, "m nz"],
    b: Float[np.ndarray, " m"],
    settings: QpSettings | None = None,
) -> QpResult:
    """Solve `min z'Hz/2 + f'z  s.t.  A z <= b` once.

    Args:
        H: Hessian (nz, nz).
        f: linear cost (nz,).
        A: rows (m, nz).
        b: right-hand sides (m,).
        settings: tolerances.

    Returns:
        Minimiser, value, multipliers and status.
    """
    return QuadraticProgram(H, A, settings).solve(f, b)


def _is_definite(H: np.ndarray) -> bool:
    diagonal = np.diag(H)
    if np.any(diagonal <= 0):
        return False
    scale = 1.0 / np.sqrt(diagonal)
    return bool(np.linalg.eigvalsh(scale[:, None] * H * scale)[0] > 1e-12)
