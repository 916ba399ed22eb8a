"""Stochastic policies of DSAC-T: how standard normal noise becomes an action, and the units of its log pi.

**How a stochastic policy starts exactly at the law.** A tanh-Gaussian cannot: atanh is infinite at the input bound,
where the law saturates, and tanh(atanh(a)) is not a bit for bit. `ClampedGaussian` is a Gaussian *before* the clamp,

    v = mean(x) + std(x) eps,    a = clamp(v, -1, 1),    mean(x) = law(x) + f(phi(x)),    f = 0 at the start,

so that the deterministic action clamp(mean) is bitwise the law. The clamp belongs to the plant: v is the action of the
maximum-entropy problem, its density is the plain Gaussian's and **no Jacobian is needed**:

    log pi = sum_j ( -eps_j^2 / 2 - log std_j - log(2 pi) / 2 )    in scaled units (half ranges).

The target entropy is that of a standard deviation asked for in half ranges, H = log(std) + log(2 pi e) / 2 an input;
the paper's H = -1 is std = 0.089, in every plant alike. The gradient of the clamp: `networks.InwardClamp`.

`TanhGaussian` is the paper's policy, a = tanh(f + std eps), whose log pi the authors' code gives in the *physical*
units of the input, so that its Jacobian holds the half ranges:

    log pi = gaussian - sum_j log( half_range_j (1 - a_j^2 + 1e-6) ).
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .networks import Actor, inward_clamp

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
TANH_EPSILON = 1e-6  # inside the logarithm of the tanh's derivative; authors' code


def gaussian_log_density(noise: Tensor, log_std: Tensor) -> Tensor:
    """Give log pi of v = mean + std eps, summed over the inputs.

    Args:
        noise: the standard normal eps (batch, nu).
        log_std: logarithm of the standard deviation (batch, nu).

    Returns:
        (batch,).
    """
    return (-0.5 * noise * noise - log_std - HALF_LOG_2PI).sum(-1)


def gaussian_entropy(std: float) -> float:
    """Entropy H = log(std) + log(2 pi e) / 2 of one input's exploration [nat].

    Args:
        std: standard deviation.

    Returns:
        H.
    """
    return math.log(std) + HALF_LOG_2PI + 0.5


class AbstractPolicy(ABC):
    """A reparametrised stochastic policy; `units` says in which units of the action its log pi is."""

    units: str

    @abstractmethod
    def sample(self, actor: Actor, heads: Tensor, base: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Make actions of noise, with their log pi, differentiable in the heads.

        Args:
            actor: the network.
            heads: its output (batch, 2 nu).
            base: the law's scaled actions (batch, nu).
            eps: standard normal numbers (batch, nu).

        Returns:
            Scaled actions (batch, nu) and log pi (batch,).
        """


class ClampedGaussian(AbstractPolicy):
    """a = clamp(mean + std eps), log pi that of the Gaussian before the clamp, in half ranges."""

    units = "half ranges of the input, before the clamp"

    def sample(self, actor: Actor, heads: Tensor, base: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Make actions with their log pi, as `AbstractPolicy.sample` says."""
        mean, log_std = actor.distribution(heads, base)
        return inward_clamp(mean + log_std.exp() * eps), gaussian_log_density(eps, log_std)


class TanhGaussian(AbstractPolicy):
    """a = tanh(f + std eps) on a network without a law, log pi in physical units.

    Args:
        half: half ranges of the inputs (nu,) [physical units].
    """

    units = "physical units of the input"

    def __init__(self, half: Tensor) -> None:
        self.log_half = half.float().log().sum()

    def sample(self, actor: Actor, heads: Tensor, base: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Make actions with their log pi, as `AbstractPolicy.sample` says; the base has no part in it."""
        raw, log_std = actor.raw_distribution(heads)
        a = torch.tanh(raw + log_std.exp() * eps)
        jacobian = torch.log(1.0 - a * a + TANH_EPSILON).sum(-1) + self.log_half
        return a, gaussian_log_density(eps, log_std) - jacobian
