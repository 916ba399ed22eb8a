"""The linear-quadratic optimal control problem with bounds: what the explicit law and the critic are the solution of.

    V_N(x_0) = min_u  sum_{k<N} γ^k (dx_k'Q dx_k + du_k'R du_k)  +  γ^N dx_N'P dx_N
    s.t.  x_{k+1} = x_op + A (x_k − x_op) + B (u_k − u_op) + c,
          u_min <= u_k <= u_max  (k = 0 … N−1),    x_min <= x_k <= x_max  (k = 1 … N, never on x_0),

dx, du are deviations from the reference (x_ref, u_ref), by default the operating point; there is no factor 1/2. With
`soft="l1l2"` the bound of state i at step k may be exceeded by e_{k,i} >= 0 at the price γ^k (ρ e + s e²).

Besides x_0 the law may depend on the last input (`R_rate`, `du_min`, `du_max`), on measured disturbances (`lin.E`) and
on a reference (`track`); `parameters.py` has their order in θ and their formulas, `theta` puts one together.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.geometry.polyhedron import Polyhedron
from yannctl.geometry.validation import check_definite, check_order, symmetric, vector
from yannctl.linear import LinearModel
from yannctl.solvers.riccati import solve_riccati
from yannctl.types import ArrayLike, Float

from .checks import check_choice, check_input_reference, discount, horizon, move_blocks, positive, rate_bounds
from .parameters import Following, Parameters, Reference, parameters_of, rate_lqr, reference_of, stacked
from .terminal import check_terminal_reference, maximal_terminal_set

SOFT = (None, "l1l2")
TERMINAL = (None, "lqr", "set")
TRACK = (None, "x", "y")


@dataclass(frozen=True, eq=False)
class Ocp:
    """One optimal control problem; everything is checked here once, and stored in absolute physical units.

    Args:
        lin: prediction model.
        Q: state weight (nx, nx), positive semidefinite; a vector is its diagonal, a scalar `s I`. [cost/state²]
        R: input weight (nu, nu), positive definite; a vector is its diagonal, a scalar `s I`. [cost/input²]
        N: horizon, at least 1. [steps]
        gamma: discount factor in (0, 1].
        x_min: lower state bounds (nx,), scalar, or None for −inf; −inf entries give no row. [state]
        x_max: upper state bounds, likewise. [state]
        u_min: lower input bounds (nu,), scalar, or None for −inf. [input]
        u_max: upper input bounds, likewise. [input]
        soft: None for hard state bounds, "l1l2" for slacks with an exact penalty.
        terminal: "lqr" for the cost-to-go of the (discounted) LQR, "set" for that and its maximal output admissible
            set as terminal rows (always hard), None for neither.
        x_ref: state reference (nx,), default the operating point. [state]
        u_ref: input reference (nu,), inside the input bounds, default the operating point. [input]
        theta_min: lower end of the initial states of interest, finite, default x_min. [state]
        theta_max: upper end, default x_max. [state]
        soft_quadratic: s > 0 of the slack penalty, default the largest eigenvalue of Q, so that a violation costs
            at least what the same deviation costs. [cost/state²]
        soft_weight: ρ > 0 of the slack penalty; None lets `condense` compute the smallest exact one. [cost/state]
        R_rate: weight (nu, nu) of the input's rate, `γ^k Δu_k'R_rate Δu_k` with `Δu_k = u_k − u_{k−1}`; the last
            applied input u_{−1} becomes a parameter. [cost/input²]
        du_min: lower bound of Δu_k (nu,), at most 0, scalar, or None for −inf; u_{−1} becomes a parameter. [input]
        du_max: upper bound of Δu_k, at least 0, likewise. [input]
        blocks: lengths of the blocks of steps over which the input is held, adding up to N; None for no blocks.
        track: None for a fixed reference; "x": the state reference becomes a parameter (u_ref stays); "y": the
            reference of the model's outputs does, and the cost deviates from the steady state that holds it.
        ref_min: lower end of the tracked reference, default x_min for track="x". [state or output]
        ref_max: upper end, likewise. [state or output]
        d_min: lower end (nd,) of the model's disturbances, parameters held constant over the horizon. [disturbance]
        d_max: upper end. [disturbance]

    Attributes:
        P: terminal weight (nx, nx), zero for terminal=None. [cost/state²]
        K: gain of the discounted LQR (nu, nx), u = u_ref − K (x − x_ref). [input/state]
        parameters: the layout of θ: names, columns and ends.

    Raises:
        ModelError: for any unusable argument, naming it and the index.
        NotStabilisableError: when √γ (A, B) has an unstable mode that no input reaches.
        EmptySetError: when bounds are reversed or leave no interior.
    """

    lin: LinearModel | Any
    Q: Float[np.ndarray, "nx nx"] | Any
    R: Float[np.ndarray, "nu nu"] | Any
    N: int | Any
    gamma: float | Any = 1.0
    x_min: Float[np.ndarray, " nx"] | Any = None
    x_max: Float[np.ndarray, " nx"] | Any = None
    u_min: Float[np.ndarray, " nu"] | Any = None
    u_max: Float[np.ndarray, " nu"] | Any = None
    soft: str | Any = None
    terminal: str | Any = "lqr"
    x_ref: Float[np.ndarray, " nx"] | Any = None
    u_ref: Float[np.ndarray, " nu"] | Any = None
    theta_min: Float[np.ndarray, " nx"] | Any = None
    theta_max: Float[np.ndarray, " nx"] | Any = None
    soft_quadratic: float | Any = None
    soft_weight: float | Any = None
    R_rate: Float[np.ndarray, "nu nu"] | Any = None
    du_min: Float[np.ndarray, " nu"] | Any = None
    du_max: Float[np.ndarray, " nu"] | Any = None
    blocks: tuple[int, ...] | Any = None
    track: str | Any = None
    ref_min: Float[np.ndarray, " nr"] | Any = None
    ref_max: Float[np.ndarray, " nr"] | Any = None
    d_min: Float[np.ndarray, " nd"] | Any = None
    d_max: Float[np.ndarray, " nd"] | Any = None
    P: Float[np.ndarray, "nx nx"] = field(init=False, repr=False)
    K: Float[np.ndarray, "nu nx"] = field(init=False, repr=False)
    parameters: Parameters = field(init=False, repr=False)

    def __repr__(self) -> str:
        names = f"({', '.join(self.lin.x_names)}) -> ({', '.join(self.lin.u_names)})"
        soft = f", soft {self.soft}" if self.soft else ""
        return f"Ocp({names}, N = {self.N}, gamma = {self.gamma:g}, terminal {self.terminal or 'none'}{soft})"

    def __post_init__(self) -> None:
        if not isinstance(self.lin, LinearModel):
            remedy = "give LinearModel(A, B) or linearise(plant)"
            raise ModelError("lin", f"expected a LinearModel, got {type(self.lin).__name__}", remedy=remedy)
        self._set(N=horizon(self.N), gamma=discount(self.gamma))
        for name, allowed in (("soft", SOFT), ("terminal", TERMINAL), ("track", TRACK)):
            check_choice(name, getattr(self, name), allowed)
        Q, R = symmetric("Q", self.Q, self.nx), symmetric("R", self.R, self.nu)
        check_definite("Q", Q)
        check_definite("R", R, strictly=True)
        self._set(Q=Q, R=R)
        self._set_bounds()
        self._set_reference()
        self._set_moves()
        P, K = solve_riccati(self.lin.A, self.lin.B, Q, R, self.gamma)
        fallback = next((float(w) for w in (np.linalg.eigvalsh(M)[-1] for M in (Q, P)) if w > 0), 1.0)
        self._set(P=np.zeros_like(P) if self.terminal is None else P, K=K)
        quadratic = fallback if self.soft_quadratic is None else self.soft_quadratic
        self._set(soft_quadratic=positive("soft_quadratic", quadratic))
        if self.soft_weight is not None:
            self._set(soft_weight=positive("soft_weight", self.soft_weight))
        self._set(parameters=parameters_of(self))
        _ = self.reference  # refuses outputs that no steady state holds
        if self.terminal == "set":
            check_terminal_reference(self)

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.lin.A.shape[0]

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return self.lin.B.shape[1]

    @property
    def counts_rate(self) -> bool:
        """Whether the input's rate has a weight or a bound, so that u_{−1} is a parameter."""
        return not (self.R_rate is None and self.du_min is None)

    @property
    def plain(self) -> bool:
        """Whether θ = x_0 and each step has its own input: what the exact critic's recursion in N needs."""
        return self.parameters.n == self.nx and self.blocks is None

    @property
    def drift(self) -> Float[np.ndarray, " nx"]:
        """What the reference moves in one step, `x⁺(x_ref, u_ref) − x_ref` [state]; zero at an equilibrium."""
        return self.successor(self.x_ref, self.u_ref) - self.x_ref

    @property
    def bounded_states(self) -> np.ndarray:
        """Indices of the states with a finite bound: those that get rows, and slacks if soft."""
        return np.flatnonzero(np.isfinite(self.x_min) | np.isfinite(self.x_max))

    @cached_property
    def terminal_set(self) -> Polyhedron | None:
        """Maximal output admissible set of u = u_ref − K (x − x_ref) within the bounds; None unless terminal="set".

        Discounting changes K but not the dynamics, so the set is that of the undiscounted closed loop A − B K.
        """
        return maximal_terminal_set(self) if self.terminal == "set" else None

    @cached_property
    def reference(self) -> Reference:
        """The reference of the cost as an affine function of θ: `x_s(θ) = X θ + x`, `u_s(θ) = U θ + u`."""
        return reference_of(self)

    @cached_property
    def rate_terminal(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Weight on (dx_N, du_{N−1}) and gain of the LQR whose cost has the rate term; None unless it ends the cost."""
        return rate_lqr(self) if self.R_rate is not None and self.terminal is not None else None

    def theta(
        self, x: ArrayLike, u_last: ArrayLike | None = None, d: ArrayLike | None = None, ref: ArrayLike | None = None
    ) -> Float[np.ndarray, "... ntheta"]:
        """Put a parameter θ = (x_0, u_{−1}, d, r) together, leading dimensions broadcast.

        Args:
            x: first states (..., nx). [state]
            u_last: last applied inputs (..., nu), if their rate counts. [input]
            d: disturbances (..., nd), if the model has them. [disturbance]
            ref: references (..., nx) or (..., ny), if tracked. [state or output]

        Returns:
            Parameters (..., ntheta), in the order of `parameters.names`.

        Raises:
            ModelError: a part that is missing, that is not a parameter, or of the wrong length.
        """
        return stacked(self.parameters, {"x": x, "u_last": u_last, "d": d, "ref": ref})

    def successor(self, x: ArrayLike, u: ArrayLike, d: ArrayLike | None = None) -> Float[np.ndarray, "... nx"]:
        """Predict one step: `x⁺ = x_op + A (x − x_op) + B (u − u_op) + E (d − d_op) + c`.

        Args:
            x: states (..., nx). [state]
            u: inputs (..., nu). [input]
            d: disturbances (..., nd), None for d_op. [disturbance]

        Returns:
            Next states (..., nx). [state]
        """
        return self.lin.step(x, u, d)

    def stage_cost(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "..."]:
        """Evaluate `l(x, u) = dx'Q dx + du'R du`.

        Args:
            x: states (..., nx). [state]
            u: inputs (..., nu). [input]

        Returns:
            Costs (...).
        """
        dx, du = np.asarray(x, dtype=float) - self.x_ref, np.asarray(u, dtype=float) - self.u_ref
        return np.asarray(_quadratic(dx, self.Q) + _quadratic(du, self.R))

    def terminal_cost(self, x: ArrayLike) -> Float[np.ndarray, "..."]:
        """Evaluate `dx'P dx`.

        Args:
            x: states (..., nx). [state]

        Returns:
            Costs (...), before the factor γ^N.
        """
        return np.asarray(_quadratic(np.asarray(x, dtype=float) - self.x_ref, self.P))

    def bound_penalty(self, x: ArrayLike, rho: float) -> Float[np.ndarray, "..."]:
        """Evaluate `sum_i ρ e_i + s e_i²` with `e = max(x − x_max, x_min − x, 0)`.

        It is the penalty on the successor in `Q_N(x, u) = l(x, u) + γ [penalty(x⁺) + V_{N−1}(x⁺)]`.

        Args:
            x: states (..., nx). [state]
            rho: L1 weight, `MpQp.soft_weight`. [cost/state]

        Returns:
            Penalties (...), zero inside the bounds.
        """
        states = np.asarray(x, dtype=float)
        excess = np.maximum(np.maximum(states - self.x_max, self.x_min - states), 0.0)
        return np.asarray((rho * excess + self.soft_quadratic * excess**2).sum(axis=-1))

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _set_bounds(self) -> None:
        for name, n, infinity in (("x", self.nx, np.inf), ("u", self.nu, np.inf)):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            low = vector(f"{name}_min", -infinity if low is None else low, n, infinite=True)
            high = vector(f"{name}_max", infinity if high is None else high, n, infinite=True)
            check_order(f"{name}_min", low, high, f"{name}_max")
            self._set(**{f"{name}_min": low, f"{name}_max": high})
        # A missing Θ follows the bounds, through `dataclasses.replace` too, and may stay infinite: `condense` can be
        # given one. An explicit Θ must be finite.
        low, high = (
            Following.of(bound) if given is None or isinstance(given, Following) else vector(name, given, self.nx)
            for name, given, bound in (
                ("theta_min", self.theta_min, self.x_min),
                ("theta_max", self.theta_max, self.x_max),
            )
        )
        check_order("theta_min", low, high, "theta_max")
        self._set(theta_min=low, theta_max=high)

    def _set_reference(self) -> None:
        x_ref = vector("x_ref", self.lin.x_op if self.x_ref is None else self.x_ref, self.nx)
        u_ref = vector("u_ref", self.lin.u_op if self.u_ref is None else self.u_ref, self.nu)
        check_input_reference(u_ref, self.u_min, self.u_max)
        self._set(x_ref=x_ref, u_ref=u_ref)

    def _set_moves(self) -> None:
        if self.R_rate is not None:
            R_rate = symmetric("R_rate", self.R_rate, self.nu)
            check_definite("R_rate", R_rate)
            self._set(R_rate=R_rate)
        if self.du_min is not None or self.du_max is not None:
            low, high = rate_bounds(self.du_min, self.du_max, self.nu)
            self._set(du_min=low, du_max=high)
        self._set(blocks=move_blocks(self.blocks, self.N))


def _quadratic(d: np.ndarray, M: np.ndarray) -> np.ndarray:
    return np.asarray(((d @ M) * d).sum(axis=-1))
