"""The whole state of a training run: policies, learner, memory, counters; it is saved and restored bit for bit."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.yann.extension import ExtendedActor

from .ddpg import Ddpg
from .dsact import Dsact
from .episodes import Episodes, stream_seed
from .errors import CheckpointError, TrainingError
from .evaluation import evaluate
from .gate import GateEvent, decide
from .networks import Actor, CentreLaw, Critic
from .prior import ExactPrior
from .replay import Replay
from .settings import TrainingSettings

GATE_STREAM, SCREEN_STREAM = 2, 3  # of the run's seed, apart from the episodes'


@dataclass
class Counters:
    """What a run counts.

    Args:
        step: environment steps done.
        tests: tests the gate has made.
        rollbacks: rollbacks since the last healthy test.
        violations: steps of the behaviour policy that ended outside the state bounds.
        largest_reward: largest |reward| seen.
        sum_reward: sum of |reward| over the warm-up.
        reward_scale: factor on rewards inside the learner; 0 until the warm-up has fixed it.
    """

    step: int = 0
    tests: int = 0
    rollbacks: int = 0
    violations: int = 0
    largest_reward: float = 0.0
    sum_reward: float = 0.0
    reward_scale: float = 0.0


class Run:
    """One training run, between its steps.

    Args:
        actor: the exact law, or None.
        critic: the exact critic, or None.
        env: the environment; `env.unwrapped.plant` is the nominal model.
        algorithm: "dsact" or "ddpg".
        seed: seed of everything.
        settings: all numbers.
    """

    def __init__(
        self,
        actor: nn.Module | None,
        critic: nn.Module | None,
        env: gymnasium.Env,
        algorithm: str,
        seed: int,
        settings: TrainingSettings,
    ) -> None:
        plant = getattr(env.unwrapped, "plant", None)
        if not isinstance(plant, AbstractPlant):
            raise ModelError("env", "has no unwrapped.plant", remedy="the gate needs the nominal model of the plant")
        self.plant: AbstractPlant = plant
        self.algorithm, self.seed, self.settings = algorithm, seed, settings
        self.generator = torch.Generator().manual_seed(seed)
        low, high = np.asarray(self.plant.u_min, float), np.asarray(self.plant.u_max, float)
        self.middle, self.half = torch.from_numpy((high + low) / 2.0), torch.from_numpy((high - low) / 2.0)
        law = copy.deepcopy(actor) if actor is not None else CentreLaw(low, high)
        width = settings.width
        self.learning = ExtendedActor(law, self.plant, (width, width), seed, settings.authority, dtype=torch.float64)
        self.learning.requires_grad_(False)
        self.deployed, self.averaged = copy.deepcopy(self.learning), copy.deepcopy(self.learning)
        self.prior = None
        if critic is not None and settings.critic_base != "none":
            self.prior = ExactPrior(critic, self.plant, self.learning.base, settings.critic_base)
        self.learner = self._learner()
        self.good = self._snapshot()
        n_features = self.learning.features.size
        self.replay = Replay(settings.replay_capacity, self.plant.nx, n_features, self.plant.nu)
        self.count = Counters()
        self.episodes = Episodes(env, seed)
        self.view = self._view(self.episodes.x)

    def step(self) -> None:
        """One step of the environment, remembered, and the updates that follow it."""
        count, settings = self.count, self.settings
        if count.step < settings.warmup_steps:
            a = torch.rand((1, self.plant.nu), generator=self.generator) * 2.0 - 1.0
        else:
            a = self.learner.explore(self.view[1][None], self.view[2][None])
        self._advance((self.middle + self.half * a[0].double()).numpy())
        count.step += 1
        if count.step < settings.warmup_steps:
            return
        if count.step == settings.warmup_steps:
            count.reward_scale = settings.reward_scale or count.step / max(count.sum_reward, 1e-12)
            if self.prior is not None:
                self.prior.scale = count.reward_scale
        for batch in self.replay.batches(settings.updates_per_step, settings.batch, count.reward_scale, self.generator):
            self.learner.update(batch)

    def test(self) -> GateEvent:
        """Test the learning policy against the deployed one and promote it if it is better with confidence."""
        self.count.tests += 1
        length = int(self.plant.episode_steps)
        candidate, learning_return = self._candidate(length)
        seed = stream_seed(self.seed, GATE_STREAM, self.count.tests)
        starts = self.plant.sample_starts(self.settings.gate_starts, seed)
        new, old = (evaluate(policy, self.plant, starts, length) for policy in (candidate, self.deployed))
        screened = 2 * self.settings.screen_starts * length
        event = replace(
            decide(self.count.step, self.count.tests, self.settings.gate_alpha, new, old, length, screened),
            candidate="averaged" if candidate is self.averaged else "present",
            learning_return=learning_return,
        )
        self.count.rollbacks = 0
        self.good = self._snapshot()
        if event.decision == "promoted":
            self.deployed.learned.load_state_dict(candidate.learned.state_dict())
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
        self._restore_good()
        if self.count.rollbacks > self.settings.max_rollbacks:
            raise TrainingError(
                f"the learner diverged {self.count.rollbacks} times since its last healthy state, step "
                f"{self.count.step}: NaN or exploding values",
                "lower the rates or the reward scale; the deployed policy is unaffected",
            )
        return GateEvent(self.count.step, 0, "rollback", "NaN or exploding values; last healthy learner restored")

    def export(self) -> None:
        """Copy the learner's weights into the learning policy (single to double precision, exact)."""
        self._copy(self.learner.actor_weights.value.data, self.learning)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor a resumed run needs."""
        inputs = np.array(self.episodes.inputs, float).reshape(-1, self.plant.nu)
        return {
            **{f"learner.{name}": tensor for name, tensor in self.learner.tensors().items()},
            **{f"good.{name}": tensor for name, tensor in self.good.items()},
            **{f"shown.{name}": tensor for name, tensor in self.learner.shown.items()},
            **{f"deployed.{name}": tensor for name, tensor in self.deployed.learned.state_dict().items()},
            "replay": self.replay.table[: len(self.replay)],
            "generator": self.generator.get_state(),
            "inputs": torch.from_numpy(inputs),
            "x": torch.from_numpy(self.episodes.x),
            "law": self._fingerprint(),
        }

    def state(self) -> dict[str, Any]:
        """Counters and identity, as JSON can hold them."""
        return {
            "identity": {"algorithm": self.algorithm, "seed": self.seed, "settings": self.settings.record()},
            "counters": vars(self.count),
            "added": self.replay.added,
            "updates": self.learner.updates,
            "finished": self.episodes.finished,
            "last_return": self.episodes.last_return,
            "total": self.episodes.total,
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Args:
            tensors: what `tensors` gave.
            state: what `state` gave.

        Raises:
            CheckpointError: if it belongs to another run, or the environment does not repeat itself.
        """
        if state["identity"] != self.state()["identity"] or not torch.equal(tensors["law"], self._fingerprint()):
            raise CheckpointError(
                "the checkpoint belongs to a run with another law, algorithm, seed or settings",
                "resume with the arguments of the first run (see its settings.json)",
            )
        for name, live in self.learner.tensors().items():
            live.copy_(tensors[f"learner.{name}"])
            self.good[name].copy_(tensors[f"good.{name}"])
        self.learner.shown = {name: tensors[f"shown.{name}"] for name in self.learner.shown}
        self.deployed.learned.load_state_dict(
            {name: tensors[f"deployed.{name}"] for name in self.deployed.learned.state_dict()}
        )
        self.learner.updates, self.replay.added = state["updates"], state["added"]
        self.replay.table[: len(self.replay)] = tensors["replay"]
        self.count = Counters(**state["counters"])
        if self.prior is not None:
            self.prior.scale = self.count.reward_scale
        self.episodes.restore(state["finished"], state["last_return"], tensors["inputs"].numpy(), tensors["x"].numpy())
        self.view = self._view(self.episodes.x)
        self.generator.set_state(tensors["generator"])
        self.export()

    def _candidate(self, length: int) -> tuple[ExtendedActor, float]:
        """The better of present and averaged policy on starts apart from the test's, and the present one's return."""
        self.export()
        self._copy(self.learner.average, self.averaged)
        seed = stream_seed(self.seed, SCREEN_STREAM, self.count.tests)
        starts = self.plant.sample_starts(self.settings.screen_starts, seed)
        policies = self.learning, self.averaged
        now, mean = (evaluate(policy, self.plant, starts, length).returns.mean() for policy in policies)
        return (self.averaged if mean > now or np.isnan(now) else self.learning), float(now)

    @staticmethod
    def _copy(weights: Tensor, policy: ExtendedActor) -> None:
        """Fill a policy's residual network from the flat weights of an `Actor`, whose first part it is."""
        place, named = 0, {}
        for name, old in policy.learned.state_dict().items():
            named[name] = weights[place : place + old.numel()].view_as(old).double()
            place += old.numel()
        policy.learned.load_state_dict(named)

    def _learner(self) -> Dsact | Ddpg:
        """Build the networks in single precision; the policy's residual is a copy of the extended actor's."""
        settings, generator = self.settings, self.generator
        residual = copy.deepcopy(self.learning.learned).float().requires_grad_(True)
        assert isinstance(residual, nn.Sequential)
        sizes = self.learning.features.size, self.plant.nu, settings.width
        if self.algorithm == "ddpg":
            actor = Actor(residual, settings.authority, settings.ddpg.std)
            return Ddpg(actor, Critic(*sizes, 1, 1, generator), settings.ddpg, settings.gamma, generator, self.prior)
        actor = Actor(residual, settings.authority, settings.dsact.std)
        return Dsact(actor, Critic(*sizes, 2, 2, generator), settings.dsact, settings.gamma, generator, self.prior)

    def _advance(self, u: np.ndarray) -> None:
        """Send an input and store what came of it."""
        count, view = self.count, self.view
        step = self.episodes.step(u)
        last = self._view(step.x1)
        applied = (torch.from_numpy(step.u) - self.middle) / self.half
        scalars = torch.tensor([[step.reward], [0.0 if step.terminated else 1.0]])
        self.replay.add(view[0], view[1], applied.float(), view[2], *scalars, view[3], *last)
        self.view = self._view(self.episodes.x) if step.terminated or step.truncated else last
        count.largest_reward = max(count.largest_reward, abs(step.reward))
        count.sum_reward += abs(step.reward) if count.step < self.settings.warmup_steps else 0.0
        count.violations += int(step.violated)

    def _view(self, x: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """State, features, the law's scaled action and the prior's weight, in single precision."""
        state = torch.from_numpy(x)
        with torch.no_grad():
            base = ((self.learning.base(state[None])[0] - self.middle) / self.half).clamp(-1.0, 1.0)
            weight = torch.zeros(1) if self.prior is None else self.prior.weight(state[None])
            return state.float(), self.learning.features(state[None])[0].float(), base.float(), weight.float()

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.learner.tensors().items()}

    def _restore_good(self) -> None:
        for name, tensor in self.learner.tensors().items():
            tensor.copy_(self.good[name])
        for tensor in self.learner.shown.values():
            tensor.nan_to_num_(0.0, 0.0, 0.0)

    def _fingerprint(self) -> Tensor:
        """The law's inputs on fixed states, to recognise it."""
        starts = self.plant.sample_starts(32, 0)
        with torch.no_grad():
            return self.learning.base(torch.from_numpy(starts)).double().contiguous()
