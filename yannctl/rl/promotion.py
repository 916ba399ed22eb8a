"""Who decides what is deployed: the gate, where there is a nominal model, else evaluation episodes."""

from abc import ABC, abstractmethod
from dataclasses import replace

import gymnasium
import numpy as np
import torch

from yannctl.yann.extension import ExtendedActor

from .episodes import stream_seed
from .errors import TrainingError
from .evaluation import Evaluation, evaluate
from .gate import GateEvent, decide
from .settings import TrainingSettings
from .task import Task, another

GATE_STREAM, SCREEN_STREAM, EPISODE_EVALUATION_STREAM = 2, 3, 4  # of the run's seed, apart from the episodes'


class AbstractPromotion(ABC):
    """Compares the learner's policies with the deployed one and names the one to deploy."""

    @abstractmethod
    def compare(
        self, step: int, index: int, present: ExtendedActor, averaged: ExtendedActor, deployed: ExtendedActor
    ) -> tuple[GateEvent, ExtendedActor]:
        """Decide.

        Args:
            step: environment steps done.
            index: number of this decision, from 1.
            present: the learner's policy now.
            averaged: the running average of its weights.
            deployed: the policy deployed now.

        Returns:
            The event, and the candidate that it speaks of.
        """

    @abstractmethod
    def state(self) -> dict[str, float | None]:
        """What a resumed run needs to decide alike."""

    @abstractmethod
    def restore(self, state: dict[str, float | None]) -> None:
        """Take back what `state` gave.

        Args:
            state: from the checkpoint.
        """


class ModelGate(AbstractPromotion):
    """The gate of `gate.py`: a paired test on the nominal model, which costs no step of the plant.

    Args:
        task: the nominal model, its filter and its starts.
        seed: seed of the run.
        settings: sizes and level of the test.
    """

    def __init__(self, task: Task, seed: int, settings: TrainingSettings) -> None:
        self.task, self.seed, self.settings = task, seed, settings

    def compare(
        self, step: int, index: int, present: ExtendedActor, averaged: ExtendedActor, deployed: ExtendedActor
    ) -> tuple[GateEvent, ExtendedActor]:
        """Screen present against averaged, then test the better one, as `AbstractPromotion.compare` says."""
        task, settings = self.task, self.settings
        assert task.plant is not None
        plant, length = task.plant, int(task.plant.episode_steps)

        def returns(policy: ExtendedActor, starts: np.ndarray) -> Evaluation:
            return evaluate(policy, plant, starts, length, safety=task.filter)

        starts = self._starts(settings.screen_starts, SCREEN_STREAM, index)
        now, mean = (returns(policy, starts).returns.mean() for policy in (present, averaged))
        candidate = averaged if mean > now or np.isnan(now) else present
        starts = self._starts(settings.gate_starts, GATE_STREAM, index)
        new, old = (returns(policy, starts) for policy in (candidate, deployed))
        shown = new if candidate is present else returns(present, starts)  # on the same starts, for people to compare
        spent = (2 * settings.screen_starts + (0 if shown is new else len(starts))) * length
        event = decide(step, index, settings.gate_alpha, new[:2], old[:2], length, spent)
        event = replace(
            event,
            candidate="averaged" if candidate is averaged else "present",
            learning_return=float(shown.returns.mean()),
            candidate_interventions=float(new.interventions.mean()),
            deployed_interventions=float(old.interventions.mean()),
        )
        return event, candidate

    def state(self) -> dict[str, float | None]:
        """Nothing: every test draws its own starts."""
        return {}

    def restore(self, state: dict[str, float | None]) -> None:
        """Nothing to take back."""

    def _starts(self, n: int, stream: int, index: int) -> np.ndarray:
        return self.task.starts(np.random.default_rng(stream_seed(self.seed, stream, index)), n)


class BestOfEpisodes(AbstractPromotion):
    """For an environment without a nominal model: deployed is the policy with the best evaluation so far.

    Every evaluation runs the same seeded episodes of an environment apart. There is no confidence in this: the best of
    many noisy means is optimistic, and the events say so.

    Args:
        env: the environment being trained on; a second one is made of it.
        seed: seed of the run.
        settings: number of episodes.
        middle: middle of the input box (nu,).
    """

    REASON = "mean of {n} evaluation episodes; no nominal model, so no gate and no confidence"

    def __init__(self, env: gymnasium.Env, seed: int, settings: TrainingSettings) -> None:
        self.env, self.seed, self.n = another(env), seed, settings.evaluation_episodes
        self._deployed_return: float | None = None

    def compare(
        self, step: int, index: int, present: ExtendedActor, averaged: ExtendedActor, deployed: ExtendedActor
    ) -> tuple[GateEvent, ExtendedActor]:
        """Evaluate both policies and keep the best mean so far, as `AbstractPromotion.compare` says."""
        spent = 0
        if self._deployed_return is None:
            self._deployed_return, spent = self._mean(deployed)
        now, first = self._mean(present)
        mean, second = self._mean(averaged)
        candidate, best = (averaged, mean) if mean > now else (present, now)
        before, promoted = self._deployed_return, best > self._deployed_return
        self._deployed_return = max(best, before)
        event = GateEvent(
            step=step,
            index=index,
            decision="promoted" if promoted else "kept",
            reason=("best" if promoted else "not the best") + " " + self.REASON.format(n=self.n),
            n_starts=self.n,
            candidate="averaged" if candidate is averaged else "present",
            learning_return=now,
            candidate_return=best,
            deployed_return=before,
            difference=best - before,
            gate_plant_steps=spent + first + second,
        )
        return event, candidate

    def state(self) -> dict[str, float | None]:
        """The deployed policy's mean return."""
        return {"deployed_return": self._deployed_return}

    def restore(self, state: dict[str, float | None]) -> None:
        """Take back what `state` gave."""
        self._deployed_return = state["deployed_return"]

    def _mean(self, policy: ExtendedActor) -> tuple[float, int]:
        """Mean return over the episodes, and the steps it took."""
        total, steps = 0.0, 0
        for episode in range(self.n):
            x, _ = self.env.reset(seed=stream_seed(self.seed, EPISODE_EVALUATION_STREAM, episode))
            done = False
            while not done:
                with torch.no_grad():
                    u = policy(torch.from_numpy(np.asarray(x, float)[None]))[0].numpy()
                x, reward, terminated, truncated, _ = self.env.step(u.astype(self.env.action_space.dtype))
                total, steps, done = total + float(reward), steps + 1, bool(terminated or truncated)
        if not np.isfinite(total):
            raise TrainingError("an evaluation episode returned a reward that is not finite", "repair the environment")
        return total / self.n, steps
