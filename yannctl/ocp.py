"""The linear-quadratic optimal control problem with bounds: what the explicit law and the critic are the solution of.

    V_N(x_0) = min_u  sum_{k<N} γ^k (dx_k'Q dx_k + du_k'R du_k)  +  γ^N dx_N'P dx_N
    s.t.  x_{k+1} = x_op + A (x_k − x_op) + B (u_k − u_op) + c,
          u_min <= u_k <= u_max  (k = 0 … N−1),    x_min <= x_k <= x_max  (k = 1 … N, never on x_0),

dx, du are deviations from the reference (x_ref, u_ref), by default the operating point; there is no factor 1/2. With
`soft="l1l2"` the bound of state i at step k may be exceeded by e_{k,i} >= 0 at the price γ^k (ρ e + s e²).
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from yannctl.errors import EmptySetError, ModelError
from yannctl.geometry.invariance import maximal_admissible_set
from yannctl.geometry.polyhedron import Polyhedron
from yannctl.geometry.validation import as_array, check_definite, check_order, symmetric, vector
from yannctl.solvers.riccati import solve_riccati
from yannctl.types import ArrayLike, Float

from .linear import LinearModel

SOFT = (None, "l1l2")
TERMINAL = (None, "lqr", "set")
EQUILIBRIUM_TOLERANCE = 1e-7  # drift at the reference, relative to the size of the state, that still counts as none


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

    Attributes:
        P: terminal weight (nx, nx), zero for terminal=None. [cost/state²]
        K: gain of the discounted LQR (nu, nx), u = u_ref − K (x − x_ref). [input/state]

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
    P: Float[np.ndarray, "nx nx"] = field(init=False, repr=False)
    K: Float[np.ndarray, "nu nx"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.lin, LinearModel):
            remedy = "give LinearModel(A, B) or linearise(plant)"
            raise ModelError("lin", f"expected a LinearModel, got {type(self.lin).__name__}", remedy=remedy)
        self._set(N=_horizon(self.N), gamma=_discount(self.gamma))
        for name, allowed in (("soft", SOFT), ("terminal", TERMINAL)):
            _check_choice(name, getattr(self, name), allowed)
        Q, R = symmetric("Q", self.Q, self.nx), symmetric("R", self.R, self.nu)
        check_definite("Q", Q)
        check_definite("R", R, strictly=True)
        self._set(Q=Q, R=R)
        self._set_bounds()
        self._set_reference()
        P, K = solve_riccati(self.lin.A, self.lin.B, Q, R, self.gamma)
        fallback = next((float(w) for w in (np.linalg.eigvalsh(M)[-1] for M in (Q, P)) if w > 0), 1.0)
        self._set(P=np.zeros_like(P) if self.terminal is None else P, K=K)
        quadratic = fallback if self.soft_quadratic is None else self.soft_quadratic
        self._set(soft_quadratic=_positive("soft_quadratic", quadratic))
        if self.soft_weight is not None:
            self._set(soft_weight=_positive("soft_weight", self.soft_weight))
        if self.terminal == "set":
            self._check_terminal_reference()

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.lin.A.shape[0]

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return self.lin.B.shape[1]

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
        if self.terminal != "set":
            return None
        states = Polyhedron.box(self.x_min - self.x_ref, self.x_max - self.x_ref)
        inputs = Polyhedron.box(self.u_min - self.u_ref, self.u_max - self.u_ref)
        admissible = states.intersect(Polyhedron(inputs.A @ -self.K, inputs.b))
        closed_loop = self.lin.A - self.lin.B @ self.K
        try:
            found = maximal_admissible_set(closed_loop, admissible)
        except ModelError as cause:
            raise ModelError("terminal", f"no terminal set: {cause}", remedy='use terminal="lqr"') from cause
        return Polyhedron(found.A, found.b + found.A @ self.x_ref)

    def successor(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "... nx"]:
        """Predict one step: `x⁺ = x_op + A (x − x_op) + B (u − u_op) + c`.

        Args:
            x: states (..., nx). [state]
            u: inputs (..., nu). [input]

        Returns:
            Next states (..., nx). [state]
        """
        dx = np.asarray(x, dtype=float) - self.lin.x_op
        du = np.asarray(u, dtype=float) - self.lin.u_op
        return self.lin.x_op + dx @ self.lin.A.T + du @ self.lin.B.T + self.lin.c

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
        # A missing Θ may stay infinite here, `condense` can be given one; an explicit Θ must be finite.
        low, high = (
            bound if given is None or np.array_equal(given, bound) else vector(name, given, self.nx)
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
        outside = (u_ref < self.u_min) | (u_ref > self.u_max)
        if outside.any():
            i = int(np.argmax(outside))
            text = f"{u_ref[i]:.6g} is outside the input bounds [{self.u_min[i]:.6g}, {self.u_max[i]:.6g}]"
            raise ModelError("u_ref", text, index=i, remedy="move it inside, or widen the bounds")
        self._set(x_ref=x_ref, u_ref=u_ref)

    def _check_terminal_reference(self) -> None:
        """The terminal set surrounds an equilibrium strictly inside the bounds."""
        moved = np.abs(self.drift) > EQUILIBRIUM_TOLERANCE * np.maximum(1.0, np.abs(self.x_ref))
        if moved.any():
            i = int(np.argmax(moved))
            text = f'terminal="set" needs an equilibrium, but the reference drifts by {self.drift[i]:.3g} a step'
            raise ModelError("x_ref", text, index=i, remedy='give (x_ref, u_ref) with x⁺ = x_ref, or terminal="lqr"')
        for name, ref, low, high in (
            ("x_ref", self.x_ref, self.x_min, self.x_max),
            ("u_ref", self.u_ref, self.u_min, self.u_max),
        ):
            inside = (low < ref) & (ref < high)
            if not inside.all():
                i = int(np.argmin(inside))
                text = f"{ref[i]:.6g} is not strictly inside [{low[i]:.6g}, {high[i]:.6g}], the terminal set is empty"
                raise EmptySetError(name, text, index=i, remedy='move the reference, or use terminal="lqr"')
        radius = float(np.abs(np.linalg.eigvals(self.lin.A - self.lin.B @ self.K)).max())
        if radius >= 1.0:
            text = f"the discounted LQR leaves the spectral radius at {radius:.6g}, so there is no invariant set"
            raise ModelError("gamma", text, remedy='take gamma closer to 1, or terminal="lqr"')


def _quadratic(d: np.ndarray, M: np.ndarray) -> np.ndarray:
    return np.asarray(((d @ M) * d).sum(axis=-1))


def _horizon(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ModelError("N", f"expected an integer, got {value!r}", remedy="give a horizon of at least 1")
    if value < 1:
        raise ModelError("N", f"expected at least 1, got {value}", remedy="give a horizon of at least 1")
    return int(value)


def _discount(value: Any) -> float:
    number = _number("gamma", value)
    if not 0.0 < number <= 1.0:
        raise ModelError("gamma", f"expected 0 < gamma <= 1, got {number:g}", remedy="use 1.0 for no discount")
    return number


def _positive(name: str, value: Any) -> float:
    number = _number(name, value)
    if not number > 0.0:
        raise ModelError(name, f"expected a positive number, got {number:g}", remedy="give None for the default")
    return number


def _number(name: str, value: Any) -> float:
    array = as_array(name, value)
    if array.size != 1:
        raise ModelError(name, f"expected one number, got shape {array.shape}", remedy="give a float")
    return float(array.reshape(()))


def _check_choice(name: str, value: Any, allowed: tuple) -> None:
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in allowed):
        texts = ", ".join(repr(choice) for choice in allowed)
        raise ModelError(name, f"expected one of {texts}, got {value!r}", remedy="choose one of these")
