"""Messages between the host and the device at the plant: fixed little-endian layouts, the same in Python and in C.

Header, 20 bytes: magic u8, version u8, kind u8, flags u8, session u32, sequence u32, time_us u64. Numbers of the plant
travel as float32. A message whose length, magic, version, kind or numbers are wrong is refused whole.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import Float

MAGIC = 0xA5
VERSION = 1
HEADER = struct.Struct("<BBBBIIQ")
MAX_SEQUENCE = 0xFFFF_FFFF  # a session ends before its counter would repeat


class MessageError(ValueError):
    """Bytes that are not a message of this layout; they are dropped and counted, never guessed at."""


class Kind(IntEnum):
    """Kind of a message."""

    MEASUREMENT = 1
    COMMAND = 2
    HEARTBEAT = 3
    STOP = 4
    ARM = 5
    ACKNOWLEDGE = 6
    FAULT = 7
    HELLO = 8
    WELCOME = 9


class DeviceState(IntEnum):
    """State of the device, in every measurement and acknowledgement; SAFE is latched until a new ARM."""

    DISARMED = 0
    ARMED = 1
    SAFE = 2


@dataclass(frozen=True)
class Measurement:
    """What the device measured, and the input it really applies.

    Args:
        x: states (nx,), physical units.
        u_applied: input applied now (nu,).
        status: `DeviceState` in the low byte.
    """

    kind: ClassVar[Kind] = Kind.MEASUREMENT
    x: Float[np.ndarray, " nx"]
    u_applied: Float[np.ndarray, " nu"]
    status: int = 0


@dataclass(frozen=True)
class Command:
    """An input with the instant it expires.

    Args:
        u: input (nu,), physical units.
        echo: sequence number of the measurement it answers.
        valid_for_us: time the device may hold it, from its arrival [us].
        law_id: first 32 bits of the SHA-256 of the controller; the device refuses any other than the one armed with.
        mode: which controller spoke (`Source` of the loop).
    """

    kind: ClassVar[Kind] = Kind.COMMAND
    u: Float[np.ndarray, " nu"]
    echo: int
    valid_for_us: int
    law_id: int
    mode: int = 0


@dataclass(frozen=True)
class Arm:
    """Ask the device to accept commands of one session and one controller.

    Args:
        law_id: controller it will accept.
        valid_for_us: longest time a command may ask to be held [us].
    """

    kind: ClassVar[Kind] = Kind.ARM
    law_id: int
    valid_for_us: int


@dataclass(frozen=True)
class Stop:
    """Safe action now, latched; the one message that needs no session.

    Args:
        reason: number for the log.
    """

    kind: ClassVar[Kind] = Kind.STOP
    reason: int = 0


@dataclass(frozen=True)
class Heartbeat:
    """The sender is alive."""

    kind: ClassVar[Kind] = Kind.HEARTBEAT


@dataclass(frozen=True)
class Acknowledge:
    """Answer to ARM or STOP.

    Args:
        answers: kind of the message answered.
        accepted: 1 where it was obeyed, 0 where it was refused.
        state: `DeviceState` after it.
        law_id: controller the device runs with.
    """

    kind: ClassVar[Kind] = Kind.ACKNOWLEDGE
    answers: int
    accepted: int
    state: int
    law_id: int


@dataclass(frozen=True)
class Hello:
    """First half of the handshake on a shared medium.

    Args:
        nonce: fresh random number of the host.
    """

    kind: ClassVar[Kind] = Kind.HELLO
    nonce: int


@dataclass(frozen=True)
class Welcome:
    """Second half of the handshake.

    Args:
        nonce: fresh random number of the device.
        answers: the host's nonce.
    """

    kind: ClassVar[Kind] = Kind.WELCOME
    nonce: int
    answers: int


Message = Measurement | Command | Arm | Stop | Heartbeat | Acknowledge | Hello | Welcome

_FIELDS: dict[Kind, tuple[type, struct.Struct]] = {
    Kind.ARM: (Arm, struct.Struct("<II")),
    Kind.STOP: (Stop, struct.Struct("<H")),
    Kind.HEARTBEAT: (Heartbeat, struct.Struct("<")),
    Kind.ACKNOWLEDGE: (Acknowledge, struct.Struct("<BBBxI")),
    Kind.HELLO: (Hello, struct.Struct("<Q")),
    Kind.WELCOME: (Welcome, struct.Struct("<QQ")),
}


@dataclass(frozen=True)
class Envelope:
    """A message with its header.

    Args:
        message: the content.
        session: number both sides agreed on.
        sequence: strictly rising within a session and direction.
        time_us: sender's clock [us].
    """

    message: Message
    session: int
    sequence: int
    time_us: int


class MessageCodec:
    """Envelope to bytes and back, for a plant of nx states and nu inputs.

    Args:
        nx: number of states.
        nu: number of inputs.

    Raises:
        ModelError: sizes the layout cannot hold.
    """

    def __init__(self, nx: int, nu: int) -> None:
        if not (1 <= nx <= 64 and 1 <= nu <= 32):
            raise ModelError("nx, nu", f"are {nx}, {nu}", remedy="the link carries 1 to 64 states and 1 to 32 inputs")
        self.nx, self.nu = nx, nu
        self._measurement = struct.Struct(f"<{nx}f{nu}fH")
        self._command = struct.Struct(f"<I{nu}fIIB")

    @property
    def max_size(self) -> int:
        """Length of the longest message [bytes]."""
        bodies = [self._measurement, self._command, *(layout for _, layout in _FIELDS.values())]
        return HEADER.size + max(body.size for body in bodies)

    def pack(self, envelope: Envelope) -> bytes:
        """Write a message.

        Args:
            envelope: the message and its header.

        Returns:
            Its bytes.

        Raises:
            MessageError: a number that does not fit its field, or inputs of the wrong size.
        """
        message = envelope.message
        try:
            head = HEADER.pack(MAGIC, VERSION, message.kind, 0, envelope.session, envelope.sequence, envelope.time_us)
            return head + self._body(message)
        except (struct.error, OverflowError) as error:
            raise MessageError(f"cannot pack {type(message).__name__}: {error}") from error

    def _body(self, message: Message) -> bytes:
        if isinstance(message, Measurement):
            return self._measurement.pack(*_floats(message.x), *_floats(message.u_applied), message.status)
        if isinstance(message, Command):
            numbers = (message.valid_for_us, message.law_id, message.mode)
            return self._command.pack(message.echo, *_floats(message.u), *numbers)
        return _FIELDS[message.kind][1].pack(*vars(message).values())

    def unpack(self, data: bytes) -> Envelope:
        """Read a message.

        Args:
            data: all bytes of one message.

        Returns:
            The message and its header.

        Raises:
            MessageError: not a message of this layout, or an input that is not finite.
        """
        if len(data) < HEADER.size:
            raise MessageError(f"has {len(data)} bytes, a header alone has {HEADER.size}")
        magic, version, kind, flags, session, sequence, time_us = HEADER.unpack_from(data)
        if magic != MAGIC or version != VERSION or flags != 0:
            raise MessageError(f"starts with {data[:4].hex()}, expected magic a5, version 01, flags 00")
        return Envelope(self._message(kind, data[HEADER.size :]), session, sequence, time_us)

    def _message(self, kind: int, body: bytes) -> Message:
        try:
            if kind == Kind.MEASUREMENT:
                values = self._measurement.unpack(body)
                numbers = np.array(values[:-1])
                return Measurement(numbers[: self.nx], numbers[self.nx :], values[-1])
            if kind == Kind.COMMAND:
                echo, *u, valid_for_us, law_id, mode = self._command.unpack(body)
                if not np.all(np.isfinite(u)):
                    raise MessageError("commands an input that is not finite")
                return Command(np.array(u), echo, valid_for_us, law_id, mode)
            if kind not in _FIELDS:
                raise MessageError(f"is of unknown kind {kind}")
            make, layout = _FIELDS[Kind(kind)]
            return make(*layout.unpack(body))
        except struct.error as error:
            raise MessageError(f"of kind {kind} has a body of {len(body)} bytes: {error}") from error


def session_number(host_nonce: int, device_nonce: int) -> int:
    """Give the number of a session, which neither side chooses alone: CRC-32 of both nonces, 8 bytes each.

    Args:
        host_nonce: nonce of HELLO.
        device_nonce: nonce of WELCOME.

    Returns:
        The number, never 0.
    """
    return zlib.crc32(struct.pack("<QQ", host_nonce, device_nonce)) or 1


def _floats(values: Float[np.ndarray, " n"]) -> list[float]:
    return np.asarray(values, np.float32).tolist()
