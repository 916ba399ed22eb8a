"""The contract between the loop and whatever it drives: a simulated plant, a board, a robot, a PLC."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from yannctl.errors import YannctlError
from yannctl.types import Float

from .clock import AbstractClock


class RigError(YannctlError, RuntimeError):
    """The rig or its link failed; the loop stops and stays stopped."""


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Args:
        x: states (nx,), physical units; NaN where a channel has no reading.
        time_ns: instant of the measurement on the rig's clock [ns].
        sequence: number of the measurement; it rises with every fresh one.
    """

    x: Float[np.ndarray, " nx"]
    time_ns: int
    sequence: int


class AbstractRig(ABC):
    """Something with states to read and inputs to write.

    The attributes are known before the connection is opened. Use it as a context manager: leaving the block stops and
    closes it, whatever happened inside.

    Args:
        x_names: names of the states.
        u_names: names of the inputs.
        x_units: units of the states.
        u_units: units of the inputs.
        u_min: lower limits the driver enforces (nu,).
        u_max: upper limits (nu,).
        safe_action: input that brings the plant to rest or keeps it safe (nu,); zero is not always safe.
        dt: sample period [s].
        clock: the clock of its time stamps and deadlines.
        input_rows: (G, h) of input limits G u <= h beside the box, or None.
    """

    x_names: tuple[str, ...]
    u_names: tuple[str, ...]
    x_units: tuple[str, ...]
    u_units: tuple[str, ...]
    u_min: Float[np.ndarray, " nu"]
    u_max: Float[np.ndarray, " nu"]
    safe_action: Float[np.ndarray, " nu"]
    dt: float
    clock: AbstractClock
    input_rows: tuple[Float[np.ndarray, "rows nu"], Float[np.ndarray, " rows"]] | None = None

    @abstractmethod
    def open(self) -> None:
        """Connect; the actuators stay off.

        Raises:
            RigError: there is no connection.
        """

    @abstractmethod
    def arm(self) -> None:
        """Switch the actuators on; `write` has no effect before.

        Raises:
            RigError: the rig is not open or was stopped.
        """

    @abstractmethod
    def read(self, deadline_ns: int) -> Sample:
        """Take the newest measurement.

        Args:
            deadline_ns: return by then, with the last sample again if there is no newer one [ns].

        Returns:
            The measurement; its sequence number tells whether it is fresh.

        Raises:
            RigError: the link is broken.
        """

    @abstractmethod
    def write(self, u: Float[np.ndarray, " nu"], deadline_ns: int) -> Float[np.ndarray, " nu"]:
        """Send an input.

        Args:
            u: input (nu,), physical units.
            deadline_ns: time by which it must be sent [ns].

        Returns:
            The input really applied: clipped to the limits, the safe action in place of one that is not finite.

        Raises:
            RigError: the rig is not armed, or the link is broken.
        """

    @abstractmethod
    def stop(self, reason: str) -> None:
        """Send the safe action and switch off; harmless when repeated, and possible at any time after `open`.

        Args:
            reason: why, for the log.

        Raises:
            RigError: it could not be sent; then only the hardware can stop the plant.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the connection back; harmless when repeated."""

    def __enter__(self) -> "AbstractRig":  # noqa: PYI034 (Self cannot be checked at run time)
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop("end of the run" if error is None else f"{type(error).__name__}: {error}")
        finally:
            self.close()


def allowed_input(
    u: Float[np.ndarray, "..."],
    low: Float[np.ndarray, " nu"],
    high: Float[np.ndarray, " nu"],
    safe_action: Float[np.ndarray, " nu"],
    input_rows: tuple[Float[np.ndarray, "rows nu"], Float[np.ndarray, " rows"]] | None = None,
) -> Float[np.ndarray, " nu"]:
    """Give the input a driver may apply: clipped to its limits, the safe action in place of what is no input.

    Where rows G u <= h limit several inputs together, an input beyond them is drawn along the straight line towards
    the safe action until they hold: s + t (u - s) with the largest t in [0, 1]. A robot whose safe action is rest so
    keeps the curve it was told to drive and only slows down.

    Args:
        u: input asked for (nu,), physical units; another shape or a number that is not finite is no input.
        low: lower limits (nu,).
        high: upper limits (nu,).
        safe_action: input that keeps the plant safe (nu,), inside all limits.
        input_rows: (G, h), or None.

    Returns:
        Input (nu,), a new array.
    """
    if u.shape != low.shape or not np.all(np.isfinite(u)):
        return safe_action.copy()
    allowed = np.clip(u, low, high)
    if input_rows is None:
        return allowed
    G, h = input_rows
    if np.all(G @ allowed <= h):
        return allowed
    room, wanted = h - G @ safe_action, G @ (allowed - safe_action)
    share = float(np.min(np.divide(room, wanted, out=np.ones_like(room), where=wanted > room)))
    drawn = safe_action + share * (allowed - safe_action)
    while np.any(G @ drawn > h):  # a last bit beyond the limit is beyond it
        share = np.nextafter(share, 0.0) * (1 - 1e-15)
        drawn = safe_action + share * (allowed - safe_action)
    return drawn
