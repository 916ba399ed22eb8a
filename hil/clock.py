"""Clocks of the loop: the computer's monotonic one, the same run faster, and a virtual one that only sleeping moves."""

import math
import time
from abc import ABC, abstractmethod

from yannctl.errors import ModelError

SPIN_NS = 100_000  # the last part of a wait is spun, as sleeping may wake late


class AbstractClock(ABC):
    """Nanoseconds that never run backwards; the wall clock plays no part."""

    @abstractmethod
    def now_ns(self) -> int:
        """Time since an arbitrary instant [ns]."""

    @abstractmethod
    def sleep_until_ns(self, instant_ns: int) -> None:
        """Return at an instant, at once if it has passed.

        Args:
            instant_ns: absolute time [ns].
        """


class MonotonicClock(AbstractClock):
    """The computer's monotonic clock; it sleeps, then spins for the last 0.1 ms."""

    def now_ns(self) -> int:
        """Time of the monotonic clock [ns]."""
        return time.monotonic_ns()

    def sleep_until_ns(self, instant_ns: int) -> None:
        """Sleep until shortly before the instant, then spin.

        Args:
            instant_ns: absolute time [ns].
        """
        pause = instant_ns - SPIN_NS - time.monotonic_ns()
        if pause > 0:
            time.sleep(pause * 1e-9)
        while time.monotonic_ns() < instant_ns:
            pass


class AcceleratedClock(AbstractClock):
    """The monotonic clock run faster, for a simulated plant: hours of the rig in minutes.

    Lateness counts in the rig's time: the computer's own delays look `speed` times as long.

    Args:
        speed: seconds of the rig in one of the computer, above 0.

    Raises:
        ModelError: a speed that is not.
    """

    def __init__(self, speed: float) -> None:
        if not 0 < speed < math.inf:
            raise ModelError("speed", f"got {speed}", remedy="give how many times as fast as real time, e.g. 10")
        self._computer, self._speed = MonotonicClock(), speed
        self._start = self._computer.now_ns()

    def now_ns(self) -> int:
        """Time of the rig [ns]."""
        return self._start + int((self._computer.now_ns() - self._start) * self._speed)

    def sleep_until_ns(self, instant_ns: int) -> None:
        """Sleep and spin as the monotonic clock does.

        Args:
            instant_ns: absolute time of the rig [ns].
        """
        pause = math.ceil((instant_ns - self._start) / self._speed) + 1  # never a nanosecond early
        self._computer.sleep_until_ns(self._start + pause)


class VirtualClock(AbstractClock):
    """Time that stands still except while sleeping: plant and loop advance in lockstep, every run is the same.

    Args:
        start_ns: first reading [ns].
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """The virtual time [ns]."""
        return self._now_ns

    def sleep_until_ns(self, instant_ns: int) -> None:
        """Jump to the instant.

        Args:
            instant_ns: absolute time [ns].
        """
        self._now_ns = max(self._now_ns, instant_ns)

    def advance(self, duration_ns: int) -> None:
        """Let time pass, as a slow computation or a slow link would.

        Args:
            duration_ns: duration, not negative [ns].
        """
        self._now_ns += duration_ns
