"""Linear programs with HiGHS: `max c'x  s.t.  A x <= b`, many objectives over one set of rows.

An infeasible program comes with its proof, a Farkas vector y >= 0 with `A'y = 0` and `b'y < 0`.
"""

from dataclasses import dataclass

import highspy
import numpy as np

from yannctl.types import Float

_KEPT = 1e-9  # feasibility tolerance of the simplex method, on rows scaled to unit norm


@dataclass(frozen=True)
class LpResult:
    """Outcome of one linear program.

    Attributes:
        x: maximiser (n,), NaN where there is none.
        value: c'x; -inf where infeasible, +inf where unbounded.
        multipliers: y (m,) >= 0 with A'y = c at the optimum, NaN otherwise.
        status: "optimal", "infeasible", "unbounded" or "failed".
    """

    x: Float[np.ndarray, " n"]
    value: float
    multipliers: Float[np.ndarray, " m"]
    status: str


class LinearProgram:
    """Rows `A x <= b` that are kept in the solver, so each further objective starts from the last basis.

    Args:
        A: rows (m, n).
        b: right-hand sides (m,); +inf switches a row off.
    """

    def __init__(self, A: Float[np.ndarray, "m n"], b: Float[np.ndarray, " m"]) -> None:
        self.m, self.n = A.shape
        norms = np.linalg.norm(A, axis=1)
        self._scale = 1.0 / np.where(norms > 0, norms, 1.0)
        self._highs = highspy.Highs()
        self._highs.setOptionValue("output_flag", False)
        self._highs.setOptionValue("threads", 1)
        self._highs.setOptionValue("primal_feasibility_tolerance", _KEPT)
        self._highs.setOptionValue("dual_feasibility_tolerance", _KEPT)
        self._highs.passModel(_model(A * self._scale[:, None], b * self._scale))

    def set_bound(self, row: int, value: float) -> None:
        """Change one right-hand side.

        Args:
            row: index of the row.
            value: new right-hand side; +inf switches the row off.
        """
        self._highs.changeRowBounds(row, -highspy.kHighsInf, float(value * self._scale[row]))

    def maximise(self, c: Float[np.ndarray, " n"]) -> LpResult:
        """Find the largest `c'x` over the rows.

        Args:
            c: objective (n,).

        Returns:
            Maximiser, value, multipliers and status.
        """
        size = float(np.abs(c).max(initial=0.0)) or 1.0
        self._highs.changeColsCost(self.n, np.arange(self.n, dtype=np.int32), -np.asarray(c, dtype=float) / size)
        self._highs.run()
        status = _status_text(self._highs.getModelStatus())
        if status in ("infeasible", "infeasible or unbounded") and np.any(c):
            # HiGHS 1.15 calls some unbounded programs infeasible, so only the rows themselves are believed.
            status = "unbounded" if self._feasible() else "infeasible"
        if status != "optimal":
            value = {"infeasible": -np.inf, "unbounded": np.inf}.get(status, np.nan)
            return LpResult(np.full(self.n, np.nan), value, np.full(self.m, np.nan), status)
        solution = self._highs.getSolution()
        x = np.array(solution.col_value, dtype=float)
        multipliers = -np.array(solution.row_dual, dtype=float).reshape(self.m) * self._scale * size
        return LpResult(x, float(c @ x), np.maximum(multipliers, 0.0), "optimal")

    def _feasible(self) -> bool:
        return self.maximise(np.zeros(self.n)).status == "optimal"


def solve_lp(c: Float[np.ndarray, " n"], A: Float[np.ndarray, "m n"], b: Float[np.ndarray, " m"]) -> LpResult:
    """Solve `max c'x  s.t.  A x <= b` once.

    Args:
        c: objective (n,).
        A: rows (m, n).
        b: right-hand sides (m,).

    Returns:
        Maximiser, value, multipliers and status.
    """
    return LinearProgram(A, b).maximise(c)


def farkas_vector(A: Float[np.ndarray, "m n"], b: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"] | None:
    """Find the proof that `A x <= b` has no solution: y >= 0, `A'y = 0`, `b'y < 0`, sum(y) <= 1.

    Args:
        A: rows (m, n).
        b: right-hand sides (m,), finite.

    Returns:
        y (m,), or None when the rows have a solution.
    """
    m, n = A.shape
    # Rows: A'y <= 0, -A'y <= 0, -y <= 0, sum(y) <= 1; maximise -b'y.
    rows = np.vstack([A.T, -A.T, -np.eye(m), np.ones((1, m))])
    right = np.concatenate([np.zeros(2 * n + m), [1.0]])
    result = solve_lp(-b, rows, right)
    scale = float(np.abs(b).max(initial=0.0)) or 1.0
    if result.status != "optimal" or result.value <= 1e-9 * scale:
        return None
    return np.maximum(result.x, 0.0)


def _model(A: np.ndarray, b: np.ndarray) -> highspy.HighsLp:
    m, n = A.shape
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = n, m
    lp.col_cost_ = np.zeros(n)
    lp.col_lower_ = np.full(n, -highspy.kHighsInf)
    lp.col_upper_ = np.full(n, highspy.kHighsInf)
    lp.row_lower_ = np.full(m, -highspy.kHighsInf)
    lp.row_upper_ = np.asarray(b, dtype=float)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    row, column = np.nonzero(A)
    lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=m))]).astype(np.int32)
    lp.a_matrix_.index_ = column.astype(np.int32)
    lp.a_matrix_.value_ = A[row, column]
    return lp


def _status_text(status: highspy.HighsModelStatus) -> str:
    known = {
        highspy.HighsModelStatus.kOptimal: "optimal",
        highspy.HighsModelStatus.kModelEmpty: "optimal",
        highspy.HighsModelStatus.kInfeasible: "infeasible",
        highspy.HighsModelStatus.kUnbounded: "unbounded",
        highspy.HighsModelStatus.kUnboundedOrInfeasible: "infeasible or unbounded",
    }
    return known.get(status, "failed")
