"""Attacks on a filtered loop: learners that want out, parameters that help them, and a count of what they achieved.

Each step the parameters take the corner of their intervals that pushes the nonlinear plant furthest out. The same
seeds without the filter tell whether the attack was one: unless it breaks the bounds in 90 % of the episodes, the run
is void.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.tape import ExpressionTape
from yannctl.types import Bool, Float

from .safe_set import AbstractSafeSet

POLICIES = ("uniform", "bang-bang", "greedy", "nan")
NEEDED_UNFILTERED = 0.9
_CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Target:
    """What is attacked.

    Args:
        name: name for reports.
        step: casadi.Function (x, u, p) -> x+, the plant's own step.
        p_min: lower parameters (np,).
        p_max: upper parameters (np,).
        x_min: hard lower bounds (nx,); -inf for none.
        x_max: hard upper bounds (nx,).
        safe_set: the set.
        starts: (n, generator) -> states (n, nx) inside the set, many at its border.
        dt: sample period [its unit].
        sensor: bound of the measurement error (nx,); the filter sees readings at its ends, and the set holds readings.
        horizon: steps of a searched run; enough to be lost from the border without the filter.
    """

    name: str
    step: Any
    p_min: Float[np.ndarray, " np"]
    p_max: Float[np.ndarray, " np"]
    x_min: Float[np.ndarray, " nx"]
    x_max: Float[np.ndarray, " nx"]
    safe_set: AbstractSafeSet
    starts: Callable[[int, np.random.Generator], np.ndarray]
    dt: float
    sensor: Float[np.ndarray, " nx"] | float = 0.0
    horizon: int = 12


@dataclass(frozen=True)
class Attack:
    """Outcome of one attack.

    Args:
        policy: the attacker.
        steps: filtered steps.
        episodes: filtered episodes.
        violations: filtered steps with a hard bound broken.
        exits: filtered steps that left the set.
        infeasible: steps inside the set for which the filter found no input, or gave one that is not finite or
            outside the input bounds.
        changed: share of the proposals that the filter changed.
        episodes_violated: filtered episodes with a violation or an exit.
        unfiltered_violated: share of the episodes that violate without the filter.
        closest: least margin to the border of the set that was met.
    """

    policy: str
    steps: int
    episodes: int
    violations: int
    exits: int
    infeasible: int
    changed: float
    episodes_violated: int
    unfiltered_violated: float
    closest: float

    @property
    def ok(self) -> bool:
        """No violation, no exit, always an input, and an attack that would have succeeded."""
        return self.violations == self.exits == self.infeasible == 0 and self.unfiltered_violated >= NEEDED_UNFILTERED

    def upper_bounds(self) -> tuple[float, float]:
        """Give upper 95 % confidence bounds of the rate of violations, an episode and a step (Clopper and Pearson)."""
        bad = self.violations + self.exits
        return _upper(self.episodes_violated, self.episodes), _upper(bad, self.steps)


def attack(target: Target, policy: str, steps: int, episode_steps: int = 500, seed: int = 0) -> Attack:
    """Attack a filtered loop, and the same loop without the filter.

    Args:
        target: the loop.
        policy: one of `POLICIES`.
        steps: filtered steps in all.
        episode_steps: steps an episode.
        seed: of starts and proposals.

    Returns:
        The counts.

    Raises:
        ModelError: an unknown policy.
    """
    if policy not in POLICIES:
        raise ModelError("policy", f"is {policy!r}", remedy=f"use one of {', '.join(POLICIES)}")
    episodes = max(1, steps // episode_steps)
    loop = _Loop(target, policy)
    x = target.starts(episodes, np.random.default_rng(seed))
    rng = np.random.default_rng([seed, 1])
    violations = exits = infeasible = 0
    changed, closest = 0.0, np.inf
    broken = np.zeros(episodes, dtype=bool)
    error = loop.errors(episodes, rng)
    for _ in range(episode_steps):
        inside = target.safe_set.contains(x)
        true, moved, bad_inputs = loop.step(x, error, rng, filtered=True)
        error = loop.errors(episodes, rng)
        x = true + error
        infeasible += int((bad_inputs & inside).sum())
        changed += float(moved.mean()) / episode_steps
        margin = target.safe_set.margin(x)
        hard = beyond(target, true)
        violations, exits = violations + int(hard.sum()), exits + int((~(margin >= 0)).sum())
        closest = min(closest, float(margin.min()))
        broken |= hard | ~(margin >= 0)
    unfiltered = _unfiltered(target, loop, episodes, episode_steps, seed)
    return Attack(
        policy, episodes * episode_steps, episodes, violations, exits, infeasible, changed, int(broken.sum()),
        unfiltered, closest,
    )  # fmt: skip


class _Loop:
    """The plant with the worst parameters, the attacker, and the filter or none."""

    def __init__(self, target: Target, policy: str) -> None:
        from .safety_filter import SafetyFilter

        self.target, self.policy = target, policy
        self.tape = ExpressionTape.from_function(target.step)
        ends = list(product(*zip(target.p_min, target.p_max, strict=True)))
        self.corners = np.unique(np.array(ends, dtype=float).reshape(len(ends), -1), axis=0)
        self.filter = SafetyFilter(target.safe_set)

    def errors(self, n: int, rng: np.random.Generator) -> np.ndarray | float:
        """Measurement errors at random corners of their bounds."""
        E = np.asarray(self.target.sensor, dtype=float)
        return np.where(rng.random((n, E.size)) < 0.5, -E, E) if E.any() else 0.0

    def step(
        self, x: np.ndarray, error: np.ndarray | float, rng: np.random.Generator, filtered: bool
    ) -> tuple[np.ndarray, Any, Any]:
        """Next true states for readings x, whether the filter changed the inputs, and whether one was unusable."""
        low, high = self.target.safe_set.u_min, self.target.safe_set.u_max
        proposed = self._propose(x, rng)
        # Without a filter an actuator clips, and keeps to the middle where it is sent nonsense.
        u = np.where(np.isfinite(proposed), np.clip(proposed, low, high), 0.5 * (low + high))
        moved = np.zeros(len(x), dtype=bool)
        if filtered:
            decision = self.filter.decide(x, proposed)
            u, moved = decision.u, decision.changed
        bad = ~np.isfinite(u).all(axis=1) | (u < low - 1e-12).any(axis=1) | (u > high + 1e-12).any(axis=1)
        return self._worst(x - error, u), moved, bad

    def _propose(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        low, high = self.target.safe_set.u_min, self.target.safe_set.u_max
        shape = (len(x), len(low))
        uniform, ends = rng.uniform(low, high, shape), np.where(rng.random(shape) < 0.5, low, high)
        if self.policy == "uniform":
            return uniform
        if self.policy == "nan":
            return np.full(shape, np.nan)
        if self.policy == "bang-bang":
            return ends
        corners = np.array(list(product(*zip(low, high, strict=True))))
        after = [self.target.safe_set.margin(self._worst(x, np.broadcast_to(u, shape))) for u in corners]
        return corners[np.argmin(np.nan_to_num(np.array(after), nan=-np.inf), axis=0)]

    def _worst(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Successors for the parameters that leave least margin."""
        after = self.tape.evaluate(x[None], np.ascontiguousarray(u)[None], self.corners[:, None, :])
        margin = np.stack([self.target.safe_set.margin(part) for part in after])
        worst = np.argmin(np.nan_to_num(margin, nan=-np.inf), axis=0)
        return after[worst, np.arange(len(x))]


def _unfiltered(target: Target, loop: _Loop, episodes: int, episode_steps: int, seed: int) -> float:
    """Share of the episodes of the same seeds that break a hard bound without the filter."""
    x = target.starts(episodes, np.random.default_rng(seed))
    rng = np.random.default_rng([seed, 1])
    broken = np.zeros(episodes, dtype=bool)
    for _ in range(episode_steps):
        after, *_ = loop.step(x, 0.0, rng, filtered=False)
        broken |= beyond(target, after)
        if broken.all():
            break
        x = np.where(broken[:, None], x, after)
    return float(broken.mean())


def beyond(target: Target, x: Float[np.ndarray, "n nx"]) -> Bool[np.ndarray, " n"]:
    """Tell which states break a hard bound, or are not finite where one is.

    Args:
        target: the loop.
        x: true states (n, nx).
    """
    return np.asarray(~((x >= target.x_min) & (x <= target.x_max)).all(axis=1))


def _upper(bad: int, n: int) -> float:
    from scipy.stats import beta

    return 1.0 if bad >= n else float(beta.ppf(_CONFIDENCE, bad + 1, n - bad))
