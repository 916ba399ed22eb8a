"""The five-layer Y-wise affine network as its authors publish it, built afresh to be measured against.

Layer by layer (Braniff and Tian, arXiv:2505.07054): step, indicator, first match, suppressed law, sum. M is the
constant 500 and a row holds only if its rounded violation is at most 0; `yannctl.yann.FiveLayerActor` repairs both.
"""

import numpy as np
import torch
from torch import nn

from yannctl import PwaLaw

M = 500.0


class PublishedNetwork(nn.Module):
    """Dense layers for p regions, q rows, n parameters and m outputs.

    Args:
        law: the law.
    """

    step_weight: torch.Tensor
    step_bias: torch.Tensor
    count_weight: torch.Tensor
    count_bias: torch.Tensor
    first_weight: torch.Tensor
    law_weight: torch.Tensor
    law_bias: torch.Tensor
    sum_weight: torch.Tensor

    def __init__(self, law: PwaLaw) -> None:
        super().__init__()
        p, m, n = law.F.shape
        count = np.diff(law.row_start)
        member = (np.repeat(np.arange(p), count) == np.arange(p)[:, None]).astype(float)
        both = np.array([1.0, -1.0])
        gains = (law.F[:, :, None, :] * both[:, None]).reshape(2 * m * p, n)
        offsets = (law.g[:, :, None] * both).reshape(2 * m * p)
        arrays = {
            "step_weight": -law.H,
            "step_bias": law.k,
            "count_weight": member,
            "count_bias": 1.0 - count,
            "first_weight": 2 * np.eye(p) - np.tril(np.ones((p, p))),
            "law_weight": np.hstack([M * np.repeat(np.eye(p), 2 * m, axis=0), gains]),
            "law_bias": offsets - M,
            "sum_weight": np.tile(np.kron(np.eye(m), both), (1, p)),
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.as_tensor(array))

    def chosen(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the first three layers: (batch, n) -> (batch, p), one 1 at most."""
        held = (nn.functional.linear(x, self.step_weight, self.step_bias) >= 0).to(x.dtype)
        inside = torch.relu(nn.functional.linear(held, self.count_weight, self.count_bias))
        return torch.relu(nn.functional.linear(inside, self.first_weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the network: (..., n) -> (..., m), 0 in no region."""
        flat = x.reshape(-1, x.shape[-1])
        joint = torch.cat([self.chosen(flat), flat], dim=1)
        parts = torch.relu(nn.functional.linear(joint, self.law_weight, self.law_bias))
        return nn.functional.linear(parts, self.sum_weight).reshape(*x.shape[:-1], -1)
