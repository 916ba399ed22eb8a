"""Stochastic policies of DSAC-T: how standard normal noise becomes an action, and the units of its log pi.

**How a stochastic policy starts exactly at the law.** A tanh-Gaussian cannot: atanh is infinite at the input bound,
where the law saturates, and tanh(atanh(a)) is not a bit for bit. `ClampedGaussian` is a Gaussian *before* the clamp,

    v = mean(x) + std(x) eps,    a = clamp(v, -1, 1),    mean(x) = law(x) + f(phi(x)),    f = 0 at the start,

so that the deterministic action clamp(mean) is bitwise the law. The clamp belongs to the plant: v is the action of the
maximum-entropy problem, its density is the plain Gaussian's and **no Jacobian is needed**:

    log pi = sum_j ( -eps_j^2 / 2 - log std_j - log(2 pi) / 2 )    in scaled units (half ranges).

The target entropy is that of a standard deviation asked for in half ranges, H = log(std) + log(2 pi e) / 2 an input;
the paper's H = -1 is std = 0.089, in every plant alike. The gradient of the clamp: `clamp.InwardClamp`.

`TanhGaussian` is the paper's policy, a = tanh(f + std eps), whose log pi the authors' code gives in the *physical*
units of the input, so that its Jacobian holds the half ranges:

    log pi = gaussian - sum_j log( half_range_j (1 - a_j^2 + 1e-6) ).
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from .clamp import inward
from .networks import LOG_STD_MAX, LOG_STD_MIN, Actor

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


class Sample(NamedTuple):
    """Actions drawn from a policy.

    Args:
        a: scaled actions (batch, nu).
        log_prob: their log pi (batch,).
        tanh: tanh of the residual f, or the action itself where the tanh is the last step (batch, nu).
        scatter: std eps (batch, nu).
        excess: how far each was outside the box before its clamp (batch, nu).
    """

    a: Tensor
    log_prob: Tensor
    tanh: Tensor
    scatter: Tensor
    excess: Tensor


class AbstractPolicy(ABC):
    """A reparametrised stochastic policy; `units` says in which units of the action its log pi is."""

    units: str

    @abstractmethod
    def sample(self, actor: Actor, heads: Tensor, base: Tensor, eps: Tensor) -> Sample:
        """Make actions of noise, with their log pi.

        Args:
            actor: the network.
            heads: its output (batch, 2 nu).
            base: the law's scaled actions (batch, nu).
            eps: standard normal numbers (batch, nu).

        Returns:
            The actions.
        """

    @abstractmethod
    def gradient(self, actor: Actor, heads: Tensor, sample: Sample, of_a: Tensor, of_log_prob: Tensor) -> Tensor:
        """Gradient of a loss in the heads, the noise held.

        Args:
            actor: the network.
            heads: its output (batch, 2 nu).
            sample: what `sample` made of them.
            of_a: gradient of the loss in the actions (batch, nu).
            of_log_prob: in their log pi (batch,) or a scalar.

        Returns:
            (batch, 2 nu).
        """


class ClampedGaussian(AbstractPolicy):
    """a = clamp(mean + std eps), log pi that of the Gaussian before the clamp, in half ranges."""

    units = "half ranges of the input, before the clamp"

    def sample(self, actor: Actor, heads: Tensor, base: Tensor, eps: Tensor) -> Sample:
        """Make actions with their log pi, as `AbstractPolicy.sample` says."""
        f, log_std = actor.raw_distribution(heads)
        tanh, scatter = torch.tanh(f), log_std.exp() * eps
        v = base + actor.reach * tanh + scatter
        a = v.clamp(-1.0, 1.0)
        return Sample(a, gaussian_log_density(eps, log_std), tanh, scatter, v - a)

    def gradient(self, actor: Actor, heads: Tensor, sample: Sample, of_a: Tensor, of_log_prob: Tensor) -> Tensor:
        """Gradient in the heads, as `AbstractPolicy.gradient` says."""
        of_v = inward(of_a, sample.excess)
        of_f = of_v * (actor.reach * (1.0 - sample.tanh * sample.tanh))
        return torch.cat((of_f, held(heads, of_v * sample.scatter - of_log_prob[..., None])), -1)


class TanhGaussian(AbstractPolicy):
    """a = tanh(f + std eps) on a network without a law, log pi in physical units.

    Args:
        half: half ranges of the inputs (nu,) [physical units].
    """

    units = "physical units of the input"

    def __init__(self, half: Tensor) -> None:
        self.log_half = half.float().log().sum()

    def sample(self, actor: Actor, heads: Tensor, base: Tensor, eps: Tensor) -> Sample:
        """Make actions with their log pi, as `AbstractPolicy.sample` says; the base has no part in it."""
        raw, log_std = actor.raw_distribution(heads)
        scatter = log_std.exp() * eps
        a = torch.tanh(raw + scatter)
        jacobian = torch.log(1.0 - a * a + TANH_EPSILON).sum(-1) + self.log_half
        return Sample(a, gaussian_log_density(eps, log_std) - jacobian, a, scatter, torch.zeros_like(a))

    def gradient(self, actor: Actor, heads: Tensor, sample: Sample, of_a: Tensor, of_log_prob: Tensor) -> Tensor:
        """Gradient in the heads, as `AbstractPolicy.gradient` says."""
        a, of_log_prob = sample.a, of_log_prob[..., None]
        slope = 1.0 - a * a
        of_v = slope * (of_a + of_log_prob * (2.0 * a / (slope + TANH_EPSILON)))
        return torch.cat((of_v, held(heads, of_v * sample.scatter - of_log_prob)), -1)


def held(heads: Tensor, grad: Tensor) -> Tensor:
    """Zero where the limits hold the logarithm of the standard deviation.

    Args:
        heads: output of the network (batch, 2 nu).
        grad: gradient of a loss in the logarithm (batch, nu).

    Returns:
        The same shape.
    """
    raw = heads[..., grad.shape[-1] :]
    return grad.masked_fill((raw < LOG_STD_MIN) | (raw > LOG_STD_MAX), 0.0)
