"""One tick of the loop as everybody beside it sees it: the log, the status board, the learner's courier."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from .report import LoopState, Source


class LoopTick(NamedTuple):
    """What happened in a tick.

    Args:
        time_ns: start of the tick since the start of the run [ns].
        period_index: whole periods since the start.
        source: who drove.
        state: state after it.
        lateness_ns: start after its deadline [ns].
        io_ns: time in the rig [ns].
        compute_ns: time in the controllers [ns].
        law_id: number of the weights that proposed; 0 where nothing is learned.
        fresh: whether the measurement was a new and whole one.
        authority: share of the proposal in the input, 0 to 1.
        x: states (nx,).
        u: input asked for (nu,).
        applied: input applied (nu,).
        proposed: input that the learned part proposed (nu,); NaN where nothing was proposed.
    """

    time_ns: int
    period_index: int
    source: Source
    state: LoopState
    lateness_ns: int
    io_ns: int
    compute_ns: int
    law_id: int
    fresh: bool
    authority: float
    x: np.ndarray
    u: np.ndarray
    applied: np.ndarray
    proposed: np.ndarray


class AbstractAttendant(ABC):
    """Somebody who is told of every tick and may ask for a stop; nothing of it may block."""

    @abstractmethod
    def boundary(self) -> str:
        """Act between two ticks.

        Returns:
            Why the loop must stop, or "".
        """

    @abstractmethod
    def ticked(self, tick: LoopTick) -> None:
        """Hear of a tick.

        Args:
            tick: what happened.
        """

    @abstractmethod
    def ended(self) -> None:
        """Hear that there will be no more ticks; the rig is stopped next."""
