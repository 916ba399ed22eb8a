"""What DSAC-T, TD3 and DDPG have in common: when who moves, and what is carried from one update to the next.

The losses and their gradients are in the file of each algorithm.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from yannctl.errors import ModelError

from .backpropagation import Pass
from .cloning import Cloning
from .device import Dial
from .networks import Actor, AutomaticGradient, Critic, Prior
from .replay import Batch
from .trained import Average, Noise, Trained, all_finite, with_prior_slope


class Rates(Protocol):
    """The settings that every algorithm has."""

    actor_rate: float
    critic_rate: float
    target_rate: float
    average_rate: float
    delay: int


def check_rates(algorithm: str, settings: Any, *above_zero: str) -> None:
    """Refuse numbers with which nothing is learned.

    Args:
        algorithm: its name in the settings of a run.
        settings: its settings.
        above_zero: names of further numbers that must be above zero.

    Raises:
        ModelError: naming the first of them.
    """
    inside = {
        "actor_rate": (0.0, math.inf),
        "critic_rate": (0.0, math.inf),
        "target_rate": (0.0, 1.0),
        "average_rate": (0.0, 1.0),
        "delay": (1, math.inf),
    }
    for name, (low, high) in inside.items():
        if not low <= getattr(settings, name) <= high:
            wanted = f"{low:g} or more" if high == math.inf else f"a number from {low:g} to {high:g}"
            raise ModelError(f"{algorithm}.{name}", f"got {getattr(settings, name)}, expected {wanted}")
    for name in above_zero:
        if not getattr(settings, name) > 0.0:
            raise ModelError(f"{algorithm}.{name}", f"got {getattr(settings, name)}, expected a number above zero")


class AbstractLearner(ABC):
    """Critics, policy and their targets, and one `update`.

    Args:
        actor: the policy network; its mean is the law at the start.
        critic: the critics.
        settings: rates and constants.
        gamma: discount factor.
        noise: source of all noise of the learner.
        prior: value (x, a, weight) -> (batch,) in scaled rewards that the networks only correct, or None.
        compiled: whether torch compiles both steps on their first use.
        steady: whether an update reads nothing that the host has to know, so that a graph can repeat it; None: where
            the networks are on a GPU.
    """

    def __init__(
        self,
        actor: Actor | AutomaticGradient,
        critic: Critic | AutomaticGradient,
        settings: Any,
        gamma: float,
        noise: Noise,
        prior: Prior | None = None,
        compiled: bool = False,
        steady: bool | None = None,
    ) -> None:
        rates: Rates = settings
        self.device = next(iter(actor.parameters())).device
        self.steady = self.device.type != "cpu" if steady is None else steady
        self.settings, self.gamma, self.noise, self.prior = settings, gamma, noise, prior
        self.critic: Trained[Any] = Trained(critic, rates.critic_rate, self.steady)
        self.actor: Trained[Any] = Trained(actor, rates.actor_rate, self.steady)
        self.average = Average(self.actor.weights, rates.average_rate)
        self._share = self.dial(1.0)
        self.updates = 0
        self._last = self._zeros("critic_loss", "actor_loss", "q")
        # The decorator is outside, since torch's compiler takes all that is behind one decorator for one function: it
        # would compile anew for every learner of a process and give up after a few.
        terms: list[Callable[..., Any]] = [self._critic_gradient, self._policy_gradient]
        terms = [torch.compile(each) for each in terms] if compiled else terms
        self._critic_terms, self._policy_terms = (torch.no_grad()(each) for each in terms)

    def explore(self, phi: Tensor, base: Tensor) -> Tensor:
        """An action of the behaviour policy, inside the box; from a GPU with one copy to it and one back.

        Args:
            phi: features (n, n_features).
            base: the law's scaled action (n, nu).

        Returns:
            Scaled action (n, nu).
        """
        with torch.no_grad():
            if phi.device == self.device:
                return self._explore(phi, base)
            sent = torch.cat((phi, base), -1).to(self.device)
            return self._explore(*sent.split((phi.shape[-1], base.shape[-1]), -1)).cpu()

    def update(self, batch: Batch, cloning: Cloning | None = None) -> None:
        """One critic step, and every `delay` of them one step of policy and targets.

        Args:
            batch: transitions.
            cloning: weights of behaviour cloning while pre-training on recorded data, or None.
        """
        self.prepare()
        self.move(batch, cloning)
        self.updates += 1

    @property
    def policy_due(self) -> bool:
        """Whether the policy moves in the next update."""
        return (self.updates + 1) % self.settings.delay == 0

    def prepare(self) -> None:
        """Set the numbers of the next update that the host knows."""
        if self.policy_due:
            self._share.set(self.average.share((self.updates + 1) // self.settings.delay))

    def move(self, batch: Batch, cloning: Cloning | None = None) -> None:
        """The steps of `update` alone: what a graph repeats.

        Args:
            batch: transitions.
            cloning: as there.
        """
        rates: Rates = self.settings
        self._critic_step(batch)
        if self.policy_due:
            self._policy_step(batch, cloning)
            self.actor.follow(rates.target_rate)
            self.critic.follow(rates.target_rate)
            self.average.take(self._share.value)

    def adopt(self, weights: Tensor) -> None:
        """Go on from other weights of the policy, at rest: target and average are the same.

        Args:
            weights: flat weights of its network.
        """
        for place in (self.actor.weights.value, self.actor.target_weights.value, self.average.value):
            place.copy_(weights)
        for tensor in self.actor.adam.tensors("adam").values():
            tensor.zero_()

    def dial(self, value: float) -> Dial:
        """A number of this learner that the host may change.

        Args:
            value: at the start.
        """
        return Dial(value, self.steady, self.device)

    def tensors(self) -> dict[str, Tensor]:
        """Everything the learner carries from one update to the next, as live tensors."""
        return {**self.actor.tensors("actor"), **self.critic.tensors("critic"), "average": self.average.value}

    @property
    def shown(self) -> dict[str, Tensor]:
        """Means of the last update, which are computed only when they are looked at."""
        return {name: value.mean() for name, value in self._last.items()}

    @shown.setter
    def shown(self, values: dict[str, Tensor]) -> None:
        """Take back values that were saved or repaired, or what a graph gave."""
        self._last = {name: value.to(self.device) for name, value in values.items()}

    def metrics(self) -> dict[str, float]:
        """Numbers for the log, from the last update."""
        return {name: float(value) for name, value in self.shown.items()}

    def finite(self) -> bool:
        """Whether weights and last losses are all finite."""
        weights = self.actor.weights.value, self.critic.weights.value
        return all_finite([*weights, self._last["critic_loss"], self._last["actor_loss"]])

    @property
    def last(self) -> dict[str, Tensor]:
        """What the last update gave to be shown, as it gave it."""
        return dict(self._last)

    def _zeros(self, *names: str) -> dict[str, Tensor]:
        return {name: torch.zeros((), device=self.device) for name in names}

    @abstractmethod
    def _explore(self, phi: Tensor, base: Tensor) -> Tensor:
        """The action of `explore`, on the learner's device."""

    @abstractmethod
    def _critic_step(self, batch: Batch) -> None:
        """One Adam step of the critics."""

    @abstractmethod
    def _policy_step(self, batch: Batch, cloning: Cloning | None) -> None:
        """One Adam step of the policy."""

    @abstractmethod
    def _critic_gradient(self, batch: Batch, *rest: Any) -> Any:
        """Gradient of the critics' loss in their parameters, and what is shown."""

    @abstractmethod
    def _policy_gradient(self, batch: Batch, *rest: Any) -> Any:
        """Gradient of the policy's loss in its parameters, and what is shown."""

    def _actor_gradient(self, passed: Pass, of_heads: Tensor) -> list[Tensor]:
        """Gradient of a loss in the policy's parameters from that in its heads (batch, n_heads)."""
        return self.actor.network.gradient(passed, of_heads.transpose(-1, -2).reshape(passed.out.shape))

    def _action_gradient(self, passed: Pass, of_out: Tensor, of_q: Tensor, batch: Batch, a: Tensor) -> Tensor:
        """Gradient of a loss in the actions, through critics and prior.

        Args:
            passed: the critics' forward pass at these actions.
            of_out: gradient of the loss in its outputs (n_critics, n_out, batch).
            of_q: the part of it in the values (n_critics, batch).
            batch: transitions.
            a: the actions (batch, nu).

        Returns:
            (batch, nu).
        """
        slope = self.critic.network.action_gradient(passed, of_out)
        return with_prior_slope(slope, self.prior, batch.x, a, batch.weight, of_q)
