"""Direct multiple shooting: a nonlinear optimal control problem as a nonlinear program for IPOPT.

    min  sum_{k<N} l(x_k, u_k, p)  +  v(x_N, p)  +  sum_{k=1..N} (rho e_k + s e_k^2)
    s.t. x_{k+1} = step(x_k, u_k, p),   u_min <= u_k <= u_max,   G u_k <= h,
         x_min - e_k <= x_k <= x_max + e_k,   e_k >= 0

(Bock and Plitt, "A multiple shooting algorithm for direct solution of optimal control problems", IFAC 1984.) The
states are unknowns beside the inputs, stage by stage, so that the derivatives are banded and a guess of the states
helps; x_0 is a parameter.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.types import Float

ROW_TOLERANCE = 1e-6  # of G u <= h in a guess
SOLVED = ("Solve_Succeeded", "Solved_To_Acceptable_Level")


@dataclass(frozen=True)
class Plan:
    """One solution, or guess, of the program.

    Args:
        x: states (N + 1, nx), the first one given [x_units].
        u: inputs (N, nu) [u_units].
        cost: objective, slack penalty included.
        slack: largest excess of a state limit.
        status: the solver's word, or "guess".
        iterations: of the solver.
    """

    x: Float[np.ndarray, "N1 nx"]
    u: Float[np.ndarray, "N nu"]
    cost: float
    slack: float
    status: str
    iterations: int

    @property
    def solved(self) -> bool:
        """Whether the solver reached a local optimum."""
        return self.status in SOLVED


@dataclass(frozen=True)
class ShootingSettings:
    """Numbers of the program and of its solver.

    Args:
        rho: price of one unit of excess of a state limit, times its scale; large enough to be exact.
        quadratic: price of its square.
        tolerance: of the solver.
        iterations: of the solver at most.
        warm_barrier: first barrier parameter of a solve that starts from a good guess.
    """

    rho: float = 100.0
    quadratic: float = 100.0
    tolerance: float = 1e-7
    iterations: int = 200
    warm_barrier: float = 1e-5


class ShootingProgram:
    """The program of one plant, built once and solved for any first state and parameters.

    Args:
        step: casadi.Function (x, u, p) -> x_next, smooth.
        stage: casadi.Function (x, u, p) -> cost.
        terminal: casadi.Function (x, p) -> cost, or None.
        N: horizon.
        x_min: state limits (nx,), softened; infinite where there is none.
        x_max: upper state limits.
        u_min: input limits (nu,), hard.
        u_max: upper input limits.
        input_rows: (G, h) of further input limits G u <= h, or None.
        settings: of the program and its solver.
    """

    def __init__(
        self,
        step: Any,
        stage: Any,
        terminal: Any,
        N: int,
        x_min: np.ndarray,
        x_max: np.ndarray,
        u_min: np.ndarray,
        u_max: np.ndarray,
        input_rows: tuple[np.ndarray, np.ndarray] | None,
        settings: ShootingSettings,
    ) -> None:
        import casadi as ca

        self.N, self.nx, self.nu, self.np = N, step.size1_in(0), step.size1_in(1), step.size1_in(2)
        self.settings = settings
        self.limited = np.flatnonzero(np.isfinite(x_min) | np.isfinite(x_max))
        self.x_min, self.x_max = x_min[self.limited], x_max[self.limited]
        ends = np.where(np.isfinite(self.x_max), self.x_max, self.x_min)
        self._scale = np.maximum(np.abs(ends), 1.0) * 1e-2  # one unit of slack is about a hundredth of the limit
        self._rows = input_rows or (np.zeros((0, self.nu)), np.zeros(0))
        program = self._write(ca, step, stage, terminal)
        self._evaluate = ca.Function("evaluate", [program["x"], program["p"]], [program["f"]])
        self._bounds = self._limits(u_min, u_max)
        self._cold = ca.nlpsol("cold", "ipopt", program, self._options(warm=False))
        self._warm = ca.nlpsol("warm", "ipopt", program, self._options(warm=True))

    def solve(self, x0: np.ndarray, p: np.ndarray, guess: Plan, warm: bool) -> Plan:
        """Solve from a guess.

        Args:
            x0: first state (nx,).
            p: parameters (np,).
            guess: states and inputs to start from.
            warm: the guess is nearly optimal, so start with a small barrier.

        Returns:
            The solution with its status; where the solver failed, its last iterate.
        """
        solver = self._warm if warm else self._cold
        found = solver(x0=self._pack(guess), p=np.concatenate([x0, p]), **self._bounds)
        stats = solver.stats()
        x, u, excess = self._unpack(np.array(found["x"]).ravel())
        slack = float((excess * self._scale).max(initial=0.0))
        states = np.vstack([x0[None], x])
        return Plan(states, u, float(found["f"]), slack, str(stats["return_status"]), int(stats["iter_count"]))

    def guess(self, x: np.ndarray, u: np.ndarray, p: np.ndarray) -> Plan:
        """Rate a trajectory, whose states should follow from its inputs.

        Args:
            x: states (N + 1, nx).
            u: inputs (N, nu).
            p: parameters (np,).

        Returns:
            The trajectory with its cost, infinite where an input row G u <= h does not hold, and its excess.
        """
        plan = Plan(x, u, 0.0, 0.0, "guess", 0)
        kept = (u @ self._rows[0].T <= self._rows[1] + ROW_TOLERANCE).all()
        cost = float(self._evaluate(self._pack(plan), np.concatenate([x[0], p]))) if kept else np.inf
        return Plan(x, u, cost, float(self._excess(x[1:]).max(initial=0.0)), "guess", 0)

    def _write(self, ca: Any, step: Any, stage: Any, terminal: Any) -> dict[str, Any]:
        """The program's expressions, stage by stage: (u_k, x_{k+1}, e_{k+1})."""
        start, p = ca.MX.sym("x0", self.nx), ca.MX.sym("p", self.np)
        unknowns, rows, cost, x = [], [], 0, start
        n = len(self.limited)
        for k in range(self.N):
            u, after = ca.MX.sym(f"u{k}", self.nu), ca.MX.sym(f"x{k + 1}", self.nx)
            excess = ca.MX.sym(f"e{k + 1}", n)
            cost += stage(x, u, p)
            rows.append(step(x, u, p) - after)
            if len(self._rows[0]):
                rows.append(ca.mtimes(ca.DM(self._rows[0]), u) - self._rows[1])
            unknowns += [u, after]
            if n:
                limited = after[[int(i) for i in self.limited]]
                rows += [limited - excess * self._scale, limited + excess * self._scale]
                cost += self.settings.rho * ca.sum1(excess) + self.settings.quadratic * ca.sumsqr(excess)
                unknowns.append(excess)
            x = after
        if terminal is not None:
            cost += terminal(x, p)
        return {"x": ca.vertcat(*unknowns), "p": ca.vertcat(start, p), "f": cost, "g": ca.vertcat(*rows)}

    def _limits(self, u_min: np.ndarray, u_max: np.ndarray) -> dict[str, np.ndarray]:
        n, m, free = len(self.limited), len(self._rows[0]), np.full(self.nx, np.inf)
        low, high = [u_min, -free, np.zeros(n)], [u_max, free, np.full(n, np.inf)]
        rows_low = [np.zeros(self.nx), np.full(m, -np.inf), np.full(n, -np.inf), self.x_min]
        rows_high = [np.zeros(self.nx), np.zeros(m), self.x_max, np.full(n, np.inf)]
        pairs = {"lbx": low, "ubx": high, "lbg": rows_low, "ubg": rows_high}
        return {name: np.tile(np.concatenate(parts), self.N) for name, parts in pairs.items()}

    def _options(self, warm: bool) -> dict[str, Any]:
        common = {
            "expand": True,
            "print_time": False,
            "error_on_fail": False,
            "ipopt.print_level": 0,
            "ipopt.sb": "yes",
            "ipopt.tol": self.settings.tolerance,
            "ipopt.max_iter": self.settings.iterations,
        }
        if not warm:
            return common
        near = 1e-6
        return {
            **common,
            "ipopt.mu_init": self.settings.warm_barrier,
            "ipopt.bound_push": near,
            "ipopt.bound_frac": near,
            "ipopt.slack_bound_push": near,
            "ipopt.slack_bound_frac": near,
        }

    def _excess(self, x: np.ndarray) -> np.ndarray:
        limited = x[:, self.limited]
        return np.maximum(np.maximum(limited - self.x_max, self.x_min - limited), 0.0)

    def _pack(self, plan: Plan) -> np.ndarray:
        return np.hstack([plan.u, plan.x[1:], self._excess(plan.x[1:]) / self._scale]).ravel()

    def _unpack(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        table = z.reshape(self.N, -1)
        return table[:, self.nu : self.nu + self.nx], table[:, : self.nu], table[:, self.nu + self.nx :]
