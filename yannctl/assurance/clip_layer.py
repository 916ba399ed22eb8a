"""The clip filter as a torch layer: max and min of affine functions, so a network of ReLU units, and differentiable."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from .clip_filter import ClipFilter


class ClipLayer(nn.Module):
    """u_safe = min(max(u, low(x)), high(x)) with low the largest and high the smallest of affine functions.

    The gradient in u is 1 inside the interval and 0 outside; there the gradient in x is that of the active line.

    Args:
        clip: the filter.
        dtype: floating dtype, float64 when None.
    """

    def __init__(self, clip: "ClipFilter", dtype: torch.dtype | None = None) -> None:
        super().__init__()
        kind = dtype or torch.float64
        for name in ("F_low", "g_low", "F_high", "g_high"):
            self.register_buffer(name, torch.as_tensor(np.array(getattr(clip, name)), dtype=kind))
        self.u_min, self.u_max = clip.u_min, clip.u_max

    def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Clip the proposed inputs.

        Args:
            x: states (..., nx).
            u: proposed inputs (..., 1).

        Returns:
            Safe inputs (..., 1).
        """
        low = self._lines(self.F_low, self.g_low, x).clamp(min=self.u_min).amax(-1, keepdim=True)
        high = self._lines(self.F_high, self.g_high, x).clamp(max=self.u_max).amin(-1, keepdim=True)
        proposed = torch.where(torch.isfinite(u), u, 0.5 * (low + high))
        return torch.minimum(torch.maximum(proposed, low), high).clamp(self.u_min, self.u_max)

    def _lines(self, F: Any, g: Any, x: torch.Tensor) -> torch.Tensor:
        """Values of the lines, summed in the order of the compiled filter; one line stands where there is none."""
        if g.numel() == 0:
            bound = self.u_min if F is self.F_low else self.u_max
            return torch.full_like(x[..., :1], bound)
        value = g.expand(*x.shape[:-1], g.numel())
        for j in range(F.shape[1]):
            value = value + F[:, j] * x[..., j : j + 1]
        return value
