"""The gate on the model as the plant's data have fitted it: the paired test over what the parameters may be.

A candidate must be better, with confidence, on **every** member of an ensemble: the test of `gate.decide` is made for
each and the least lower bound decides. (An intersection-union test: its level is that of each single test, R. L.
Berger, Technometrics 24(4), 1982.) Where the plant is known the ensemble is one member, whose starts run with
parameters drawn from the estimate's distribution, so that what is left of the uncertainty enters the paired
differences. Where it is not, the members are the data sheet's parameters and the corners of the declared ranges, so
that nothing is promoted that any of these plants would do worse with.

The plant has its say as well: the episodes logged since the deployed policy last changed are simulated again from
their starts with the deviations that were added to the policy, and the returns are compared. Where the model is proved
too optimistic by them, a candidate must be better by more than that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from yannctl.types import Float
from yannctl.yann.extension import ExtendedActor

from .belief import Belief
from .episodes import stream_seed
from .evaluation import Evaluation, evaluate
from .gate import GateEvent, decide, paired_lower_bound
from .promotion import GATE_STREAM, SCREEN_STREAM, AbstractPromotion
from .settings import TrainingSettings
from .task import Task

OPTIMISM_LEVEL = 0.05  # of the test that the model is too optimistic
FEWEST_EPISODES = 3  # for that test


class FittedGate(AbstractPromotion):
    """The gate of this module.

    Args:
        task: model, filter and starts.
        seed: seed of the run.
        settings: sizes and level of the test.
    """

    def __init__(self, task: Task, seed: int, settings: TrainingSettings) -> None:
        assert task.plant is not None
        self.task, self.plant, self.seed, self.settings = task, task.plant, seed, settings
        self.belief = Belief(self.plant)
        self.optimism = np.zeros(0)

    def compare(
        self, step: int, index: int, present: ExtendedActor, averaged: ExtendedActor, deployed: ExtendedActor
    ) -> tuple[GateEvent, ExtendedActor]:
        """Screen present against averaged, then test the better one on every member, as the base class says."""
        rng = np.random.default_rng(stream_seed(self.seed, SCREEN_STREAM, index))
        n, length = self.settings.screen_starts, int(self.plant.episode_steps)
        starts, p = self.task.starts(rng, n), self._parameters(rng, n)
        now, mean = (self._evaluate(policy, starts, p).returns.mean() for policy in (present, averaged))
        candidate = averaged if mean > now or np.isnan(now) else present
        rng = np.random.default_rng(stream_seed(self.seed, GATE_STREAM, index))
        event = self._decide(step, index, (candidate, present, deployed), rng, 2 * n * length)
        name = "averaged" if candidate is averaged else "present"
        return self._complete(replace(event, candidate=name)), candidate

    def state(self) -> dict[str, float | None]:
        """Nothing: the belief is fitted anew from the transitions before each test."""
        return {}

    def restore(self, state: dict[str, float | None]) -> None:
        """Nothing to take back."""

    def _decide(
        self,
        step: int,
        index: int,
        policies: tuple[ExtendedActor, ExtendedActor, ExtendedActor],
        rng: np.random.Generator,
        screened: int,
    ) -> GateEvent:
        """The decision on candidate and deployed policy by the member with the least lower bound.

        Its returns are those of all members together; that of the present policy, the second of the three, is shown.
        """
        candidate, present, deployed = policies
        size, length = self.settings.model.gate_starts, int(self.plant.episode_steps)
        n = size * self.settings.model.members if self.belief.known else size
        members = self.belief.members(rng, n) if self.settings.model.gate == "fitted" else [self.plant.parameters[None]]
        groups = [np.broadcast_to(p, (n, p.shape[1])) for p in members]
        p, starts = np.concatenate(groups), self.task.starts(rng, n * len(groups))
        new, old = (self._evaluate(policy, starts, p) for policy in (candidate, deployed))
        shown = new if candidate is present else self._evaluate(present, starts, p)
        events = []
        for k in range(len(groups)):
            rows = slice(k * n, (k + 1) * n)
            parts = [(each.returns[rows], each.violations[rows]) for each in (new, old)]
            events.append(decide(step, index, self.settings.gate_alpha, parts[0], parts[1], length))
        worst = min(events, key=lambda event: (event.decision == "promoted", event.lower_bound))
        return replace(
            worst,
            n_starts=len(p),
            learning_return=float(shown.returns.mean()),
            candidate_return=float(new.returns.mean()),
            deployed_return=float(old.returns.mean()),
            difference=float((new.returns - old.returns).mean()),
            candidate_violations=int(new.violations.sum()),
            deployed_violations=int(old.violations.sum()),
            gate_model_steps=(2 if shown is new else 3) * len(p) * length + screened,
            candidate_interventions=float(new.interventions.mean()),
            deployed_interventions=float(old.interventions.mean()),
        )

    def _complete(self, event: GateEvent) -> GateEvent:
        """Say which model, and hold the candidate against what the plant showed."""
        belief, estimate = self.belief, self.belief.estimate
        optimism, n = self.optimism, len(self.optimism)
        bound = max(0.0, paired_lower_bound(optimism, OPTIMISM_LEVEL)) if n >= FEWEST_EPISODES else 0.0
        event = replace(
            event,
            model=belief.name if self.settings.model.gate == "fitted" else "nominal",
            parameters=belief.record(),
            standard_errors=belief.errors(),
            doubt=estimate.doubt if estimate is not None else "",
            plant_episodes=n,
            model_optimism=float(optimism.mean()) if n else 0.0,
        )
        if event.decision == "promoted" and event.lower_bound <= bound:
            reason = f"better by less than the model is too optimistic about the plant ({bound:.3g})"
            return replace(event, decision="kept", reason=reason)
        return event

    def _parameters(self, rng: np.random.Generator, n: int) -> np.ndarray:
        if self.settings.model.gate == "nominal":
            return np.broadcast_to(self.plant.parameters, (n, len(self.plant.parameters)))
        return self.belief.draw(rng, n)

    def _evaluate(self, policy: ExtendedActor, starts: np.ndarray, p: np.ndarray) -> Evaluation:
        return evaluate(policy, self.plant, starts, int(self.plant.episode_steps), p, self.task.filter)


@dataclass(frozen=True)
class Episode:
    """A piece of the plant's log.

    Args:
        x: states before each step (k, nx) [x_units].
        u: inputs really applied (k, nu) [u_units].
        reward: rewards (k,).
    """

    x: Float[np.ndarray, "k nx"]
    u: Float[np.ndarray, "k nu"]
    reward: Float[np.ndarray, " k"]


def measure_optimism(
    task: Task, policy: ExtendedActor, episodes: Sequence[Episode], p: Float[np.ndarray, " np"]
) -> Float[np.ndarray, " n"]:
    """Simulated minus real return of logged episodes, the same deviations from the policy added.

    Args:
        task: model and filter.
        policy: the policy that was deployed meanwhile.
        episodes: the log.
        p: parameters of the model (np,).

    Returns:
        A difference an episode (n,); infinite where the simulation left the finite numbers.
    """
    plant = task.plant
    assert plant is not None
    n, longest = len(episodes), max((len(episode.x) for episode in episodes), default=0)
    added, running = np.zeros((n, longest, plant.nu)), np.zeros((n, longest), dtype=bool)
    for i, episode in enumerate(episodes):
        added[i, : len(episode.x)] = episode.u - _act(policy, episode.x)
        running[i, : len(episode.x)] = True
    x = np.array([episode.x[0] for episode in episodes]).reshape(n, plant.nx)
    total = np.zeros(n)
    for k in range(longest):
        wanted = _act(policy, x) + added[:, k]
        applied = plant.clip(wanted if task.filter is None else np.asarray(task.filter(x, wanted), float))
        total += np.where(running[:, k], plant.reward_tape.evaluate(x, applied)[:, 0], 0.0)
        after = plant.varied_step_tape.evaluate(x, applied, p, plant.d)
        lost = ~np.isfinite(after).all(axis=1)
        total[lost & running[:, k]] = np.inf
        x = np.where(lost[:, None], x, after)
    return total - np.array([float(episode.reward.sum()) for episode in episodes])


def _act(policy: ExtendedActor, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return policy(torch.from_numpy(x)).numpy()
