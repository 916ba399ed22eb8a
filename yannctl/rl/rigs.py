"""What the actor of the asynchronous mode drives: anything that can be read and written at a fixed rate.

`TrainingRig` is the part of a rig's contract that learning needs; a simulated plant, an environment and a machine are
the same to the actor. What a step was worth, a rig does not know: a `Judge` says it.
"""

import importlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np

from yannctl.errors import ModelError

from .episodes import Episodes, Transition


@runtime_checkable
class Reading(Protocol):
    """One measurement: `x` (nx,), NaN where a channel has no reading."""

    @property
    def x(self) -> Any:
        """States (nx,) [physical units]."""
        ...


@runtime_checkable
class TrainingRig(Protocol):
    """Something with states to read and inputs to write, `dt` seconds apart."""

    dt: float

    def open(self) -> None:
        """Connect."""

    def arm(self) -> None:
        """Switch the actuators on."""

    def read(self, deadline_ns: int) -> Reading:
        """Take the newest measurement.

        Args:
            deadline_ns: return by then [ns].

        Returns:
            The measurement.
        """
        ...

    def write(self, u: Any, deadline_ns: int) -> Any:
        """Send an input.

        Args:
            u: input (nu,) [physical units].
            deadline_ns: time by which it must be sent [ns].

        Returns:
            The input really applied (nu,).
        """
        ...

    def stop(self, reason: str) -> None:
        """Send the safe action and switch off.

        Args:
            reason: why, for the log.
        """

    def close(self) -> None:
        """Give the connection back."""


class Verdict(NamedTuple):
    """What a step was worth.

    Args:
        reward: its reward.
        terminated: the task ended; nothing follows.
        truncated: only the episode ended; the value goes on.
        violated: a state bound is violated.
    """

    reward: float
    terminated: bool = False
    truncated: bool = False
    violated: bool = False


Judge = Callable[[np.ndarray, np.ndarray, np.ndarray], Verdict]


class Observed(NamedTuple):
    """A reading of an environment.

    Args:
        x: states (nx,).
    """

    x: np.ndarray


class EnvironmentRig:
    """An environment behind the rig's contract: `write` moves it by one step, `read` observes it.

    Args:
        env: the environment.
        seed: seed of the run.
        episode: number of the first episode.
        rate: steps a second it pretends to have.
    """

    def __init__(self, env: gymnasium.Env, seed: int, episode: int = 0, rate: float = 1000.0) -> None:
        self.dt = 1.0 / rate
        self._episodes = Episodes(env, seed)
        self._episodes.finished = episode
        self._episodes.begin()
        self._last: Transition | None = None

    def open(self) -> None:
        """Nothing to connect."""

    def arm(self) -> None:
        """Nothing to switch on."""

    def read(self, deadline_ns: int) -> Observed:
        """Observe it; after the end of an episode, the first state of the next one.

        Args:
            deadline_ns: unused.

        Returns:
            The reading.
        """
        return Observed(self._episodes.x)

    def write(self, u: np.ndarray, deadline_ns: int) -> np.ndarray:
        """Step it.

        Args:
            u: input (nu,).
            deadline_ns: unused.

        Returns:
            The input really applied.
        """
        self._last = self._episodes.step(u)
        return self._last.u

    def stop(self, reason: str) -> None:
        """Nothing to switch off.

        Args:
            reason: unused.
        """

    def close(self) -> None:
        """Close the environment."""
        self._episodes.env.close()

    def judge(self, x: np.ndarray, u: np.ndarray, x1: np.ndarray) -> Verdict:
        """What the environment said of the last step.

        Args:
            x: unused.
            u: unused.
            x1: unused.

        Returns:
            Its verdict.
        """
        assert self._last is not None
        last = self._last
        return Verdict(last.reward, last.terminated, last.truncated, last.violated)

    def last_state(self) -> np.ndarray:
        """The state the last step ended in, which at the end of an episode `read` no longer shows (nx,)."""
        assert self._last is not None
        return self._last.x1


class RigEpisodes:
    """The fixed-rate loop around a rig, as a stream of transitions.

    Args:
        rig: the rig, open and armed.
        judge: what a step is worth.
    """

    def __init__(self, rig: TrainingRig, judge: Judge) -> None:
        self.rig, self.judge = rig, judge
        self.clock = getattr(rig, "clock", None) or _Monotonic()
        self.period_ns = round(rig.dt * 1e9)
        self.due_ns = self.clock.now_ns()
        self.first, self.late = True, 0
        self.x = self._finite()

    def step(self, u: np.ndarray, proposed: np.ndarray | None = None) -> Transition:
        """Write an input, wait for the next tick, read what came of it.

        Args:
            u: input (nu,) [physical units].
            proposed: what the learner asked for, where a filter changed it (nu,).

        Returns:
            The transition.
        """
        x = self.x
        applied = np.asarray(self.rig.write(u, self.due_ns + self.period_ns), float)
        self._wait()
        self.x = self._finite()
        ended = getattr(self.rig, "last_state", None)
        x1 = self.x if ended is None else np.asarray(ended(), float)
        verdict = self.judge(x, applied, x1)
        self.first = verdict.terminated or verdict.truncated
        asked = u if proposed is None else proposed
        return Transition(
            x, applied, verdict.reward, x1, verdict.terminated, verdict.truncated, verdict.violated, asked
        )

    def _finite(self) -> np.ndarray:
        """Read until every channel has a number; the input is held meanwhile."""
        while True:
            x = np.array(self.rig.read(self.due_ns + self.period_ns).x, float)
            if np.isfinite(x).all():
                return x
            self._wait()

    def _wait(self) -> None:
        """Sleep until the next tick; a tick that is already past is not caught up with."""
        self.due_ns += self.period_ns
        now = self.clock.now_ns()
        if now > self.due_ns + self.period_ns:
            self.late, self.due_ns = self.late + 1, now
        self.clock.sleep_until_ns(self.due_ns)


class _Monotonic:
    @staticmethod
    def now_ns() -> int:
        return time.monotonic_ns()

    @staticmethod
    def sleep_until_ns(instant_ns: int) -> None:
        delay = instant_ns - time.monotonic_ns()
        if delay > 0:
            time.sleep(delay / 1e9)


def load_rig(name: str) -> tuple[TrainingRig, Judge]:
    """Call the function that makes a rig and its judge.

    Args:
        name: "module:function"; the function takes nothing and gives (rig, judge).

    Returns:
        Both.

    Raises:
        ModelError: if there is no such function.
    """
    module, found, function = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), function) if found else None
    except (ImportError, AttributeError) as error:
        raise ModelError("rig", f"{name!r} cannot be loaded: {error}", remedy="give module:function") from error
    if made is None:
        raise ModelError("rig", f"got {name!r}", remedy="give module:function")
    rig, judge = made()
    return rig, judge
