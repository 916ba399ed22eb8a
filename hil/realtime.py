"""What the operating system can do for the loop: priority, locked memory, its own core; and how late it still wakes.

Python under SCHED_FIFO is soft real time. Hard limits belong in the device's own watchdog.
"""

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import Int

from .clock import MonotonicClock

_LOCK_CURRENT_AND_FUTURE = 3  # MCL_CURRENT | MCL_FUTURE of mman.h
RATES = (1000, 500, 200, 100, 50, 20, 10)
LATE_SHARE = 0.1  # of the period: lateness that a rate must keep in 999 of 1000 periods


@dataclass(frozen=True)
class RealTime:
    """What to ask for.

    Args:
        priority: SCHED_FIFO priority, 1 to 98, or 0 for none.
        cores: processors to run on; empty for all.
        lock_memory: keep all pages in memory.

    Raises:
        ModelError: a priority or a processor that does not exist.
    """

    priority: int = 0
    cores: tuple[int, ...] = ()
    lock_memory: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= 98:
            raise ModelError("priority", f"is {self.priority}", remedy="give 1 to 98, or 0 for none")
        missing = set(self.cores) - set(range(os.cpu_count() or 1))
        if missing:
            raise ModelError(
                "cores", f"there is no processor {min(missing)}", remedy=f"give 0 to {(os.cpu_count() or 1) - 1}"
            )


@contextmanager
def real_time(wanted: RealTime) -> Iterator[list[str]]:
    """Ask the system for all of it, and give it back at the end.

    Args:
        wanted: what to ask for.

    Yields:
        What was refused, one line each; empty when all was granted.
    """
    refused: list[str] = []
    before = os.sched_getscheduler(0), os.sched_getparam(0), os.sched_getaffinity(0)
    try:
        if wanted.cores:
            os.sched_setaffinity(0, wanted.cores)
        if wanted.lock_memory and not _memory("mlockall", _LOCK_CURRENT_AND_FUTURE):
            refused.append("locking the memory (ulimit -l, or CAP_IPC_LOCK)")
        if wanted.priority:
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(wanted.priority))
            except PermissionError:
                refused.append("SCHED_FIFO (limits.conf: rtprio, or CAP_SYS_NICE)")
        yield refused
    finally:
        os.sched_setscheduler(0, before[0], before[1])
        os.sched_setaffinity(0, before[2])
        if wanted.lock_memory:
            _memory("munlockall")


def _memory(call: str, *arguments: int) -> bool:
    """Whether a call of the C library about locked memory succeeded."""
    function = getattr(ctypes.CDLL(None, use_errno=True), call, None)
    return function is not None and function(*arguments) == 0


@dataclass(frozen=True)
class Jitter:
    """How late a waiting loop woke.

    Args:
        lateness_ns: after each deadline (n,) [ns].
        rate: periods a second [Hz].
        refused: what the system did not grant.
    """

    lateness_ns: Int[np.ndarray, " n"]
    rate: float
    refused: tuple[str, ...]

    def percentiles(self) -> dict[str, float]:
        """Give p50, p99, p99.9 and maximum [us]."""
        values = np.percentile(self.lateness_ns, [50, 99, 99.9, 100]) / 1000
        return dict(zip(("p50", "p99", "p99.9", "max"), (float(value) for value in values), strict=True))

    def safe_rate(self) -> int:
        """Give the highest of `RATES` whose tenth of a period 999 of 1000 wake-ups keep [Hz]; 0 for none."""
        late = float(np.percentile(self.lateness_ns, 99.9)) * 1e-9
        return next((rate for rate in RATES if late <= LATE_SHARE / rate), 0)


def measure_jitter(rate: float, seconds: float, wanted: RealTime = RealTime()) -> Jitter:
    """Run an empty loop and note how late it wakes.

    Args:
        rate: periods a second [Hz].
        seconds: how long.
        wanted: priority, cores and memory to ask for.

    Returns:
        The measurement.

    Raises:
        ModelError: a rate or a length that is not positive.
    """
    if not (0 < rate <= 10_000 and seconds > 0):
        raise ModelError("rate, seconds", f"are {rate}, {seconds}", remedy="give up to 10000 Hz, and more than 0 s")
    clock, period = MonotonicClock(), round(1e9 / rate)
    lateness = np.zeros(max(1, round(seconds * rate)), np.int64)
    with real_time(wanted) as refused:
        deadline = time.monotonic_ns() + period
        for tick in range(len(lateness)):
            clock.sleep_until_ns(deadline)
            lateness[tick] = time.monotonic_ns() - deadline
            deadline += period * (1 + max(0, int(lateness[tick])) // period)
    return Jitter(lateness, rate, tuple(refused))
