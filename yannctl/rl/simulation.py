"""A batch of episodes of one plant, with what varies in them: what both forms of the environment run on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.plant.contract import check_channels, check_possible
from yannctl.plant.ranges import values_of
from yannctl.types import Bool, Float, Int

# A state counts as outside its bounds beyond this share of their range, so that a clipped state does not.
BOUND_TOLERANCE = 1e-9
# What a filter changes by less than this share of an input's range is rounding.
FILTER_TOLERANCE = 1e-9

Schedule = tuple[tuple[int, tuple[float, ...] | float], ...] | Literal["random"] | None
Filter = Callable[[np.ndarray, np.ndarray], np.ndarray]
Starts = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Variation:
    """What differs between episodes and within them.

    Args:
        randomise: draw the plant's uncertain parameters anew for each episode, uniform in their ranges.
        disturb: draw the disturbances at the start and again now and then, uniform in their ranges; the measured ones
            are observed after the state.
        noise: multiple of the plant's sensor noise on the observed state.
        schedule: the references: ((step, values), ...), each from its step on, or "random" (drawn at the start and
            again now and then), or None for the plant's own; observed after the state.
        hold: mean number of steps between two draws of disturbances or random references.

    Raises:
        ModelError: a setting out of its sense.
    """

    randomise: bool = False
    disturb: bool = False
    noise: float = 0.0
    schedule: Schedule = None
    hold: int = 10

    def __post_init__(self) -> None:
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise ModelError("noise", f"is {self.noise}, expected a multiple from 0 on")
        if not (self.schedule is None or self.schedule == "random" or isinstance(self.schedule, tuple)):
            raise ModelError("schedule", f"is {self.schedule!r}", remedy='give ((0, r0), (k, r1)), "random" or None')
        if self.hold < 1:
            raise ModelError("hold", f"is {self.hold}, expected at least one step")

    def check(self, plant: AbstractPlant) -> None:
        """Check that the plant declares what is to vary.

        Args:
            plant: the plant.

        Raises:
            ModelError: naming what it does not declare, or a schedule of the wrong form.
        """
        wanted = {
            "randomise": (self.randomise, plant.uncertain, "uncertain parameters"),
            "disturb": (self.disturb, plant.disturbances, "disturbances"),
            "noise": (self.noise > 0, plant.x_noise is not None, "sensor noise (x_noise)"),
            "schedule": (self.schedule is not None, plant.references, "references"),
        }
        for field, (asked, there, text) in wanted.items():
            if asked and not there:
                raise ModelError(field, f"{type(plant).__name__} declares no {text}", remedy=f"leave {field} away")
        if isinstance(self.schedule, tuple):
            self.levels(plant)

    def levels(self, plant: AbstractPlant) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m nr"]]:
        """Give the steps at which a fixed schedule changes and its values.

        Args:
            plant: the plant.

        Returns:
            Steps (m,) in order, the first 0, and references (m, nr).

        Raises:
            ModelError: steps not in order, or values of the wrong number.
        """
        steps, values = [0], [plant.r]
        for i, (step, level) in enumerate(self.schedule if isinstance(self.schedule, tuple) else ()):
            if step < steps[-1]:
                raise ModelError(
                    "schedule", f"step {step!r} is not in order", index=i, remedy="give ((0, r0), (k, r1))"
                )
            row = np.atleast_1d(np.asarray(level, dtype=float))
            if row.shape != plant.r.shape or not np.isfinite(row).all():
                names = ", ".join(plant.r_names)
                raise ModelError("schedule", f"values {level}, expected {len(plant.r)} numbers: {names}", index=i)
            steps.append(int(step))
            values.append(row)
        return np.array(steps), np.array(values)


@dataclass(frozen=True)
class Outcome:
    """What one step of a batch did.

    Args:
        reward: reward of each episode (n,).
        tripped: whether the operation of each ended (n,).
        truncated: whether each reached its length (n,).
        u_applied: inputs really applied (n, nu) [u_units].
        clipped: whether an input was outside its limits (n,).
        filter_active: whether the filter changed the input (n,).
    """

    reward: Float[np.ndarray, " n"]
    tripped: Bool[np.ndarray, " n"]
    truncated: Bool[np.ndarray, " n"]
    u_applied: Float[np.ndarray, "n nu"]
    clipped: Bool[np.ndarray, " n"]
    filter_active: Bool[np.ndarray, " n"]


class Simulation:
    """State of n episodes of a plant; every draw comes from the generator that a call is given.

    Args:
        plant: the plant.
        n: number of episodes.
        variation: what varies.
        trip_cost: cost of a trip, or None for the cost of staying at the tripped state until the episode's end.
        safety: filter u_safe = safety(x, u), (n, nx), (n, nu) -> (n, nu), on the measured state, or None.

    Raises:
        ModelError: a variation that the plant does not declare.
    """

    def __init__(
        self,
        plant: AbstractPlant,
        n: int,
        variation: Variation,
        trip_cost: float | None = None,
        safety: Filter | None = None,
    ) -> None:
        variation.check(plant)
        self.plant, self.n, self.variation, self.trip_cost, self.safety = plant, n, variation, trip_cost, safety
        self.x = np.zeros((n, plant.nx))
        self.measured = self.x.copy()
        self.p, self.d, self.r = (np.tile(own, (n, 1)) for own in (plant.parameters, plant.d, plant.r))
        self.steps, self.n_clipped = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self._rounding = FILTER_TOLERANCE * (plant.u_max - plant.u_min)
        self._known = [i for i, interval in enumerate(plant.disturbances.values()) if interval.measured]
        self._varied = variation.randomise or variation.disturb or variation.schedule is not None
        self._levels = variation.levels(plant) if isinstance(variation.schedule, tuple) else None

    def reset(
        self,
        rng: np.random.Generator,
        chosen: Bool[np.ndarray, " n"],
        x: np.ndarray | None = None,
        p: "Mapping[str, float] | np.ndarray | None" = None,
    ) -> None:
        """Start the chosen episodes anew.

        Args:
            rng: generator of every draw.
            chosen: which (n,).
            x: start (nx,) or (chosen, nx) [x_units], or None for drawn ones.
            p: parameters (np,) by vector or name, (chosen, np) for one set an episode, or None for the plant's own or
                drawn ones.

        Raises:
            ModelError: a start or parameters of the wrong shape or not finite, or a state that cannot be.
        """
        plant, m = self.plant, int(chosen.sum())
        starts = plant.sample_starts(m, rng) if x is None else check_channels("x", x, plant.x_names)
        check_possible(plant, starts)
        self.x[chosen] = _turned(starts, plant.angles)
        self.steps[chosen] = self.n_clipped[chosen] = 0
        if p is not None:
            several = isinstance(p, np.ndarray) and p.ndim == 2
            self.p[chosen] = p if several else values_of("p", p, plant.parameter_names, plant.parameters)
            self._varied = True
        elif self.variation.randomise:
            self.p[chosen] = rng.uniform(*plant.parameter_ranges, (m, len(plant.parameters)))
        self._vary(rng, chosen, 1.0)
        self._measure(rng)

    def step(self, u: Float[np.ndarray, "n nu"], rng: np.random.Generator) -> Outcome:
        """Apply inputs for one sample period.

        Args:
            u: proposed inputs (n, nu) [u_units].
            rng: generator of every draw.

        Returns:
            What happened.

        Raises:
            ModelError: a wrong shape, or an input, proposed or filtered, that is not finite.
        """
        plant = self.plant
        proposed = check_channels("action", u, plant.u_names)
        safe = proposed
        if self.safety is not None:
            safe = check_channels("filter", self.safety(self.measured.copy(), proposed.copy()), plant.u_names)
        if self._varied:
            after, reward, real = plant.varied_transition_tape.evaluate(self.x, safe, self.p, self.d, self.r)
        else:
            after, reward, real = plant.transition_tape.evaluate(self.x, safe)
        reward = reward[:, 0]
        wanted = real if safe is proposed else plant.clip(proposed)
        tripped = plant.trip(after)
        self.steps += 1
        before, self.x = self.x, after
        if tripped.any():
            self.x = np.where(np.isfinite(after).all(axis=1, keepdims=True), after, before)
            reward = np.where(tripped, reward + self._charge(real), reward)
        clipped = (wanted != proposed).any(axis=1)
        self.n_clipped += clipped
        changed = (np.abs(real - wanted) > self._rounding).any(axis=1)
        truncated = self.steps >= plant.episode_steps
        self._vary(rng, np.ones(self.n, dtype=bool), 1 / self.variation.hold)
        self._measure(rng)
        return Outcome(reward, tripped, truncated, real, clipped, changed)

    def observation(self) -> Float[np.ndarray, "n no"]:
        """Give the measured state, then the measured disturbances if they vary and the references if scheduled."""
        parts = [self.measured]
        if self.variation.disturb:
            parts.append(self.d[:, self._known])
        if self.variation.schedule is not None:
            parts.append(self.r)
        return np.concatenate(parts, axis=1)

    def observed_names(self) -> tuple[str, ...]:
        """Names of the observation's entries."""
        names = list(self.plant.x_names)
        if self.variation.disturb:
            names += [self.plant.d_names[i] for i in self._known]
        return (*names, *self.plant.r_names) if self.variation.schedule is not None else tuple(names)

    def constraints(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Give the cost, 1 where the real state is outside its bounds, and the margin of each episode."""
        margin = self.plant.margin(self.x)
        return np.asarray(margin < -BOUND_TOLERANCE, dtype=float), margin

    def _charge(self, u: np.ndarray) -> np.ndarray:
        """Reward of a trip: ending early must never pay."""
        if self.trip_cost is not None:
            return np.full(self.n, -self.trip_cost)
        staying = self.plant.varied_reward_tape.evaluate(self.x, u, self.r)[:, 0]
        return np.maximum(self.plant.episode_steps - self.steps, 0) * staying

    def _vary(self, rng: np.random.Generator, chosen: np.ndarray, chance: float) -> None:
        """Draw new disturbances and references, each episode with this chance, and follow a fixed schedule."""
        plant, variation = self.plant, self.variation
        if variation.disturb:
            self._redraw(rng, self.d, plant.d_ranges, chosen, chance)
        if self._levels is not None:
            steps, values = self._levels
            self.r = values[np.searchsorted(steps, self.steps, side="right") - 1]
        elif variation.schedule == "random":
            self._redraw(rng, self.r, plant.r_ranges, chosen, chance)

    def _redraw(self, rng: np.random.Generator, values: Any, ends: Any, chosen: np.ndarray, chance: float) -> None:
        now = chosen & (rng.random(self.n) < chance)
        low, high = ends
        values[now] = rng.uniform(low, high, (int(now.sum()), values.shape[1]))

    def _measure(self, rng: np.random.Generator) -> None:
        if self.variation.noise == 0.0 or self.plant.x_noise is None:
            self.measured = self.x
            return
        noise = self.variation.noise * self.plant.x_noise * rng.standard_normal(self.x.shape)
        self.measured = _turned(self.x + noise, self.plant.angles)


def _turned(x: np.ndarray, angles: tuple[int, ...]) -> np.ndarray:
    """Angles in [-pi, pi)."""
    if not angles:
        return x
    turned = x.copy()
    inside = (x >= -np.pi) & (x < np.pi)
    for i in angles:
        wrapped = np.minimum((x[..., i] + np.pi) % (2 * np.pi) - np.pi, np.nextafter(np.pi, 0.0))
        turned[..., i] = np.where(inside[..., i], x[..., i], wrapped)
    return turned
