"""The published YANN actor with its trainable additions: beside each region's law a small tanh network, summed with it.

Source: Braniff and Tian, arXiv:2508.16474, section 4.1 and figure 4; the layout of the additions is recovered from the
printed parameter counts (12 880 and 3416 trainable, for 7 regions of 16 and of 8 nodes): one tanh layer of p k nodes
with bias, a second tanh layer of p k nodes, dense across the regions, without bias, whose k nodes of region i are added
to law i before the suppression. The layers that find the region (step, indicator, first match) are not trained.

Two things differ. The text's proof of a zero start sums the pre-activations of a +- pair before the tanh; in the layer
as drawn the pair gives (t, -t), and the sum is zero only if the pair's outgoing weights are equal, which they are here
at the start. And states are scaled to [-1, 1] by the plant's bounds, the additions to half ranges of the input.
"""

import numpy as np
import torch
from torch import nn

from yannctl.errors import ModelError

from .features import HasBounds
from .five_layer import FiveLayerActor
from .parts import blank_linear, flatten_batch

LARGEST_WEIGHT = 0.01  # of the initial weights, as published


class PublishedAdditions(nn.Module):
    """`n_i(s) = sum over the nodes h of region i of tanh(V t(s))_h`, `t = tanh` of +- pairs of nodes; 0 at the start.

    Args:
        n_regions: regions p.
        size_in: states.
        nodes: nodes of each region k, even.
        size_out: inputs; each has second-layer nodes of its own.
        seed: seed of the initial weights.
        dtype: floating type.

    Raises:
        ModelError: for an odd number of nodes.
    """

    def __init__(
        self, n_regions: int, size_in: int, nodes: int, size_out: int, seed: int, dtype: torch.dtype = torch.float64
    ) -> None:
        super().__init__()
        if nodes < 2 or nodes % 2:
            raise ModelError("nodes", f"got {nodes}, expected an even number", remedy="nodes come in +- pairs")
        pairs = n_regions * nodes // 2
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> torch.Tensor:
            return LARGEST_WEIGHT * (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1)

        weight, bias, outgoing = draw(pairs, size_in), draw(pairs), draw(n_regions * nodes * size_out, pairs)
        self.shape = (n_regions, nodes, size_out)
        self.plus, self.minus = (blank_linear(size_in, pairs, True, dtype) for _ in range(2))
        self.from_plus, self.from_minus = (blank_linear(pairs, len(outgoing), False, dtype) for _ in range(2))
        with torch.no_grad():
            for layer, sign in ((self.plus, 1.0), (self.minus, -1.0)):
                layer.weight.copy_(sign * weight)
                layer.bias.copy_(sign * bias)
            for layer in (self.from_plus, self.from_minus):
                layer.weight.copy_(outgoing)

    def forward(self, seen: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Evaluate the addition of the chosen region.

        Args:
            seen: (batch, size_in) scaled states.
            chosen: (batch, n_regions) one 1 at most.

        Returns:
            (batch, size_out) [half ranges of the inputs].
        """
        # The halves of the pairs run the same operations, so at the start their parts are exact opposites.
        mixed = self.from_plus(torch.tanh(self.plus(seen))) + self.from_minus(torch.tanh(self.minus(seen)))
        of_region = torch.tanh(mixed).reshape(len(seen), *self.shape).sum(2)
        return torch.einsum("bpo,bp->bo", of_region, chosen)


class PublishedFeatures(nn.Module):
    """What the additions and the critic see: the scaled state, then the first three layers' one of p.

    Args:
        base: the five-layer actor.
        plant: bounds.
    """

    centre: torch.Tensor
    half_range: torch.Tensor

    def __init__(self, base: FiveLayerActor, plant: HasBounds) -> None:
        super().__init__()
        lower, upper = (torch.from_numpy(np.array(end, float)) for end in (plant.x_min, plant.x_max))
        if not bool(torch.isfinite(upper - lower).all()):
            raise ModelError("plant", "has a state without bounds, by which the published network could be scaled")
        self.base = base
        self.nx, self.size = base.ntheta, base.ntheta + base.first_match.out_features
        self.register_buffer("centre", (upper + lower) / 2, persistent=False)
        self.register_buffer("half_range", (upper - lower) / 2, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate them: (..., nx) -> (..., nx + p)."""
        theta = flatten_batch(x, self.nx, self.base.step.weight.dtype)
        held = (self.base.step(theta) >= 0).to(theta.dtype)
        chosen = torch.relu(self.base.first_match(torch.relu(self.base.indicator(held))))
        return torch.cat([(theta - self.centre) / self.half_range, chosen], 1).reshape(*x.shape[:-1], self.size)
