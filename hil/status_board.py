"""The loop's state in shared memory: written every tick without waiting, read by the supervisor and the live view."""

from multiprocessing import resource_tracker, shared_memory
from typing import Any, NamedTuple

import numpy as np

from .report import LoopState, Source
from .tick import AbstractAttendant, LoopTick

_INTEGERS = 24  # version, then Status's integers, then what others write
_VERSION, _FIELDS, _SUPERVISOR, _WIDTH = 0, 1, 20, 16
_INT_NAMES = (
    "beat",
    "time_ns",
    "state",
    "source",
    "law_id",
    "stale",
    "bad_samples",
    "overruns",
    "fallbacks",
    "safe_actions",
    "swaps",
    "refused",
)
_FLOAT_NAMES = (
    "authority",
    "lateness_us",
    "io_us",
    "compute_us",
    "worst_lateness_us",
    "difference",
    "margin",
    "period",
)


class Status(NamedTuple):
    """What the board shows.

    Args:
        beat: ticks done.
        time_ns: time since the start of the run [ns].
        state: of the loop.
        source: who drove last.
        law_id: number of the weights that propose.
        stale: ticks since the last fresh measurement.
        bad_samples: counted so far.
        overruns: counted so far.
        fallbacks: counted so far.
        safe_actions: counted so far.
        swaps: weights taken so far.
        refused: weights refused so far.
        authority: share of the proposal.
        lateness_us: of the last tick [us].
        io_us: of the last tick [us].
        compute_us: of the last tick [us].
        worst_lateness_us: of all ticks [us].
        difference: largest |proposed - asked for| of the last tick [input units].
        margin: smallest distance to a state bound as a share of half its range; NaN where there is none.
        period: sample period [s].
        x: states (nx,).
        applied: input applied (nu,).
        proposed: input proposed (nu,).
    """

    beat: int
    time_ns: int
    state: LoopState
    source: Source
    law_id: int
    stale: int
    bad_samples: int
    overruns: int
    fallbacks: int
    safe_actions: int
    swaps: int
    refused: int
    authority: float
    lateness_us: float
    io_us: float
    compute_us: float
    worst_lateness_us: float
    difference: float
    margin: float
    period: float
    x: np.ndarray
    applied: np.ndarray
    proposed: np.ndarray


class StatusBoard:
    """Numbers of one loop; one process writes, any number read.

    A version that is odd while the numbers change lets a reader see that it must read again.

    Args:
        name: of the shared memory.
        nx: number of states.
        nu: number of inputs.
        create: whether this process writes; what an earlier run left under the name is removed.
    """

    def __init__(self, name: str, nx: int, nu: int, create: bool = False) -> None:
        self.nx, self.nu, self._own = nx, nu, create
        size = 8 * (_INTEGERS + _WIDTH + nx + 2 * nu)
        if create:
            self._memory = _fresh(name, size)
        else:
            self._memory = shared_memory.SharedMemory(name)
            resource_tracker.unregister(self._memory._name, "shared_memory")  # type: ignore[attr-defined]
        self._integers = np.ndarray((_INTEGERS,), np.int64, self._memory.buf)
        self._floats = np.ndarray((_WIDTH + nx + 2 * nu,), np.float64, self._memory.buf, offset=8 * _INTEGERS)

    @property
    def beat(self) -> int:
        """Ticks done so far; the loop's heartbeat."""
        return int(self._integers[_FIELDS])

    @property
    def state(self) -> LoopState:
        """State of the loop."""
        return LoopState(int(self._integers[_FIELDS + 2]))

    @property
    def supervisor_beat(self) -> int:
        """Heartbeat of the supervisor."""
        return int(self._integers[_SUPERVISOR])

    def supervise(self) -> None:
        """Beat as the supervisor."""
        self._integers[_SUPERVISOR] += 1

    def put(
        self, integers: list[int], floats: list[float], x: np.ndarray, applied: np.ndarray, proposed: np.ndarray
    ) -> None:
        """Write all numbers.

        Args:
            integers: of `Status` in order.
            floats: of `Status` in order.
            x: states (nx,).
            applied: input applied (nu,).
            proposed: input proposed (nu,).
        """
        self._integers[_VERSION] += 1
        self._integers[_FIELDS : _FIELDS + len(integers)] = integers
        self._floats[: len(floats)] = floats
        rest = self._floats[_WIDTH:]
        rest[: self.nx], rest[self.nx : self.nx + self.nu], rest[self.nx + self.nu :] = x, applied, proposed
        self._integers[_VERSION] += 1

    def enter(self, state: LoopState) -> None:
        """Write the state alone, before and after the ticks.

        Args:
            state: of the loop.
        """
        self._integers[_FIELDS + 2] = state

    def read(self) -> Status:
        """Read everything, the last whole tick."""
        for _ in range(100):
            version = int(self._integers[_VERSION])
            integers, floats = self._integers.copy(), self._floats.copy()
            if version % 2 == 0 and version == int(self._integers[_VERSION]):
                break
        head: dict[str, Any] = dict(zip(_INT_NAMES, (int(value) for value in integers[_FIELDS:]), strict=False))
        head |= {"state": LoopState(head["state"]), "source": Source(head["source"])}
        head |= dict(zip(_FLOAT_NAMES, (float(value) for value in floats), strict=False))
        rest = floats[_WIDTH:]
        x, applied, proposed = np.split(rest, [self.nx, self.nx + self.nu])
        return Status(**head, x=x, applied=applied, proposed=proposed)

    def close(self) -> None:
        """Give the memory back; its maker removes it."""
        del self._integers, self._floats  # they look into the memory
        self._memory.close()
        if self._own:
            self._memory.unlink()


def _fresh(name: str, size: int) -> shared_memory.SharedMemory:
    """New shared memory, in place of what a killed run left."""
    try:
        return shared_memory.SharedMemory(name, create=True, size=size)
    except FileExistsError:
        old = shared_memory.SharedMemory(name)
        old.close()
        old.unlink()
        return shared_memory.SharedMemory(name, create=True, size=size)


class BoardWriter(AbstractAttendant):
    """Shows the loop on the board, and stops it when its supervisor is gone.

    Args:
        board: the board.
        period: sample period [s].
        x_min: lower state bounds (nx,), for the margin.
        x_max: upper state bounds (nx,).
        supervised: whether a supervisor must be alive.
        patience: seconds without its heartbeat before the loop stops [s].
    """

    def __init__(
        self,
        board: StatusBoard,
        period: float,
        x_min: np.ndarray,
        x_max: np.ndarray,
        supervised: bool = False,
        patience: float = 1.0,
    ) -> None:
        self.board, self._period = board, period
        with np.errstate(invalid="ignore"):
            self._middle, self._half = (x_min + x_max) / 2, (x_max - x_min) / 2
        self._bounded = np.isfinite(self._half) & (self._half > 0)
        self._limit = max(1, round(patience / period)) if supervised else 0
        self._counts = {"bad_samples": 0, "overruns": 0, "fallbacks": 0, "safe_actions": 0}
        self._beat = self._stale = self._last_index = self._supervisor = self._quiet = 0
        self._worst = 0.0
        self.swaps = self.refused = 0

    def boundary(self) -> str:
        """Look whether the supervisor lives."""
        if not self._limit:
            return ""
        seen = self.board.supervisor_beat
        self._quiet = 0 if seen != self._supervisor else self._quiet + 1
        self._supervisor = seen
        return "the supervisor is gone" if self._quiet > self._limit else ""

    def ended(self) -> None:
        """Show that the loop stops by itself."""
        self.board.enter(LoopState.STOPPED)

    def ticked(self, tick: LoopTick) -> None:
        """Show a tick."""
        counts = self._counts
        self._beat += 1
        self._stale = 0 if tick.fresh else self._stale + 1
        counts["bad_samples"] += not tick.fresh
        counts["overruns"] += tick.period_index > self._last_index + 1
        counts["fallbacks"] += tick.source is Source.FALLBACK
        counts["safe_actions"] += tick.source is Source.SAFE_ACTION
        self._last_index, self._worst = tick.period_index, max(self._worst, tick.lateness_ns / 1e3)
        bounded = self._bounded
        margin = np.nan
        if bounded.any():
            margin = float(np.min(1 - np.abs(tick.x[bounded] - self._middle[bounded]) / self._half[bounded]))
        difference = float(np.abs(tick.proposed - tick.u).max())
        integers = [self._beat, tick.time_ns, int(tick.state), int(tick.source), tick.law_id, self._stale]
        times = [tick.lateness_ns / 1e3, tick.io_ns / 1e3, tick.compute_ns / 1e3, self._worst]
        self.board.put(
            [*integers, *counts.values(), self.swaps, self.refused],
            [tick.authority, *times, difference, margin, self._period],
            tick.x,
            tick.applied,
            tick.proposed,
        )
