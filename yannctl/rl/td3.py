r"""TD3: twin delayed deep deterministic policy gradient (Fujimoto, van Hoof and Meger, arXiv 1802.09477, algorithm 1).

Against DDPG: the lower of two critics in the target, noise on the target's action, and a policy that moves less often.
The losses are pure functions of tensors, in the paper's order. q is (2, batch), everything else (batch,); with several
seeds stacked (2, seeds, batch) and (seeds, batch). All actions are scaled to [-1, 1], so the paper's noise, meant for
that box, is right for every input range. The policy is a = clamp(law(x) + f(phi(x))), so it starts bitwise at the law;
the clamp's gradient is `networks.InwardClamp`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .cloning import Cloning, add_cloning
from .networks import Actor, Critic, Prior, inward_clamp
from .replay import Batch
from .trained import Average, Noise, Trained, all_finite, with_prior


@dataclass(frozen=True)
class Td3Settings:
    """Settings of TD3.

    Args:
        actor_rate: Adam rate of the policy (paper 1e-3).
        critic_rate: Adam rate of the critics (paper 1e-3).
        std: standard deviation of the Gaussian exploration, in half ranges of the input (paper 0.1).
        target_std: standard deviation of the noise on the target's action, in half ranges (paper 0.2).
        target_clip: bound of that noise, in half ranges (paper 0.5).
        target_rate: Polyak rate of the target networks (paper 0.005).
        average_rate: rate of the running average of the policy's weights, the gate's second candidate.
        delay: the policy and the targets move once every so many critic steps (paper 2).
    """

    actor_rate: float = 1e-3
    critic_rate: float = 1e-3
    std: float = 0.1
    target_std: float = 0.2
    target_clip: float = 0.5
    target_rate: float = 0.005
    average_rate: float = 0.002
    delay: int = 2


def smoothed_action(mean: Tensor, noise: Tensor, std: float, clip: float) -> Tensor:
    """Target action clamp(mu'(x1) + clip(std eps, -c, c)) (paper eq. 14).

    Args:
        mean: the target policy's action (batch, nu).
        noise: standard normal eps (batch, nu).
        std: standard deviation of the noise.
        clip: its bound c.

    Returns:
        (batch, nu), inside the box.
    """
    return (mean + (std * noise).clamp(-clip, clip)).clamp(-1.0, 1.0)


def value_target(reward: Tensor, live: Tensor, q: Tensor, gamma: float) -> Tensor:
    """Target y = r + gamma live min_i Q'_i(x1, a1) (paper eq. 10).

    Args:
        reward: scaled rewards (batch,).
        live: 0 where x1 is terminal, 1 otherwise, also at a time limit (batch,).
        q: target critics at x1 and the smoothed action (2, batch).
        gamma: discount factor.

    Returns:
        (batch,).
    """
    return reward + gamma * live * torch.minimum(q[0], q[1])


def critic_loss(q: Tensor, y: Tensor) -> Tensor:
    """Sum over the critics of E[(y - Q_i)^2].

    Args:
        q: critics (2, batch).
        y: targets (batch,).

    Returns:
        Scalar.
    """
    return (y - q).square().mean(-1).sum()


def policy_loss(q: Tensor) -> Tensor:
    """-E[Q_1(x, mu(x))], whose gradient is the deterministic policy gradient.

    Args:
        q: critics at the policy's action (2, batch); only the first counts.

    Returns:
        Scalar.
    """
    return -q[0].mean(-1).sum()


class Td3:
    """The learner: two critics, a policy, their targets, and one `update`.

    Args:
        actor: the policy network; its mean is the law at the start.
        critic: two critics with one output each.
        settings: rates and constants.
        gamma: discount factor.
        noise: source of all noise of the learner.
        prior: value (x, a, weight) -> (batch,) in scaled rewards that the networks only correct, or None.
        compiled: whether torch compiles both losses on their first use.
    """

    def __init__(
        self,
        actor: Actor,
        critic: Critic,
        settings: Td3Settings,
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
        eps = self.noise(batch.base1.shape)
        loss, q = self._critic_terms(batch, eps)
        self.critic.descend(loss)
        self._last.update(critic_loss=loss.detach(), q=q)

    def _policy_step(self, batch: Batch, cloning: Cloning | None) -> None:
        self.critic.network.requires_grad_(False)
        loss = self._policy_terms(batch, cloning)
        self.actor.descend(loss)
        self.critic.network.requires_grad_(True)
        self._last.update(actor_loss=loss.detach())

    def _critic_loss(self, batch: Batch, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the critics, and their values."""
        with torch.no_grad():
            mean = self.actor.target.mean(batch.phi1, batch.base1).clamp(-1.0, 1.0)
            a1 = smoothed_action(mean, eps, self.settings.target_std, self.settings.target_clip)
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
        """The values, (2, batch)."""
        return with_prior(critic(phi, a)[..., 0], self.prior, x, a, weight)
