"""The environment as a stream of transitions that can be stopped anywhere and taken up again bit for bit.

Each episode is reset with a seed of its own, derived from the run's seed and the episode's number. The running
episode is therefore known by its number and the inputs sent so far: to resume, it is reset and they are sent again.
"""

from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import numpy as np

from .errors import CheckpointError, TrainingError

EPISODE_STREAM = 1  # first word of the seed sequence, apart from the gate's
MAX_RESETS = 10_000  # for one start that is accepted


def stream_seed(seed: int, stream: int, index: int) -> int:
    """Seed of the index-th draw of a stream, independent of all others.

    Args:
        seed: seed of the run.
        stream: number of the stream.
        index: number of the draw.

    Returns:
        A 32-bit seed.
    """
    return int(np.random.SeedSequence([seed, stream, index]).generate_state(1)[0])


class Transition(NamedTuple):
    """One step of the environment.

    Args:
        x: state before it (nx,).
        u: input really applied (nu,).
        reward: its reward.
        x1: state after it (nx,).
        terminated: the task ended in x1; nothing follows.
        truncated: only the episode ended in x1, by its time limit; the value goes on.
        violated: x1 is outside the state bounds, as the environment says.
        proposed: what the learner asked for, before any filter (nu,).
    """

    x: np.ndarray
    u: np.ndarray
    reward: float
    x1: np.ndarray
    terminated: bool
    truncated: bool
    violated: bool
    proposed: np.ndarray


class Episodes:
    """Steps an environment through its episodes and counts.

    Args:
        env: the environment, as `train` describes it.
        seed: seed of the run.
        place: place of this environment among those that are stepped side by side.
        side_by_side: their number; the episodes of all are numbered apart.
        accept: says of a start (nx,) whether the episode may begin there; another is drawn otherwise. None: always.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        seed: int,
        place: int = 0,
        side_by_side: int = 1,
        accept: Callable[[np.ndarray], bool] | None = None,
    ) -> None:
        self.env, self.seed, self.place, self.side_by_side = env, seed, place, side_by_side
        self.accept = accept
        self._action_type = getattr(env.action_space, "dtype", None) or np.dtype(float)
        self.finished = 0
        self.total = 0.0
        self.last_return = float("nan")
        self.inputs: list[np.ndarray] = []
        self.x = self._reset()

    def step(self, u: np.ndarray, proposed: np.ndarray | None = None) -> Transition:
        """Send an input; where the episode ends, the next one has begun when this returns.

        Args:
            u: input (nu,) [physical units].
            proposed: what the learner asked for, where a filter changed it (nu,).

        Raises:
            TrainingError: if the environment returns a state, reward or input that is not finite.
        """
        x1, reward, terminated, truncated, info = self.env.step(u.astype(self._action_type))
        x1, reward = np.asarray(x1, float), float(reward)
        applied = np.asarray(info.get("u_applied", u), float)
        self._check(bool(np.isfinite(reward)), f"reward {reward}")
        self._check(bool(np.isfinite(x1).all()), f"state {x1}")
        self._check(bool(np.isfinite(applied).all()), f"applied input {applied}")
        violated = float(info.get("cost", 0.0)) > 0.0
        asked = u if proposed is None else proposed
        transition = Transition(self.x, applied, reward, x1, bool(terminated), bool(truncated), violated, asked)
        self.inputs.append(np.array(u))
        self.total += reward
        self.x = x1
        if terminated or truncated:
            self.last_return, self.total = self.total, 0.0
            self.finished += 1
            self.inputs = []
            self.x = self._reset()
        return transition

    def begin(self) -> None:
        """Begin the episode whose number is `finished`, dropping the running one."""
        self.inputs, self.total = [], 0.0
        self.x = self._reset()

    def sent(self, nu: int) -> np.ndarray:
        """Inputs sent in the running episode (k, nu) [physical units].

        Args:
            nu: number of inputs.

        Returns:
            A copy.
        """
        return np.array(self.inputs, float).reshape(-1, nu)

    def state(self) -> dict[str, int | float]:
        """Counts, as JSON can hold them."""
        return {"finished": self.finished, "last_return": self.last_return}

    def restore(self, state: dict[str, int | float], inputs: np.ndarray, x: np.ndarray) -> None:
        """Go back to the middle of an episode.

        Args:
            state: what `state` gave.
            inputs: inputs sent in it so far (k, nu).
            x: state it had reached (nx,), to check that the environment repeats itself.

        Raises:
            CheckpointError: if it does not.
        """
        finished = int(state["finished"])
        self.finished, self.last_return, self.total, self.inputs = finished, state["last_return"], 0.0, []
        self.x = self._reset()
        for u in inputs:
            self.step(u)
        if self.finished != finished or not np.array_equal(self.x, x):
            raise CheckpointError(
                f"replaying episode {finished} from its seed led to {self.x}, the checkpoint says {x}",
                "resume needs an environment that repeats itself when reset with the same seed",
            )

    def _reset(self) -> np.ndarray:
        episode = self.finished * self.side_by_side + self.place
        x, _ = self.env.reset(seed=stream_seed(self.seed, EPISODE_STREAM, episode))
        for _ in range(MAX_RESETS):
            x = np.asarray(x, float)
            self._check(bool(np.isfinite(x).all()), f"state {x} on reset")
            if self.accept is None or self.accept(x):
                return x
            x, _ = self.env.reset()
        raise TrainingError("no start of the environment lies in the filter's set", "choose another filter, or none")

    def _check(self, good: bool, what: str) -> None:
        if not good:
            raise TrainingError(
                f"the environment returned {what} in step {len(self.inputs)} of episode {self.finished}",
                "repair the environment; nothing was learned from this step",
            )
