"""The optimal control problem solved online with its first input fixed: what the exact critic is checked against.

It is built from the recursion of the model, not from `condense`, so the two share no code but the QP solver.
"""

import numpy as np

from yannctl.ocp import Ocp
from yannctl.solvers.qp import QuadraticProgram

from .cost_to_go import at_origin


def first_input_fixed(ocp: Ocp, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Evaluate `Q(x, u) = min cost  s.t.  x_0 = x, u_0 = u, and all bounds`.

    Args:
        ocp: the optimal control problem.
        x: (n, ntheta) parameters, the states unless the problem has more [physical units].
        u: (n, nu) first inputs, held over the first block [physical units].

    Returns:
        (n,) costs, +inf where infeasible.
    """
    moved, origin, u_origin = at_origin(ocp)
    program = _Program(moved)
    return np.array([program.solve(d, e) for d, e in zip(x - origin, u - u_origin, strict=True)])


class _Program:
    """QP in the later moves and the slacks, `w = (v_1 ..., e_1 ... e_N, 1 idle)`, data `s = (theta, u, 1)`.

    Every quantity is a pair (S, W), `S s + W w`.
    """

    def __init__(self, ocp: Ocp) -> None:
        self.ocp = ocp
        layout, nu, N = ocp.parameters, ocp.nu, ocp.N
        blocks = ocp.blocks or (1,) * N
        slacks = np.flatnonzero(np.isfinite(ocp.x_min) | np.isfinite(ocp.x_max)) if ocp.soft else np.zeros(0, int)
        n_moves = nu * (len(blocks) - 1)
        self.n_data = layout.n + nu + 1
        self.size = n_moves + len(slacks) * N + 1
        self.H = np.zeros((self.size, self.size))
        self.H[-1, -1] = 1.0
        self.F = np.zeros((self.size, self.n_data))
        self.Y = np.zeros((self.n_data, self.n_data))
        self.f = np.zeros(self.size)
        self.rows: list[tuple[np.ndarray, np.ndarray]] = []  # W w <= S s
        x_s, u_s = self._references()
        S, W = self._part(layout.x), np.zeros((ocp.nx, self.size))
        previous = (
            self._part(layout.u_last) if ocp.counts_rate else np.zeros((nu, self.n_data)),
            np.zeros((nu, self.size)),
        )
        step = 0
        for block, length in enumerate(blocks):
            move = self._move(block)
            self._bounds(move, block)
            if ocp.counts_rate:
                self._rate(move, previous, ocp.gamma**step)
            previous = move
            for _ in range(length):
                self._cost(ocp.gamma**step * ocp.Q, S - x_s, W)
                self._cost(ocp.gamma**step * ocp.R, move[0] - u_s, move[1])
                S = ocp.lin.A @ S + ocp.lin.B @ move[0] + self._constant(ocp.lin.c)
                S = S + ocp.lin.E @ self._part(layout.d) if ocp.lin.nd else S
                W = ocp.lin.A @ W + ocp.lin.B @ move[1]
                step += 1
                self._states(S, W, slacks, n_moves, step)
        if ocp.rate_terminal is not None:
            end = np.vstack([S - x_s, previous[0] - u_s]), np.vstack([W, previous[1]])
            self._cost(ocp.gamma**N * ocp.rate_terminal[0], *end)
        else:
            self._cost(ocp.gamma**N * ocp.P, S - x_s, W)
        if ocp.terminal_set is not None:
            self._row(ocp.terminal_set.A @ W, self._constant(ocp.terminal_set.b) - ocp.terminal_set.A @ S, np.zeros(1))
        self._row(np.eye(self.size)[[-1]], self._constant(np.ones(1)), np.ones(1))  # idle <= 1: the solver wants a row
        self.A = np.vstack([A for A, _ in self.rows])
        self.S = np.vstack([S for _, S in self.rows])
        self.varies = np.linalg.norm(self.A, axis=1) > 0  # rows on x_1 alone only depend on the data
        self.program = QuadraticProgram((self.H + self.H.T) / 2, self.A[self.varies])

    def _part(self, columns: slice) -> np.ndarray:
        """Return theta[columns] as a function of the data."""
        return np.eye(self.n_data)[columns]

    def _constant(self, value: np.ndarray) -> np.ndarray:
        return np.outer(value, np.eye(self.n_data)[-1])

    def _references(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the references of state and input as functions of the data."""
        reference, n = self.ocp.reference, self.ocp.parameters.n
        x_s, u_s = self._constant(reference.x), self._constant(reference.u)
        if reference.X is not None:
            x_s[:, :n] += reference.X
        if reference.U is not None:
            u_s[:, :n] += reference.U
        return x_s, u_s

    def _move(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the input of a block: the given one, then decisions."""
        nu, n = self.ocp.nu, self.ocp.parameters.n
        S, W = np.zeros((nu, self.n_data)), np.zeros((nu, self.size))
        if block == 0:
            S[:, n : n + nu] = np.eye(nu)
        else:
            W[:, nu * (block - 1) : nu * block] = np.eye(nu)
        return S, W

    def _bounds(self, move: tuple[np.ndarray, np.ndarray], block: int) -> None:
        if block:
            self._row(move[1], self._constant(self.ocp.u_max) - move[0], self.ocp.u_max)
            self._row(-move[1], move[0] - self._constant(self.ocp.u_min), -self.ocp.u_min)

    def _rate(
        self, move: tuple[np.ndarray, np.ndarray], previous: tuple[np.ndarray, np.ndarray], discount: float
    ) -> None:
        S, W = move[0] - previous[0], move[1] - previous[1]
        if self.ocp.R_rate is not None:
            self._cost(discount * self.ocp.R_rate, S, W)
        if self.ocp.du_min is not None:
            self._row(W, self._constant(np.nan_to_num(self.ocp.du_max, posinf=0.0)) - S, self.ocp.du_max)
            self._row(-W, S - self._constant(np.nan_to_num(self.ocp.du_min, neginf=0.0)), -self.ocp.du_min)

    def _states(self, S: np.ndarray, W: np.ndarray, slacks: np.ndarray, n_moves: int, step: int) -> None:
        """Bound the state after `step` steps, with its slacks and their price."""
        ocp = self.ocp
        E = np.zeros((ocp.nx, self.size))
        for j, state in enumerate(slacks):
            place = n_moves + len(slacks) * (step - 1) + j
            E[state, place] = 1.0
            self.f[place] = ocp.gamma**step * float(ocp.soft_weight or 0.0)
            self.H[place, place] = 2 * ocp.gamma**step * float(ocp.soft_quadratic)
            self._row(-np.eye(self.size)[[place]], np.zeros((1, self.n_data)), np.zeros(1))
        self._row(W - E, self._constant(np.nan_to_num(ocp.x_max, posinf=0.0)) - S, ocp.x_max)
        self._row(-W - E, S - self._constant(np.nan_to_num(ocp.x_min, neginf=0.0)), -ocp.x_min)

    def _cost(self, weight: np.ndarray, S: np.ndarray, W: np.ndarray) -> None:
        self.H += 2 * W.T @ weight @ W
        self.F += 2 * W.T @ weight @ S
        self.Y += 2 * S.T @ weight @ S

    def _row(self, W: np.ndarray, S: np.ndarray, bound: np.ndarray) -> None:
        finite = np.isfinite(np.broadcast_to(bound, len(W)))
        self.rows.append((W[finite], S[finite]))

    def solve(self, theta: np.ndarray, u: np.ndarray) -> float:
        """Minimise for one parameter and first input, as deviations."""
        s = np.concatenate([theta, u, [1.0]])
        b = self.S @ s
        if np.any(b[~self.varies] < -1e-9):
            return np.inf
        result = self.program.solve(self.F @ s + self.f, b[self.varies])
        return float(result.value + s @ self.Y @ s / 2)
