"""The contract every plant fulfils: its author writes f(x, u) and the reward in CasADi, everything else is here.

The same expressions serve the optimiser (`step_function`), batched numpy (`step`), torch (`step_tape.torch`) and C
(`step_tape.c_source`). `check_plant` is the executable form of the contract.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from yannctl.errors import ModelError
from yannctl.tape import ExpressionTape
from yannctl.types import ArrayLike, Float

from .contract import check_channels, check_plant
from .rollout import Rollout

__all__ = ["AbstractPlant", "Expression", "Rollout", "check_plant", "vector"]

# A CasADi symbol or number; a plant's formulas work on both.
Expression = Any


def vector(*values: float) -> Float[np.ndarray, " n"]:
    """Make a read-only vector, for the bounds in a plant's class body.

    Args:
        values: the entries [unit of each channel].

    Returns:
        Read-only float array (n,).
    """
    array = np.array(values, dtype=float)
    array.setflags(write=False)
    return array


class AbstractPlant(abc.ABC):
    """A physical system x+ = step(x, u) with units, bounds and a reward.

    A plant is a frozen dataclass of its parameters (CasADi functions are built once from them) that declares the
    attributes below and writes `rhs` and `reward`; `step_map` only where the discrete map is not an integration of f.

    Args:
        x_names, u_names: name of each state and input.
        x_units, u_units: unit of each state and input.
        x_min, x_max: state bounds (nx,) [x_units]; a state outside counts as a violation, it is not clipped.
        u_min, u_max: input bounds (nu,) [u_units]; `step` clips to them, as an actuator does.
        dt: sample period [s, or the unit of time the plant's data sheet names].
        angles: indices of the states that are angles, wrapped to [-pi, pi) after each step.
        x_equilibrium, u_equilibrium: default operating point, or None.
        start_min, start_max: box of `sample_starts`, or None for the state bounds.
        episode_steps: length of an episode.
        substeps: Runge-Kutta steps a sample period.
    """

    x_names: ClassVar[tuple[str, ...]]
    u_names: ClassVar[tuple[str, ...]]
    x_units: ClassVar[tuple[str, ...]]
    u_units: ClassVar[tuple[str, ...]]
    x_min: Float[np.ndarray, " nx"]
    x_max: Float[np.ndarray, " nx"]
    u_min: Float[np.ndarray, " nu"]
    u_max: Float[np.ndarray, " nu"]
    dt: float
    angles: tuple[int, ...] = ()
    x_equilibrium: Float[np.ndarray, " nx"] | None = None
    u_equilibrium: Float[np.ndarray, " nu"] | None = None
    start_min: Float[np.ndarray, " nx"] | None = None
    start_max: Float[np.ndarray, " nx"] | None = None
    episode_steps: int = 200
    substeps: int = 4

    # What an author writes.

    @abc.abstractmethod
    def rhs(self, x: Expression, u: Expression) -> Expression:
        """Continuous dynamics dx/dt = f(x, u), a CasADi column of nx entries [x_units per unit of dt].

        Args:
            x: state (nx,) [x_units].
            u: input (nu,) [u_units].
        """

    @abc.abstractmethod
    def reward(self, x: Expression, u: Expression) -> Expression:
        """Reward of one step on the state before the step (angles wrapped, input clipped), a CasADi scalar.

        Args:
            x: state (nx,) [x_units].
            u: input (nu,) [u_units].
        """

    def step_map(self, x: Expression, u: Expression) -> Expression:
        """Discrete map x+ of one period for an input within its bounds; by default Runge-Kutta steps of `rhs`.

        Args:
            x: state (nx,) [x_units].
            u: input (nu,) [u_units].
        """
        from .integration import runge_kutta

        return runge_kutta(self.rhs, x, u, self.dt, self.substeps)

    def draw(self, axes: Any, x: Float[np.ndarray, " nx"]) -> None:
        """Draw the state x on matplotlib axes; by default one bar a state, scaled to its bounds.

        Args:
            axes: matplotlib axes.
            x: state (nx,) [x_units].
        """
        with np.errstate(invalid="ignore"):
            height = 2 * (x - self.x_min) / (self.x_max - self.x_min) - 1
        axes.bar(self.x_names, np.nan_to_num(height))
        axes.set_ylim(-1.5, 1.5)
        axes.set_ylabel("share of the bounds")

    # What every plant gets.

    @property
    def nx(self) -> int:
        """Number of states."""
        return len(self.x_names)

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return len(self.u_names)

    def step_function(self, bounded: bool = True) -> Any:
        """Give x+ = step(x, u) as a casadi.Function.

        Args:
            bounded: clip the input to its bounds and wrap the angles, as `step` does; False leaves both away, which
                is the smooth map that optimisers and linearisation want.

        Returns:
            casadi.Function (x, u) -> x_next.
        """
        x, u = _symbols(self.nx, self.nu)
        if not bounded:
            return _function("step", x, u, "x_next", self.step_map(x, u))
        return _function("step", x, u, "x_next", self._wrap(self.step_map(x, self._clip(u))))

    def rate_function(self) -> Any:
        """Give dx/dt = f(x, u) as a casadi.Function (x, u) -> x_dot; the input is not clipped."""
        x, u = _symbols(self.nx, self.nu)
        return _function("rate", x, u, "x_dot", self.rhs(x, u))

    def reward_function(self, bounded: bool = True) -> Any:
        """Give the reward as a casadi.Function.

        Args:
            bounded: clip the input to its bounds and wrap the angles first.

        Returns:
            casadi.Function (x, u) -> reward.
        """
        x, u = _symbols(self.nx, self.nu)
        value = self.reward(self._wrap(x), self._clip(u)) if bounded else self.reward(x, u)
        return _function("reward", x, u, "reward", value)

    @functools.cached_property
    def step_tape(self) -> ExpressionTape:
        """`step_function()` as a tape for numpy, torch and C."""
        return ExpressionTape.from_function(self.step_function())

    @functools.cached_property
    def rate_tape(self) -> ExpressionTape:
        """`rate_function()` as a tape for numpy, torch and C."""
        return ExpressionTape.from_function(self.rate_function())

    @functools.cached_property
    def reward_tape(self) -> ExpressionTape:
        """`reward_function()` as a tape for numpy, torch and C."""
        return ExpressionTape.from_function(self.reward_function())

    def step(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "... nx"]:
        """Advance one sample period; the input is clipped to its bounds and angles come back in [-pi, pi).

        Args:
            x: states (..., nx) [x_units].
            u: inputs (..., nu) [u_units], held over the period.

        Returns:
            Next states (..., nx) [x_units].

        Raises:
            ModelError: wrong shape, or a value that is not finite (the channel is named).
        """
        return self.step_tape.evaluate(*self._checked(x, u))

    def rate(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "... nx"]:
        """Evaluate dx/dt = f(x, u).

        Args:
            x: states (..., nx) [x_units].
            u: inputs (..., nu) [u_units], not clipped.

        Returns:
            Rates (..., nx) [x_units per unit of dt].

        Raises:
            ModelError: wrong shape, or a value that is not finite.
        """
        return self.rate_tape.evaluate(*self._checked(x, u))

    def rewards(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "..."]:
        """Evaluate the reward of one step on the states before it.

        Args:
            x: states (..., nx) [x_units].
            u: inputs (..., nu) [u_units], clipped to their bounds.

        Returns:
            Rewards (...).

        Raises:
            ModelError: wrong shape, or a value that is not finite.
        """
        return self.reward_tape.evaluate(*self._checked(x, u))[..., 0]

    def sample_starts(self, n: int, seed: int | np.random.Generator) -> Float[np.ndarray, "n nx"]:
        """Draw start states, uniform in the box `start_min` to `start_max`.

        Args:
            n: number of starts.
            seed: seed, or a generator to draw from.

        Returns:
            States (n, nx) [x_units].
        """
        low = self.x_min if self.start_min is None else self.start_min
        high = self.x_max if self.start_max is None else self.start_max
        return np.random.default_rng(seed).uniform(low, high, (n, self.nx))

    def rollout(self, policy: Callable[[np.ndarray], np.ndarray], x0: ArrayLike, steps: int) -> Rollout:
        """Close the loop from a batch of starts; inputs are clipped to their bounds.

        Args:
            policy: u = policy(x), (n, nx) -> (n, nu) in physical units.
            x0: starts (n, nx) [x_units].
            steps: number of sample periods.

        Returns:
            The trajectories.

        Raises:
            ModelError: a start, an input or a later state that is not finite, or a wrong shape.
        """
        start = np.atleast_2d(np.asarray(x0, dtype=float))
        n = start.shape[0]
        x, u = np.empty((n, steps + 1, self.nx)), np.empty((n, steps, self.nu))
        rewards = np.empty((n, steps))
        self._checked(start, self.u_min)
        x[:, 0] = start
        for k in range(steps):
            action = np.asarray(policy(x[:, k]), dtype=float)
            if action.shape != (n, self.nu):
                raise ModelError("policy", f"gave shape {action.shape}, expected {(n, self.nu)}")
            u[:, k] = np.clip(action, self.u_min, self.u_max)
            x[:, k + 1] = self.step(x[:, k], u[:, k])
            rewards[:, k] = self.rewards(x[:, k], u[:, k])
        return Rollout(x, u, rewards)

    def _checked(self, x: ArrayLike, u: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        return check_channels("x", x, self.x_names), check_channels("u", u, self.u_names)

    def _clip(self, u: Expression) -> Expression:
        import casadi as ca

        return ca.fmin(ca.fmax(u, self.u_min), self.u_max)

    def _wrap(self, x: Expression) -> Expression:
        """Wrap the angles to [-pi, pi); the outer bounds only catch the last bit."""
        import casadi as ca

        rows = ca.vertsplit(x)
        for i in self.angles:
            turned = rows[i] - 2 * ca.pi * ca.floor((rows[i] + ca.pi) / (2 * ca.pi))
            rows[i] = ca.fmax(-np.pi, ca.fmin(turned, np.nextafter(np.pi, 0.0)))
        return ca.vertcat(*rows)


def _symbols(nx: int, nu: int) -> tuple[Any, Any]:
    import casadi as ca

    return ca.SX.sym("x", nx), ca.SX.sym("u", nu)


def _function(name: str, x: Any, u: Any, result: str, value: Any) -> Any:
    import casadi as ca

    return ca.Function(name, [x, u], [ca.densify(ca.SX(value))], ["x", "u"], [result])
