"""Weights as one vector, and the step that moves them."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from .device import Dial


class FlatWeights:
    """All parameters of a module as one vector, so that an optimiser or a target step is one operation.

    The module's parameters become views into `value`.

    Args:
        module: the network whose parameters are moved.
    """

    def __init__(self, module: nn.Module) -> None:
        parameters = list(module.parameters())
        self.value = torch.cat([p.detach().reshape(-1) for p in parameters])
        place = 0
        for p in parameters:
            end = place + p.numel()
            p.data = self.value[place:end].view_as(p)
            place = end

    def follow(self, other: "FlatWeights", rate: float) -> None:
        """Polyak step: value <- (1 - rate) value + rate other."""
        self.value.lerp_(other.value, rate)


class AbstractAdam(ABC):
    """Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1) on one flat vector; `rate` may be changed between two steps.

    Args:
        weights: what is moved.
        count: steps done, a tensor of one zero.
    """

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # the paper's
    rate: float

    def __init__(self, weights: Tensor, count: Tensor) -> None:
        self.weights, self.count = weights, count
        self.moments = torch.zeros(2, *weights.shape, device=weights.device)
        self._first, self._second = self.moments.unbind()

    @abstractmethod
    def step(self, grad: Tensor) -> None:
        """One step along the corrected moments.

        Args:
            grad: gradient of the loss in the weights.
        """

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The live state, to be saved and restored in place.

        Args:
            name: prefix of the names.

        Returns:
            Moments and count.
        """
        return {f"{name}.moments": self.moments, f"{name}.count": self.count}


class Adam(AbstractAdam):
    """Half the time of `torch.optim.Adam(fused=True)` on a CPU for a small network.

    Args:
        weights: what is moved.
        rate: step size.
    """

    def __init__(self, weights: Tensor, rate: float) -> None:
        super().__init__(weights, torch.zeros((), dtype=torch.int64))
        self.rate = rate

    def step(self, grad: Tensor) -> None:
        """One step, as `AbstractAdam.step` says."""
        first, second = self._first, self._second
        self.count += 1
        n = int(self.count)
        first.lerp_(grad, 1.0 - self.BETA1)
        second.mul_(self.BETA2).addcmul_(grad, grad, value=1.0 - self.BETA2)
        scale = math.sqrt(1.0 - self.BETA2**n)
        self.weights.addcdiv_(
            first, second.sqrt().add_(self.EPSILON * scale), value=-self.rate * scale / (1.0 - self.BETA1**n)
        )


class SteadyAdam(AbstractAdam):
    """The same with nothing that the host has to know: count and rate are tensors, so a graph can repeat the step.

    It is `torch.optim.Adam(fused=True)`, one kernel on a GPU.

    Args:
        weights: what is moved.
        rate: step size.
    """

    def __init__(self, weights: Tensor, rate: float) -> None:
        super().__init__(weights, torch.zeros((), device=weights.device))
        self._rate = Dial(rate, True, weights.device)
        betas = self.BETA1, self.BETA2
        self._optimiser = torch.optim.Adam(
            [weights], self._rate.value, betas, self.EPSILON, fused=True, capturable=weights.is_cuda
        )
        self._optimiser.state[weights] = {"step": self.count, "exp_avg": self._first, "exp_avg_sq": self._second}

    @property
    def rate(self) -> float:
        """Step size."""
        return self._rate.last

    @rate.setter
    def rate(self, value: float) -> None:
        self._rate.set(value)

    def step(self, grad: Tensor) -> None:
        """One step, as `AbstractAdam.step` says."""
        self.weights.grad = grad
        self._optimiser.step()
        self.weights.grad = None


def adam(weights: Tensor, rate: float, steady: bool) -> AbstractAdam:
    """Adam in the form that is wanted.

    Args:
        weights: what is moved.
        rate: step size.
        steady: whether a graph must be able to repeat the step.

    Returns:
        `SteadyAdam` or `Adam`.
    """
    return SteadyAdam(weights, rate) if steady else Adam(weights, rate)
