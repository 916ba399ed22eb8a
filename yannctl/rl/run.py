"""The whole of a training run: policies, learner, memory, counters (`run_state` saves and restores it)."""

import copy
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from yannctl.yann.extension import ExtendedActor

from .construction import Learner, make_learner, make_policy_network
from .counters import Counters
from .device import device_of, generator_on
from .episodes import Episodes, Transition
from .errors import TrainingError
from .gate import GateEvent
from .imitation import Teacher
from .model_training import ModelTraining, model_wanted
from .networks import CentreLaw
from .prior import ExactPrior
from .promotion import AbstractPromotion, BestOfEpisodes, ModelGate
from .replay import Drawing, Replay
from .safeguard import Safeguard
from .settings import TrainingSettings
from .task import Task, another, task_of
from .transitions import Layout, TransitionWriter
from .updates import Updates


class Run:
    """One training run, between its steps.

    Args:
        actor: the exact law, or None.
        critic: the exact critic, or None.
        env: the environment; `env.unwrapped.plant` is the nominal model, if there is one.
        algorithm: "dsact", "td3" or "ddpg".
        seed: seed of everything.
        settings: all numbers.
        safeguard: the filter every input passes; None for none.
    """

    def __init__(
        self,
        actor: nn.Module | None,
        critic: nn.Module | None,
        env: gymnasium.Env,
        algorithm: str,
        seed: int,
        settings: TrainingSettings,
        safeguard: Safeguard | None = None,
    ) -> None:
        self.safeguard = safeguard or Safeguard()
        self.task: Task = self.safeguard.guarded(task_of(env))
        self.algorithm, self.seed, self.settings = algorithm, seed, settings
        self.device = device_of(settings.device)
        self.generator = torch.Generator().manual_seed(seed)
        low, high = self.task.u_min, self.task.u_max
        self.middle, self.half = torch.from_numpy((high + low) / 2.0), torch.from_numpy((high - low) / 2.0)
        self.learning = make_policy_network(actor, self.task, seed, settings)
        self.deployed, self.averaged = copy.deepcopy(self.learning), copy.deepcopy(self.learning)
        self.prior = self._prior(critic)
        drawing = generator_on(self.device, seed) or self.generator
        self.learner: Learner = make_learner(
            algorithm, self.learning, self.half, settings, self.generator, self.prior, drawing
        )
        self.updates = Updates(self.learner, drawing)
        self.good = self.snapshot()
        task, limited = self.task, self.task.plant is not None and self.task.plant.input_rows is not None
        proposals = settings.proposals and (task.filter is not None or limited)
        columns = task.nx, self.learning.features.size, task.nu
        self.replay = Replay(settings.replay_capacity, *columns, proposals, self.device)
        self.count = Counters()
        self.warmup_steps, self.pretrained = settings.warmup_steps, 0
        self.recorded = ""
        self.log: TransitionWriter | None = None
        self.promotion = self._promotion(env)
        self.fleet = [
            Episodes(env if i == 0 else another(env), seed, i, settings.environments, self.safeguard.inside)
            for i in range(settings.environments)
        ]
        self.view = self.view_of(self.states())
        self.model: ModelTraining | None = None

    def use_model(self, teacher: Teacher | None = None) -> None:
        """Let the run train on the model of its plant, if the settings want it; before anything else is done.

        Args:
            teacher: who is imitated on that model, or None.
        """
        if model_wanted(self.settings, not isinstance(self.learning.base, CentreLaw), self.task.plant is not None):
            self.model = ModelTraining(self, teacher)
            self.promotion = self.model.gate

    def pretrain_on_model(self, progress: bool = False) -> bool:
        """Train on the model before the first step of the plant, if that is wanted and still to be done.

        Args:
            progress: whether to show a bar (only on a terminal).

        Returns:
            Whether it was done now.
        """
        if self.model is None or self.model.updates or not self.model.settings.pretrain_updates:
            return False
        self.model.pretrain(progress)
        return True

    def model_events(self) -> list[GateEvent]:
        """Rollbacks and imitations while training on the model since the last call."""
        if self.model is None:
            return []
        events, self.model.events = self.model.events, []
        return events

    @property
    def layout(self) -> Layout:
        """What a record of the run's log of transitions holds."""
        return Layout(self.task.nx, self.task.nu, sum(self.replay.widths))

    def step(self) -> None:
        """One step of every environment, remembered, and the updates that follow."""
        self.advance(self.warmup() if self.count.step < self.warmup_steps else self.explore())
        if self.count.step >= self.warmup_steps:
            self.learn(self.due())

    def warmup(self) -> Tensor:
        """Actions uniform in the box, scaled (n, nu); with `warmup` "policy", samples of the untrained policy."""
        if self.settings.warmup == "policy":
            return self.explore()
        return torch.rand((len(self.fleet), self.task.nu), generator=self.generator) * 2.0 - 1.0

    def explore(self) -> Tensor:
        """Actions of the behaviour policy, scaled (n, nu)."""
        if self.model is not None and self.model.deployed_acts:
            return self.model.act()
        return self.learner.explore(self.view[1], self.view[2])

    def advance(self, a: Tensor) -> None:
        """Send one action to every environment and remember what came of it.

        Args:
            a: scaled actions (n, nu).

        Raises:
            TrainingError: for an action, state or reward that is not finite; nothing is remembered of that step.
        """
        if not bool(a.isfinite().all()):
            raise TrainingError(
                f"the policy asked for {a.tolist()} at step {self.count.step}", "nothing was sent; lower the rates"
            )
        proposed = (self.middle + self.half * a.double()).numpy()
        u, outside = self.safeguard.apply(self.states(), proposed)
        self.count.outside += int(outside.sum())
        first = [not part.inputs for part in self.fleet]
        steps = [part.step(u[i], proposed[i]) for i, part in enumerate(self.fleet)]
        last = self.view_of(np.stack([step.x1 for step in steps]))
        for i, step in enumerate(steps):
            self._remember(i, step, first[i], last)
        ended = any(step.terminated or step.truncated for step in steps)
        self.view = self.view_of(self.states()) if ended else last

    def learn(self, n: int) -> None:
        """Make updates.

        Args:
            n: their number.
        """
        self.updates.make(n, self.drawing(), self.count.reward_scale)

    def drawing(self) -> Drawing:
        """How the batches of the present step are drawn."""
        return self.replay.drawing(self.settings.batch) if self.model is None else self.model.drawing()

    def due(self) -> int:
        """Updates due after the present step, so that every environment step is followed by `updates_per_step`."""
        count, settings = self.count, self.settings
        n, past = len(self.fleet), count.step - self.warmup_steps
        if past < 0:
            return 0
        if past < n and not count.reward_scale:
            count.reward_scale = settings.reward_scale or count.step / max(count.sum_reward, 1e-12)
            if self.prior is not None:
                self.prior.scale = count.reward_scale
        return int((past + n) * settings.updates_per_step) - int(past * settings.updates_per_step)

    def test_due(self) -> bool:
        """Whether the gate is to be asked after the present step."""
        step, n = self.count.step, len(self.fleet)
        first = 0 if self.model is None else self.model.settings.first_gate
        return bool(self.learner.updates) and (step % self.settings.gate_every < n or first <= step < first + n)

    def test(self) -> GateEvent:
        """Compare the learning policy with the deployed one and promote it if the gate, or the evaluation, says so."""
        self.count.tests += 1
        if self.model is not None:
            self.model.refit()
        self.export()
        self.copy_weights(self.learner.average.value, self.averaged)
        event, candidate = self.promotion.compare(
            self.count.step, self.count.tests, self.learning, self.averaged, self.deployed
        )
        self.count.rollbacks = 0
        self.count.rate()
        self.good = self.snapshot()
        if event.decision == "promoted":
            self.deployed.learned.load_state_dict(candidate.learned.state_dict())
            if self.model is not None:
                self.model.promoted()
        return event

    def diverged(self) -> bool:
        """Whether weights or losses are not finite, or the critic has exploded."""
        if not self.learner.updates:
            return False
        largest = self.count.largest_reward * self.count.reward_scale / (1.0 - self.settings.gamma)
        return not self.learner.finite() or abs(float(self.learner.shown["q"])) > self.settings.explosion * largest

    def rollback(self) -> GateEvent:
        """Go back to the learner of the last healthy test.

        Raises:
            TrainingError: after `max_rollbacks` of them without a healthy test.
        """
        self.count.rollbacks += 1
        for name, tensor in self.learner.tensors().items():
            tensor.copy_(self.good[name])
        self.learner.shown = {name: value.nan_to_num(0.0, 0.0, 0.0) for name, value in self.learner.shown.items()}
        if self.count.rollbacks > self.settings.max_rollbacks:
            raise TrainingError(
                f"the learner diverged {self.count.rollbacks} times since its last healthy state, step "
                f"{self.count.step}: NaN or exploding values",
                "lower the rates or the reward scale; the deployed policy is unaffected",
            )
        return GateEvent(self.count.step, 0, "rollback", "NaN or exploding values; last healthy learner restored")

    def export(self) -> None:
        """Copy the learner's weights into the learning policy (single to double precision, exact)."""
        self.copy_weights(self.learner.actor.weights.value.data, self.learning)

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of everything the learner carries."""
        return {name: tensor.clone() for name, tensor in self.learner.tensors().items()}

    def identity(self) -> dict[str, Any]:
        """What makes it this run and no other, as JSON can hold it."""
        known = {"algorithm": self.algorithm, "seed": self.seed, "settings": self.settings.record()}
        known |= {"filter": self.safeguard.name} if self.safeguard.filter is not None else {}
        known |= {"device": "cuda"} if self.device.type == "cuda" else {}
        return known | ({"recorded": self.recorded} if self.recorded else {})

    def view_of(self, x: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """States, features, the law's scaled action and the prior's weight, a row each, in single precision.

        Args:
            x: states (n, nx) [physical units].

        Returns:
            (n, nx), (n, n_features), (n, nu) and (n, 1).
        """
        state = torch.from_numpy(x)
        with torch.no_grad():
            base = ((self.learning.base(state) - self.middle) / self.half).clamp(-1.0, 1.0)
            weight = torch.zeros(len(x)) if self.prior is None else self.prior.weight(state)
            return state.float(), self.learning.features(state).float(), base.float(), weight.float()[:, None]

    def scaled(self, u: np.ndarray) -> Tensor:
        """Inputs in half ranges from the middle of their box, in single precision.

        Args:
            u: inputs (..., nu) [physical units].

        Returns:
            (..., nu).
        """
        return ((torch.from_numpy(u) - self.middle) / self.half).float()

    def watch(self, x: np.ndarray, proposed: np.ndarray, u: np.ndarray, x1: np.ndarray) -> None:
        """Count what the filter did in one step, and how much of the certificate's error bound the plant used.

        Args:
            x: state before it (nx,).
            proposed: proposal (nu,).
            u: input applied (nu,).
            x1: state after it (nx,).
        """
        self.count.interventions += int(self.task.changed(proposed[None], u[None])[0])
        self.count.residual = max(self.count.residual, self.safeguard.residual_share(x, u, x1))

    def _remember(self, i: int, step: Transition, first: bool, last: tuple[Tensor, ...]) -> None:
        """Store one environment's transition: checked, on file, in memory, counted, in this order."""
        count = self.count
        scalars = torch.tensor([[step.reward], [0.0 if step.terminated else 1.0]])
        x, phi, base, weight = (part[i] for part in self.view)
        applied, proposed = self.scaled(step.u), self.scaled(step.proposed)
        row = torch.cat([x, phi, applied, proposed, base, *scalars, weight, *(part[i] for part in last)])
        if not bool(row.isfinite().all()):
            raise TrainingError(
                f"step {count.step} holds a number too large for single precision: reward {step.reward}, {step.x1}",
                "repair or scale the environment; nothing was learned from this step",
            )
        if self.log is not None:
            self.log.append(step, row.numpy(), i, first)
        self.replay.add(row)
        count.largest_reward = max(count.largest_reward, abs(step.reward))
        count.sum_reward += abs(step.reward) if count.step < self.warmup_steps else 0.0
        count.step += 1
        count.violations += int(step.violated)
        count.terminations += int(step.terminated)
        count.truncations += int(step.truncated and not step.terminated)
        count.clipped += int(bool((applied.abs() >= 1.0).any()))
        self.watch(step.x, step.proposed, step.u, step.x1)

    def _prior(self, critic: nn.Module | None) -> ExactPrior | None:
        if critic is None or self.settings.critic_base == "none":
            return None
        if self.task.plant is None:
            raise TrainingError(
                "critic_base needs the nominal model, this environment has none", "use critic_base none"
            )
        return ExactPrior(critic, self.task.plant, self.learning.base, self.settings.critic_base)

    def _promotion(self, env: gymnasium.Env) -> AbstractPromotion:
        if self.task.plant is None:
            return BestOfEpisodes(env, self.seed, self.settings)
        return ModelGate(self.task, self.seed, self.settings)

    @staticmethod
    def copy_weights(weights: Tensor, policy: ExtendedActor) -> None:
        """Fill a policy's residual network from the flat weights of an `Actor`, whose first part it is."""
        place, named = 0, {}
        for name, old in policy.learned.state_dict().items():
            named[name] = weights[place : place + old.numel()].view_as(old).double()
            place += old.numel()
        policy.learned.load_state_dict(named)

    def states(self) -> np.ndarray:
        """Present states of all environments (n, nx) [x_units]."""
        return np.stack([part.x for part in self.fleet])
