r"""The gradient of a batch of perceptrons, written out, so that an update costs its matrix products and little else.

At 64 units half of an update is the bookkeeping of automatic differentiation, node by node. With

    z_k = h_{k-1} W_k + b_k,    h_k = gelu(n(z_k)),    out = z_K,    n the layer norm or nothing,

and g_K = dL/d out, the chain rule gives (Rumelhart, Hinton and Williams, Nature 323, 1986)

    dL/dW_k = h_{k-1}^T g_k,    dL/db_k = sum of g_k over the rows,    g_{k-1} = n' gelu' (g_k W_k^T).

The last layer has one or two units. Its products are several times faster the other way round, out^T = W_K^T h^T + b^T,
which also leaves every output's values side by side in memory; so out and g_K are held transposed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ops = torch.ops.aten
NORM_EPSILON = 1e-5  # that of torch.nn.LayerNorm


class Hidden(NamedTuple):
    """One hidden layer of a forward pass.

    Args:
        h: its output h_k (n, batch, units).
        y: what its gelu took, n(z_k).
        z: z_k, mean and reciprocal deviation of each row where n is the layer norm; empty otherwise.
    """

    h: Tensor
    y: Tensor
    z: tuple[Tensor, ...] = ()


class Pass(NamedTuple):
    """A forward pass with what its gradient needs.

    Args:
        out: output (n, n_out, batch).
        weights: W_k of each layer.
        seen: input h_0 (n, batch, n_in).
        hidden: the hidden layers.
    """

    out: Tensor
    weights: Sequence[Tensor]
    seen: Tensor
    hidden: tuple[Hidden, ...]


def forward_pass(seen: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], norm: bool) -> Pass:
    """Evaluate n perceptrons.

    Args:
        seen: their inputs (n, batch, n_in).
        weights: W_k of each layer (n, units before, units after).
        biases: b_k of each layer (n, 1, units after).
        norm: whether n is the layer norm, without weights of its own.

    Returns:
        The pass.
    """
    hidden: list[Hidden] = []
    h = seen
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = torch.baddbmm(bias, h, weight)
        if norm:
            y, *statistics = ops.native_layer_norm(z, z.shape[-1:], None, None, NORM_EPSILON)
            hidden.append(Hidden(ops.gelu(y), y, (z, *statistics)))
        else:
            hidden.append(Hidden(ops.gelu(z), z))
        h = hidden[-1].h
    out = torch.baddbmm(biases[-1].transpose(1, 2), weights[-1].transpose(1, 2), h.transpose(1, 2))
    return Pass(out, weights, seen, tuple(hidden))


def backward_pass(passed: Pass, grad: Tensor) -> list[Tensor]:
    """Gradient of a loss in every weight and bias.

    Args:
        passed: the forward pass.
        grad: dL/d out (n, n_out, batch).

    Returns:
        dL/dW_1 ... dL/dW_K, dL/db_1 ... dL/db_K.
    """
    inputs = [passed.seen, *(layer.h for layer in passed.hidden)]
    of_weights = [torch.bmm(grad, inputs[-1]).transpose(1, 2)]
    of_biases = [grad.sum(2)[:, None]]
    grad = grad.transpose(1, 2)
    for k in reversed(range(len(passed.hidden))):
        grad = before_activation(torch.bmm(grad, passed.weights[k + 1].transpose(1, 2)), passed.hidden[k])
        of_weights.append(torch.bmm(inputs[k].transpose(1, 2), grad))
        of_biases.append(grad.sum(1, keepdim=True))
    return of_weights[::-1] + of_biases[::-1]


def input_gradient(passed: Pass, grad: Tensor) -> Tensor:
    """Gradient of a loss in the inputs h_0; a policy step needs of the critics no more than this.

    Args:
        passed: the forward pass.
        grad: dL/d out (n, n_out, batch).

    Returns:
        (n, batch, n_in).
    """
    grad = grad.transpose(1, 2)
    for layer, weight in zip(passed.hidden[::-1], passed.weights[:0:-1], strict=True):
        grad = before_activation(torch.bmm(grad, weight.transpose(1, 2)), layer)
    return torch.bmm(grad, passed.weights[0].transpose(1, 2))


def before_activation(grad: Tensor, hidden: Hidden) -> Tensor:
    """dL/dz_k from dL/dh_k.

    Args:
        grad: dL/dh_k (n, batch, units).
        hidden: the layer.

    Returns:
        The same shape.
    """
    grad = ops.gelu_backward(grad, hidden.y)
    if not hidden.z:
        return grad
    z, mean, deviation = hidden.z
    only_z = [True, False, False]
    return ops.native_layer_norm_backward(grad, z, z.shape[-1:], mean, deviation, None, None, only_z)[0]
