"""Training on the nonlinear model: before the first step of the plant, and again when its data have moved the estimate.

The learner is that of the run and nothing is trained apart: simulated transitions fill a memory of their own, from
episodes side by side, each with parameters drawn from what the run believes of the plant (`belief`). A share of the
episodes takes inputs uniform in the box, which no plant would be asked to do; what the filter makes of them is what the
learner sees. The rates fall in the course of each such training, so that it ends at rest.

Beside the plant the two memories are mixed. Where the model's form does not hold, its transitions are left out, and the
learner explores the plant at full rates as it would without a model.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from yannctl.errors import ModelError

from .belief import Belief
from .dsact import Dsact
from .episodes import stream_seed
from .errors import CheckpointError
from .evaluation import evaluate
from .fitted_gate import FittedGate, measure_optimism
from .gate import GateEvent
from .identification import Estimate, ParameterModel, identify
from .imitation import Imitation, Teacher, imitating
from .model_episodes import ModelEpisodes
from .plant_data import latest_episodes, latest_transitions
from .replay import Drawing, Replay
from .settings import TrainingSettings
from .stochastic import gaussian_entropy

if TYPE_CHECKING:
    from .run import Run

MODEL_STREAM = 5  # of the run's seed, apart from the episodes' and the gate's
FILLING_ROUNDS = 20  # steps of the simulated episodes before the first update of a training
DATA = 2000  # latest transitions of the plant that the parameters are fitted to
FEWEST_EPISODES = 2  # of which they may come, or a plant that differs from one to the next would count as known
EPISODES = 20  # latest episodes that the model is held against
STEADY = 0.6  # of a training on the model before the rates fall
TRIALS, JUDGES = 15, 128  # how often the averaged policy is judged in a training on the model, on so many starts
STRICT, POLISHED = 512, 5  # starts and occasions of the same where a teacher is imitated: its failures are rare
LEAST_STD = 1e-3  # half ranges
CHECK_ROUNDS = 25  # rounds between two looks for divergence


def model_wanted(settings: TrainingSettings, law: bool, model: bool) -> bool:
    """Whether a run that may use the model does.

    Args:
        settings: all numbers.
        law: whether it starts from a law.
        model: whether there is a nominal model.

    Returns:
        True where it does.

    Raises:
        ModelError: for "on" without a model.
    """
    use = settings.model.use
    if use == "on" and not model:
        raise ModelError("model.use", "is 'on', this environment has no nominal model", remedy="use 'auto' or 'off'")
    return use == "on" or (use == "auto" and law and model)


def refuse_model(settings: TrainingSettings, mode: str) -> None:
    """Refuse a run that asks for the model where it cannot be used.

    Args:
        settings: all numbers.
        mode: what the run is, for the text.

    Raises:
        ModelError: for "on".
    """
    if settings.model.use == "on":
        raise ModelError("model.use", f"is 'on', not available in {mode}", remedy="use 'auto' or 'off'")


class ModelTraining:
    """What a run does with the model of its plant.

    Args:
        run: the run; its gate becomes the fitted one.
        teacher: who is imitated on the model, or None.

    Raises:
        ModelError: for a teacher of a policy that cannot imitate one.
    """

    def __init__(self, run: "Run", teacher: Teacher | None = None) -> None:
        if teacher is not None:
            imitating(run.learner.actor.network)
        task, self.settings, self.teacher = run.task, run.settings.model, teacher
        assert task.plant is not None
        self.run, self.task, self.plant = run, task, task.plant
        self.gate = FittedGate(task, run.seed, run.settings)
        uncertain = bool(self.plant.parameter_names)
        self.parameters = ParameterModel(self.plant) if uncertain and self.settings.identify else None
        self.memory = Replay(self.settings.capacity, task.nx, run.learning.features.size, task.nu, device=run.device)
        self.trained_on = Belief(self.plant)
        self.trainings = self.steps = self.updates = self.since = 0
        self.events: list[GateEvent] = []  # rollbacks and imitations since they were last logged
        if self.settings.pretrain_updates:
            run.warmup_steps = 0

    @property
    def trusted(self) -> bool:
        """Whether the model's form holds, as far as the data say."""
        estimate = self.gate.belief.estimate
        return estimate is None or estimate.form_holds

    @property
    def deployed_acts(self) -> bool:
        """Whether the deployed policy is the one that acts on the plant."""
        return self.settings.behaviour == "deployed" and self.trusted

    def pretrain(self, progress: bool = False) -> None:
        """Train on the model before the first step of the plant.

        Args:
            progress: whether to show a bar (only on a terminal).

        Raises:
            TrainingError: if the learner diverges again and again.
        """
        own = self.run.settings.imitation
        self._train(self.settings.pretrain_updates, own.states, own.steps, progress)

    def refit(self) -> None:
        """Estimate the parameters anew and, where they have moved, train on the fitted model; before each test.

        Raises:
            TrainingError: if the learner diverges again and again.
        """
        if self.parameters is not None and self.run.replay.added:
            estimate = identify(self.parameters, latest_transitions(self.run, DATA))
            if not estimate.doubt and len(latest_episodes(self.run, DATA)) < FEWEST_EPISODES:
                estimate = replace(estimate, doubt="one episode cannot show whether the parameters stay")
            self.gate.belief = self.gate.belief.with_estimate(estimate)
        self.gate.optimism = self._optimism()
        if self.settings.retrain_updates and self.gate.belief.moved(self.trained_on, self.settings.moved):
            own = self.run.settings.imitation
            self._train(self.settings.retrain_updates, own.again, own.again_steps)

    def promoted(self) -> None:
        """Take note that the deployed policy has changed."""
        self.since = self.run.replay.added

    def drawing(self) -> Drawing:
        """How batches are drawn from both memories for the updates beside the plant; sets the rates for them."""
        run, size = self.run, self.run.settings.batch
        self._set_rates(self.settings.plant_rate if self.trusted and self.updates else 1.0)
        simulated = round(self.settings.replay_share * size) if self.trusted and len(self.memory) else 0
        memories = (run.replay, self.memory) if simulated else (run.replay,)
        sizes = (size - simulated, simulated) if simulated else (size,)
        return Drawing(memories, sizes, 0 if self.settings.proposals else None)

    def act(self) -> Tensor:
        """Scaled actions of the deployed policy with its noise (n, nu)."""
        run = self.run
        with torch.no_grad():
            a = (run.deployed(torch.from_numpy(run.states())) - run.middle) / run.half
        noise = torch.randn(a.shape, generator=run.generator)
        return (a.float() + self.settings.std * noise).clamp(-1.0, 1.0)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor a resumed run needs."""
        return {"model.memory": self.memory.table[: len(self.memory)].clone()}

    def state(self) -> dict[str, Any]:
        """Counts and estimates, as JSON can hold them."""
        counts = {name: getattr(self, name) for name in ("trainings", "steps", "updates", "since")}
        estimates = {"believed": self.gate.belief.estimate, "trained_on": self.trained_on.estimate}
        believed = {name: None if known is None else known.record() for name, known in estimates.items()}
        return counts | believed | {"added": self.memory.added, "teacher": self.teacher is not None}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take back what `tensors` and `state` gave.

        Args:
            tensors: of the checkpoint.
            state: of the checkpoint.

        Raises:
            CheckpointError: for a run with a teacher that goes on without one, or the other way round.
        """
        if state.get("teacher", False) != (self.teacher is not None):
            raise CheckpointError(
                f"the checkpoint belongs to a run {'without' if self.teacher else 'with'} a teacher",
                "resume with the arguments of the first run",
            )
        rows = tensors["model.memory"]
        self.memory.table[: len(rows)] = rows
        self.memory.added = state["added"]
        self.trainings, self.steps, self.updates, self.since = (
            int(state[name]) for name in ("trainings", "steps", "updates", "since")
        )
        self.gate.belief, self.trained_on = (
            Belief(self.plant, None if state[name] is None else Estimate.of_record(state[name]))
            for name in ("believed", "trained_on")
        )

    def _train(self, updates: int, states: int, steps: int, progress: bool = False) -> None:
        """Gradient steps on fresh simulated episodes of what the run believes now, then the teacher's part."""
        run, settings = self.run, self.settings
        rng = np.random.default_rng(stream_seed(run.seed, MODEL_STREAM, self.trainings))
        self.memory.added = 0
        episodes = ModelEpisodes(self.task, settings.episodes, self._draw, run.view_of, rng)
        first = not run.learner.updates
        for _ in range(FILLING_ROUNDS):
            self._collect(episodes, settings.episodes if first else round(settings.wide * settings.episodes))
        self._scale_rewards()
        rounds, best = -(-updates // settings.updates_per_round), (-np.inf, run.learner.average.value.clone())
        judges = self.task.starts(rng, JUDGES), self._draw(rng, JUDGES)
        start = self._judge(judges) if self.teacher is not None and self.trainings else best
        # What filter and actuators make of a proposal is part of the plant, and they leave an applied input as it is.
        # With applied inputs alone the policy would run away to where no critic has ever been asked.
        drawing = Drawing((self.memory,), (run.settings.batch,), 0 if settings.proposals else None)
        for k in tqdm(range(rounds), "training on the model", unit="round", disable=None if progress else True):
            late = max(0.0, (k / rounds - STEADY) / (1.0 - STEADY))
            self._set_rates(settings.final_rate**late)
            self._set_noise(late)
            self._round(episodes, drawing, k)
            if k >= rounds // 3 and k % max(1, rounds // TRIALS) == 0:
                best = max(best, self._judge(judges), key=lambda each: each[0])
        self._check()
        self.trained_on = self.gate.belief
        best = max(best, self._judge(judges), key=lambda each: each[0])
        run.learner.average.value.copy_(best[1])
        if start[0] > best[0]:  # what was imitated before is not lost by training on
            run.learner.adopt(start[1])
        if self.teacher is not None and states:
            judges = self.task.starts(rng, STRICT), self._draw(rng, STRICT)
            imitation = Imitation(run, self.teacher, self._draw, rng, states, steps)
            self._imitate(imitation, judges, lambda k: self._round(episodes, drawing, k), progress)
        self.trainings, self.steps = self.trainings + 1, self.steps + episodes.steps
        self._set_rates(1.0)
        self._set_noise(0.0)

    def _round(self, episodes: ModelEpisodes, drawing: Drawing, k: int) -> None:
        """A step of all simulated episodes and the updates that follow."""
        settings, run = self.settings, self.run
        self._collect(episodes, round(settings.wide * settings.episodes))
        run.updates.make(settings.updates_per_round, drawing, run.count.reward_scale)
        self.updates += settings.updates_per_round
        if k % CHECK_ROUNDS == 0:
            self._check()

    def _check(self) -> None:
        """Go back to the last healthy learner where the present one is not."""
        if self.run.diverged():
            self.events.append(self.run.rollback())

    def _imitate(
        self,
        imitation: Imitation,
        judges: tuple[np.ndarray, np.ndarray],
        polish: Callable[[int], None],
        progress: bool,
    ) -> None:
        """Fit the policy to the teacher, and go on from that if it does better on the model than training has.

        Slow updates follow: unlike the teacher, the critics know what the filter makes of an input.
        """
        run, before = self.run, self._judge(judges)[0]
        kept, shown = run.snapshot(), run.learner.shown
        run.good = kept  # where a rollback would lead
        run.learner.adopt(imitation.imitate(progress))
        self.steps += imitation.model_steps
        first = best = self._judge(judges)
        rounds = run.settings.imitation.polish // self.settings.updates_per_round
        self._set_rates(self.settings.plant_rate)
        for k in range(rounds):
            polish(k)
            if k % max(1, rounds // POLISHED) == 0 or k == rounds - 1:
                best = max(best, self._judge(judges), key=lambda each: each[0])
        self._check()
        run.learner.average.value.copy_(best[1])
        better = best[0] > before
        if not better:
            for name, tensor in run.learner.tensors().items():
                tensor.copy_(kept[name])
            run.learner.shown = shown
        reason = (
            f"{imitation.summary()}; return on the model {first[0]:.5g}, after {rounds} rounds of slow updates "
            f"{best[0]:.5g}, without it {before:.5g}"
        )
        decision = "imitated" if better else "not imitated"
        self.events.append(GateEvent(run.count.step, 0, decision, reason))

    def _judge(self, judges: tuple[np.ndarray, np.ndarray]) -> tuple[float, Tensor]:
        """Mean return of the averaged policy on common starts, and its weights: a learner wanders, the best is kept."""
        run, length = self.run, int(self.plant.episode_steps)
        weights = run.learner.average.value.clone()
        run.copy_weights(weights, run.averaged)
        returns = evaluate(run.averaged, self.plant, judges[0], length, judges[1], self.task.filter).returns
        self.steps += len(returns) * length
        return float(np.nan_to_num(returns.mean(), nan=-np.inf)), weights

    def _collect(self, episodes: ModelEpisodes, wide: int) -> None:
        """One step of all simulated episodes, the first `wide` of them with inputs uniform in the box."""
        run = self.run
        a = run.learner.explore(episodes.view[1], episodes.view[2])
        a[:wide] = torch.rand((wide, run.task.nu), generator=run.generator) * 2.0 - 1.0
        self.memory.extend(episodes.step((run.middle + run.half * a.double()).numpy()))

    def _draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        if self.gate.belief.known or self.settings.parameters == "ranges":
            return self.gate.belief.draw(rng, n)
        return np.tile(self.plant.parameters, (n, 1))

    def _scale_rewards(self) -> None:
        """Fix the scale of the rewards if nothing has yet, and what counts as an explosion."""
        count, column = self.run.count, sum(self.memory.widths[:5])
        size = self.memory.table[: len(self.memory), column].abs()
        count.largest_reward = max(count.largest_reward, float(size.max()))
        if not count.reward_scale:
            count.reward_scale = self.run.settings.reward_scale or 1.0 / max(float(size.mean()), 1e-12)
            if self.run.prior is not None:
                self.run.prior.scale = count.reward_scale

    def _set_rates(self, share: float) -> None:
        learner, own = self.run.learner, getattr(self.run.settings, self.run.algorithm)
        learner.actor.adam.rate, learner.critic.adam.rate = share * own.actor_rate, share * own.critic_rate

    def _set_noise(self, late: float) -> None:
        """Lower the noise that DSAC-T's temperature holds, so that the mean is not the best of a noisy policy."""
        learner, own = self.run.learner, self.run.settings.dsact
        if isinstance(learner, Dsact) and own.policy == "clamped" and own.target_entropy is None:
            share = min(1.0, self.settings.final_std / own.std) ** late
            learner.settings = replace(own, target_entropy=gaussian_entropy(max(share * own.std, LEAST_STD)))

    def _optimism(self) -> np.ndarray:
        """What the model makes of the episodes that the deployed policy has driven."""
        run, belief = self.run, self.gate.belief
        episodes = latest_episodes(run, min(run.replay.added - self.since, DATA))
        if not episodes or not belief.known:
            return np.zeros(0)
        assert belief.estimate is not None
        return measure_optimism(self.task, run.deployed, episodes[-EPISODES:], belief.estimate.p)
