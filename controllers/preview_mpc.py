"""Linear MPC that sees what is coming: disturbances and references that change over the horizon."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from yannctl.errors import ModelError
from yannctl.linear import LinearModel
from yannctl.mpqp import MpQp
from yannctl.solvers.riccati import solve_riccati
from yannctl.types import ArrayLike, Float

from .base import AbstractController, as_states, refuse_reference
from .online_mpc import OnlineMpc

FAR = 1e9  # ends of the parameters: the program is solved where it is asked, so they need none


@dataclass(frozen=True)
class Preview:
    """What a controller knows of the future at n states.

    Args:
        d: disturbances (n, N, nd) of the steps ahead [d_units].
        x_ref: references of the states after each step (n, N, nx) [x_units].
        u_ref: references of the inputs of each step (n, N, nu) [u_units].
    """

    d: Float[np.ndarray, "n N nd"]
    x_ref: Float[np.ndarray, "n N nx"]
    u_ref: Float[np.ndarray, "n N nu"]


class PreviewMpc(AbstractController):
    """Linear MPC with known future disturbances and references.

        min  sum_{k=1..N} |x_k - x_ref,k|²_Q + sum_{k<N} |u_k - u_ref,k|²_R + |x_N - x_ref,N|²_{P - Q} + rho e + s e²
        s.t. x_{k+1} = x_op + A (x_k - x_op) + B (u_k - u_op) + E (d_k - d_op) + c,
             G u_k <= h,   x_min - e <= x_k <= x_max + e,   e >= 0

    What is known comes from a function of the state, such as the path ahead of a robot's position. The program is
    one `MpQp` whose parameter is (x_0, d, x_ref, u_ref) stacked, solved at every call.

    Args:
        lin: the model, with disturbances E.
        Q: state weight (nx, nx) or its diagonal.
        R: input weight (nu, nu) or its diagonal.
        N: horizon.
        preview: function of the states (n, nx) that gives their `Preview`.
        x_min: state limits (nx,), softened; default none.
        x_max: upper state limits.
        u_min: input limits (nu,); default none.
        u_max: upper input limits.
        input_rows: (G, h) of further limits G u <= h on each input.
        P: weight of the last state; default the cost-to-go of the LQR.
        rho: price of one unit of excess of a state limit.
        soft_quadratic: price of its square.
        nx: states of the plant, whose first ones are the model's; default those of the model.
        fallback: controller for states where the program has no solution.

    Raises:
        ModelError: weights or limits that do not fit.
    """

    def __init__(
        self,
        lin: LinearModel,
        Q: ArrayLike,
        R: ArrayLike,
        N: int,
        preview: Callable[[np.ndarray], Preview],
        x_min: ArrayLike | None = None,
        x_max: ArrayLike | None = None,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        input_rows: tuple[np.ndarray, np.ndarray] | None = None,
        P: ArrayLike | None = None,
        rho: float = 1e4,
        soft_quadratic: float = 1e4,
        nx: int | None = None,
        fallback: AbstractController | None = None,
    ) -> None:
        if N < 1:
            raise ModelError("N", f"got {N}", remedy="give a horizon of at least 1")
        self.lin, self.N, self.preview, self.fallback = lin, N, preview, fallback
        self.nx, self.nu = lin.nx if nx is None else nx, lin.nu
        Q, R = _weight("Q", Q, lin.nx), _weight("R", R, self.nu)
        last = solve_riccati(lin.A, lin.B, Q, R)[0] if P is None else _weight("P", P, lin.nx)
        low, high = _ends("x", x_min, x_max, lin.nx)
        self._limited = [(i, +1.0, high[i]) for i in np.flatnonzero(np.isfinite(high))]
        self._limited += [(i, -1.0, -low[i]) for i in np.flatnonzero(np.isfinite(low))]
        rows = _input_rows(*_ends("u", u_min, u_max, self.nu), input_rows)
        self.program = OnlineMpc(self._condense(Q, R, last, rows, rho, soft_quadratic))

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Look ahead and solve.

        Args:
            x: states (..., nx).
            reference: must be None, the preview holds it.

        Returns:
            Inputs (..., nu); the fallback's, or NaN, where there is no solution.
        """
        refuse_reference(reference)
        states, batch = as_states(x, self.nx)
        ahead = self.preview(states)
        n = len(states)
        own = states[:, : self.lin.nx]
        theta = np.hstack([own, ahead.d.reshape(n, -1), ahead.x_ref.reshape(n, -1), ahead.u_ref.reshape(n, -1)])
        u = self.program(theta)
        failed = ~np.isfinite(u).all(axis=1)
        if self.fallback is not None and failed.any():
            u[failed] = self.fallback(states[failed])
        return u.reshape(*batch, self.nu)

    def reset(self) -> None:
        """Drop the solver's active set."""
        self.program.reset()

    def _condense(
        self, Q: np.ndarray, R: np.ndarray, P: np.ndarray, rows: tuple[np.ndarray, np.ndarray], rho: float, s: float
    ) -> MpQp:
        """Write the states as X_0 + X_theta theta + X_u u, then cost and rows; z = (u, e), one e a step and limit."""
        N, nx, nu, nd = self.N, self.lin.nx, self.nu, self.lin.nd
        constant, by_theta, by_u = self._predict()
        ntheta = by_theta.shape[1]
        pick_ref = np.zeros((N * nx, ntheta))
        pick_ref[:, nx + N * nd : nx + N * nd + N * nx] = np.eye(N * nx)
        pick_u = np.zeros((N * nu, ntheta))
        pick_u[:, nx + N * nd + N * nx :] = np.eye(N * nu)
        weights = scipy.linalg.block_diag(*[Q] * (N - 1), P)
        inputs = np.kron(np.eye(N), R)
        m = len(self._limited) * N
        H = np.zeros((N * nu + m, N * nu + m))
        H[: N * nu, : N * nu] = 2 * (by_u.T @ weights @ by_u + inputs)
        H[N * nu :, N * nu :] = 2 * s * np.eye(m)
        f = np.concatenate([2 * by_u.T @ weights @ constant, np.full(m, rho)])
        F = np.vstack([2 * (by_u.T @ weights @ (by_theta - pick_ref) - inputs @ pick_u), np.zeros((m, ntheta))])
        A, b, B = self._rows(constant, by_theta, by_u, rows)
        ends = np.full(ntheta, FAR)
        return MpQp(H=(H + H.T) / 2, f=f, F=F, A=A, b=b, B=B, theta_min=-ends, theta_max=ends, n_out=nu)

    def _predict(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Constant part of (x_1 … x_N), and its dependence on theta and on the inputs."""
        lin, N, nx, nu, nd = self.lin, self.N, self.lin.nx, self.nu, self.lin.nd
        ntheta = nx + N * (nd + nx + nu)
        constant, by_theta = np.zeros((N, nx)), np.zeros((N, nx, ntheta))
        by_u = np.zeros((N, nx, N * nu))
        offset = lin.x_op - lin.A @ lin.x_op - lin.B @ lin.u_op - lin.E @ lin.d_op + lin.c
        before: tuple[np.ndarray, np.ndarray, np.ndarray] = (np.zeros(nx), np.eye(nx, ntheta), np.zeros((nx, N * nu)))
        for k in range(N):
            constant[k], by_theta[k], by_u[k] = lin.A @ before[0] + offset, lin.A @ before[1], lin.A @ before[2]
            by_theta[k][:, nx + k * nd : nx + (k + 1) * nd] += lin.E
            by_u[k][:, k * nu : (k + 1) * nu] += lin.B
            before = constant[k], by_theta[k], by_u[k]
        return constant.ravel(), by_theta.reshape(N * nx, -1), by_u.reshape(N * nx, -1)

    def _rows(
        self, constant: np.ndarray, by_theta: np.ndarray, by_u: np.ndarray, rows: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows A z <= b + B theta: inputs, softened state limits, non-negative slacks."""
        N, nx, m = self.N, self.lin.nx, len(self._limited) * self.N
        G, h = np.kron(np.eye(N), rows[0]), np.tile(rows[1], N)
        pick = np.zeros((m, N * nx))
        level = np.zeros(m)
        for j, (i, sign, end) in enumerate((i, sign, end) for k in range(N) for i, sign, end in self._limited):
            pick[j, (j // len(self._limited)) * nx + i], level[j] = sign, end
        A = np.block(
            [[G, np.zeros((len(G), m))], [pick @ by_u, -np.eye(m)], [np.zeros((m, by_u.shape[1])), -np.eye(m)]]
        )
        b = np.concatenate([h, level - pick @ constant, np.zeros(m)])
        B = np.vstack([np.zeros((len(G), by_theta.shape[1])), -pick @ by_theta, np.zeros((m, by_theta.shape[1]))])
        return A, b, B


def _weight(name: str, value: ArrayLike, n: int) -> np.ndarray:
    array = np.array(value, float)
    matrix = np.diag(array) if array.shape == (n,) else array
    if matrix.shape != (n, n) or not np.isfinite(matrix).all():
        raise ModelError(name, f"has shape {array.shape}", remedy=f"give ({n}, {n}) or its diagonal ({n},)")
    return matrix


def _ends(letter: str, low: ArrayLike | None, high: ArrayLike | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    ends = []
    for name, value, default in ((f"{letter}_min", low, -np.inf), (f"{letter}_max", high, np.inf)):
        array = np.full(n, default) if value is None else np.array(value, float)
        if array.shape != (n,) or np.isnan(array).any():
            raise ModelError(name, f"has shape {array.shape}", remedy=f"give {n} numbers")
        ends.append(array)
    return ends[0], ends[1]


def _input_rows(
    low: np.ndarray, high: np.ndarray, more: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    eye = np.eye(len(low))
    G, h = np.vstack([eye, -eye]), np.concatenate([high, -low])
    if more is not None:
        G, h = np.vstack([G, more[0]]), np.concatenate([h, more[1]])
    kept = np.isfinite(h)
    return G[kept], h[kept]
