"""The safety filter of one input: the nearest input inside an interval whose ends are lines of the state.

    low(x)  = max(u_min, max_i F_low_i x + g_low_i)
    high(x) = min(u_max, min_i F_high_i x + g_high_i)
    u_safe  = min(max(u, low(x)), high(x))

Fixed operation count, no search, no solver; the same numbers in numpy, in C and as a torch layer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.geometry.validation import as_array, matrix, vector
from yannctl.types import ArrayLike, Float


@dataclass(frozen=True, eq=False)
class ClipFilter:
    """Clip one input to the interval that keeps every successor in the certified set.

    Where the lines cross (x outside the set) the upper end wins, and the input bounds always win. An input that is
    not finite becomes the middle of the interval.

    Args:
        F_low: slopes of the lower lines (rows, nx) [u per x].
        g_low: offsets of the lower lines (rows,) [u].
        F_high: slopes of the upper lines (rows, nx) [u per x].
        g_high: offsets of the upper lines (rows,) [u].
        u_min: lower bound of the input, a number or (1,) [u].
        u_max: upper bound of the input, a number or (1,) [u].

    Raises:
        ModelError: shapes that do not fit, a number that is not finite, or bounds in the wrong order.
    """

    F_low: Float[np.ndarray, "lower nx"] | Any
    g_low: Float[np.ndarray, " lower"] | Any
    F_high: Float[np.ndarray, "upper nx"] | Any
    g_high: Float[np.ndarray, " upper"] | Any
    u_min: float | Any
    u_max: float | Any

    def __post_init__(self) -> None:
        width = int(np.shape(self.F_low)[-1])
        for slopes, offsets in (("F_low", "g_low"), ("F_high", "g_high")):
            g = as_array(offsets, getattr(self, offsets)).reshape(-1)
            F = matrix(slopes, getattr(self, slopes), g.size, width)
            object.__setattr__(self, offsets, np.ascontiguousarray(g))
            object.__setattr__(self, slopes, np.ascontiguousarray(F))
        for name in ("u_min", "u_max"):
            object.__setattr__(self, name, float(vector(name, getattr(self, name), 1)[0]))
        if not self.u_min < self.u_max:
            raise ModelError("u_min", f"{self.u_min} is not below u_max = {self.u_max}", remedy="swap or widen them")

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.F_low.shape[1]

    @property
    def n_rows(self) -> int:
        """Number of lines."""
        return self.g_low.size + self.g_high.size

    def interval(self, x: ArrayLike) -> Float[np.ndarray, "*batch 2"]:
        """Give the ends of the safe interval.

        Args:
            x: states (..., nx).

        Returns:
            low and high (..., 2) [u]; low > high where no input is safe.

        Raises:
            ModelError: the last axis is not nx long.
        """
        from .clip_kernels import interval_many

        states, batch = self._states(x)
        out = np.empty((len(states), 2))
        interval_many(self.F_low, self.g_low, self.F_high, self.g_high, self.u_min, self.u_max, states, out)
        return out.reshape(*batch, 2)

    def __call__(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch 1"]:
        """Give the safe input nearest to the proposed one.

        Args:
            x: states (..., nx).
            u: proposed inputs (..., 1) [u]; NaN and infinities are allowed.

        Returns:
            Inputs (..., 1) [u], always finite for finite x and always within u_min and u_max.

        Raises:
            ModelError: shapes that do not fit.
        """
        from .clip_kernels import clip_many

        states, batch = self._states(x)
        proposed = np.asarray(u, dtype=float)
        if proposed.shape != (*batch, 1):
            raise ModelError("u", f"has shape {proposed.shape}, expected {(*batch, 1)}")
        out = np.empty(len(states))
        proposed = np.ascontiguousarray(proposed.reshape(-1))
        clip_many(self.F_low, self.g_low, self.F_high, self.g_high, self.u_min, self.u_max, states, proposed, out)
        return out.reshape(*batch, 1)

    def torch(self, dtype: Any = None) -> Any:
        """Make the same filter as a torch module, differentiable in x and u.

        Args:
            dtype: floating dtype of the module, float64 when None.

        Returns:
            Module `filter(x, u)`, (..., nx), (..., 1) -> (..., 1).
        """
        from .clip_layer import ClipLayer

        return ClipLayer(self, dtype)

    def _states(self, x: ArrayLike) -> tuple[np.ndarray, tuple[int, ...]]:
        states = np.asarray(x, dtype=float)
        if states.shape[-1:] != (self.nx,):
            raise ModelError("x", f"has shape {states.shape}, expected (..., {self.nx})")
        return np.ascontiguousarray(states.reshape(-1, self.nx)), states.shape[:-1]
