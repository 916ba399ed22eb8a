"""Faults on a link, by a seeded schedule, and the table of what they led to.

The faults stand between host and device in both directions; the plant, the guard and the loop are the real ones. A
case passes when the input stayed inside its limits, no damaged or repeated command was obeyed, and after a fault that
lasts the device held its safe action within `hold_periods` and one tick.
"""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .can_link import CanLink
from .links import AbstractLink, SerialLink
from .rig import RigError

FAULTS = ("drop", "delay", "duplicate", "reorder", "corrupt", "truncate", "freeze", "flood", "disconnect", "half_open")
LASTING = ("freeze", "disconnect", "half_open")  # touch every message


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


Emit = Callable[[Any], object]
Damage = Callable[["Spoiler", Any, bool], Any]


class Spoiler:
    """One direction of a link that misbehaves.

    Args:
        schedule: what it does.
        emit: where messages go on.
        junk: makes what strangers send in a flood; default random bytes.
        damage: makes a damaged message (whole: True) or a cut one (False); default changed and missing bytes.
    """

    def __init__(
        self, schedule: Schedule, emit: Emit, junk: Callable[[], Any] | None = None, damage: Damage | None = None
    ) -> None:
        self.schedule, self.emit = schedule, emit
        self.seen = self.spoilt = 0
        self.previous: Any = b""
        self.generator = np.random.default_rng(schedule.seed)
        self.junk = junk or (lambda: self.generator.bytes(1 + self.draw(200)))
        self.damage = damage or _damaged
        self._late: list[tuple[int, int, Any]] = []

    @property
    def active(self) -> bool:
        """Whether the fault has begun."""
        return self.schedule.fault != "none" and self.seen > self.schedule.start

    def pass_on(self, message: Any) -> None:
        """Pass a message on, or what the schedule makes of it.

        Args:
            message: what is sent.
        """
        self.seen += 1
        self.release()
        if self.active and (self.generator.random() < self.schedule.share or self.schedule.fault in LASTING):
            self.spoilt += 1
            _ACTIONS[self.schedule.fault](self, message)
        else:
            self.emit(message)
        if not (self.active and self.schedule.fault == "freeze"):
            self.previous = message

    def postpone(self, message: Any, seconds: float) -> None:
        """Pass a message on later.

        Args:
            message: what is sent.
            seconds: how much later [s].
        """
        heapq.heappush(self._late, (time.monotonic_ns() + round(seconds * 1e9), self.seen, message))

    def release(self) -> None:
        """Pass on what is due."""
        while self._late and self._late[0][0] <= time.monotonic_ns():
            self.emit(heapq.heappop(self._late)[2])

    def draw(self, stop: int) -> int:
        """Draw a number below `stop`.

        Args:
            stop: first number that is not drawn.
        """
        return int(self.generator.integers(stop))


class FaultyLink(AbstractLink):
    """A link that misbehaves in both directions.

    On a serial line and on CAN it is the frames that are spoilt, beneath their check; elsewhere the datagrams. What
    ZeroMQ carries cannot be damaged from here: TCP and CURVE drop it.

    Args:
        link: the link beneath.
        schedule: what it does to messages.
    """

    def __init__(self, link: AbstractLink, schedule: Schedule) -> None:
        self.link, self.shared, self.peer = link, link.shared, link.peer
        self._arrived: list[bytes] = []
        emit_out, emit_in = link.send, self._arrived.append
        self._pieces: Callable[[bytes], list[bytes]] = lambda message: [message]
        if isinstance(link, SerialLink | CanLink):
            collector = link.collector()
            emit_out, self._pieces = link.put, link.pieces
            emit_in = lambda piece: self._arrived.extend(collector.feed(piece))  # noqa: E731
        self.outward = Spoiler(schedule, emit_out)
        self.inward = Spoiler(replace(schedule, seed=schedule.seed + 1), emit_in)

    def open(self) -> None:
        """Open the link beneath."""
        self.link.open()

    def close(self) -> None:
        """Close the link beneath."""
        self.link.close()

    def send(self, message: bytes) -> None:
        """Send, or what the schedule makes of it."""
        for piece in self._pieces(message):
            self.outward.pass_on(piece)

    def receive(self, deadline_ns: int) -> list[bytes]:
        """Receive, or what the schedule makes of it."""
        fault = self.outward.schedule.fault
        if fault == "disconnect" and self.outward.active:
            raise RigError("the link was cut")
        self.inward.release()
        for message in self.link.receive(deadline_ns):
            for piece in self._pieces(message):
                self.inward.pass_on(piece)
        arrived, self._arrived[:] = list(self._arrived), []
        return arrived


def _damaged(link: Spoiler, message: bytes, whole: bool) -> bytes:
    """Some bits turned over, or the end missing."""
    if not whole:
        return message[: link.draw(len(message))]
    spoilt = bytearray(message)
    for _ in range(1 + link.draw(4)):
        spoilt[link.draw(len(spoilt))] ^= 1 << link.draw(8)
    return bytes(spoilt)


def _reorder(link: Spoiler, message: Any) -> None:
    link.postpone(message, 0.0)
    link.emit(link.previous)


def _duplicate(link: Spoiler, message: Any) -> None:
    for _ in range(2 + link.draw(3)):
        link.emit(message)


def _flood(link: Spoiler, message: Any) -> None:
    for _ in range(50):
        link.emit(link.junk())
    link.emit(message)


def _swallow(_link: Spoiler, _message: Any) -> None:
    """The message is gone."""


_ACTIONS: dict[str, Callable[[Spoiler, Any], object]] = {
    "drop": _swallow,
    "delay": lambda link, message: link.postpone(message, 0.001 * (1 + link.draw(60))),
    "duplicate": _duplicate,
    "reorder": _reorder,
    "corrupt": lambda link, message: link.emit(link.damage(link, message, True)),
    "truncate": lambda link, message: link.emit(link.damage(link, message, False)),
    "freeze": lambda link, _: link.emit(link.previous),
    "flood": _flood,
    "disconnect": _swallow,
    "half_open": _swallow,
}
