r"""TD3: twin delayed deep deterministic policy gradient (Fujimoto, van Hoof and Meger, arXiv 1802.09477, algorithm 1).

TD3 is DDPG (`ddpg`, whose losses it keeps, the policy climbing the first critic) with three changes: the lower of two
critics in the target, noise on the target's action, and a policy that moves less often. q is (2, batch), everything
else (batch,); with several seeds stacked (2, seeds, batch) and (seeds, batch). All actions are scaled to [-1, 1], so
the paper's noise, meant for that box, is right for every input range.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .ddpg import Ddpg
from .learner import check_rates
from .replay import Batch


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

    def __post_init__(self) -> None:
        check_rates("td3", self)


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


class Td3(Ddpg):
    """The learner: two critics, a policy and their targets."""

    def target(self, batch: Batch, eps: Tensor | None) -> Tensor:
        """Target y of the critics.

        Args:
            batch: transitions.
            eps: noise on the target's action (batch, nu).

        Returns:
            (batch,).
        """
        assert eps is not None
        mean = self.actor.target.mean(batch.phi1, batch.base1).clamp(-1.0, 1.0)
        a1 = smoothed_action(mean, eps, self.settings.target_std, self.settings.target_clip)
        q1 = self._value(self.critic.target, batch.x1, batch.phi1, a1, batch.weight1)
        return value_target(batch.reward, batch.live, q1, self.gamma)

    def target_noise(self, batch: Batch) -> Tensor | None:
        """Standard normal numbers (batch, nu), as `Ddpg.target_noise` says.

        Args:
            batch: transitions.
        """
        return self.noise(batch.base1.shape)
