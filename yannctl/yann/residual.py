"""Parts of a learned residual: the limits with their gradient, and a network that starts at zero.

Sources: inverting gradients, Hausknecht and Stone (arXiv:1511.04143); zero start, residual policy learning
(arXiv:1812.06298).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .parts import blank_linear


class Saturation(torch.autograd.Function):
    """Clamp forward; backward, let through only what the distance to the limit allows.

    `dL/dv = dL/du (u_max - u)/(u_max - u_min)` where a descent step would raise u, `dL/du (u - u_min)/(u_max - u_min)`
    where it would lower u; "one_sided" takes 1 in place of the fractions unless they are zero.
    """

    @staticmethod
    def forward(ctx: Any, v: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor, inverting: bool) -> torch.Tensor:
        """Evaluate `min(max(v, lower), upper)`.

        Args:
            ctx: autograd context.
            v: (..., nu) values.
            lower: (..., nu) lower limits.
            upper: (..., nu) upper limits.
            inverting: scale the gradient, rather than only stop it at the limits.

        Returns:
            (..., nu) clamped values.
        """
        u = torch.minimum(torch.maximum(v, lower), upper)
        ctx.save_for_backward(u, lower, upper)
        ctx.inverting = inverting
        return u

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """Scale the gradient by the room left in the direction of descent.

        Args:
            ctx: autograd context.
            gradients: the gradient with respect to u.

        Returns:
            Gradients with respect to the arguments of `forward`.
        """
        (gradient,) = gradients
        u, lower, upper = ctx.saved_tensors
        room = torch.where(gradient < 0, upper - u, u - lower) / (upper - lower)
        return gradient * (room if ctx.inverting else (room > 0).to(gradient.dtype)), None, None, None


def residual_net(
    size_in: int, hidden: Sequence[int], size_out: int, seed: int, layer_norm: bool, dtype: torch.dtype
) -> nn.Sequential:
    """Build a GELU network whose last layer is zero, from its own stream of random numbers.

    Args:
        size_in: inputs.
        hidden: widths of the hidden layers.
        size_out: outputs.
        seed: seed of the initial weights; the global stream is not touched.
        layer_norm: normalise before each activation.
        dtype: floating type.

    Returns:
        The network; its output is exactly 0 until it is trained.
    """
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for width in hidden:
        layer = blank_linear(size_in, width, True, dtype)
        bound = size_in**-0.5
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        layers += [layer, *([nn.LayerNorm(width, dtype=dtype)] if layer_norm else []), nn.GELU()]
        size_in = width
    last = blank_linear(size_in, size_out, True, dtype)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
