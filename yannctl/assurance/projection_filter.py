"""The safety filter of several inputs: the nearest input that keeps every successor in the certified set.

    u_safe = arg min_u sum_j ((u_j - proposed_j) / (u_max_j - u_min_j))^2   s.t.  G x + K u <= b,  u_min <= u <= u_max

A proposal is first clipped to the input bounds, as the actuator would; one that meets the rows then passes as it is.
For the others the program is solved once for all (x, proposed) of the set into an explicit law with a budget of
regions. Where the law is partial or its answer does not meet the rows in floating point, the program is solved online
within a stated number of iterations; where that fails too, the input that violates the rows least is given.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yannctl.geometry.validation import matrix, vector
from yannctl.mpqp import MpQp
from yannctl.pwa import PwaLaw, Settings
from yannctl.solvers import QpSettings, QuadraticProgram
from yannctl.types import ArrayLike, Bool, Float, Int

from .least_violation import LeastViolation

MAX_REGIONS = 5000
PASSED, EXPLICIT, ONLINE, LEAST = range(4)  # where an answer came from
_TREE_PARAMETERS = 4  # with more, building the search tree takes far longer than solving
# The solved rows are moved in by this share of their size over the box, more than the law and the online solver err:
# the rows themselves are then met without any tolerance. W holds the rounding of that last test.
_SHIFT = 1e-11


@dataclass(frozen=True, eq=False)
class ProjectionFilter:
    """Project several inputs on those that keep every successor in the certified set.

    Args:
        G: coefficients of the state (rows, nx).
        K: coefficients of the input (rows, nu).
        b: right-hand sides (rows,).
        u_min: lower input bounds (nu,) [u_units].
        u_max: upper input bounds (nu,) [u_units].
        set_rows: rows of the certified set (facets, nx).
        set_bounds: their right-hand sides (facets,).
        x_min: lower ends of a box that holds the set (nx,) [x_units].
        x_max: its upper ends (nx,) [x_units].
        settings: limits of the explicit law; None for at most `MAX_REGIONS` regions.

    Attributes:
        law: the explicit law of (x, proposed), in half ranges about the middle of the input bounds.
        iteration_limit: active-set changes after which the online solver gives up.

    Raises:
        ModelError: shapes that do not fit, or a number that is not finite.
    """

    G: Float[np.ndarray, "rows nx"] | Any
    K: Float[np.ndarray, "rows nu"] | Any
    b: Float[np.ndarray, " rows"] | Any
    u_min: Float[np.ndarray, " nu"] | Any
    u_max: Float[np.ndarray, " nu"] | Any
    set_rows: Float[np.ndarray, "facets nx"] | Any
    set_bounds: Float[np.ndarray, " facets"] | Any
    x_min: Float[np.ndarray, " nx"] | Any
    x_max: Float[np.ndarray, " nx"] | Any
    settings: Settings | None = None
    law: PwaLaw = field(init=False)
    least: LeastViolation = field(init=False)
    iteration_limit: int = field(init=False)

    def __post_init__(self) -> None:
        rows, nx, nu = np.size(self.b), np.size(self.x_min), np.size(self.u_min)
        checked = {
            "G": matrix("G", self.G, rows, nx), "K": matrix("K", self.K, rows, nu), "b": vector("b", self.b, rows),
            "u_min": vector("u_min", self.u_min, nu), "u_max": vector("u_max", self.u_max, nu),
            "set_rows": matrix("set_rows", self.set_rows, np.size(self.set_bounds), nx),
            "set_bounds": vector("set_bounds", self.set_bounds, np.size(self.set_bounds)),
            "iteration_limit": 10 * (rows + 2 * nu),
        }  # fmt: skip
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_middle", 0.5 * (self.u_min + self.u_max))
        object.__setattr__(self, "_half", 0.5 * (self.u_max - self.u_min))
        from yannctl.pwa import solve_mpqp

        mpqp = self._program()
        limits = QpSettings(primal_tolerance=1e-12, iteration_limit=self.iteration_limit)
        law = solve_mpqp(mpqp, self.settings or Settings(max_regions=MAX_REGIONS))
        law = law.with_tree() if law.ntheta <= _TREE_PARAMETERS and law.n_regions else law
        object.__setattr__(self, "law", law)
        object.__setattr__(self, "_mpqp", mpqp)
        object.__setattr__(self, "_online", QuadraticProgram(mpqp.H, mpqp.A, limits))
        object.__setattr__(self, "least", LeastViolation(self.G, self.K, self.b, self.u_min, self.u_max))

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.G.shape[1]

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return self.K.shape[1]

    def holds(self, x: Float[np.ndarray, "n nx"], u: Float[np.ndarray, "n nu"]) -> Bool[np.ndarray, " n"]:
        """Tell which inputs meet every row and bound in floating point; one that is not finite does not.

        Args:
            x: states (n, nx) [x_units].
            u: inputs (n, nu) [u_units].
        """
        from .projection_kernels import meets_many

        out = np.empty(len(x), dtype=bool)
        states, inputs = (np.ascontiguousarray(part, dtype=float) for part in (x, u))
        meets_many(self.G, self.K, self.b, self.u_min, self.u_max, states, inputs, out)
        return out

    def one(self, x: Float[np.ndarray, " nx"], u: Float[np.ndarray, " nu"]) -> Float[np.ndarray, " nu"] | None:
        """Project one proposal in compiled calls alone.

        Args:
            x: state (nx,) [x_units].
            u: proposed input (nu,) [u_units].

        Returns:
            What `project` gives (nu,); None where the long way must be taken: a state outside the set, a proposal that
            is not finite, or an answer of the law that does not meet the rows.
        """
        from .projection_kernels import LONG, PASSES, enter, leave

        theta, out = np.empty(self.nx + self.nu), np.empty(self.nu)
        rows = self.G, self.K, self.b
        found = enter(self.set_rows, self.set_bounds, *rows, self.u_min, self.u_max, x, u, theta)
        if found == LONG:
            return None
        if found == PASSES:
            return theta[self.nx :]
        met = leave(*rows, self._middle, self._half, self.u_min, self.u_max, x, self.law(theta), out)
        return out if met else None

    def __call__(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Give the safe inputs nearest to the proposed ones, clipped to their bounds first, for states of the set.

        Args:
            x: states (..., nx) [x_units].
            u: proposed inputs (..., nu) [u_units], finite.

        Returns:
            Inputs (..., nu) [u_units], finite and within the bounds for finite x.
        """
        proposed = np.asarray(u, dtype=float)
        return self.project(np.asarray(x, dtype=float).reshape(-1, self.nx), proposed.reshape(-1, self.nu))[0].reshape(
            proposed.shape
        )

    def project(
        self, x: Float[np.ndarray, "n nx"], u: Float[np.ndarray, "n nu"]
    ) -> tuple[Float[np.ndarray, "n nu"], Int[np.ndarray, " n"]]:
        """Give the nearest safe inputs, and where each came from.

        Args:
            x: states of the set (n, nx) [x_units].
            u: proposed inputs (n, nu) [u_units], finite.

        Returns:
            Inputs (n, nu) [u_units], and PASSED, EXPLICIT, ONLINE or LEAST for each (n,).
        """
        u = np.clip(u, self.u_min, self.u_max)
        out, source = u.copy(), np.zeros(len(u), dtype=int)
        ask = np.flatnonzero(~self.holds(x, u))
        if not ask.size:
            return out, source
        out[ask], source[ask] = self._in_units(self.law(np.hstack([x[ask], u[ask]]))), EXPLICIT
        ask = ask[~self.holds(x[ask], out[ask])]
        for i in ask:
            out[i], source[i] = self.online(x[i], u[i]), ONLINE
        ask = ask[~self.holds(x[ask], out[ask])]
        if ask.size:
            out[ask], source[ask] = self.least(x[ask]), LEAST
        return out, source

    def online(self, x: Float[np.ndarray, " nx"], u: Float[np.ndarray, " nu"]) -> Float[np.ndarray, " nu"]:
        """Solve the program at one point, without the law; the proposal is clipped first.

        Args:
            x: state (nx,) [x_units].
            u: proposed input (nu,) [u_units], finite.

        Returns:
            The nearest safe input (nu,) [u_units]; NaN where the solver found none within its iterations.
        """
        mpqp = self._mpqp
        theta = np.concatenate([x, np.clip(u, self.u_min, self.u_max)])
        return self._in_units(self._online.solve(mpqp.f + mpqp.F @ theta, mpqp.b + mpqp.B @ theta).z)

    def _in_units(self, v: np.ndarray) -> np.ndarray:
        return np.clip(self._middle + self._half * v, self.u_min, self.u_max)

    def _program(self) -> MpQp:
        """The program in half ranges v about the middle of the input bounds, of theta = (x, proposed)."""
        nx, nu, half = self.nx, self.nu, self._half
        low, high = np.concatenate([self.x_min, self.u_min]), np.concatenate([self.x_max, self.u_max])
        K = self.K * half
        size = np.abs(self.G) @ (0.5 * (high - low)[:nx]) + np.abs(K).sum(axis=1)
        right = self.b - self.K @ self._middle - _SHIFT * size
        identity, none = np.eye(nu), np.zeros((2 * nu, nx + nu))
        return MpQp(
            H=identity, f=self._middle / half, F=np.hstack([np.zeros((nu, nx)), -np.diag(1 / half)]),
            A=np.vstack([K, identity, -identity]), b=np.append(right, np.ones(2 * nu)),
            B=np.vstack([np.pad(-self.G, ((0, 0), (0, nu))), none]), theta_min=low, theta_max=high, n_out=nu,
            theta_A=np.pad(self.set_rows, ((0, 0), (0, nu))), theta_b=self.set_bounds,
        )  # fmt: skip
