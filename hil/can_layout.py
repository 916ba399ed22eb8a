"""Which signals stand in which frames on a CAN bus, and the DBC database that says so."""

from pathlib import Path
from typing import Any

from yannctl.errors import ModelError, NotInstalledError

from .messages import Kind

BASE_ID = 0x100
_FLOAT, _COARSE = "float", "0.1 ms"
Signals = list[tuple[str, int | str, str]]  # name, bits or "float", unit

# Frames of each kind in order, the values apart; the last of each group gains the CRC.
_NUMBER: Signals = [("sequence", 32, "")]
_SESSION: Signals = [("session", 32, ""), ("time", 24, _COARSE)]
_GROUPS: dict[Kind, list[tuple[str, Signals]]] = {
    Kind.STOP: [("", [("reason", 16, "")])],
    Kind.ARM: [
        ("NUMBER", _NUMBER),
        ("SESSION", _SESSION),
        ("LIMIT", [("valid_for", 32, "us")]),
        ("LAW", [("law_id", 32, "")]),
    ],
    Kind.COMMAND: [
        ("NUMBER", [*_NUMBER, ("law_id_low", 16, ""), ("mode", 8, "")]),
        ("SESSION", _SESSION),
        ("ANSWER", [("echo", 32, ""), ("valid_for", 24, _COARSE)]),
    ],
    Kind.ACKNOWLEDGE: [
        ("NUMBER", [*_NUMBER, ("answers", 8, ""), ("accepted", 8, ""), ("state", 8, "")]),
        ("SESSION", _SESSION),
        ("LAW", [("law_id", 32, "")]),
    ],
    Kind.MEASUREMENT: [("NUMBER", [*_NUMBER, ("status", 16, "")]), ("SESSION", _SESSION)],
    Kind.HEARTBEAT: [("NUMBER", _NUMBER), ("SESSION", _SESSION)],
    Kind.HELLO: [("LOW", [("nonce_low", 32, "")]), ("HIGH", [("nonce_high", 32, "")])],
    Kind.WELCOME: [
        ("LOW", [("nonce_low", 32, "")]),
        ("HIGH", [("nonce_high", 32, "")]),
        ("ANSWERS_LOW", [("answers_low", 32, "")]),
        ("ANSWERS_HIGH", [("answers_high", 32, "")]),
    ],
}  # fmt: skip
_TAILS: dict[Kind, Signals] = {Kind.COMMAND: [("law_id_high", 16, "")]}


def groups_of(states: list[tuple[str, str]], inputs: list[tuple[str, str]]) -> dict[Kind, list[tuple[str, Signals]]]:
    """Give every kind's frames by full name, with counter, values and CRC.

    Args:
        states: name and unit of each state.
        inputs: name and unit of each input.

    Returns:
        Frames in order, each with its signals.
    """
    values: dict[Kind, list[tuple[str, Signals]]] = {
        Kind.COMMAND: [(name.upper(), [(name, _FLOAT, unit)]) for name, unit in inputs],
        Kind.MEASUREMENT: [
            *((name.upper(), [(name, _FLOAT, unit)]) for name, unit in states),
            *((f"{name}_applied".upper(), [(f"{name}_applied", _FLOAT, unit)]) for name, unit in inputs),
        ],
    }
    groups: dict[Kind, list[tuple[str, Signals]]] = {}
    for kind, frames in _GROUPS.items():
        parts = [*frames, *values.get(kind, [])]
        tail: Signals = [("check", 32, ""), *_TAILS.get(kind, [])]
        whole = [("", [*tail, *frames[0][1]])] if kind is Kind.STOP else [*parts, ("CHECK", tail)]
        groups[kind] = [
            ("_".join(filter(None, (kind.name, name))), [("counter", 8, ""), *signals]) for name, signals in whole
        ]
    return groups


def database_of(groups: dict[Kind, list[tuple[str, Signals]]]) -> Any:
    """Make a cantools database with consecutive identifiers, the urgent kinds first.

    Args:
        groups: of `groups_of`.

    Returns:
        The database.
    """
    cantools = _cantools()
    can, conversion = cantools.database.can, cantools.database.conversion.BaseConversion
    messages, number = [], BASE_ID
    for frames in groups.values():
        for name, signals in frames:
            made, start = [], 0
            for signal, bits, unit in signals:
                length = 32 if bits == _FLOAT else int(bits)
                coarse = unit == _COARSE
                kind = conversion.factory(0.1 if coarse else 1, is_float=bits == _FLOAT)
                made.append(
                    can.Signal(
                        signal,
                        start,
                        length,
                        conversion=kind,
                        is_signed=bits == _FLOAT,
                        unit="ms" if coarse else unit or None,
                    )
                )
                start += length
            messages.append(can.Message(number, name, 8, made))
            number += 1
    return can.Database(messages)


def renumbered(wanted: Any, path: Path) -> Any:
    """Read a user's DBC and hold it against the layout: identifiers are free, signals are not.

    Args:
        wanted: of `database_of`.
        path: the DBC file.

    Returns:
        The user's database.

    Raises:
        ModelError: a message or a signal that is missing or stands elsewhere.
    """
    cantools = _cantools()
    try:
        given = cantools.database.load_file(str(path))
    except (
        cantools.database.errors.Error,
        cantools.database.UnsupportedDatabaseFormatError,
        UnicodeDecodeError,
    ) as error:
        raise ModelError("link.dbc", f"{path} is no DBC file: {error}") from error
    names = {message.name: message for message in given.messages}
    for message in wanted.messages:
        found = names.get(message.name)
        if found is None or _shape(found) != _shape(message):
            text = f"{path} {'lacks' if found is None else 'has other signals in'} the message {message.name}"
            raise ModelError("link.dbc", text, remedy="start from the file that `yannctl hil dbc` writes")
    return given


def _shape(message: Any) -> list[tuple[str, int, int, bool]]:
    return sorted((s.name, s.start, s.length, bool(s.conversion.is_float)) for s in message.signals)


def signal_word(name: str) -> str:
    """Write a name as DBC allows it.

    Args:
        name: of a state or an input.
    """
    word = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
    if not word.strip("_"):
        raise ModelError("names", f"{name!r} has no letter a DBC can hold", remedy="use ASCII names")
    return word


def _cantools() -> Any:
    try:
        import cantools
        import cantools.database.conversion
    except ImportError as error:
        raise NotInstalledError("CAN needs cantools and python-can: pip install 'yannctl[can]'") from error
    return cantools
