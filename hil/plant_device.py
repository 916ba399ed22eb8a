"""A plant in simulation behind the device's end of a link, in real time: the counterpart of `LinkedRig`.

It is what a board, a robot or a PLC is to the host, with the same guard and watchdog, and runs in its own process.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.plant import AbstractPlant
from yannctl.types import ArrayLike, Float

from .channel import Channel
from .device import DeviceGuard
from .links import UdpLink, remaining
from .messages import DeviceState, Envelope, Hello, Measurement, Message
from .rig import RigError


@dataclass(frozen=True)
class DeviceTick:
    """What a device did in a period.

    Args:
        time_ns: end of the period, monotonic clock [ns].
        x: state after it (nx,).
        u: input applied in it (nu,).
        state: `DeviceState`.
        commands: commands obeyed so far.
    """

    time_ns: int
    x: Float[np.ndarray, " nx"]
    u: Float[np.ndarray, " nu"]
    state: int
    commands: int


OnTick = Callable[[DeviceTick], None]


class PlantDevice:
    """Advance the plant once a period, send a measurement, obey what the guard lets through.

    The plant stands still at `x0` until it is armed for the first time, so that a host may take its time; after that
    it moves whatever happens.

    Args:
        plant: the plant.
        x0: first state (nx,).
        channel: the link's device end.
        guard: which commands are obeyed.
        dt: sample period [s]; default the plant's.
        on_tick: called after every period; for logs and tests.
    """

    def __init__(
        self,
        plant: AbstractPlant,
        x0: ArrayLike,
        channel: Channel,
        guard: DeviceGuard,
        dt: float | None = None,
        on_tick: OnTick | None = None,
    ) -> None:
        self.plant, self.channel, self.guard = plant, channel, guard
        self.x: Float[np.ndarray, " nx"] = np.array(x0, float)
        self._period_ns = round((plant.dt if dt is None else dt) * 1e9)
        self._on_tick = on_tick
        self._newest = 0
        plant.step(self.x, plant.u_min)  # compile before time counts

    def run(self, seconds: float | None = None, ready: Any = None) -> None:
        """Open the link and run.

        Args:
            seconds: for how long; None for ever.
            ready: called when a host may connect, or None.

        Raises:
            RigError: the link cannot be opened; what fails later ends the session and not the watchdog.
        """
        self.channel.link.open()
        try:
            if ready is not None:
                ready()
            deadline = time.monotonic_ns()
            end = None if seconds is None else deadline + round(seconds * 1e9)
            while end is None or deadline < end:
                deadline += self._period_ns
                self._listen(deadline)
                self._tick()
                behind = (time.monotonic_ns() - deadline) // self._period_ns
                deadline += max(0, behind) * self._period_ns
        finally:
            self.channel.link.close()

    def _listen(self, deadline_ns: int) -> None:
        """Obey messages until the period ends; the watchdog is looked at whenever one arrives, and at the end."""
        while time.monotonic_ns() < deadline_ns:
            for envelope in self._receive(deadline_ns):
                if isinstance(envelope.message, Hello):
                    self._greet(envelope.message)
                    continue
                answer = self.guard.receive(envelope, _now_us(), self._newest)
                if answer is not None:
                    self._send(answer)

    def _receive(self, deadline_ns: int) -> list[Envelope]:
        """Messages; a link that fails must not end the watchdog, only the session."""
        try:
            return self.channel.receive(deadline_ns)
        except RigError:
            self.guard.counts["link_errors"] += 1
            time.sleep(remaining(deadline_ns))
            return []

    def _send(self, message: Message) -> int:
        """Send, and give the number of the newest message sent."""
        try:
            return self.channel.send(message, _now_us())
        except RigError:
            self.guard.counts["link_errors"] += 1
            return self._newest

    def _greet(self, hello: Hello) -> None:
        """Begin a session, but never while armed: a HELLO recorded earlier must not end the one that runs."""
        if self.guard.state is DeviceState.ARMED:
            self.guard.counts["hello_while_armed"] += 1
            return
        if isinstance(self.channel.link, UdpLink):
            self.channel.link.adopt()
        with suppress(RigError):
            self.channel.welcome(hello)
        self._newest = 0

    def _tick(self) -> None:
        u = self.guard.applied(_now_us())
        if self.guard.state is not DeviceState.DISARMED:
            self.x = np.asarray(self.plant.step(self.x, u), float)
        if self.channel.session:
            self._newest = self._send(Measurement(self.x, u, int(self.guard.state)))
        if self._on_tick is not None:
            counts = self.guard.counts
            self._on_tick(DeviceTick(time.monotonic_ns(), self.x, u, int(self.guard.state), counts["commands"]))


def _now_us() -> int:
    return time.monotonic_ns() // 1000
