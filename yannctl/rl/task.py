"""What a training run must know of its environment: sizes, boxes, and the nominal model where there is one."""

import copy
from dataclasses import dataclass

import gymnasium
import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.yann.features import Bounds, HasBounds

from .simulation import Filter, Starts

# Observation bounds beyond this are no scale to divide by; the channel is then seen as it is.
LARGEST_SCALE = 1e6
# Of the range of an input: a smaller change does not count as an intervention of a filter.
SAME = 1e-6


@dataclass(frozen=True)
class Task:
    """Sizes and boxes of an environment.

    Args:
        nx: number of observations (the states, for a plant).
        nu: number of inputs.
        bounds: the plant, or the boxes of a plain environment.
        plant: the nominal model for the gate, or None for a plain environment.
        filter: safety filter of the environment on a batch, (n, nx), (n, nu) -> (n, nu), or None.
        draw_starts: starts of the environment's episodes (rng, n) -> (n, nx); None: the plant's own.
    """

    nx: int
    nu: int
    bounds: HasBounds
    plant: AbstractPlant | None
    filter: Filter | None = None
    draw_starts: Starts | None = None

    @property
    def u_min(self) -> np.ndarray:
        """Lower input bounds (nu,) [physical units]."""
        return np.asarray(self.bounds.u_min, float)

    @property
    def u_max(self) -> np.ndarray:
        """Upper input bounds (nu,) [physical units]."""
        return np.asarray(self.bounds.u_max, float)

    @property
    def span(self) -> np.ndarray:
        """Ranges of the inputs (nu,) [physical units]."""
        return self.u_max - self.u_min

    def limited(self, u: np.ndarray) -> np.ndarray:
        """Inputs within the actuators' limits, where they are finite; unchanged without a plant.

        Args:
            u: inputs (n, nu).

        Returns:
            (n, nu).
        """
        if self.plant is None:
            return u
        finite = np.isfinite(u).all(axis=-1, keepdims=True)
        return np.where(finite, self.plant.clip(np.where(finite, u, self.plant.u_min)), u)

    def changed(self, proposed: np.ndarray, applied: np.ndarray) -> np.ndarray:
        """Which inputs are not the proposals, beyond the actuators' own limits and rounding.

        Args:
            proposed: proposals (n, nu).
            applied: inputs that were applied (n, nu).

        Returns:
            Truth values (n,).
        """
        near = np.abs(applied - self.limited(proposed)) <= SAME * self.span
        return np.asarray(~near.all(axis=-1))

    def starts(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw starts of episodes on the nominal model.

        Args:
            rng: source of the draw.
            n: their number.

        Returns:
            States (n, nx) [x_units].
        """
        assert self.plant is not None
        return self.plant.sample_starts(n, rng) if self.draw_starts is None else self.draw_starts(rng, n)


def task_of(env: gymnasium.Env) -> Task:
    """Read the task off an environment, with a nominal model or without.

    Args:
        env: the environment; observations a vector, actions in a finite box.

    Returns:
        The task.

    Raises:
        ModelError: if its spaces are of another kind.
    """
    plant = getattr(env.unwrapped, "plant", None)
    if isinstance(plant, AbstractPlant):
        model = plant.nominal  # of a perturbed specimen only the data sheet is known
        safety, starts = getattr(env.unwrapped, "filter", None), getattr(env.unwrapped, "starts", None)
        return Task(plant.nx, plant.nu, model, model, safety, starts)
    observed = _box("observation_space", env.observation_space, "wrap it in gymnasium.wrappers.FlattenObservation")
    action = _box("action_space", env.action_space, "only continuous actions can be learned here")
    low, high = np.asarray(action.low, float), np.asarray(action.high, float)
    bad = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high) & (low < high)))
    if bad.size:
        j = int(bad[0])
        raise ModelError(
            "action_space", f"got [{low[j]}, {high[j]}]", index=j, remedy="wrap it in gymnasium.wrappers.RescaleAction"
        )
    x_min, x_max = np.asarray(observed.low, float), np.asarray(observed.high, float)
    scaled = (np.abs(x_min) < LARGEST_SCALE) & (np.abs(x_max) < LARGEST_SCALE) & (x_min < x_max)
    bounds = Bounds(np.where(scaled, x_min, -1.0), np.where(scaled, x_max, 1.0), low, high)
    return Task(len(x_min), len(low), bounds, None)


def another(env: gymnasium.Env) -> gymnasium.Env:
    """Make a second environment of the same kind, for evaluation or for collection side by side.

    Args:
        env: the environment.

    Returns:
        One made anew from its specification, or a copy where it has none.

    Raises:
        ModelError: if it can be neither made nor copied.
    """
    try:
        return gymnasium.make(env.spec) if env.spec is not None else copy.deepcopy(env)
    except Exception as error:
        raise ModelError(
            "env", f"no second one can be made: {error}", remedy="register it with gymnasium and use gymnasium.make"
        ) from error


def _box(field: str, space: gymnasium.Space, remedy: str) -> gymnasium.spaces.Box:
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ModelError("env", f"its {field} is {space}, expected a Box with one dimension", remedy=remedy)
    return space
