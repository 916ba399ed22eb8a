"""The networks of several seeds as one, whose weights have a leading dimension."""

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from .networks import Actor, Critic


class StackedLinear(nn.Module):
    """One linear layer a seed, (seeds, batch, in) -> (seeds, batch, out).

    Args:
        layers: the layer of each seed.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers])[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate every seed's layer on its own rows."""
        return torch.baddbmm(self.bias, x, self.weight.transpose(-1, -2))


def stack_actors(actors: Sequence[Actor]) -> Actor:
    """One actor with the weights of all.

    Args:
        actors: the actor of each seed.

    Returns:
        An actor on (seeds, batch, .); its parameters are in the same order.
    """
    stacked = copy.deepcopy(actors[0])
    for name, module in actors[0].named_modules():
        if isinstance(module, nn.Linear):
            layers = [cast("nn.Linear", actor.get_submodule(name)) for actor in actors]
            parent, _, last = name.rpartition(".")
            setattr(stacked.get_submodule(parent), last, StackedLinear(layers))
    return stacked


def stack_critics(critics: Sequence[Critic]) -> Critic:
    """One batch of critics with the weights of all: the first critic of every seed, then the second of every seed.

    Args:
        critics: the critics of each seed.

    Returns:
        Critics on (seeds, batch, .).
    """
    stacked = copy.deepcopy(critics[0])
    for name in ("weights", "biases"):
        for i, own in enumerate(getattr(stacked, name)):
            parts = [getattr(critic, name)[i].detach() for critic in critics]
            own.data = torch.stack(parts, 1).reshape(-1, *own.shape[1:])
    return stacked


def places(network: nn.Module, seeds: int) -> Tensor:
    """Where each seed's own flat weights stand among the stacked ones.

    Args:
        network: the stacked network.
        seeds: number of seeds.

    Returns:
        Indices (seeds, weights of one).
    """
    parts, start = [], 0
    for parameter in network.parameters():
        index = torch.arange(start, start + parameter.numel())
        copies = parameter.shape[0] // seeds if isinstance(network, Critic) else 1
        parts.append(index.view(copies, seeds, -1).transpose(0, 1).reshape(seeds, -1))
        start += parameter.numel()
    return torch.cat(parts, 1)
