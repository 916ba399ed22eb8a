"""The link's messages as signals on a CAN bus, described by a DBC file that any CAN tool reads.

A frame of classic CAN holds 8 bytes, so a message is a group of frames with a counter and, in the last one, a CRC-32:

    COMMAND      NUMBER  sequence, law id (low half), mode      SESSION  session, time       ANSWER  echo, valid for
                 one frame an input (float32)                   CHECK    CRC-32, law id (high half)
    MEASUREMENT  NUMBER  sequence, status                       SESSION  session, time
                 one frame a state and one an input applied     CHECK    CRC-32
    ARM, ACKNOWLEDGE, HEARTBEAT, HELLO, WELCOME alike; STOP is one frame with the highest priority on the bus

Byte 0 of every frame is the low byte of the group's counter, so a lost, doubled or late frame shows; the CRC covers
identifiers and bytes of the whole group, so frames of two messages never pass for one. CAN's own 15-bit check stands
beneath. What strangers on the bus send is not kept out: whoever can touch it is trusted.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .can_layout import database_of, groups_of, renumbered, signal_word
from .messages import (
    Acknowledge,
    Arm,
    Command,
    Envelope,
    Heartbeat,
    Hello,
    Kind,
    Measurement,
    Message,
    MessageError,
    Stop,
    Welcome,
)

RECORD = struct.Struct("<I8s")  # a frame between codec and link: identifier, data
TICK_US = 100  # resolution of times on the bus


@dataclass(frozen=True)
class Place:
    """Where a frame belongs.

    Args:
        kind: of the message.
        index: of the frame in its group.
        size: frames of the group.
    """

    kind: Kind
    index: int
    size: int


class CanCodec:
    """Envelope to frames and back by a DBC, for one plant.

    Args:
        x_names: names of the states.
        u_names: names of the inputs.
        x_units: units of the states.
        u_units: units of the inputs.
        dbc: file with the identifiers to use, e.g. one that `write_dbc` made and the plant's engineer renumbered;
            None for consecutive identifiers from 0x100.

    Raises:
        ModelError: a file that lacks a message or a signal, or has it elsewhere or of another size.
        NotInstalledError: the package `cantools` is missing.
    """

    def __init__(
        self,
        x_names: tuple[str, ...],
        u_names: tuple[str, ...],
        x_units: tuple[str, ...],
        u_units: tuple[str, ...],
        dbc: str | Path | None = None,
    ) -> None:
        self.nx, self.nu = len(x_names), len(u_names)
        self._states = [f"x_{signal_word(name)}" for name in x_names]
        self._inputs = [f"u_{signal_word(name)}" for name in u_names]
        values = (list(zip(self._states, x_units, strict=True)), list(zip(self._inputs, u_units, strict=True)))
        self.database = database_of(groups_of(*values))
        if dbc is not None:
            self.database = renumbered(self.database, Path(dbc))
        self._frames: dict[Kind, list[Any]] = {}
        self.places: dict[int, Place] = {}
        for kind, group in groups_of(*values).items():
            frames = self._frames[kind] = [self.database.get_message_by_name(name) for name, _ in group]
            self.places |= {frame.frame_id: Place(kind, i, len(frames)) for i, frame in enumerate(frames)}

    @property
    def max_size(self) -> int:
        """Length of the longest message as records [bytes]."""
        return RECORD.size * max(len(frames) for frames in self._frames.values())

    def pack(self, envelope: Envelope) -> bytes:
        """Write a message as frames.

        Args:
            envelope: the message and its header.

        Returns:
            Records of identifier and data.

        Raises:
            MessageError: a number that does not fit its signal, or inputs of the wrong size.
        """
        message = envelope.message
        try:
            values = self._signals(message)
            values |= {"sequence": envelope.sequence, "session": envelope.session, "check": 0}
            values |= {"time": (envelope.time_us // TICK_US) % 2**24, "counter": _counter(envelope)}
            parts = [
                (frame.frame_id, frame.encode({s.name: values[s.name] for s in frame.signals}, scaling=False))
                for frame in self._frames[message.kind]
            ]
        except (ValueError, OverflowError, struct.error, KeyError) as error:
            raise MessageError(f"cannot pack {type(message).__name__}: {error}") from error
        last = parts[-1]
        check = _crc(parts)
        parts[-1] = (last[0], last[1][:1] + check.to_bytes(4, "little") + last[1][5:])
        return b"".join(RECORD.pack(*part) for part in parts)

    def unpack(self, data: bytes) -> Envelope:
        """Read a message.

        Args:
            data: records of all frames of one message.

        Returns:
            The message and its header.

        Raises:
            MessageError: frames that do not belong together, a wrong CRC, or an input that is not finite.
        """
        if not data or len(data) % RECORD.size:
            raise MessageError(f"has {len(data)} bytes, which are no frames")
        parts = [RECORD.unpack_from(data, place) for place in range(0, len(data), RECORD.size)]
        place = self.places.get(parts[0][0])
        if place is None or [part[0] for part in parts] != [frame.frame_id for frame in self._frames[place.kind]]:
            raise MessageError("does not hold the frames of one message in order")
        if len({part[1][0] for part in parts}) != 1:
            raise MessageError("holds frames of different counters")
        check = int.from_bytes(parts[-1][1][1:5], "little")
        blank = parts[-1][0], parts[-1][1][:1] + bytes(4) + parts[-1][1][5:]
        if _crc([*parts[:-1], blank]) != check:
            raise MessageError("has a wrong CRC")
        values: dict[str, Any] = {}
        for frame, (_, content) in zip(self._frames[place.kind], parts, strict=True):
            values |= frame.decode(content, decode_choices=False, scaling=False)
        session, sequence, ticks = (values.get(name, 0) for name in ("session", "sequence", "time"))
        envelope = Envelope(self._message(place.kind, values), session, sequence, ticks * TICK_US)
        if values["counter"] != _counter(envelope):
            raise MessageError("has a counter that is not its number's")
        return envelope

    def _signals(self, message: Message) -> dict[str, Any]:
        """Values of a message's own signals."""
        match message:
            case Measurement():
                pairs = [*zip(self._states, message.x, strict=True)]
                pairs += [
                    (f"{name}_applied", value) for name, value in zip(self._inputs, message.u_applied, strict=True)
                ]
                return {name: float(value) for name, value in pairs} | {"status": message.status}
            case Command():
                values: dict[str, Any] = dict(zip(self._inputs, map(float, message.u), strict=True))
                halves = {"law_id_low": message.law_id & 0xFFFF, "law_id_high": message.law_id >> 16}
                # Rounded down: a command must never ask for more than the device was armed for.
                return (
                    values
                    | halves
                    | {"echo": message.echo, "valid_for": message.valid_for_us // TICK_US, "mode": message.mode}
                )
            case Arm():
                return {"law_id": message.law_id, "valid_for": message.valid_for_us}
            case Hello():
                return _halves("nonce", message.nonce)
            case Welcome():
                return _halves("nonce", message.nonce) | _halves("answers", message.answers)
            case _:
                return dict(vars(message))  # STOP, ACKNOWLEDGE and HEARTBEAT have signals of their fields' names

    def _message(self, kind: Kind, values: dict[str, Any]) -> Message:
        match kind:
            case Kind.MEASUREMENT:
                u = [values[f"{name}_applied"] for name in self._inputs]
                return Measurement(np.array([values[name] for name in self._states]), np.array(u), values["status"])
            case Kind.COMMAND:
                u = np.array([values[name] for name in self._inputs])
                if not np.all(np.isfinite(u)):
                    raise MessageError("commands an input that is not finite")
                law_id = values["law_id_low"] | values["law_id_high"] << 16
                return Command(u, values["echo"], values["valid_for"] * TICK_US, law_id, values["mode"])
            case Kind.ARM:
                return Arm(values["law_id"], values["valid_for"])
            case Kind.HELLO:
                return Hello(_whole("nonce", values))
            case Kind.WELCOME:
                return Welcome(_whole("nonce", values), _whole("answers", values))
            case Kind.ACKNOWLEDGE:
                return Acknowledge(values["answers"], values["accepted"], values["state"], values["law_id"])
            case Kind.STOP:
                return Stop(values["reason"])
            case _:
                return Heartbeat()


class FrameCollector:
    """Messages out of single frames: a group is complete when its frames have come in order with one counter.

    Args:
        codec: knows which frame belongs where.
    """

    def __init__(self, codec: CanCodec) -> None:
        self._codec = codec
        self._parts: dict[Kind, list[bytes]] = {}
        self.counts = {"frames": 0, "foreign": 0, "torn": 0}

    def feed(self, record: bytes) -> list[bytes]:
        """Take a frame.

        Args:
            record: identifier and data, as `RECORD` packs them; frames of others on the bus are passed over.

        Returns:
            The message it completes, if it does.
        """
        self.counts["frames"] += 1
        place = self._codec.places.get(RECORD.unpack(record)[0]) if len(record) == RECORD.size else None
        if place is None:
            self.counts["foreign"] += 1
            return []
        parts = self._parts.setdefault(place.kind, [])
        if place.index != len(parts) or (parts and parts[0][4] != record[4]):
            self.counts["torn"] += bool(parts)
            parts.clear()
            if place.index:
                return []
        parts.append(record)
        if len(parts) < place.size:
            return []
        message = b"".join(parts)
        parts.clear()
        return [message]


def write_dbc(codec: CanCodec, path: str | Path) -> None:
    """Write the layout as a DBC file.

    Args:
        codec: the layout.
        path: the file.
    """
    from yannctl.files import write_whole

    write_whole(Path(path), codec.database.as_dbc_string().encode("cp1252", "replace"))


def _crc(parts: list[tuple[int, bytes]]) -> int:
    return zlib.crc32(b"".join(RECORD.pack(*part) for part in parts))


def _counter(envelope: Envelope) -> int:
    """Low byte of what numbers a message: its sequence, its nonce where there is no session yet, 0 for STOP."""
    match envelope.message:
        case Hello() | Welcome() as greeting:
            return greeting.nonce & 0xFF
        case Stop():
            return 0
        case _:
            return envelope.sequence & 0xFF


def _halves(name: str, value: int) -> dict[str, int]:
    return {f"{name}_low": value & 0xFFFF_FFFF, f"{name}_high": value >> 32}


def _whole(name: str, values: dict[str, Any]) -> int:
    return values[f"{name}_low"] | values[f"{name}_high"] << 32
