"""Clocks of the loop: the computer's monotonic one, and a virtual one that only sleeping moves."""

import time
from abc import ABC, abstractmethod

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
