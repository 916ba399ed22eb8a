"""What a network sees of a state: angles as cosine and sine, everything else scaled to [-1, 1]."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant

from .parts import flatten_batch


@dataclass(frozen=True)
class Bounds:
    """Bounds of a system given without a plant.

    Args:
        x_min: (nx,) lower state bounds, finite.
        x_max: (nx,) upper state bounds, finite.
        u_min: (nu,) lower input bounds, finite.
        u_max: (nu,) upper input bounds, finite.
        angles: indices of states that are angles [rad].
        periods: (index, period) of further states that are seen by where they are within their period.
    """

    x_min: np.ndarray | Any
    x_max: np.ndarray | Any
    u_min: np.ndarray | Any
    u_max: np.ndarray | Any
    angles: tuple[int, ...] = ()
    periods: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        for name in ("x_min", "x_max", "u_min", "u_max"):
            object.__setattr__(self, name, np.atleast_1d(np.asarray(getattr(self, name), dtype=float)))
        object.__setattr__(self, "angles", tuple(int(index) for index in self.angles))
        object.__setattr__(self, "periods", tuple((int(index), float(period)) for index, period in self.periods))
        bounded = [index for index in range(len(self.x_min)) if index not in dict(self.periods)]
        _box("x_min", self.x_min[bounded], self.x_max[bounded])
        _box("u_min", self.u_min, self.u_max)


HasBounds = AbstractPlant | Bounds


class Features(nn.Module):
    """Map a state to what a network sees: `cos, sin` of each angle, then `2 (x - x_min)/(x_max - x_min) - 1`.

    A state with a period is seen as the angle `2 pi x / period`.

    Args:
        x_min: (nx,) lower state bounds, finite except for angles and states with a period.
        x_max: (nx,) upper state bounds, finite except for angles and states with a period.
        angles: indices of states that are angles [rad].
        dtype: floating type of the result.
        periods: (index, period) of states that are seen by where they are within their period.

    Raises:
        ModelError: if a bound is missing or crossed, an index is out of range, or a period is not positive.
    """

    centre: torch.Tensor
    half_range: torch.Tensor
    turns: torch.Tensor

    def __init__(
        self,
        x_min: ArrayLike,
        x_max: ArrayLike,
        angles: Sequence[int] = (),
        dtype: torch.dtype = torch.float64,
        periods: Sequence[tuple[int, float]] = (),
    ) -> None:
        super().__init__()
        lower, upper = np.atleast_1d(np.asarray(x_min, dtype=float)), np.atleast_1d(np.asarray(x_max, dtype=float))
        self.nx = int(lower.size)
        self.periods = tuple((int(index), float(period)) for index, period in periods)
        for index, period in self.periods:
            if not 0 < period < np.inf:
                raise ModelError("periods", f"got {period}, expected a positive number", index=index)
        own = dict.fromkeys((int(index) for index in angles), 2.0 * np.pi) | dict(self.periods)
        self.angles = tuple(sorted(own))
        for index in self.angles:
            if not 0 <= index < self.nx:
                raise ModelError("angles", f"got index {index}, expected 0 to {self.nx - 1}")
        self.others = tuple(index for index in range(self.nx) if index not in self.angles)
        lower, upper = lower[list(self.others)], upper[list(self.others)]
        _box("x_min", lower, upper)
        self.register_buffer("centre", torch.as_tensor((upper + lower) / 2).to(dtype), persistent=False)
        self.register_buffer("half_range", torch.as_tensor((upper - lower) / 2).to(dtype), persistent=False)
        turns = torch.tensor([2.0 * np.pi / own[index] for index in self.angles], dtype=dtype)
        self.register_buffer("turns", turns, persistent=False)

    @property
    def size(self) -> int:
        """Number of features: two for each angle, one for each other state."""
        return 2 * len(self.angles) + len(self.others)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the features.

        Args:
            x: (..., nx) state [physical units].

        Returns:
            (..., size) features.
        """
        flat = flatten_batch(x, self.nx, self.centre.dtype)
        parts = [(flat[:, list(self.others)] - self.centre) / self.half_range]
        if self.angles:
            angle = flat[:, list(self.angles)]
            if self.periods:
                angle = angle * self.turns
            parts = [torch.cos(angle), torch.sin(angle), *parts]
        return torch.cat(parts, dim=1).reshape(*x.shape[:-1], self.size)


def _box(field: str, lower: np.ndarray, upper: np.ndarray) -> None:
    """Check that a box is finite and not empty."""
    if lower.shape != upper.shape:
        raise ModelError(field, f"got shape {lower.shape}, expected {upper.shape} as the upper bound")
    bad = np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper) & (lower < upper)))
    if bad.size:
        index = int(bad[0])
        raise ModelError(
            field, f"got [{lower[index]}, {upper[index]}]", index=index, remedy="give finite bounds, lower < upper"
        )
