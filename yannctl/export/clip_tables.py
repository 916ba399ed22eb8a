"""The safety filter of one input as bare arrays, and the evaluation rule its C text follows.

`low = max(u_min, max_i g_low_i + F_low_i x)`, `high = min(u_max, min_i g_high_i + F_high_i x)`, and the input
nearest to the proposed one between them. Where the ends cross, the upper end wins, and the limits always win.
A proposal that is NaN or infinite gives way to the certified law's input. Sums start with the offset and run in column
order.

In float the lines are rounded towards safe: lower lines up, upper lines down, by all that rounding of slopes, offsets,
states and sums can lose, so that the interval in float lies inside the exact one. Where that makes the ends of a thin
interval cross, the upper end wins as above and the status says that no input is known to be safe.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import Float

from .status import FILTERED, LAW_USED, NO_SAFE_INPUT, OK

_IN_PYTHON = "run it in Python (`yannctl export c --bare` writes the code without it), or certify a polytopic set"
_UNIT = float(np.finfo(np.float32).eps) / 2  # largest relative error of one rounding to float
_SLACK = 1.001  # products of errors, and the rounding of this computation itself


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
        reach: largest |x| the lines are meant for (nx,), None when not stated.
        source: where the lines come from, in words.

    Raises:
        ModelError: shapes that do not fit together, no line, limits in the wrong order, or a number that is not finite.
    """

    F_low: Float[np.ndarray, "n_low nx"]
    g_low: Float[np.ndarray, " n_low"]
    F_high: Float[np.ndarray, "n_high nx"]
    g_high: Float[np.ndarray, " n_high"]
    u_min: Float[np.ndarray, ""]
    u_max: Float[np.ndarray, ""]
    reach: Float[np.ndarray, " nx"] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        for slopes, offsets in (("F_low", "g_low"), ("F_high", "g_high")):
            F, g = getattr(self, slopes), getattr(self, offsets)
            if F.ndim != 2 or len(F) == 0 or F.shape != (len(g), self.F_low.shape[1]):
                raise ModelError(f"filter.{slopes}", f"has shape {F.shape} beside {len(g)} offsets")
        for field in ("F_low", "g_low", "F_high", "g_high", "u_min", "u_max"):
            if not np.all(np.isfinite(getattr(self, field))):
                raise ModelError(f"filter.{field}", "is not finite in this precision")
        if not self.u_min <= self.u_max:
            raise ModelError("filter.u_min", f"{self.u_min} lies above u_max = {self.u_max} in this precision")
        if self.reach is not None and (self.reach.shape != (self.nx,) or not np.all(self.reach >= 0)):
            raise ModelError(
                "filter.reach", f"got {self.reach!r}", remedy=f"give {self.nx} numbers that are not negative"
            )

    @classmethod
    def of(cls, clip: Any) -> "ClipTables":
        """Take the arrays of a filter as they are.

        Args:
            clip: an `assurance.Certificate` of one input or its `PolytopicSet`, or anything with F_low, g_low, F_high,
                g_high, u_min and u_max, such as `assurance.ClipFilter`.

        Returns:
            The tables in float64; those of a certificate reach as far as its set.

        Raises:
            ModelError: something that is no such filter, or arrays that do not fit.
        """
        certificate = getattr(clip, "certificate", clip)
        if hasattr(certificate, "statement"):
            if not hasattr(certificate, "clip"):
                text = f"of a {certificate.form} set is no clip to lines, so C code cannot hold it"
                raise ModelError("filter", text, remedy=_IN_PYTHON)
            corners = np.abs(certificate.found.vertices).max(axis=0)
            return replace(cls.of(certificate.clip()), reach=corners, source=words_of(certificate))
        names = ("F_low", "g_low", "F_high", "g_high")
        missing = [name for name in (*names, "u_min", "u_max") if not hasattr(clip, name)]
        if missing:
            raise ModelError("filter", f"{type(clip).__name__} has no {missing[0]}", remedy="give a ClipFilter")
        limits = [np.asarray(np.asarray(bound, float).reshape(-1)[0]) for bound in (clip.u_min, clip.u_max)]
        arrays = [np.ascontiguousarray(getattr(clip, name), float) for name in names]
        for side, beyond in ((0, limits[0] - 1), (2, limits[1] + 1)):
            if arrays[side].ndim == 2 and len(arrays[side]) == len(arrays[side + 1]) == 0:  # C has no empty tables
                arrays[side], arrays[side + 1] = np.zeros((1, arrays[side].shape[1])), np.full(1, beyond)
        return cls(*arrays, *limits, reach=getattr(clip, "reach", None), source=getattr(clip, "source", ""))

    def rounded(self, precision: str, reach: Float[np.ndarray, " nx"]) -> "ClipTables":
        """Give the tables in the precision of the target, rounded towards safe.

        A float sum of n products and an offset is wrong by at most `(n + 1) eps (|g| + |F| |x|)`, the state itself by
        `eps |x|`; the offsets move by that and by what the slopes lose, `|float(F) - F| |x|`
        (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1).

        Args:
            precision: "double" or "float".
            reach: largest |x| to be covered where the tables state none (nx,).

        Returns:
            The tables; those in double are the same.

        Raises:
            ModelError: numbers beyond the range of float.
        """
        if precision == "double":
            return self
        reach = np.asarray(reach if self.reach is None else self.reach, float)
        with np.errstate(over="ignore"):
            return replace(
                self,
                F_low=self.F_low.astype(np.float32),
                g_low=_towards(self.g_low + _lost(self.F_low, self.g_low, reach), np.inf),
                F_high=self.F_high.astype(np.float32),
                g_high=_towards(self.g_high - _lost(self.F_high, self.g_high, reach), -np.inf),
                u_min=_towards(self.u_min, np.inf),
                u_max=_towards(self.u_max, -np.inf),
                reach=reach,
            )

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


def words_of(certificate: Any) -> str:
    """Say what a certificate covers.

    Args:
        certificate: an `assurance.Certificate`.
    """
    said = certificate.statement
    states = ", ".join(f"{name} [{unit}]" for name, unit in zip(said.x_names, said.x_units, strict=True))
    signed = f"signed by {certificate.signed_by}" if certificate.signed_by else "signature not checked"
    return f"certificate of {said.plant}, states {states}, sample time {said.dt:g}, {signed}; covers: {said.note}"


def _lost(F: np.ndarray, g: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """What the value of each line can lose in float for |x| <= reach (lines,)."""
    slopes, n = F.astype(np.float32).astype(float), F.shape[1]
    sums = (n + 2) * _UNIT * (np.abs(g) + np.abs(slopes) @ reach)
    smallest = (n + 2) * float(np.finfo(np.float32).tiny)
    return _SLACK * (np.abs(slopes - F) @ reach + sums) + smallest


def _towards(values: np.ndarray, end: float) -> np.ndarray:
    """The nearest float32 that does not lie on the other side."""
    near = np.asarray(values, np.float32)
    wrong = near < values if end > 0 else near > values
    return np.asarray(np.where(wrong, np.nextafter(near, np.float32(end)), near), np.float32)


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
