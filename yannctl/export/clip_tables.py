"""The safety filter of one input as bare arrays, and the evaluation rule its C text follows.

`low = max(u_min, max_i g_low_i + F_low_i x)`, `high = min(u_max, min_i g_high_i + F_high_i x)`, and the input
nearest to the proposed one between them. Where the ends cross, the upper end wins, and the limits always win.
A proposal that is NaN or infinite gives way to the certified law's input. Sums start with the offset and run in column
order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import Float

from .status import FILTERED, LAW_USED, NO_SAFE_INPUT, OK


@dataclass(frozen=True, eq=False)
class ClipTables:
    """Lines that bound one input, in the precision they are evaluated in.

    Args:
        F_low: slopes of the lower lines (n_low, nx).
        g_low: offsets of the lower lines (n_low,).
        F_high: slopes of the upper lines (n_high, nx).
        g_high: offsets of the upper lines (n_high,).
        u_min: lower limit of the input.
        u_max: upper limit of the input.

    Raises:
        ModelError: shapes that do not fit together, no line, or a number that is not finite.
    """

    F_low: Float[np.ndarray, "n_low nx"]
    g_low: Float[np.ndarray, " n_low"]
    F_high: Float[np.ndarray, "n_high nx"]
    g_high: Float[np.ndarray, " n_high"]
    u_min: Float[np.ndarray, ""]
    u_max: Float[np.ndarray, ""]

    def __post_init__(self) -> None:
        for slopes, offsets in (("F_low", "g_low"), ("F_high", "g_high")):
            F, g = getattr(self, slopes), getattr(self, offsets)
            if F.ndim != 2 or len(F) == 0 or F.shape != (len(g), self.F_low.shape[1]):
                raise ModelError(f"filter.{slopes}", f"has shape {F.shape} beside {len(g)} offsets")
        for field in ("F_low", "g_low", "F_high", "g_high", "u_min", "u_max"):
            if not np.all(np.isfinite(getattr(self, field))):
                raise ModelError(f"filter.{field}", "is not finite in this precision")

    @classmethod
    def of(cls, clip: Any, precision: str) -> "ClipTables":
        """Take the arrays of a filter, rounded to a precision.

        Rounding to float moves an end by at most `eps (|F| |x| + |g|)` and its rows' sums by as much again.

        Args:
            clip: anything with F_low, g_low, F_high, g_high, u_min and u_max, such as `assurance.ClipFilter`.
            precision: "double" or "float".

        Returns:
            The tables.

        Raises:
            ModelError: something that is no such filter, or arrays that do not fit.
        """
        names = ("F_low", "g_low", "F_high", "g_high")
        missing = [name for name in (*names, "u_min", "u_max") if not hasattr(clip, name)]
        if missing:
            raise ModelError("filter", f"{type(clip).__name__} has no {missing[0]}", remedy="give a ClipFilter")
        dtype = np.float64 if precision == "double" else np.float32
        arrays = [np.ascontiguousarray(getattr(clip, name), dtype) for name in names]
        limits = [np.asarray(np.asarray(bound, float).reshape(-1)[0], dtype) for bound in (clip.u_min, clip.u_max)]
        return cls(*arrays, *limits)

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.F_low.shape[1]

    @property
    def n_rows(self) -> int:
        """Number of lines."""
        return len(self.g_low) + len(self.g_high)

    def apply(
        self,
        x: Float[np.ndarray, "n nx"],
        proposal: Float[np.ndarray, " n"],
        certified: Float[np.ndarray, " n"],
    ) -> tuple[Float[np.ndarray, " n"], np.ndarray]:
        """Evaluate the filter with the operations of the C text.

        Args:
            x: states (n, nx).
            proposal: proposed inputs (n,); NaN and infinities are allowed.
            certified: the certified law's inputs (n,).

        Returns:
            Inputs (n,) and status codes (n,).
        """
        low, high = np.full(len(x), self.u_min), np.full(len(x), self.u_max)
        with np.errstate(over="ignore", invalid="ignore"):
            for F, g in zip(self.F_low, self.g_low, strict=True):
                value = _line(F, g, x)
                low = np.where(value <= low, low, value)
            for F, g in zip(self.F_high, self.g_high, strict=True):
                value = _line(F, g, x)
                high = np.where(value >= high, high, value)
        good = np.isfinite(proposal)
        value = np.where(good, proposal, certified)
        u = _clip(_clip(value, low, high), self.u_min, self.u_max)
        status = np.where(good, np.where(u != value, FILTERED, OK), LAW_USED)
        return u, np.where(low <= high, status, NO_SAFE_INPUT)


def _line(F: np.ndarray, g: np.floating, x: np.ndarray) -> np.ndarray:
    """((g + F_0 x_0) + F_1 x_1) + …"""
    total = np.full(len(x), g)
    for column in range(len(F)):
        total = total + F[column] * x[:, column]
    return total


def _clip(value: np.ndarray, low: np.ndarray | np.floating, high: np.ndarray | np.floating) -> np.ndarray:
    """min(max(value, low), high), a NaN ends at a limit."""
    value = np.where(value >= low, value, low)
    return np.where(value <= high, value, high)
