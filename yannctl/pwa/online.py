"""One QP or LP at one parameter, in least-distance form: the solver's second opinion where a facet flip fails."""

import daqp
import numpy as np
from jaxtyping import Float, Int

from yannctl.mpqp.presolve import ReducedProgram
from yannctl.solvers.lp import LinearProgram

_BIG = 1e30
_TOLERANCES = (1e-14, 1e-12, 1e-10)  # violations forgiven, the first that the solver can keep


class OnlineQp:
    """min |v|^2/2  s.t.  M v <= D [theta_s; 1], solved by DAQP for one theta_s after another.

    Args:
        reduced: the program in least-distance form.
        tolerance: multipliers above this, relative to the largest, mark active rows.
    """

    def __init__(self, reduced: ReducedProgram, tolerance: float) -> None:
        self.D, self.S, self.s = reduced.D, reduced.S, reduced.s
        self.tolerance = tolerance
        self.count = 0
        self._M = np.ascontiguousarray(reduced.M)
        self._H = np.eye(reduced.M.shape[1])
        self._f = np.zeros(reduced.M.shape[1])
        self._lower = np.full(len(reduced.M), -_BIG)
        self._slope, self._offset = np.ascontiguousarray(reduced.D[:, :-1]), np.ascontiguousarray(reduced.D[:, -1])
        self._plain, self._rows = reduced.plain, None

    def support(self, theta: Float[np.ndarray, " ntheta"]) -> Int[np.ndarray, " count"] | None:
        """Return the active rows at theta, largest multiplier first, or None where the program is infeasible.

        Args:
            theta: scaled parameter.
        """
        lam = self.solve(theta)
        if lam is None:
            return None
        rows = np.flatnonzero(lam > self.tolerance * max(lam.max(initial=0.0), 1e-30))
        return rows[np.argsort(-lam[rows])]

    def solve(self, theta: Float[np.ndarray, " ntheta"]) -> Float[np.ndarray, " rows"] | None:
        """Return the multipliers at theta, None where the program is infeasible.

        Args:
            theta: scaled parameter.
        """
        self.count += 1
        if not len(self.D):
            return np.zeros(0)
        right = self._slope @ theta + self._offset
        for tolerance in _TOLERANCES:
            _, _, flag, info = daqp.solve(
                self._H, self._f, self._M, right, self._lower, np.zeros(len(right), dtype=np.int32),
                primal_tol=tolerance, eps_prox=0.0, pivot_tol=1e-9, presolve=0,
            )  # fmt: skip
            if flag == 1:
                return np.maximum(np.asarray(info["lam"], dtype=float), 0.0)
            if flag == -1 and tolerance >= 1e-12:  # one that is tighter may be out of reach
                return None
        return None

    def feasible(self, theta: Float[np.ndarray, " ntheta"]) -> bool:
        """Tell whether some z meets all rows at theta, by the smallest y of the rows as they are.

        With large linear costs the least-distance form hides violations that these rows show.

        Args:
            theta: scaled parameter.
        """
        if self._rows is None:
            A, R = self._plain.unit_rows()
            self._rows = np.ascontiguousarray(A), R
        A, R = self._rows
        right = R[:, :-1] @ theta + R[:, -1]
        for tolerance in _TOLERANCES:
            _, _, flag, _ = daqp.solve(
                self._H, self._f, A, right, self._lower, np.zeros(len(right), dtype=np.int32), primal_tol=tolerance,
                eps_prox=0.0, pivot_tol=1e-9, presolve=0,
            )  # fmt: skip
            if flag == 1 or (flag == -1 and tolerance >= 1e-12):
                return bool(flag == 1)
        return False

    def inside(self, theta: Float[np.ndarray, " ntheta"], tolerance: float = 0.0) -> bool:
        """Tell whether theta lies in the parameter set.

        Args:
            theta: scaled parameter.
            tolerance: violation that is forgiven.
        """
        return bool((self.S @ theta <= self.s + tolerance).all())


def feasible_points(reduced: ReducedProgram, seed: int) -> list[Float[np.ndarray, " ntheta"]]:
    """Return extreme points of the feasible parameters in random directions, empty when there are none.

    Args:
        reduced: the program in least-distance form.
        seed: of the random directions.
    """
    n, nv = reduced.S.shape[1], reduced.M.shape[1]
    rows = np.block([
        [-reduced.D[:, :-1], reduced.M],
        [reduced.S, np.zeros((len(reduced.s), nv))],
    ])  # fmt: skip
    program = LinearProgram(rows, np.concatenate([reduced.D[:, -1], reduced.s]))
    directions = np.random.default_rng(seed).standard_normal((n + 1, n))
    points = []
    for direction in np.vstack([directions, -directions]):
        result = program.maximise(np.concatenate([direction, np.zeros(nv)]))
        if result.status == "infeasible":
            return []
        if result.status == "optimal":
            points.append(result.x[:n])
    return points
