"""TD3+BC (Fujimoto and Gu, arXiv 2106.06860): learning from recorded data stays near the recorded actions.

The policy step of the learner gains a behaviour-cloning term (paper eq. 3 to 5),

    loss = lambda L_policy + E[ |mu(x) - a|^2 ],    lambda = alpha / mean |Q(x, mu(x))|,    alpha = 2.5,

with lambda taken as a constant. For TD3 this is the paper; DDPG and DSAC-T take the same term with their own critic.
"""

from typing import NamedTuple

from torch import Tensor

CLONING_ALPHA = 2.5  # paper, section 5
SMALLEST_Q = 1e-6  # a critic that is still zero must not make lambda infinite


class Cloning(NamedTuple):
    """Weight of the critic against the recorded actions.

    Args:
        alpha: alpha; 0 is pure imitation.
    """

    alpha: float = CLONING_ALPHA


def cloning_loss(a: Tensor, recorded: Tensor) -> Tensor:
    """E[ |a - recorded|^2 ].

    Args:
        a: the policy's scaled actions (batch, nu).
        recorded: recorded scaled actions (batch, nu).

    Returns:
        Scalar.
    """
    return (a - recorded).square().sum(-1).mean(-1).sum()


def add_cloning(loss: Tensor, q: Tensor, a: Tensor, recorded: Tensor, cloning: Cloning | None) -> Tensor:
    """Weigh the policy loss and add behaviour cloning; without `cloning` the loss is returned as it is.

    Args:
        loss: the learner's own policy loss.
        q: value of the policy's action (batch,).
        a: the policy's scaled actions (batch, nu).
        recorded: recorded scaled actions (batch, nu).
        cloning: weights, or None.

    Returns:
        Scalar.
    """
    if cloning is None:
        return loss
    return critic_weight(q, cloning) * loss + cloning_loss(a, recorded)


def critic_weight(q: Tensor, cloning: Cloning) -> Tensor:
    """lambda, a constant to the gradient.

    Args:
        q: value of the policy's action (batch,).
        cloning: weights.

    Returns:
        Scalar.
    """
    return cloning.alpha / q.detach().abs().mean().clamp(min=SMALLEST_Q)


def cloning_gradient(a: Tensor, recorded: Tensor) -> Tensor:
    """Gradient of `cloning_loss` in the policy's actions.

    Args:
        a: the policy's scaled actions (batch, nu).
        recorded: recorded scaled actions (batch, nu).

    Returns:
        (batch, nu).
    """
    return (a - recorded) * (2.0 / a.shape[-2])
