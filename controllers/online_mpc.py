"""MPC that solves its quadratic program at every call, with DAQP."""

from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.mpqp import MpQp, condense
from yannctl.ocp import Ocp
from yannctl.types import ArrayLike, Float, Int

from .base import AbstractController, as_states, refuse_reference

OPTIMAL, SOFT_OPTIMAL = 1, 2
PRIMAL_TOLERANCE = 1e-10  # of the solver, on rows of unit norm
DUAL_TOLERANCE = 1e-12
NO_BOUND = 1e30  # the solver's infinity
MESSAGES = {
    1: "optimal",
    2: "optimal with softened rows",
    -1: "infeasible: no input sequence keeps the bounds from this state; soften the state bounds",
    -2: "the active set cycled; scale the problem",
    -3: "unbounded: the Hessian is not positive definite",
    -4: "iteration limit reached; raise iteration_limit",
    -5: "the Hessian is not convex",
    -6: "an initial active set is over-determined",
}


class OnlineMpc(AbstractController):
    """Minimise z'Hz/2 + (f + F x)'z subject to A z <= b + B x and apply z[:nu].

    The solver keeps its active set from call to call (warm start), and `reset` drops it. `last_status` holds the
    solver's exit flag for every state of the last call; `MESSAGES` says what each means.

    Args:
        ocp: the optimal control problem, or its condensed program.
        fallback: controller used where the solver finds no optimum, e.g. `Lqr.of(ocp)`; without it the input is NaN.
        iteration_limit: iterations of one solve at most.

    Raises:
        ModelError: a fallback of another size.
    """

    def __init__(
        self, ocp: Ocp | MpQp, fallback: AbstractController | None = None, iteration_limit: int = 10_000
    ) -> None:
        self.mpqp = condense(ocp) if isinstance(ocp, Ocp) else ocp
        self.nx, self.nu = len(self.mpqp.theta_min), self.mpqp.n_out
        if fallback is not None and (fallback.nx, fallback.nu) != (self.nx, self.nu):
            raise ModelError("fallback", f"has nx, nu = {fallback.nx}, {fallback.nu}, expected {self.nx}, {self.nu}")
        self.fallback = fallback
        self.iteration_limit = iteration_limit
        self.last_status: Int[np.ndarray, " n"] = np.zeros(0, np.int64)
        self.reset()

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Solve the program at every state.

        Args:
            x: states (..., nx).
            reference: must be None, the problem holds its reference.

        Returns:
            Inputs (..., nu); the fallback's, or NaN, where there is no optimum.
        """
        refuse_reference(reference)
        states, batch = as_states(x, self.nx)
        u = np.full((len(states), self.nu), np.nan)
        status = np.zeros(len(states), np.int64)
        for row, state in enumerate(states):
            status[row] = self._solve(state, u[row])
        failed = (status != OPTIMAL) & (status != SOFT_OPTIMAL)
        if self.fallback is not None and failed.any():
            u[failed] = self.fallback(states[failed])
        self.last_status = status
        return u.reshape(*batch, self.nu)

    def reset(self) -> None:
        """Drop the active set of the last call."""
        self._solver: Any = None

    def _solve(self, x: np.ndarray, u: np.ndarray) -> int:
        """Write the first input into `u` and return the exit flag (-1 for a state that is not finite)."""
        if not np.all(np.isfinite(x)):
            return -1
        q = self.mpqp
        f, upper = q.f + q.F @ x, q.b + q.B @ x
        if len(q.b) == 0:
            u[:] = np.linalg.solve(q.H, -f)[: self.nu]
            return OPTIMAL
        if self._solver is None:
            self._solver = self._start(f, upper)
        else:
            self._solver.update(f=f, bupper=upper)
        z, _, flag, _ = self._solver.solve()
        if flag in {OPTIMAL, SOFT_OPTIMAL}:
            u[:] = z[: self.nu]
        return int(flag)

    def _start(self, f: np.ndarray, upper: np.ndarray) -> Any:
        """Set the solver up with the matrices that do not change."""
        import daqp

        q = self.mpqp
        solver = daqp.Model()
        solver.settings = {
            "primal_tol": PRIMAL_TOLERANCE,
            "dual_tol": DUAL_TOLERANCE,
            "iter_limit": self.iteration_limit,
        }
        # The program's arrays are read-only, the solver asks for writable ones.
        sense, lower = np.zeros(len(upper), np.int32), np.full(len(upper), -NO_BOUND)
        solver.setup(np.array(q.H), f, np.array(q.A), upper, lower, sense)
        return solver
