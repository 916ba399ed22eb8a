"""The way back from outside a certified set of one input: the input whose worst line is violated least.

    u = arg min over U of max_i (line_i(x) -+ u),   lines of the filter, each scaled to the unit of u

The soft form of the filter's own problem, solved in closed form (piecewise affine in x): always defined, equal work for
every state. It proves nothing; whoever uses it raises a flag.
"""

import math
import typing

import numpy as np
from numba import njit

from yannctl.types import ArrayLike, Float

from .clip_filter import ClipFilter


@njit(cache=True)
@typing.no_type_check
def _recover(F_low, g_low, F_high, g_high, u_min, u_max, x, out):
    for k in range(x.shape[0]):
        low, high = -np.inf, np.inf
        for i in range(g_low.size):
            value = g_low[i]
            for j in range(x.shape[1]):
                value += F_low[i, j] * x[k, j]
            low = max(low, value)
        for i in range(g_high.size):
            value = g_high[i]
            for j in range(x.shape[1]):
                value += F_high[i, j] * x[k, j]
            high = min(high, value)
        # max(low - u, u - high) is least in the middle; without lines on one side, at that side's bound.
        middle = 0.5 * (low + high)
        if not math.isfinite(middle):
            middle = u_max if math.isfinite(low) else u_min
        out[k] = min(max(middle, u_min), u_max)


class LineRecovery:
    """Recovery law of a clip filter.

    Every line has slope one in u, so that the least worst violation lies midway between the highest lower line and
    the lowest upper line.

    Args:
        clip: the filter.
    """

    def __init__(self, clip: ClipFilter) -> None:
        self.clip = clip

    def __call__(self, x: ArrayLike) -> Float[np.ndarray, "*batch 1"]:
        """Give the input of least violation.

        Args:
            x: states (..., nx).

        Returns:
            Inputs (..., 1), finite and within the bounds for finite states.
        """
        clip, states = self.clip, np.asarray(x, dtype=float)
        flat = np.ascontiguousarray(states.reshape(-1, clip.nx))
        out = np.empty(len(flat))
        _recover(clip.F_low, clip.g_low, clip.F_high, clip.g_high, clip.u_min, clip.u_max, flat, out)
        return out.reshape(*states.shape[:-1], 1)
