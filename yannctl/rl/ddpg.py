r"""DDPG: deep deterministic policy gradient (Lillicrap et al., arXiv 1509.02971, algorithm 1).

One critic, one deterministic policy, a target copy of each; Gaussian exploration instead of the paper's
Ornstein-Uhlenbeck process. The losses are pure functions of tensors, in the paper's order. q is (1, batch), everything
else (batch,). The policy acts in scaled units: a = clamp(law(x) + f(phi(x))), so it starts bitwise at the law; the
clamp's gradient is `networks.InwardClamp`.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from .networks import Actor, Adam, Critic, FlatWeights, Prior, inward_clamp
from .replay import Batch


@dataclass(frozen=True)
class DdpgSettings:
    """Settings of DDPG.

    Args:
        actor_rate: Adam rate of the policy.
        critic_rate: Adam rate of the critic.
        std: standard deviation of the Gaussian exploration, in half ranges of the input.
        target_rate: Polyak rate of the target networks.
        average_rate: rate of the running average of the policy's weights, the gate's second candidate.
        delay: the policy and the targets move once every so many critic steps (1 in the paper, 2 in TD3).
    """

    actor_rate: float = 1e-3
    critic_rate: float = 1e-3
    std: float = 0.1
    target_rate: float = 0.01
    average_rate: float = 0.002
    delay: int = 2


def value_target(reward: Tensor, live: Tensor, q: Tensor, gamma: float) -> Tensor:
    """Target y = r + gamma live Q'(x1, mu'(x1)).

    Args:
        reward: scaled rewards (batch,).
        live: 0 where x1 is terminal, 1 otherwise, also at a time limit (batch,).
        q: target critic at x1 and the target policy's action (1, batch).
        gamma: discount factor.

    Returns:
        (batch,).
    """
    return reward + gamma * live * q[0]


def critic_loss(q: Tensor, y: Tensor) -> Tensor:
    """Mean squared error E[(y - Q)^2].

    Args:
        q: critic (1, batch).
        y: targets (batch,).

    Returns:
        Scalar.
    """
    return (y - q).square().mean()


def policy_loss(q: Tensor) -> Tensor:
    """-E[Q(x, mu(x))], whose gradient is the deterministic policy gradient.

    Args:
        q: critic at the policy's action (1, batch).

    Returns:
        Scalar.
    """
    return -q.mean()


class Ddpg:
    """The learner: critic, policy and their targets, and one `update`.

    Args:
        actor: the policy network; its mean is the law at the start.
        critic: one critic with one output.
        settings: rates and constants.
        gamma: discount factor.
        generator: source of all noise of the learner.
        prior: value (x, a, weight) -> (batch,) in scaled rewards that the network only corrects, or None.
    """

    def __init__(
        self,
        actor: Actor,
        critic: Critic,
        settings: DdpgSettings,
        gamma: float,
        generator: torch.Generator,
        prior: Prior | None = None,
    ) -> None:
        self.settings, self.gamma, self.generator, self.prior = settings, gamma, generator, prior
        self.actor, self.critic = actor, critic
        self.target_actor, self.target_critic = copy.deepcopy(actor), copy.deepcopy(critic)
        self.actor_weights, self.critic_weights = FlatWeights(actor), FlatWeights(critic)
        self.target_actor_weights = FlatWeights(self.target_actor)
        self.target_critic_weights = FlatWeights(self.target_critic)
        self.actor_adam = Adam(self.actor_weights.value, settings.actor_rate)
        self.critic_adam = Adam(self.critic_weights.value, settings.critic_rate)
        self.average = self.actor_weights.value.data.clone()
        self.updates = 0
        self.shown = {name: torch.zeros(()) for name in ("critic_loss", "actor_loss", "q")}

    def explore(self, phi: Tensor, base: Tensor) -> Tensor:
        """The policy's action plus noise, clamped to the box.

        Args:
            phi: features (1, n_features).
            base: the law's scaled action (1, nu).

        Returns:
            Scaled action (1, nu).
        """
        with torch.no_grad():
            mean = self.actor.mean(phi, base).clamp(-1.0, 1.0)
            noise = torch.randn(mean.shape, generator=self.generator)
            return (mean + self.settings.std * noise).clamp(-1.0, 1.0)

    def update(self, batch: Batch) -> None:
        """One critic step, and every `delay` of them one step of policy and targets."""
        self._critic_step(batch)
        self.updates += 1
        if self.updates % self.settings.delay == 0:
            self._policy_step(batch)
            self.target_actor_weights.follow(self.actor_weights, self.settings.target_rate)
            self.target_critic_weights.follow(self.critic_weights, self.settings.target_rate)
            # An average over the first steps would remember the start too long, so its rate falls from 1.
            steps = self.updates // self.settings.delay
            self.average.lerp_(self.actor_weights.value.data, max(self.settings.average_rate, 1.0 / steps))

    def tensors(self) -> dict[str, Tensor]:
        """Everything the learner carries from one update to the next, as live tensors."""
        return {
            "actor": self.actor_weights.value.data,
            "critic": self.critic_weights.value.data,
            "target_actor": self.target_actor_weights.value.data,
            "target_critic": self.target_critic_weights.value.data,
            "average": self.average,
            **self.actor_adam.tensors("actor_adam"),
            **self.critic_adam.tensors("critic_adam"),
        }

    def metrics(self) -> dict[str, float]:
        """Numbers for the log, from the last update."""
        return {name: float(value) for name, value in self.shown.items()}

    def finite(self) -> bool:
        """Whether weights and last losses are all finite."""
        parts = [self.actor_weights.value.data.sum(), self.critic_weights.value.data.sum()]
        return bool(torch.stack([*parts, self.shown["critic_loss"], self.shown["actor_loss"]]).isfinite().all())

    def _critic_step(self, batch: Batch) -> None:
        with torch.no_grad():
            a1 = self.target_actor.mean(batch.phi1, batch.base1).clamp(-1.0, 1.0)
            q1 = self._value(self.target_critic, batch.x1, batch.phi1, a1, batch.weight1)
            y = value_target(batch.reward, batch.live, q1, self.gamma)
        q = self._value(self.critic, batch.x, batch.phi, batch.a, batch.weight)
        loss = critic_loss(q, y)
        self.critic_weights.zero_grad()
        loss.backward()
        self.critic_adam.step()
        self.shown.update(critic_loss=loss.detach(), q=q.detach().mean())

    def _policy_step(self, batch: Batch) -> None:
        a = inward_clamp(self.actor.mean(batch.phi, batch.base))
        self.critic.requires_grad_(False)
        loss = policy_loss(self._value(self.critic, batch.x, batch.phi, a, batch.weight))
        self.actor_weights.zero_grad()
        loss.backward()
        self.critic.requires_grad_(True)
        self.actor_adam.step()
        self.shown.update(actor_loss=loss.detach())

    def _value(self, critic: Critic, x: Tensor, phi: Tensor, a: Tensor, weight: Tensor) -> Tensor:
        """The value, (1, batch)."""
        q = critic(phi, a)[..., 0]
        return q if self.prior is None else q + self.prior(x, a, weight)
