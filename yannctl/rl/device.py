"""Where a learner computes, and numbers that the host may change between its updates."""

from typing import Any

import torch
from torch import Tensor

from yannctl.errors import ModelError

DEVICES = ("cpu", "cuda", "auto")
CPU = torch.device("cpu")


def device_of(name: str) -> torch.device:
    """The device of a setting.

    Args:
        name: one of `DEVICES`; "auto" is a GPU where torch sees one.

    Returns:
        The device.

    Raises:
        ModelError: for "cuda" where torch sees no GPU.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ModelError("device", "is 'cuda', torch sees no GPU here", remedy="use 'cpu', or a torch built for CUDA")
    return torch.device("cuda") if there and name != "cpu" else CPU


def generator_on(device: torch.device, seed: int) -> torch.Generator | None:
    """Random numbers that are made on a GPU.

    Args:
        device: where.
        seed: seed.

    Returns:
        A generator; None on the CPU, where a run has one for everything.
    """
    return None if device.type == "cpu" else torch.Generator(device).manual_seed(seed)


class Dial:
    """A number that the host may change between two updates.

    A plain float; in the steady form a tensor that is filled in place, so that a captured graph, which reads the same
    memory each time, sees the new number.

    Args:
        value: the number at the start.
        steady: whether a graph reads it.
        device: of the tensor.
        shape: of the tensor.
        dtype: of the tensor.
    """

    def __init__(
        self,
        value: float,
        steady: bool = False,
        device: torch.device = CPU,
        shape: tuple[int, ...] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.value: Any = torch.full(shape, value, device=device, dtype=dtype) if steady else value
        self.last: Any = value

    def set(self, value: float | Tensor) -> None:
        """Change it; a tensor that holds the number already is left alone.

        Args:
            value: the new number, or a tensor of the shape.
        """
        if not isinstance(self.value, Tensor):
            self.value = value
        elif isinstance(value, Tensor):
            if not (isinstance(self.last, Tensor) and torch.equal(self.last, value)):
                self.value.copy_(value)
        elif value != self.last:
            self.value.fill_(value)
        self.last = value
