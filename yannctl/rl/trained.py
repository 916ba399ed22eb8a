"""A network in training with what belongs to it: flat weights, a slowly following target, an optimiser.

DDPG, TD3 and DSAC-T differ in their losses; what they carry from one update to the next is the same, and is here.
"""

import copy
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from .descent import FlatWeights, adam
from .networks import Actor, Prior

Network = TypeVar("Network", bound=nn.Module)


class Trained(Generic[Network]):
    """A network, its target copy, and Adam on its flat weights.

    Args:
        network: the network.
        rate: Adam rate.
        steady: whether the step is one that a graph can repeat.
    """

    def __init__(self, network: Network, rate: float, steady: bool = False) -> None:
        self.network, self.target = network, copy.deepcopy(network)
        self.weights, self.target_weights = FlatWeights(network), FlatWeights(self.target)
        for part in (network, self.target):
            if isinstance(part, Actor):
                part.settle()
        self.adam = adam(self.weights.value, rate, steady)

    def descend(self, gradient: Sequence[Tensor]) -> None:
        """One Adam step.

        Args:
            gradient: gradient of the loss in every parameter of the network, in the order of `parameters()`.
        """
        self.adam.step(torch.ops.aten.flatten_dense_tensors(gradient))  # one call for a reshape of each and a cat

    def follow(self, rate: float) -> None:
        """Polyak step of the target: target <- (1 - rate) target + rate weights.

        Args:
            rate: tau.
        """
        self.target_weights.follow(self.weights, rate)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The live state, to be saved and restored in place.

        Args:
            name: prefix of the names.

        Returns:
            Weights, target weights, moments and count.
        """
        return {
            name: self.weights.value,
            f"target_{name}": self.target_weights.value,
            **self.adam.tensors(f"{name}_adam"),
        }


class Average:
    """Running average of a policy's weights, the gate's second candidate.

    Its rate falls from 1, since an average over the first steps would remember the start too long.

    Args:
        weights: the policy's flat weights.
        rate: the rate it falls to.
    """

    def __init__(self, weights: FlatWeights, rate: float) -> None:
        self.weights, self.rate = weights, rate
        self.value = weights.value.clone()

    def share(self, steps: int) -> float:
        """The rate of a step.

        Args:
            steps: policy steps done, this one included.

        Returns:
            max(rate, 1 / steps).
        """
        return max(self.rate, 1.0 / steps)

    def take(self, share: float | Tensor) -> None:
        """Take the present weights into the average.

        Args:
            share: their share of it, from `share`.
        """
        self.value.lerp_(self.weights.value, share)


class Noise:
    """Standard normal numbers, from one generator or, with stacked seeds, from one a seed.

    Args:
        generators: one generator, or one for each seed of the stack.
        seeds: number of seeds of a stack whose numbers come from one generator.
    """

    def __init__(self, *generators: torch.Generator, seeds: int = 1) -> None:
        self.generators, self.seeds = generators, max(seeds, len(generators))

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Draw numbers of a shape; with several generators its first size is their number."""
        if len(self.generators) == 1:
            (only,) = self.generators
            return torch.randn(tuple(shape), generator=only, device=only.device)
        return torch.stack([torch.randn(tuple(shape)[1:], generator=g, device=g.device) for g in self.generators])


def all_finite(parts: Sequence[Tensor]) -> bool:
    """Whether every number of every tensor is finite, with one read of the device.

    Args:
        parts: tensors of any shape.

    Returns:
        True if no sum of a tensor is NaN or infinite.
    """
    return bool(torch.stack([part.sum() for part in parts]).isfinite().all())


def with_prior(q: Tensor, prior: Prior | None, x: Tensor, a: Tensor, weight: Tensor) -> Tensor:
    """Add the exact critic to the learned correction.

    Args:
        q: learned part (n_critics, batch).
        prior: the exact critic in scaled rewards, or None.
        x: states (batch, nx).
        a: scaled actions (batch, nu).
        weight: weight of the exact critic (batch,).

    Returns:
        (n_critics, batch).
    """
    return q if prior is None else q + prior(x, a, weight)


def with_prior_slope(slope: Tensor, prior: Prior | None, x: Tensor, a: Tensor, weight: Tensor, of_q: Tensor) -> Tensor:
    """Add what the exact critic does to the gradient of a loss in the actions.

    Args:
        slope: gradient through the learned correction (batch, nu).
        prior: the exact critic in scaled rewards, or None.
        x: states (batch, nx).
        a: scaled actions (batch, nu).
        weight: weight of the exact critic (batch,).
        of_q: gradient of the loss in the values (n_critics, batch).

    Returns:
        (batch, nu).
    """
    if prior is None:
        return slope
    with torch.enable_grad():
        leaf = a.detach().requires_grad_()
        value = prior(x, leaf, weight)
    return slope + torch.autograd.grad(value, leaf, of_q.sum(0))[0]
