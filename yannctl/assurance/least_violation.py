"""Input that violates the rows of a filter of several inputs least: the way back outside the set, the middle inside.

    min over u, t of  t   s.t.  (G x + K u - b)_i / |K_i| <= t,   inputs and rows in half ranges of the input

For one input this is the middle between the highest lower line and the lowest upper line.
"""

import numpy as np

from yannctl.solvers import QpSettings, QuadraticProgram
from yannctl.types import ArrayLike, Float

_CURVATURE = 1e-3  # picks one of several equally good inputs, the nearest to the middle of the bounds
_ITERATIONS = 1000


class LeastViolation:
    """u = least(x): always defined for finite states, equal to the safe input with most room inside the set.

    Args:
        G: coefficients of the state (rows, nx).
        K: coefficients of the input (rows, nu).
        b: right-hand sides (rows,).
        u_min: lower input bounds (nu,) [u_units].
        u_max: upper input bounds (nu,) [u_units].
    """

    def __init__(
        self,
        G: Float[np.ndarray, "rows nx"],
        K: Float[np.ndarray, "rows nu"],
        b: Float[np.ndarray, " rows"],
        u_min: Float[np.ndarray, " nu"],
        u_max: Float[np.ndarray, " nu"],
    ) -> None:
        self._middle, self._half, self._bounds = 0.5 * (u_min + u_max), 0.5 * (u_max - u_min), (u_min, u_max)
        rows = K * self._half
        length = np.maximum(np.linalg.norm(rows, axis=1), 1e-300)
        self._G, self._b, rows = G / length[:, None], (b - K @ self._middle) / length, rows / length[:, None]
        nu = K.shape[1]
        box = np.vstack([np.eye(nu), -np.eye(nu)])
        cost, limits = _CURVATURE * np.eye(nu + 1), QpSettings(iteration_limit=_ITERATIONS)
        # Inside, the bounds count as rows like all others; outside, they hold and only the rows are violated.
        every, softened = np.vstack([rows, box]), np.ones(len(b))
        self._inside, self._outside = (
            QuadraticProgram(cost, np.column_stack([every, -np.append(softened, soft)]), limits)
            for soft in (np.ones(2 * nu), np.zeros(2 * nu))
        )

    def __call__(self, x: ArrayLike, outside: bool = False) -> Float[np.ndarray, "*batch nu"]:
        """Give the input of least violation.

        Args:
            x: states (..., nx), finite.
            outside: whether the states are outside the set: nearness to the input bounds is then no loss.

        Returns:
            Inputs (..., nu) [u_units], finite and within the bounds.
        """
        states, program = np.asarray(x, dtype=float), self._outside if outside else self._inside
        flat, nu = states.reshape(-1, self._G.shape[1]), len(self._half)
        cost = np.append(np.zeros(nu), 1.0)
        right = np.hstack([self._b - flat @ self._G.T, np.ones((len(flat), 2 * nu))])
        v = np.array([program.solve(cost, one).z[:nu] for one in right]).reshape(-1, nu)
        # A solver that gives up leaves NaN; the middle of the bounds stands in.
        u = np.clip(self._middle + self._half * np.where(np.isfinite(v), v, 0.0), *self._bounds)
        return u.reshape(*states.shape[:-1], nu)
