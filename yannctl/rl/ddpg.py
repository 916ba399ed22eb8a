r"""DDPG: deep deterministic policy gradient (Lillicrap et al., arXiv 1509.02971, algorithm 1).

One critic, one deterministic policy, a target copy of each; Gaussian exploration instead of the paper's
Ornstein-Uhlenbeck process. The losses are pure functions of tensors, in the paper's order. q is (1, batch), everything
else (batch,). The policy acts in scaled units: a = clamp(law(x) + f(phi(x))), so it starts bitwise at the law; the
clamp's gradient is `clamp.inward`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .clamp import inward
from .cloning import Cloning, add_cloning, cloning_gradient, critic_weight
from .learner import AbstractLearner, check_rates
from .networks import AutomaticGradient, Critic, heads_of
from .replay import Batch
from .trained import with_prior


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

    def __post_init__(self) -> None:
        check_rates("ddpg", self)


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
    """Mean squared error E[(y - Q)^2] (paper, algorithm 1), summed over the critics.

    Args:
        q: critics (n_critics, batch).
        y: targets (batch,).

    Returns:
        Scalar.
    """
    return (y - q).square().mean(-1).sum()


def critic_gradient(q: Tensor, y: Tensor) -> Tensor:
    """Gradient of `critic_loss` in q, -2 (y - Q) / batch.

    Args:
        q: critics (n_critics, batch).
        y: targets (batch,).

    Returns:
        (n_critics, batch).
    """
    return (q - y) * (2.0 / q.shape[-1])


def policy_loss(q: Tensor) -> Tensor:
    """-E[Q(x, mu(x))], whose gradient is the deterministic policy gradient.

    Args:
        q: critics at the policy's action (n_critics, batch); the first counts.

    Returns:
        Scalar.
    """
    return -q[0].mean(-1).sum()


def policy_gradient(q: Tensor) -> Tensor:
    """Gradient of `policy_loss` in q.

    Args:
        q: critics at the policy's action (n_critics, batch).

    Returns:
        (n_critics, batch).
    """
    of_q = torch.zeros_like(q)
    of_q[0] = -1.0 / q.shape[-1]
    return of_q


class Ddpg(AbstractLearner):
    """The learner: critic, policy and their targets."""

    def target(self, batch: Batch, eps: Tensor | None) -> Tensor:
        """Target y of the critic.

        Args:
            batch: transitions.
            eps: noise on the target's action; DDPG has none.

        Returns:
            (batch,).
        """
        a1 = self.actor.target.mean(batch.phi1, batch.base1).clamp(-1.0, 1.0)
        q1 = self._value(self.critic.target, batch.x1, batch.phi1, a1, batch.weight1)
        return value_target(batch.reward, batch.live, q1, self.gamma)

    def target_noise(self, batch: Batch) -> Tensor | None:
        """Noise on the target's action, or None; it is drawn outside what may be compiled.

        Args:
            batch: transitions.
        """
        return None

    def _explore(self, phi: Tensor, base: Tensor) -> Tensor:
        """The policy's action plus noise, clamped to the box."""
        mean = self.actor.network.mean(phi, base).clamp(-1.0, 1.0)
        return (mean + self.settings.std * self.noise(mean.shape)).clamp(-1.0, 1.0)

    def _critic_step(self, batch: Batch) -> None:
        gradient, q, loss = self._critic_terms(batch, self.target_noise(batch))
        self.critic.descend(gradient)
        self._last.update(critic_loss=loss, q=q)

    def _policy_step(self, batch: Batch, cloning: Cloning | None) -> None:
        gradient, loss = self._policy_terms(batch, cloning)
        self.actor.descend(gradient)
        self._last.update(actor_loss=loss)

    def _critic_gradient(self, batch: Batch, eps: Tensor | None) -> tuple[list[Tensor], Tensor, Tensor]:
        """Gradient of the critics' loss in their parameters, their values, and the loss."""
        y = self.target(batch, eps)
        passed = self.critic.network.forward_pass(batch.phi, batch.a)
        q = with_prior(passed.out.detach().reshape(-1, *y.shape), self.prior, batch.x, batch.a, batch.weight)
        gradient = self.critic.network.gradient(passed, critic_gradient(q, y))
        return gradient, q, critic_loss(q, y)

    def _policy_gradient(self, batch: Batch, cloning: Cloning | None) -> tuple[list[Tensor], Tensor]:
        """Gradient of the policy's loss in its parameters, and the loss."""
        actor = self.actor.network
        passed = actor.forward_pass(batch.phi)
        heads = heads_of(passed.out.detach(), batch.phi)
        mean = actor.mean_of(heads, batch.base)
        a = mean.clamp(-1.0, 1.0)
        seen = self.critic.network.forward_pass(batch.phi, a)
        raw = seen.out.detach().reshape(-1, *mean.shape[:-1])
        q = with_prior(raw, self.prior, batch.x, a, batch.weight)
        of_q = policy_gradient(q)
        if cloning is not None:
            of_q = of_q * critic_weight(q[0], cloning)
        of_a = self._action_gradient(seen, of_q[..., None, :], of_q, batch, a)
        if cloning is not None:
            of_a = of_a + cloning_gradient(a, batch.a)
        of_heads = actor.mean_gradient(heads, batch.base, inward(of_a, mean - a))
        return self._actor_gradient(passed, of_heads), add_cloning(policy_loss(q), q[0], a, batch.a, cloning)

    def _value(self, critic: Critic | AutomaticGradient, x: Tensor, phi: Tensor, a: Tensor, weight: Tensor) -> Tensor:
        """The values (n_critics, batch)."""
        return with_prior(critic(phi, a)[..., 0], self.prior, x, a, weight)
