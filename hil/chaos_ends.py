"""Where faults stand on ends that carry no messages of ours: DDS writers and readers, OPC UA variables, TCP, a rig."""

import asyncio
import contextlib
import select
import socket
import threading
from dataclasses import replace
from typing import Any

import numpy as np

from .chaos import Schedule, Spoiler
from .rig import AbstractRig, RigError, Sample
from .simulated import SimulatedRig

_NEVER = 3600.0  # [s]


class FaultyWriter:
    """A DDS writer whose messages are spoilt on the way.

    Args:
        inner: the writer.
        schedule: what happens to them.
    """

    def __init__(self, inner: Any, schedule: Schedule) -> None:
        self.inner = inner
        self.spoiler = Spoiler(schedule, lambda message: message and inner.write(message), junk=self._stale)

    def _stale(self) -> Any:
        return self.spoiler.previous

    def write(self, message: Any) -> None:
        """Write, or what the schedule makes of it."""
        self.spoiler.pass_on(message)

    def get_matched_subscriptions(self) -> Any:
        """Who listens, as DDS believes."""
        return self.inner.get_matched_subscriptions()

    def wait_for_acks(self, duration: int) -> bool:
        """Wait as DDS does.

        Args:
            duration: at most so long [ns].
        """
        return bool(self.inner.wait_for_acks(duration))


class FaultyReader:
    """A DDS reader whose messages are spoilt on the way.

    Args:
        inner: the reader.
        schedule: what happens to them.
    """

    def __init__(self, inner: Any, schedule: Schedule) -> None:
        self.inner, self._arrived = inner, []
        self.spoiler = Spoiler(schedule, lambda m: m and self._arrived.append(m), junk=lambda: self.spoiler.previous)

    def take(self, N: int) -> list[Any]:
        """Take what has arrived.

        Args:
            N: most messages.
        """
        if self.spoiler.schedule.fault == "disconnect" and self.spoiler.active:
            raise RigError("the link was cut")
        self.spoiler.release()
        for message in self.inner.take(N=N):
            self.spoiler.pass_on(message)
        arrived, self._arrived[:] = list(self._arrived), []
        return arrived


class FaultyVariable:
    """An OPC UA variable whose values are spoilt on the way.

    Args:
        inner: the node.
        schedule: what happens to them.
    """

    def __init__(self, inner: Any, schedule: Schedule) -> None:
        self.inner, self._passed, self._last = inner, [], None
        self.spoiler = Spoiler(schedule, lambda v: v and self._passed.append(v), junk=lambda: self.spoiler.previous)

    async def write_value(self, value: Any) -> None:
        """Write, or what the schedule makes of it."""
        await self._silence()
        self.spoiler.pass_on(value)
        passed, self._passed[:] = list(self._passed), []
        for one in passed:
            await self.inner.write_value(one)

    async def read_value(self) -> Any:
        """Read, or what the schedule makes of it; where nothing comes, the value read before."""
        await self._silence()
        self.spoiler.pass_on(await self.inner.read_value())
        passed, self._passed[:] = list(self._passed), []
        self._last = passed[-1] if passed else self._last
        return self._last

    async def _silence(self) -> None:
        """Answer never, or with an error, where the link is gone."""
        if self.spoiler.active and self.spoiler.schedule.fault in {"disconnect", "half_open"}:
            self.spoiler.spoilt += 1
            if self.spoiler.schedule.fault == "disconnect":
                raise RigError("the link was cut")
            await asyncio.sleep(_NEVER)


class TcpProxy:
    """Stands between a client and a server and spoils the bytes beneath their encryption.

    Args:
        target: port of the server on this machine.
        schedule: corrupt, truncate, disconnect or half_open; what it does begins with `begin`.
    """

    def __init__(self, target: int, schedule: Schedule) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._target, self._begun, self._stop = target, False, threading.Event()
        self.spoiler = Spoiler(replace(schedule, start=-1), self._take)
        self._out: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Misbehave from now on."""
        self._begun = True

    def close(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _take(self, piece: bytes) -> None:
        self._out.append(piece)

    def _serve(self) -> None:
        other: dict[socket.socket, socket.socket] = {}
        while not self._stop.is_set():
            for ready in select.select([self._listener, *other], [], [], 0.05)[0]:
                if ready is self._listener:
                    client = self._listener.accept()[0]
                    server = socket.create_connection(("127.0.0.1", self._target))
                    other |= {client: server, server: client}
                elif ready in other:
                    self._forward(ready, other)
        for end in other:
            end.close()

    def _forward(self, source: socket.socket, other: dict[socket.socket, socket.socket]) -> None:
        target, data = other[source], b""
        with contextlib.suppress(OSError):
            data = source.recv(65536)
        cut = self._begun and self.spoiler.schedule.fault == "disconnect"
        if not data or cut:
            self.spoiler.spoilt += cut
            for end in (source, target):
                other.pop(end, None)
                end.close()
            return
        if self._begun:
            self.spoiler.pass_on(data)
            pieces, self._out[:] = list(self._out), []
        else:
            pieces = [data]
        with contextlib.suppress(OSError):
            target.sendall(b"".join(pieces))


class FaultyRig(AbstractRig):
    """A simulated rig whose readings are spoilt, and whose inputs are held as a driver without a new one would.

    Args:
        inner: the rig.
        schedule: what happens to the readings.
    """

    def __init__(self, inner: SimulatedRig, schedule: Schedule) -> None:
        for name in ("x_names", "u_names", "x_units", "u_units", "u_min", "u_max", "safe_action", "dt", "clock"):
            setattr(self, name, getattr(inner, name))
        self.inner, self.held = inner, []
        self._arrived: list[Sample] = []
        self._last: Sample | None = None
        self.spoiler = Spoiler(schedule, lambda s: s and self._arrived.append(s), damage=_damaged, junk=self._junk)

    def open(self) -> None:
        """Open the rig."""
        self.inner.open()

    def arm(self) -> None:
        """Arm it."""
        self.inner.arm()

    def read(self, deadline_ns: int) -> Sample:
        """Read, or what the schedule makes of it."""
        if self.spoiler.active and self.spoiler.schedule.fault == "disconnect":
            self.spoiler.spoilt += 1
            raise RigError("the link was cut")
        self.spoiler.pass_on(self.inner.read(deadline_ns))
        arrived, self._arrived[:] = list(self._arrived), []
        self._last = arrived[-1] if arrived else self._last
        assert self._last is not None
        return self._last

    def write(self, u: np.ndarray, deadline_ns: int) -> np.ndarray:
        """Write to the rig and note what the plant is under."""
        applied = self.inner.write(u, deadline_ns)
        self.held.append(self.inner.held_input)
        return applied

    def stop(self, reason: str) -> None:
        """Stop the rig and note what the plant is under."""
        self.inner.stop(reason)
        self.held.append(self.inner.held_input)

    def close(self) -> None:
        """Close it."""
        self.inner.close()

    def _junk(self) -> Sample:
        return Sample(self.spoiler.generator.standard_normal(3), 0, 0)


def _damaged(spoiler: Spoiler, sample: Sample, whole: bool) -> Sample:
    """A reading with a number that is none, or with one channel less."""
    x = sample.x.copy()
    x[spoiler.draw(len(x))] = (np.nan, np.inf, -np.inf)[spoiler.draw(3)]
    return Sample(x if whole else x[:-1], sample.time_ns, sample.sequence)
