"""One small tanh branch a region, as in YANN-RL, with the outgoing weights of each +- pair tied."""

from collections.abc import Sequence

import torch
from torch import nn

from yannctl.errors import ModelError


class PerRegionNet(nn.Module):
    """Branches `f_i(s) = sum_h V_ih [tanh(W_ih s + b_ih) + tanh(W'_ih s + b'_ih)]`, only the region's own is used.

    At the start `W' = -W` and `b' = -b`, and V is shared by the pair: tanh is odd, so the branch is exactly 0 for any
    V. (In the published layer the pair's outgoing weights differ, and the start is not zero.) Updates stay in the
    region that caused them; between regions the policy may become discontinuous.

    Args:
        n_regions: branches.
        size_in: inputs.
        hidden: one width: the number of pairs of a branch is half of it, at least 1.
        size_out: outputs.
        seed: seed of the initial weights.
        dtype: floating type.

    Raises:
        ModelError: for more than one hidden layer.
    """

    def __init__(
        self, n_regions: int, size_in: int, hidden: Sequence[int], size_out: int, seed: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        if len(hidden) != 1:
            raise ModelError("hidden", f"per_region has one hidden layer, got widths {tuple(hidden)}")
        pairs = max(1, int(hidden[0]) // 2)
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> torch.Tensor:
            return (2 * torch.rand(*shape, generator=generator, dtype=dtype) - 1) * size_in**-0.5

        weight, bias = draw(n_regions, pairs, size_in), draw(n_regions, pairs)
        self.plus_weight, self.plus_bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.minus_weight, self.minus_bias = nn.Parameter(-weight), nn.Parameter(-bias)
        self.outgoing = nn.Parameter(draw(n_regions, size_out, pairs))

    def forward(self, seen: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
        """Evaluate each sample's branch.

        Args:
            seen: (batch, size_in) features.
            region: (batch,) region of each sample.

        Returns:
            (batch, size_out) raw output.
        """
        plus = self._half(self.plus_weight, self.plus_bias, seen, region)
        minus = self._half(self.minus_weight, self.minus_bias, seen, region)
        return torch.einsum("boh,bh->bo", self.outgoing[region], plus + minus)

    @staticmethod
    def _half(weight: torch.Tensor, bias: torch.Tensor, seen: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
        # Elementwise products and one sum: the pair runs the same operations, so its values are exact opposites.
        return torch.tanh((weight[region] * seen[:, None, :]).sum(dim=2) + bias[region])
