"""The contract every plant fulfils: its author writes f(x, u) and the reward in CasADi, everything else is here.

The same expressions serve the optimiser (`step_function`), batched numpy (`step`), torch (`step_tape.torch`) and C
(`step_tape.c_source`). `check_plant` is the executable form of the contract.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from yannctl.errors import ModelError
from yannctl.tape import ExpressionTape
from yannctl.types import ArrayLike, Float

from .contract import check_channels, check_plant, check_possible
from .data_sheet import DataSheet, Expression, vector
from .ranges import Range, field_function, specimen, values_of
from .rollout import Rollout

__all__ = ["AbstractPlant", "Expression", "Range", "Rollout", "check_plant", "vector"]

# A state counts as outside its bounds beyond this share of their range, so that a clipped state does not.
BOUND_TOLERANCE = 1e-9
Plant = TypeVar("Plant", bound="AbstractPlant")


class AbstractPlant(DataSheet):
    """A physical system x+ = step(x, u) with units, bounds and a reward.

    A plant is a frozen dataclass of its parameters (CasADi functions are built once from them) that declares the
    attributes of its `DataSheet` and writes `rhs` and `reward`; `step_map` only where the discrete map is not an
    integration of f.
    """

    def perturbed(  # noqa: PYI019  (the type checker of the tests does not know Self)
        self: Plant, p: ArrayLike | Mapping[str, float] | None = None, seed: int | np.random.Generator | None = None
    ) -> Plant:
        """Give another specimen of this plant: other parameters, the same data sheet (bounds, reward, ranges).

        Args:
            p: parameters (np,), or name -> value for some of them; values outside the declared range are allowed.
            seed: instead of p: seed, or a generator, of a uniform draw from the ranges.

        Returns:
            The specimen; its `nominal` is this plant's.

        Raises:
            ModelError: both or neither given, an unknown name, a value that is not finite.
        """
        if (p is None) == (seed is None):
            raise ModelError("p, seed", "give the parameters or a seed", remedy="perturbed({...}) or perturbed(seed=0)")
        if p is None:
            p = np.random.default_rng(seed).uniform(*self.parameter_ranges)
        values = values_of("p", p, self.parameter_names, self.parameters)
        return specimen(self, dict(zip(self.parameter_names, values.tolist(), strict=True)))

    def actuated(
        self, time_constants: Float[np.ndarray, " nu"] | None = None, delay: int | None = None
    ) -> "AbstractPlant":
        """Give this plant seen through its actuators, whose lag and command delay become states.

        Args:
            time_constants: lag of each actuator (nu,) [unit of dt]; None is the plant's `actuator_lag`.
            delay: whole periods from command to effect; None is the plant's `command_delay`.

        Returns:
            The `ActuatedPlant`, or this plant where there is neither lag nor delay.
        """
        from .actuated_plant import ActuatedPlant

        lag = self.actuator_lag if time_constants is None else time_constants
        late = self.command_delay if delay is None else delay
        return self if lag is None and late == 0 else ActuatedPlant(self, lag, late)

    def step_function(self, bounded: bool = True, parameters: bool = False, disturbances: bool = False) -> Any:
        """Give x+ = step(x, u) as a casadi.Function.

        Args:
            bounded: clip the input to its bounds and wrap the angles, as `step` does; False leaves both away, which
                is the smooth map that optimisers and linearisation want.
            parameters: make the uncertain parameters an argument p (np,).
            disturbances: make the disturbances an argument d (nd,).

        Returns:
            casadi.Function (x, u[, p][, d]) -> x_next.
        """

        def formula(plant: AbstractPlant, x: Expression, u: Expression) -> Expression:
            return plant._wrap(plant.step_map(x, plant.saturate(u))) if bounded else plant.step_map(x, u)

        return field_function(self, formula, ("step", "x_next"), self._groups(parameters, disturbances))

    def rate_function(self, parameters: bool = False, disturbances: bool = False) -> Any:
        """Give dx/dt = f(x, u) as a casadi.Function; the input is not clipped.

        Args:
            parameters: make the uncertain parameters an argument p (np,).
            disturbances: make the disturbances an argument d (nd,).

        Returns:
            casadi.Function (x, u[, p][, d]) -> x_dot.
        """
        groups = self._groups(parameters, disturbances)
        return field_function(self, lambda plant, x, u: plant.rhs(x, u), ("rate", "x_dot"), groups)

    def reward_function(self, bounded: bool = True, references: bool = False) -> Any:
        """Give the reward as a casadi.Function; a perturbed specimen is judged as the nominal plant is.

        Args:
            bounded: clip the input to its bounds and wrap the angles first.
            references: make the references an argument r (nr,).

        Returns:
            casadi.Function (x, u[, r]) -> reward.
        """

        def formula(plant: AbstractPlant, x: Expression, u: Expression) -> Expression:
            return plant.reward(plant._wrap(x), plant.saturate(u)) if bounded else plant.reward(x, u)

        groups = {"r": self.r_names} if references else {}
        return field_function(self.nominal, formula, ("reward", "reward"), groups)

    def transition_function(self, varied: bool = False) -> Any:
        """Give all of one step at once as a casadi.Function, what a simulation of episodes needs.

        Args:
            varied: make parameters p, disturbances d and references r arguments.

        Returns:
            casadi.Function (x, u[, p, d, r]) -> x_next, reward, u_real.
        """
        import casadi as ca

        step, reward = self.step_function(True, varied, varied), self.reward_function(references=varied)
        s = {"x": ca.SX.sym("x", self.nx), "u": ca.SX.sym("u", self.nu)}
        if varied:
            names = {"p": self.parameter_names, "d": self.d_names, "r": self.r_names}
            s |= {letter: ca.SX.sym(letter, len(fields)) for letter, fields in names.items()}
        after = step(*(s[name] for name in step.name_in()))
        value = reward(*(s[name] for name in reward.name_in()))
        results = [after, value, ca.densify(ca.SX(self.saturate(s["u"])))]
        return ca.Function("transition", list(s.values()), results, list(s), ["x_next", "reward", "u_real"])

    @functools.cached_property
    def transition_tape(self) -> ExpressionTape:
        """`transition_function()` as a tape."""
        return ExpressionTape.from_function(self.transition_function())

    @functools.cached_property
    def varied_transition_tape(self) -> ExpressionTape:
        """`transition_function(varied=True)` as a tape."""
        return ExpressionTape.from_function(self.transition_function(varied=True))

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

    @functools.cached_property
    def varied_step_tape(self) -> ExpressionTape:
        """`step_function(parameters=True, disturbances=True)` as a tape: (x, u, p, d) -> x_next."""
        return ExpressionTape.from_function(self.step_function(parameters=True, disturbances=True))

    @functools.cached_property
    def varied_reward_tape(self) -> ExpressionTape:
        """`reward_function(references=True)` as a tape: (x, u, r) -> reward."""
        return ExpressionTape.from_function(self.reward_function(references=True))

    @functools.cached_property
    def saturation_tape(self) -> ExpressionTape:
        """`saturate` as a tape: u -> u."""
        import casadi as ca

        u = ca.SX.sym("u", self.nu)
        return ExpressionTape.from_function(ca.Function("clip", [u], [ca.densify(self.saturate(u))], ["u"], ["u_real"]))

    def step(
        self, x: ArrayLike, u: ArrayLike, p: ArrayLike | None = None, d: ArrayLike | None = None
    ) -> Float[np.ndarray, "... nx"]:
        """Advance one sample period; the input is clipped to its bounds and angles come back in [-pi, pi).

        Args:
            x: states (..., nx) [x_units].
            u: inputs (..., nu) [u_units], held over the period.
            p: parameters (..., np), one set a sample, or None for the plant's own.
            d: disturbances (..., nd), held over the period, or None for the plant's own.

        Returns:
            Next states (..., nx) [x_units].

        Raises:
            ModelError: wrong shape, a value that is not finite, or a state that cannot be (the channel is named).
        """
        states, inputs = self._checked(x, u)
        if p is None and d is None:
            return self.step_tape.evaluate(states, inputs)
        values = check_channels("p", self.parameters if p is None else p, self.parameter_names)
        disturbances = check_channels("d", self.d if d is None else d, self.d_names)
        return self.varied_step_tape.evaluate(states, inputs, values, disturbances)

    def clip(self, u: ArrayLike) -> Float[np.ndarray, "... nu"]:
        """Give the inputs the actuators really apply for the commands u.

        Args:
            u: commands (..., nu) [u_units].

        Returns:
            Inputs within the bounds (..., nu) [u_units].

        Raises:
            ModelError: wrong shape, or a value that is not finite.
        """
        return self.saturation_tape.evaluate(check_channels("u", u, self.u_names))

    def margin(self, x: ArrayLike) -> Float[np.ndarray, "..."]:
        """Give the smallest distance to a state bound, as a share of half its range; negative outside.

        Args:
            x: states (..., nx) [x_units].

        Returns:
            Margins (...); infinite for a plant without state bounds. An angle that may turn all around has none.
        """
        bounded, low, high, half = self._margin_box
        states = np.asarray(x, dtype=float)[..., bounded]
        distance = np.minimum(states - low, high - states)
        return np.asarray((distance / half).min(axis=-1, initial=np.inf))

    @functools.cached_property
    def _margin_box(self) -> tuple[np.ndarray, ...]:
        """Indices of the states with a bound that can be left, their bounds, and half their range."""
        circle = np.isin(np.arange(self.nx), self.angles)
        circle &= self.x_max - self.x_min >= 2 * np.pi * (1 - BOUND_TOLERANCE)
        bounded = np.flatnonzero(~circle & (np.isfinite(self.x_min) | np.isfinite(self.x_max)))
        low, high = self.x_min[bounded], self.x_max[bounded]
        return bounded, low, high, np.where(np.isfinite(high - low), (high - low) / 2, 1.0)

    def trip(self, x: ArrayLike) -> np.ndarray:
        """Say where the operation ends: a state with hard bounds has left them, or a state is not finite.

        Args:
            x: states (..., nx) [x_units].

        Returns:
            Boolean array (...).
        """
        states = np.asarray(x, dtype=float)
        over = ~np.isfinite(states).all(axis=-1)
        for i in self.hard_states:
            slack = BOUND_TOLERANCE * (self.x_max[i] - self.x_min[i])
            over |= (states[..., i] < self.x_min[i] - slack) | (states[..., i] > self.x_max[i] + slack)
        return np.asarray(over)

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

    def rewards(self, x: ArrayLike, u: ArrayLike, r: ArrayLike | None = None) -> Float[np.ndarray, "..."]:
        """Evaluate the reward of one step on the states before it.

        Args:
            x: states (..., nx) [x_units].
            u: inputs (..., nu) [u_units], clipped to their bounds.
            r: references (..., nr), or None for the plant's own.

        Returns:
            Rewards (...).

        Raises:
            ModelError: wrong shape, or a value that is not finite.
        """
        if r is None:
            return self.reward_tape.evaluate(*self._checked(x, u))[..., 0]
        references = check_channels("r", r, self.r_names)
        return self.varied_reward_tape.evaluate(*self._checked(x, u), references)[..., 0]

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

    def rollout(
        self, policy: Callable[[np.ndarray], np.ndarray], x0: ArrayLike, steps: int, p: ArrayLike | None = None
    ) -> Rollout:
        """Close the loop from a batch of starts; inputs are clipped to their bounds.

        A trajectory that trips is over: its state and its reward stay what they were then.

        Args:
            policy: u = policy(x), (n, nx) -> (n, nu) in physical units.
            x0: starts (n, nx) [x_units].
            steps: number of sample periods.
            p: parameters (n, np), one set a trajectory, or None for the plant's own.

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
        values = check_channels("p", self.parameters if p is None else p, self.parameter_names)
        x[:, 0] = start
        tripped = self.trip(start)
        for k in range(steps):
            action = np.asarray(policy(x[:, k]), dtype=float)
            if action.shape != (n, self.nu):
                raise ModelError("policy", f"gave shape {action.shape}, expected {(n, self.nu)}")
            # What a policy says of a state that was left for good does not matter: it may well be NaN there.
            u[:, k] = self.clip(np.where(tripped[:, None], u[:, k - 1] if k else self.u_min, action))
            rewards[:, k] = self.reward_tape.evaluate(x[:, k], u[:, k])[:, 0]
            if p is None:
                after = self.step_tape.evaluate(x[:, k], u[:, k])
            else:
                after = self.varied_step_tape.evaluate(x[:, k], u[:, k], values, self.d)
            after = check_channels("x", after, self.x_names)
            x[:, k + 1] = np.where(tripped[:, None], x[:, k], after)
            tripped = tripped | self.trip(x[:, k + 1])
        return Rollout(x, u, rewards, tripped)

    def _checked(self, x: ArrayLike, u: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        states = check_channels("x", x, self.x_names)
        check_possible(self, states)
        return states, check_channels("u", u, self.u_names)

    def _groups(self, parameters: bool, disturbances: bool) -> dict[str, tuple[str, ...]]:
        groups = {"p": self.parameter_names} if parameters else {}
        return groups | ({"d": self.d_names} if disturbances else {})

    def _wrap(self, x: Expression) -> Expression:
        """Wrap the angles to [-pi, pi); the outer bounds only catch the last bit."""
        import casadi as ca

        rows = ca.vertsplit(x)
        for i in self.angles:
            turned = rows[i] - 2 * ca.pi * ca.floor((rows[i] + ca.pi) / (2 * ca.pi))
            rows[i] = ca.fmax(-np.pi, ca.fmin(turned, np.nextafter(np.pi, 0.0)))
        return ca.vertcat(*rows)
