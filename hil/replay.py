"""A recorded run through a controller again: the same bits, or what another controller would have done."""

from dataclasses import dataclass

import numpy as np

from yannctl.controllers.base import AbstractController
from yannctl.errors import ModelError
from yannctl.types import Bool, Float

from .flight_log import FlightRecord
from .report import Source


@dataclass(frozen=True)
class Replay:
    """A controller's inputs on recorded states beside the recorded ones.

    Args:
        u: its inputs (n, nu).
        recorded: inputs asked for in the run (n, nu).
        driven: ticks in which the run's controller spoke, not its fallback or the safe action (n,).
    """

    u: Float[np.ndarray, "n nu"]
    recorded: Float[np.ndarray, "n nu"]
    driven: Bool[np.ndarray, " n"]

    @property
    def n_compared(self) -> int:
        """Number of ticks compared: those in which the run's controller spoke."""
        return int(self.driven.sum())

    @property
    def n_different(self) -> int:
        """Number of them that differ in any bit."""
        return int((self.u[self.driven] != self.recorded[self.driven]).any(axis=1).sum())

    @property
    def max_difference(self) -> float:
        """Largest |u - recorded| [input unit]."""
        return float(np.abs(self.u[self.driven] - self.recorded[self.driven]).max(initial=0.0))


def replay(record: FlightRecord, controller: AbstractController) -> Replay:
    """Ask a controller for its input at every recorded state, in order, from a reset.

    Args:
        record: the log.
        controller: the run's own, which must give the same bits, or another in shadow.

    Returns:
        Its inputs beside the recorded ones.

    Raises:
        ModelError: a controller of other sizes.
    """
    sizes = len(record.header.x_names), len(record.header.u_names)
    if (controller.nx, controller.nu) != sizes:
        raise ModelError("controller", f"has nx, nu = {controller.nx}, {controller.nu}; the log {sizes}")
    controller.reset()
    u = np.full_like(record.u, np.nan)
    measured = np.isfinite(record.x).all(axis=1)
    for k in np.flatnonzero(measured):
        u[k] = controller(record.x[k])
    return Replay(u, record.u, measured & (record.scalars["source"] == Source.CONTROLLER))
