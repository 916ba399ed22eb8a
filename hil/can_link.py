"""A CAN bus by python-can: SocketCAN, Vector, PCAN, Kvaser, serial adapters, or multicast between processes."""

import time
from collections.abc import Mapping
from typing import Any

from yannctl.errors import ModelError, NotInstalledError

from .can_messages import RECORD, CanCodec, FrameCollector
from .links import AbstractLink, remaining
from .rig import RigError

MAX_FRAMES = 512  # a read takes at most so many: a flood must not hold the loop


class CanLink(AbstractLink):
    """Groups of frames on a bus. Whoever can touch the bus is trusted.

    Args:
        interface: python-can's name of the adapter, e.g. "socketcan".
        channel: e.g. "can0".
        codec: knows which frames belong together.
        bitrate: speed where the adapter is told it [bit/s], or None.
        options: further settings of the adapter by python-can's names.
        local: keep multicast on this machine.
    """

    shared = False

    def __init__(
        self,
        interface: str,
        channel: str,
        codec: CanCodec,
        bitrate: int | None = None,
        options: Mapping[str, bool | int | float | str] | None = None,
        local: bool = True,
    ) -> None:
        if bitrate is not None and bitrate < 10_000:
            raise ModelError("bitrate", f"is {bitrate}", remedy="give bit/s, e.g. 500000")
        self.interface, self.channel, self.codec = interface, channel, codec
        self.peer = f"the CAN bus {interface} {channel}"
        self._options: dict[str, Any] = dict(options or {}) | ({} if bitrate is None else {"bitrate": bitrate})
        if interface == "udp_multicast":
            self._options.setdefault("hop_limit", 0 if local else 1)
        self._bus: Any = None
        self._collector = FrameCollector(codec)

    def open(self) -> None:
        """Open the adapter."""
        can = _can()
        self._collector = FrameCollector(self.codec)
        try:
            self._bus = can.Bus(interface=self.interface, channel=self.channel, **self._options)
        except (can.CanError, OSError, ValueError, TypeError, ImportError) as error:
            raise RigError(f"cannot open the CAN bus {self.interface} {self.channel}: {error}") from error

    def send(self, message: bytes) -> None:
        """Send the frames of a message."""
        for record in self.pieces(message):
            self.put(record)

    def pieces(self, message: bytes) -> list[bytes]:
        """Give what goes over the bus for a message: its frames.

        Args:
            message: records of all of them.
        """
        return [message[place : place + RECORD.size] for place in range(0, len(message), RECORD.size)]

    def put(self, piece: bytes) -> None:
        """Send one frame.

        Args:
            piece: its record.

        Raises:
            RigError: the adapter is gone.
        """
        can = _can()
        if self._bus is None:
            raise RigError("the CAN link is not open")
        number, data = RECORD.unpack(piece[: RECORD.size].ljust(RECORD.size, b"\0"))
        number &= 0x1FFF_FFFF
        try:
            self._bus.send(can.Message(arbitration_id=number, data=data, is_extended_id=number > 0x7FF), timeout=0.1)
        except (can.CanError, OSError) as error:
            raise RigError(f"cannot send on {self.interface} {self.channel}: {error}") from error

    def collector(self) -> FrameCollector:
        """Make what turns pieces into messages again."""
        return FrameCollector(self.codec)

    def receive(self, deadline_ns: int) -> list[bytes]:
        """Take the messages completed by the deadline, returning with the first."""
        can = _can()
        if self._bus is None:
            raise RigError("the CAN link is not open")
        messages: list[bytes] = []
        for _ in range(MAX_FRAMES):
            try:
                # Not recv: it reckons with the wall clock, and waits for as long as that is put back.
                frame, _ = self._bus._recv_internal(0.0 if messages else remaining(deadline_ns))
            except ValueError:  # what a serial adapter garbled
                self._collector.counts["foreign"] += 1
                continue
            except (can.CanError, OSError) as error:
                raise RigError(f"cannot read from {self.interface} {self.channel}: {error}") from error
            if frame is not None:
                if frame.is_error_frame or frame.is_remote_frame or frame.is_fd or frame.dlc != 8:
                    continue
                messages += self._collector.feed(RECORD.pack(frame.arbitration_id, bytes(frame.data)))
            elif messages or time.monotonic_ns() >= deadline_ns:
                break
        return messages

    def close(self) -> None:
        """Close the adapter."""
        if self._bus is not None:
            self._bus.shutdown()
            self._bus = None


def _can() -> Any:
    try:
        import can
    except ImportError as error:
        raise NotInstalledError("CAN needs python-can and cantools: pip install 'yannctl[can]'") from error
    return can
