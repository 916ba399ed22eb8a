"""Faults on a link, by a seeded schedule, and the table of what they led to.

The faults stand between host and device in both directions; the plant, the guard and the loop are the real ones. A
case passes when the input stayed inside its limits, no damaged or repeated command was obeyed, and after a fault that
lasts the device held its safe action within `hold_periods` and one tick.
"""

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .links import AbstractLink
from .rig import RigError

FAULTS = ("drop", "delay", "duplicate", "reorder", "corrupt", "truncate", "freeze", "flood", "disconnect", "half_open")


@dataclass(frozen=True)
class Schedule:
    """When and how a link misbehaves.

    Args:
        fault: one of `FAULTS`, or "none".
        start: message from which on it misbehaves.
        share: share of the messages touched, for the faults that touch single ones.
        seed: of the draws.
    """

    fault: str = "none"
    start: int = 50
    share: float = 0.3
    seed: int = 0


@dataclass
class _State:
    sent: int = 0
    previous: bytes = b""
    late: list[tuple[int, int, bytes]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class FaultyLink(AbstractLink):
    """A link that spoils what is sent through it.

    Args:
        link: the link beneath.
        schedule: what it does to messages.
    """

    def __init__(self, link: AbstractLink, schedule: Schedule) -> None:
        self.link, self.schedule, self.shared = link, schedule, link.shared
        self._generator = np.random.default_rng(schedule.seed)
        self._state = _State()
        self._number = itertools.count()

    @property
    def counts(self) -> dict[str, int]:
        """Messages spoilt, by fault."""
        return dict(self._state.counts)

    def open(self) -> None:
        """Open the link beneath."""
        self.link.open()

    def close(self) -> None:
        """Close the link beneath."""
        self.link.close()

    def send(self, message: bytes) -> None:
        """Send, or what the schedule makes of it."""
        state = self._state
        state.sent += 1
        self._release()
        active = self.schedule.fault != "none" and state.sent > self.schedule.start
        if not active:
            self.link.send(message)
        else:
            _ACTIONS[self.schedule.fault](self, message)
        state.previous = message

    def receive(self, deadline_ns: int) -> list[bytes]:
        """Receive from the link beneath; nothing arrives over a link that is cut."""
        self._release()
        if self.schedule.fault in {"disconnect", "half_open"} and self._state.sent > self.schedule.start:
            if self.schedule.fault == "disconnect":
                raise RigError("the link was cut")
            time.sleep(max(0.0, (deadline_ns - time.monotonic_ns()) * 1e-9))
            return []
        return self.link.receive(deadline_ns)

    def touched(self) -> bool:
        """Draw whether this message is spoilt, and count it."""
        hit = bool(self._generator.random() < self.schedule.share)
        self._state.counts[self.schedule.fault] += hit
        return hit

    def draw(self, stop: int) -> int:
        """Draw a number below `stop`.

        Args:
            stop: first number that is not drawn.
        """
        return int(self._generator.integers(stop))

    def postpone(self, message: bytes, seconds: float) -> None:
        """Send a message later.

        Args:
            message: its bytes.
            seconds: how much later [s].
        """
        instant = time.monotonic_ns() + round(seconds * 1e9)
        heapq.heappush(self._state.late, (instant, next(self._number), message))

    def _release(self) -> None:
        late = self._state.late
        while late and late[0][0] <= time.monotonic_ns():
            self.link.send(heapq.heappop(late)[2])

    def previous(self) -> bytes:
        """The message before."""
        return self._state.previous


def _drop(link: FaultyLink, message: bytes) -> None:
    if not link.touched():
        link.link.send(message)


def _delay(link: FaultyLink, message: bytes) -> None:
    if link.touched():
        link.postpone(message, 0.001 * (1 + link.draw(60)))
    else:
        link.link.send(message)


def _duplicate(link: FaultyLink, message: bytes) -> None:
    for _ in range(1 + link.touched() * (1 + link.draw(3))):
        link.link.send(message)


def _reorder(link: FaultyLink, message: bytes) -> None:
    if link.touched():
        link.postpone(message, 0.0)
        link.link.send(link.previous())
    else:
        link.link.send(message)


def _corrupt(link: FaultyLink, message: bytes) -> None:
    if link.touched():
        spoilt = bytearray(message)
        for _ in range(1 + link.draw(4)):
            spoilt[link.draw(len(spoilt))] ^= 1 << link.draw(8)
        message = bytes(spoilt)
    link.link.send(message)


def _truncate(link: FaultyLink, message: bytes) -> None:
    link.link.send(message[: link.draw(len(message))] if link.touched() else message)


def _freeze(link: FaultyLink, message: bytes) -> None:
    link.touched()
    link.link.send(link.previous())


def _flood(link: FaultyLink, message: bytes) -> None:
    for _ in range(50 * link.touched()):
        link.link.send(link._generator.bytes(1 + link.draw(200)))
    link.link.send(message)


def _silence(link: FaultyLink, message: bytes) -> None:
    link._state.counts[link.schedule.fault] += 1


_ACTIONS: dict[str, Callable[[FaultyLink, bytes], None]] = {
    "drop": _drop,
    "delay": _delay,
    "duplicate": _duplicate,
    "reorder": _reorder,
    "corrupt": _corrupt,
    "truncate": _truncate,
    "freeze": _freeze,
    "flood": _flood,
    "disconnect": _silence,
    "half_open": _silence,
}
