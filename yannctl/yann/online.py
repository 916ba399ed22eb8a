"""The optimal control problem solved online with its first input fixed: what the exact critic is checked against.

It is built from the recursion of the model, not from `condense`, so the two share no code but the QP solver.
"""

import numpy as np

from yannctl.ocp import Ocp
from yannctl.solvers.qp import QuadraticProgram

from .cost_to_go import in_deviations


def first_input_fixed(ocp: Ocp, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Evaluate `Q(x, u) = min cost  s.t.  x_0 = x, u_0 = u, and all bounds`.

    Args:
        ocp: the optimal control problem.
        x: (n, nx) states [physical units].
        u: (n, nu) first inputs [physical units].

    Returns:
        (n,) costs, +inf where infeasible.
    """
    moved = in_deviations(ocp)
    program = _Program(moved)
    return np.array([program.solve(d, e) for d, e in zip(x - ocp.x_ref, u - ocp.u_ref, strict=True)])


class _Program:
    """QP in the later inputs and the slacks, `w = (u_1 ... u_{N-1}, e_1 ... e_N, 1 idle)`, data `s = (x, u, 1)`."""

    def __init__(self, ocp: Ocp) -> None:
        nx, nu, N = ocp.nx, ocp.nu, ocp.N
        slacks = np.flatnonzero(np.isfinite(ocp.x_min) | np.isfinite(ocp.x_max)) if ocp.soft else np.zeros(0, int)
        n_inputs = nu * (N - 1)
        self.size = n_inputs + len(slacks) * N + 1
        self.H = np.zeros((self.size, self.size))
        self.H[-1, -1] = 1.0
        self.F = np.zeros((self.size, nx + nu + 1))
        self.Y = np.zeros((nx + nu + 1, nx + nu + 1))
        self.f = np.zeros(self.size)
        self.rows: list[tuple[np.ndarray, np.ndarray]] = []  # A w <= S s
        S, W = np.eye(nx, nx + nu + 1), np.zeros((nx, self.size))  # x_k = S s + W w
        one = np.eye(nx + nu + 1)[-1]
        for k in range(N):
            U_s, U_w = np.zeros((nu, nx + nu + 1)), np.zeros((nu, self.size))
            if k == 0:
                U_s[:, nx : nx + nu] = np.eye(nu)
            else:
                U_w[:, nu * (k - 1) : nu * k] = np.eye(nu)
                self._row(U_w, np.outer(ocp.u_max, one) - U_s, ocp.u_max)
                self._row(-U_w, U_s - np.outer(ocp.u_min, one), -ocp.u_min)
            self._cost(ocp.gamma**k * ocp.Q, S, W)
            self._cost(ocp.gamma**k * ocp.R, U_s, U_w)
            S = ocp.lin.A @ S + ocp.lin.B @ U_s + np.outer(ocp.lin.c, one)
            W = ocp.lin.A @ W + ocp.lin.B @ U_w
            E = np.zeros((nx, self.size))
            for j, state in enumerate(slacks):
                place = n_inputs + len(slacks) * k + j
                E[state, place] = 1.0
                self.f[place] = ocp.gamma ** (k + 1) * float(ocp.soft_weight or 0.0)
                self.H[place, place] = 2 * ocp.gamma ** (k + 1) * float(ocp.soft_quadratic)
                self._row(-np.eye(self.size)[[place]], np.zeros((1, nx + nu + 1)), np.zeros(1))
            self._row(W - E, np.outer(np.nan_to_num(ocp.x_max, posinf=0.0), one) - S, ocp.x_max)
            self._row(-W - E, S - np.outer(np.nan_to_num(ocp.x_min, neginf=0.0), one), -ocp.x_min)
        self._cost(ocp.gamma**N * ocp.P, S, W)
        if ocp.terminal_set is not None:
            self._row(ocp.terminal_set.A @ W, np.outer(ocp.terminal_set.b, one) - ocp.terminal_set.A @ S, np.zeros(1))
        self._row(np.eye(self.size)[[-1]], one[None], np.ones(1))  # idle <= 1: the solver wants a row
        self.A = np.vstack([A for A, _ in self.rows])
        self.S = np.vstack([S for _, S in self.rows])
        self.varies = np.linalg.norm(self.A, axis=1) > 0  # rows on x_1 alone only depend on the data
        self.program = QuadraticProgram((self.H + self.H.T) / 2, self.A[self.varies])

    def _cost(self, weight: np.ndarray, S: np.ndarray, W: np.ndarray) -> None:
        self.H += 2 * W.T @ weight @ W
        self.F += 2 * W.T @ weight @ S
        self.Y += 2 * S.T @ weight @ S

    def _row(self, A: np.ndarray, S: np.ndarray, bound: np.ndarray) -> None:
        finite = np.isfinite(np.broadcast_to(bound, len(A)))
        self.rows.append((A[finite], S[finite]))

    def solve(self, d: np.ndarray, e: np.ndarray) -> float:
        """Minimise for one state and first input, as deviations."""
        s = np.concatenate([d, e, [1.0]])
        b = self.S @ s
        if np.any(b[~self.varies] < -1e-9):
            return np.inf
        result = self.program.solve(self.F @ s + self.f, b[self.varies])
        return float(result.value + s @ self.Y @ s / 2)
