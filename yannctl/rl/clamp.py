"""The clamp of an action to the box, and the gradient that goes with it."""

import torch
from torch import Tensor


class InwardClamp(torch.autograd.Function):
    """clamp(v, -1, 1) whose gradient survives at the bound where it points back inside.

    The derivative of a clamp is zero outside, so a saturated policy could never come back. Here a gradient passes
    unless descent would push v further out (the limit case of the inverting gradients of Hausknecht and Stone,
    arXiv 1511.04143).
    """

    @staticmethod
    def forward(ctx, v: Tensor) -> Tensor:
        """Clamp the action to the box."""
        a = v.clamp(-1.0, 1.0)
        ctx.save_for_backward(v - a)
        return a

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        """Drop the gradient where descent, which goes against it, would leave the box further."""
        (excess,) = ctx.saved_tensors
        return inward(grad, excess)


def inward(grad: Tensor, excess: Tensor) -> Tensor:
    """The gradient before a clamp from that behind it, as `InwardClamp` says.

    Args:
        grad: gradient of a loss in the clamped action, any shape.
        excess: how far the action was outside, the same shape.

    Returns:
        The same shape.
    """
    return grad.masked_fill(grad * excess < 0.0, 0.0)


def inward_clamp(v: Tensor) -> Tensor:
    """Clamp an action to [-1, 1], with the gradient described in `InwardClamp`.

    Args:
        v: action before the clamp, any shape.

    Returns:
        The same shape.
    """
    return InwardClamp.apply(v) if v.requires_grad and torch.is_grad_enabled() else v.clamp(-1.0, 1.0)
