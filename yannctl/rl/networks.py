"""The networks that learn: plain multi-layer perceptrons on features, their weights in one flat vector.

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
from torch.nn import functional

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
        last = learned[-1]
        assert isinstance(last, nn.Linear)
        self.body = nn.Sequential(*list(learned)[:-1])
        self.head = last
        # On the meta device no weight is drawn, so the global random stream is not touched.
        self.log_std: nn.Linear = nn.Linear(last.in_features, last.out_features, device="meta").to_empty(device="cpu")
        nn.init.zeros_(self.log_std.weight)
        nn.init.constant_(self.log_std.bias, math.log(std))
        self.reach = 2.0 * authority

    def mean(self, phi: Tensor, base: Tensor) -> Tensor:
        """Mean action before the clamp: (batch, n_features), (batch, nu) -> (batch, nu)."""
        return base + self.reach * torch.tanh(self.head(self.body(phi)))

    def distribution(self, phi: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        """Mean before the clamp and logarithm of the standard deviation, each (batch, nu)."""
        raw, log_std = self.raw_distribution(phi)
        return base + self.reach * torch.tanh(raw), log_std

    def raw_distribution(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """The residual f before its tanh and the logarithm of the standard deviation, each (batch, nu)."""
        hidden = self.body(phi)
        return self.head(hidden), self.log_std(hidden).clamp(LOG_STD_MIN, LOG_STD_MAX)


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
        self.layer_norm = layer_norm
        sizes = (n_features + nu, *(width,) * depth, n_out)
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.empty(n_critics, n, m)) for n, m in itertools.pairwise(sizes)]
        )
        self.biases = nn.ParameterList([nn.Parameter(torch.empty(n_critics, 1, m)) for m in sizes[1:]])
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1.0 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound, generator=generator)
            nn.init.uniform_(bias, -bound, bound, generator=generator)

    def start_at_prior(self) -> None:
        """Make the first output of every critic zero, so that with a prior added the value starts as the prior's."""
        with torch.no_grad():
            self.weights[-1][..., 0] = 0.0
            self.biases[-1][..., 0] = 0.0

    def forward(self, phi: Tensor, a: Tensor) -> Tensor:
        """Evaluate every critic on every sample; with stacked seeds (seeds, batch, .) -> (n, seeds, batch, n_out)."""
        seen = torch.cat((phi, a), -1)
        lead, rows = seen.shape[:-2], seen.shape[-2:]
        copies = self.weights[0].shape[0] // math.prod(lead)
        hidden = seen.expand(copies, *seen.shape).reshape(-1, *rows)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < len(self.weights) - 1:
                hidden = functional.layer_norm(hidden, hidden.shape[-1:]) if self.layer_norm else hidden
                hidden = functional.gelu(hidden)
        return hidden.view(copies, *lead, rows[0], -1)


class FlatWeights:
    """All parameters of a module as one vector, so that an optimiser or a target step is one operation.

    The module's parameters become views into `value`, their gradients views into `value.grad`.

    Args:
        module: the network whose parameters are moved.
    """

    def __init__(self, module: nn.Module) -> None:
        parameters = list(module.parameters())
        self.value = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in parameters]))
        self.value.grad = torch.zeros_like(self.value)
        place = 0
        for p in parameters:
            end = place + p.numel()
            p.data = self.value.data[place:end].view_as(p)
            p.grad = self.value.grad[place:end].view_as(p)
            place = end

    def zero_grad(self) -> None:
        """Set the gradient to zero, in place."""
        assert self.value.grad is not None
        self.value.grad.zero_()

    def follow(self, other: "FlatWeights", rate: float) -> None:
        """Polyak step: value <- (1 - rate) value + rate other."""
        self.value.data.lerp_(other.value.data, rate)


class InwardClamp(torch.autograd.Function):
    """clamp(v, -1, 1) whose gradient survives at the bound where it points back inside.

    The derivative of a clamp is zero outside, so a saturated policy could never come back. Here a gradient passes
    unless descent would push v further out (the limit case of the inverting gradients of Hausknecht and Stone,
    arXiv 1511.04143).
    """

    @staticmethod
    def forward(ctx, v: Tensor) -> Tensor:
        """Clamp the action to the box."""
        ctx.save_for_backward(v)
        return v.clamp(-1.0, 1.0)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        """Drop the gradient where descent would leave the box further."""
        (v,) = ctx.saved_tensors
        outward = ((v > 1.0) & (grad < 0)) | ((v < -1.0) & (grad > 0))
        return grad.masked_fill(outward, 0.0)


def inward_clamp(v: Tensor) -> Tensor:
    """Clamp an action to [-1, 1], with the gradient described in `InwardClamp`.

    Args:
        v: action before the clamp, any shape.

    Returns:
        The same shape.
    """
    return InwardClamp.apply(v)


class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1) on one flat vector.

    Half the time of `torch.optim.Adam(fused=True)` for a small network, and its state is one tensor.

    Args:
        weights: parameters with their gradient.
        rate: step size.
    """

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # the paper's

    def __init__(self, weights: nn.Parameter, rate: float) -> None:
        self.weights, self.rate = weights, rate
        self.moments = torch.zeros(2, *weights.shape, device=weights.device)
        self.count = torch.zeros((), dtype=torch.int64)

    def step(self) -> None:
        """One step along the corrected moments."""
        grad, (first, second) = self.weights.grad, self.moments
        assert grad is not None
        self.count += 1
        n = int(self.count)
        first.lerp_(grad, 1.0 - self.BETA1)
        second.mul_(self.BETA2).addcmul_(grad, grad, value=1.0 - self.BETA2)
        scale = math.sqrt(1.0 - self.BETA2**n)
        self.weights.data.addcdiv_(
            first, second.sqrt().add_(self.EPSILON * scale), value=-self.rate * scale / (1.0 - self.BETA1**n)
        )

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The live state, to be saved and restored in place.

        Args:
            name: prefix of the names.

        Returns:
            Moments and count.
        """
        return {f"{name}.moments": self.moments, f"{name}.count": self.count}
