"""The networks that learn: plain multi-layer perceptrons on features.

Everything here works in scaled units: features are in [-1, 1] and actions a = (u - middle) / half_range, so the input
box is [-1, 1]^nu. The exact law enters as `base`, its own scaled action, computed once a state and kept in the replay
memory (the law is frozen, so it never has to be evaluated again).
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from .backpropagation import Pass, backward_pass, forward_pass, input_gradient

Prior = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, a, weight) -> value, in scaled rewards

LOG_STD_MIN, LOG_STD_MAX = -20.0, 0.5  # the authors' code, dsac_v2.py (February 2024)


class Actor(nn.Module):
    r"""The learning form of `yannctl.yann.ExtendedActor`: the law plus a residual that is zero at the start.

    mean(x) = base(x) + 2 authority tanh f(phi(x)), in half ranges. The last layer of f is zero when training begins,
    so the mean *is* the law, bit for bit: 0 h = 0, tanh 0 = 0 and base + 0 = base. The action sent is
    clamp(mean, -1, 1). A second head on the same body gives the standard deviation of the exploration.

    Args:
        learned: the residual network of an extended actor, single precision, its last layer linear.
        authority: largest change of the input, as a fraction of its range.
        std: standard deviation of the exploration at the start, in half ranges.
    """

    def __init__(self, learned: nn.Sequential, authority: float, std: float) -> None:
        super().__init__()
        *body, last = learned
        assert isinstance(last, nn.Linear)
        assert all(isinstance(layer, (nn.Linear, nn.GELU)[i % 2]) for i, layer in enumerate(body)), "needs plain GELU"
        self.body = nn.Sequential(*body)
        self.head = last
        # On the meta device no weight is drawn, so the global random stream is not touched.
        self.log_std: nn.Linear = nn.Linear(last.in_features, last.out_features, device="meta").to_empty(device="cpu")
        nn.init.zeros_(self.log_std.weight)
        nn.init.constant_(self.log_std.bias, math.log(std))
        self.requires_grad_(False)  # the gradient is written out
        self.reach = 2.0 * authority
        self._views: tuple[list[Tensor], ...] | None = None

    def forward(self, phi: Tensor) -> Tensor:
        """Both heads, f and log std before its clamp: (batch, n_features) -> (batch, 2 nu)."""
        return heads_of(self.forward_pass(phi).out, phi)

    def forward_pass(self, phi: Tensor) -> Pass:
        """The same with what the gradient needs; its output is (seeds or 1, 2 nu, batch)."""
        weights, biases, heads, offsets = self._views or self._make_views()
        last = torch.cat(heads, 2), torch.cat(offsets, 2)
        return forward_pass(phi if phi.dim() == 3 else phi[None], (*weights, last[0]), (*biases, last[1]), False)

    def settle(self) -> None:
        """Remember where the weights are; to be called once they no longer move."""
        self._views = self._make_views()

    def _make_views(self) -> tuple[list[Tensor], ...]:
        """Weights and biases of the body and of the two heads, as `backpropagation.forward_pass` takes them."""
        layers = [*list(self.body)[::2], self.head, self.log_std]
        weights = [(w if w.dim() == 3 else w[None]).transpose(1, 2) for w in (layer.weight for layer in layers)]
        biases = [layer.bias.view(len(weights[0]), 1, -1) for layer in layers]
        return weights[:-2], biases[:-2], weights[-2:], biases[-2:]

    def gradient(self, passed: Pass, grad: Tensor) -> list[Tensor]:
        """Gradient of a loss in every parameter, in the order of `parameters()`.

        Args:
            passed: the forward pass.
            grad: gradient of the loss in the pass's output (seeds or 1, 2 nu, batch).
        """
        found = backward_pass(passed, grad)
        depth = len(found) // 2
        layers = [part for k in range(depth - 1) for part in (found[k].transpose(1, 2), found[depth + k])]
        weights, biases = found[depth - 1].transpose(1, 2).chunk(2, 1), found[-1].chunk(2, 2)
        return [*layers, weights[0], biases[0], weights[1], biases[1]]

    def mean(self, phi: Tensor, base: Tensor) -> Tensor:
        """Mean action before the clamp: (batch, n_features), (batch, nu) -> (batch, nu)."""
        return self.mean_of(self(phi), base)

    def mean_of(self, heads: Tensor, base: Tensor) -> Tensor:
        """The same from the heads (batch, 2 nu)."""
        return base + self.reach * torch.tanh(heads[..., : base.shape[-1]])

    def mean_gradient(self, heads: Tensor, base: Tensor, of_mean: Tensor) -> Tensor:
        """Gradient of a loss in the heads (batch, 2 nu) from that in the mean (batch, nu)."""
        f = torch.tanh(heads[..., : base.shape[-1]])
        of_f = of_mean * (self.reach * (1.0 - f * f))
        return torch.cat((of_f, torch.zeros_like(of_f)), -1)

    @staticmethod
    def raw_distribution(heads: Tensor) -> tuple[Tensor, Tensor]:
        """The residual f before its tanh and the logarithm of the standard deviation, each (batch, nu)."""
        f, log_std = heads.chunk(2, -1)
        return f, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)


def heads_of(out: Tensor, phi: Tensor) -> Tensor:
    """A policy's output in the shape of its input.

    Args:
        out: output of its pass (seeds or 1, n_out, batch).
        phi: what it took, (batch, n_features) or (seeds, batch, n_features).

    Returns:
        (batch, n_out) or (seeds, batch, n_out).
    """
    return out.view(*phi.shape[:-2], *out.shape[1:]).transpose(-1, -2)


class AutomaticGradient(nn.Module):
    """Lets a network of another architecture learn: its gradient is left to automatic differentiation.

    A critic's `forward(phi, a)` gives (n_critics, batch, n_out), a policy's `forward(phi)` its mean action (batch, nu).
    """

    def mean(self, phi: Tensor, base: Tensor) -> Tensor:
        """Mean action before the clamp: (batch, n_features), (batch, nu) -> (batch, nu)."""
        return self.mean_of(self(phi), base)

    def mean_of(self, heads: Tensor, base: Tensor) -> Tensor:
        """The same from what `forward` gave; the law's action has no part in it, unless a subclass adds it."""
        return heads

    def mean_gradient(self, heads: Tensor, base: Tensor, of_mean: Tensor) -> Tensor:
        """Gradient of a loss in what `forward` gave from that in the mean (batch, nu)."""
        with torch.enable_grad():
            leaf = heads.detach().requires_grad_()
            mean = self.mean_of(leaf, base)
        return torch.autograd.grad(mean, leaf, of_mean)[0]

    def forward_pass(self, *inputs: Tensor) -> Pass:
        """Evaluate the network; the output (n, n_out, batch) remembers how it came about."""
        *others, last = inputs
        with torch.enable_grad():
            leaf = last.detach().requires_grad_()
            out = self(*others, leaf).transpose(-1, -2)
            out = out if out.dim() == 3 else out[None]
        return Pass(out, (), leaf, ())

    def action_gradient(self, passed: Pass, grad: Tensor) -> Tensor:
        """Gradient of a loss in the action that a critic's pass took.

        Args:
            passed: the forward pass.
            grad: gradient of the loss in the pass's output (n, n_out, batch).
        """
        return torch.autograd.grad(passed.out, passed.seen, grad.reshape(passed.out.shape))[0]

    def gradient(self, passed: Pass, grad: Tensor) -> list[Tensor]:
        """Gradient of a loss in every parameter, in the order of `parameters()`.

        Args:
            passed: the forward pass.
            grad: gradient of the loss in the pass's output (n, n_out, batch).
        """
        return list(torch.autograd.grad(passed.out, list(self.parameters()), grad.reshape(passed.out.shape)))


class CentreLaw(nn.Module):
    """The base of a policy that learns from scratch: always the middle of the input box.

    Args:
        u_min: (nu,) lower input bounds.
        u_max: (nu,) upper input bounds.
    """

    u: Tensor

    def __init__(self, u_min: np.ndarray, u_max: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("u", torch.from_numpy((np.asarray(u_min, float) + np.asarray(u_max, float)) / 2.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return the middle of the box for every state: (..., nx) -> (..., nu)."""
        return self.u.expand(*x.shape[:-1], -1)


class Critic(nn.Module):
    """A batch of independent critics, evaluated together: (phi, a) -> (n_critics, batch, n_out).

    Hidden layers with LayerNorm and GELU; the batched products cost about as much as those of one critic.

    Args:
        n_features: number of features.
        nu: number of inputs.
        width: units of each hidden layer.
        n_critics: how many critics.
        n_out: outputs of each.
        generator: source of the random initial weights.
        depth: number of hidden layers.
        layer_norm: whether each hidden layer is normalised before its GELU.
    """

    def __init__(
        self,
        n_features: int,
        nu: int,
        width: int,
        n_critics: int,
        n_out: int,
        generator: torch.Generator,
        depth: int = 2,
        layer_norm: bool = True,
    ) -> None:
        super().__init__()
        self.layer_norm, self._n_features = layer_norm, n_features
        sizes = (n_features + nu, *(width,) * depth, n_out)
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.empty(n_critics, n, m)) for n, m in itertools.pairwise(sizes)]
        )
        self.biases = nn.ParameterList([nn.Parameter(torch.empty(n_critics, 1, m)) for m in sizes[1:]])
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1.0 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound, generator=generator)
            nn.init.uniform_(bias, -bound, bound, generator=generator)
        self.requires_grad_(False)  # the gradient is written out
        self._weights, self._biases = tuple(self.weights), tuple(self.biases)  # a list of parameters is slow to walk

    def start_at_prior(self) -> None:
        """Make the first output of every critic zero, so that with a prior added the value starts as the prior's."""
        with torch.no_grad():
            self.weights[-1][..., 0] = 0.0
            self.biases[-1][..., 0] = 0.0

    def forward(self, phi: Tensor, a: Tensor) -> Tensor:
        """Evaluate every critic on every sample; with stacked seeds (seeds, batch, .) -> (n, seeds, batch, n_out)."""
        out = self.forward_pass(phi, a).out
        return out.view(-1, *phi.shape[:-2], *out.shape[1:]).transpose(-1, -2)

    def forward_pass(self, phi: Tensor, a: Tensor) -> Pass:
        """The same with what the gradient needs; its output is (n seeds, n_out, batch)."""
        return forward_pass(self._seen(phi, a), self._weights, self._biases, self.layer_norm)

    def gradient(self, passed: Pass, grad: Tensor) -> list[Tensor]:
        """Gradient of a loss in every parameter, in the order of `parameters()`.

        Args:
            passed: the forward pass.
            grad: gradient of the loss in the pass's output, (n, n_out, batch) or (n, seeds, n_out, batch).
        """
        return backward_pass(passed, grad.reshape(passed.out.shape))

    def action_gradient(self, passed: Pass, grad: Tensor) -> Tensor:
        """Gradient of a loss in the action, summed over the critics: (batch, nu) or (seeds, batch, nu).

        Args:
            passed: the forward pass.
            grad: gradient of the loss in the pass's output, (n, n_out, batch) or (n, seeds, n_out, batch).
        """
        of_seen = input_gradient(passed, grad.reshape(passed.out.shape))
        return of_seen.view(*grad.shape[:-2], *of_seen.shape[1:])[..., self._n_features :].sum(0)

    def _seen(self, phi: Tensor, a: Tensor) -> Tensor:
        """What the first layer of every critic takes (n seeds, batch, n_features + nu)."""
        seen = torch.cat((phi, a), -1)
        copies = self._weights[0].shape[0] // math.prod(seen.shape[:-2])
        return seen.expand(copies, *seen.shape).reshape(-1, *seen.shape[-2:])
