r"""DDPG: deep deterministic policy gradient (Lillicrap et al., arXiv 1509.02971, algorithm 1).

One critic, one deterministic policy, a target copy of each; Gaussian exploration instead of the paper's
Ornstein-Uhlenbeck process. The losses are pure functions of tensors, in the paper's order. q is (1, batch), everything
else (batch,). The policy acts in scaled units: a = clamp(law(x) + f(phi(x))), so it starts bitwise at the law; the
clamp's gradient is `networks.InwardClamp`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .cloning import Cloning, add_cloning
from .networks import Actor, Critic, Prior, inward_clamp
from .replay import Batch
from .trained import Average, Noise, Trained, all_finite, with_prior


@dataclass(frozen=True)
class DdpgSettings:
    """Settings of DDPG.

    Args:
        actor_rate: Adam rate of the policy (paper 1e-4).
        critic_rate: Adam rate of the critic (paper 1e-3).
        std: standard deviation of the Gaussian exploration, in half ranges of the input (0.1 is common; the paper's
            process has 0.2).
        target_rate: Polyak rate of the target networks (paper 0.001).
        average_rate: rate of the running average of the policy's weights, the gate's second candidate.
        delay: the policy and the targets move once every so many critic steps (1 in the paper, 2 in TD3; 2 is the
            package's measured recipe).
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
    """Mean squared error E[(y - Q)^2] (paper, algorithm 1).

    Args:
        q: critic (1, batch).
        y: targets (batch,).

    Returns:
        Scalar.
    """
    return (y - q).square().mean(-1).sum()


def policy_loss(q: Tensor) -> Tensor:
    """-E[Q(x, mu(x))], whose gradient is the deterministic policy gradient.

    Args:
        q: critic at the policy's action (1, batch).

    Returns:
        Scalar.
    """
    return -q.mean(-1).sum()


class Ddpg:
    """The learner: critic, policy and their targets, and one `update`.

    Args:
        actor: the policy network; its mean is the law at the start.
        critic: one critic with one output.
        settings: rates and constants.
        gamma: discount factor.
        noise: source of all noise of the learner.
        prior: value (x, a, weight) -> (batch,) in scaled rewards that the network only corrects, or None.
        compiled: whether torch compiles both losses on their first use.
    """

    def __init__(
        self,
        actor: Actor,
        critic: Critic,
        settings: DdpgSettings,
        gamma: float,
        noise: Noise,
        prior: Prior | None = None,
        compiled: bool = False,
    ) -> None:
        self.settings, self.gamma, self.noise, self.prior = settings, gamma, noise, prior
        self.actor, self.critic = Trained(actor, settings.actor_rate), Trained(critic, settings.critic_rate)
        self.average = Average(self.actor.weights, settings.average_rate)
        self.updates = 0
        self._last = {name: torch.zeros(()) for name in ("critic_loss", "actor_loss", "q")}
        self._critic_terms = torch.compile(self._critic_loss) if compiled else self._critic_loss
        self._policy_terms = torch.compile(self._policy_loss) if compiled else self._policy_loss

    def explore(self, phi: Tensor, base: Tensor) -> Tensor:
        """The policy's action plus noise, clamped to the box.

        Args:
            phi: features (n, n_features).
            base: the law's scaled action (n, nu).

        Returns:
            Scaled action (n, nu).
        """
        with torch.no_grad():
            mean = self.actor.network.mean(phi, base).clamp(-1.0, 1.0)
            return (mean + self.settings.std * self.noise(mean.shape)).clamp(-1.0, 1.0)

    def update(self, batch: Batch, cloning: Cloning | None = None) -> None:
        """One critic step, and every `delay` of them one step of policy and targets.

        Args:
            batch: transitions.
            cloning: weights of behaviour cloning while pre-training on recorded data, or None.
        """
        self._critic_step(batch)
        self.updates += 1
        if self.updates % self.settings.delay == 0:
            self._policy_step(batch, cloning)
            self.actor.follow(self.settings.target_rate)
            self.critic.follow(self.settings.target_rate)
            self.average.take(self.updates // self.settings.delay)

    def tensors(self) -> dict[str, Tensor]:
        """Everything the learner carries from one update to the next, as live tensors."""
        return {**self.actor.tensors("actor"), **self.critic.tensors("critic"), "average": self.average.value}

    @property
    def shown(self) -> dict[str, Tensor]:
        """Means of the last update, which are computed only when they are looked at."""
        return {name: value.mean() for name, value in self._last.items()}

    @shown.setter
    def shown(self, values: dict[str, Tensor]) -> None:
        """Take back values that were saved or repaired."""
        self._last = dict(values)

    def metrics(self) -> dict[str, float]:
        """Numbers for the log, from the last update."""
        return {name: float(value) for name, value in self.shown.items()}

    def finite(self) -> bool:
        """Whether weights and last losses are all finite."""
        weights = self.actor.weights.value.data, self.critic.weights.value.data
        return all_finite([*weights, self._last["critic_loss"], self._last["actor_loss"]])

    def _critic_step(self, batch: Batch) -> None:
        loss, q = self._critic_terms(batch)
        self.critic.descend(loss)
        self._last.update(critic_loss=loss.detach(), q=q)

    def _policy_step(self, batch: Batch, cloning: Cloning | None) -> None:
        self.critic.network.requires_grad_(False)
        loss = self._policy_terms(batch, cloning)
        self.actor.descend(loss)
        self.critic.network.requires_grad_(True)
        self._last.update(actor_loss=loss.detach())

    def _critic_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss of the critic, and its values."""
        with torch.no_grad():
            a1 = self.actor.target.mean(batch.phi1, batch.base1).clamp(-1.0, 1.0)
            q1 = self._value(self.critic.target, batch.x1, batch.phi1, a1, batch.weight1)
            y = value_target(batch.reward, batch.live, q1, self.gamma)
        q = self._value(self.critic.network, batch.x, batch.phi, batch.a, batch.weight)
        return critic_loss(q, y), q.detach()

    def _policy_loss(self, batch: Batch, cloning: Cloning | None) -> Tensor:
        """Loss of the policy."""
        a = inward_clamp(self.actor.network.mean(batch.phi, batch.base))
        q = self._value(self.critic.network, batch.x, batch.phi, a, batch.weight)
        return add_cloning(policy_loss(q), q[0], a, batch.a, cloning)

    def _value(self, critic: Critic, x: Tensor, phi: Tensor, a: Tensor, weight: Tensor) -> Tensor:
        """The value, (1, batch)."""
        return with_prior(critic(phi, a)[..., 0], self.prior, x, a, weight)
