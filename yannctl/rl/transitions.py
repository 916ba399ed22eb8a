"""The write-ahead log of transitions: every step of the plant is on file before the learner hears of it.

`transitions.bin` is a header line of JSON and then records of one length, each with its number and a CRC-32:

    number (int64) | x, proposed, u, reward, x1 (float64) | row of the memory (float32) | flags, stream (int32) | crc

`proposed` is what the learner asked for, `u` what was applied after filter and limits; crc is a uint32.

A record is acknowledged when `append` returns; the death of the process cannot lose it then. Opening the file again
cuts off a torn last record, which was never acknowledged, and refuses a file that is damaged before its end. A
resumed run makes the steps after its checkpoint once more: they must repeat the records that are already there, byte
for byte, or the environment does not repeat itself and the run stops.
"""

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from yannctl.files import AppendFile

from .episodes import Transition
from .errors import CheckpointError, typed_disk_errors

FILE_NAME = "transitions.bin"
VERSION = 2
TERMINATED, TRUNCATED, VIOLATED, FIRST = 1, 2, 4, 8


@dataclass(frozen=True)
class Layout:
    """What a record holds.

    Args:
        nx: number of states.
        nu: number of inputs.
        row: width of the row of the replay memory; 0 where the reader makes it itself.
    """

    nx: int
    nu: int
    row: int

    @property
    def dtype(self) -> np.dtype:
        """The record as a packed numpy type."""
        return np.dtype(
            [
                ("number", "<i8"),
                ("x", "<f8", (self.nx,)),
                ("proposed", "<f8", (self.nu,)),
                ("u", "<f8", (self.nu,)),
                ("reward", "<f8"),
                ("x1", "<f8", (self.nx,)),
                ("row", "<f4", (self.row,)),
                ("flags", "<i4"),
                ("stream", "<i4"),
                ("crc", "<u4"),
            ]
        )

    def header(self) -> bytes:
        """First line of the file."""
        return (json.dumps({"yannctl": "transitions", "version": VERSION, **asdict(self)}) + "\n").encode()


def flags_of(step: Transition) -> int:
    """Pack what happened in a step.

    Args:
        step: the transition.

    Returns:
        Sum of TERMINATED, TRUNCATED and VIOLATED.
    """
    return TERMINATED * step.terminated + TRUNCATED * step.truncated + VIOLATED * step.violated


class TransitionWriter:
    """Appends records, or checks that a resumed run repeats those that are already there.

    Args:
        path: the file.
        layout: what a record holds.
        done: records the run knows already (those of its checkpoint).

    Raises:
        CheckpointError: if the file belongs to another run, is damaged, has lost records, or cannot be written.
    """

    def __init__(self, path: Path, layout: Layout, done: int = 0) -> None:
        self.path, self.layout, self.number = Path(path), layout, done
        self._record = np.zeros(1, layout.dtype)
        with typed_disk_errors(self.path):
            self._file, self._ahead = self._open(done)

    def _open(self, done: int) -> tuple[AppendFile, bytes]:
        """Open the file behind its last whole record, and take the records the run does not know yet."""
        path, layout = self.path, self.layout
        header = layout.header()
        old = b""
        if path.exists():
            with open(path, "rb") as file:
                old = file.read(len(header))
        if old != header:
            if done or not header.startswith(old):  # a torn header is the beginning of one
                raise CheckpointError(f"{path} is not the log of this run", "resume in the folder of the run")
            fresh = AppendFile(path, 0)
            fresh.append(header)
            return fresh, b""
        records = read_records(path, layout)
        if len(records) < done:
            raise CheckpointError(
                f"{path} holds {len(records)} transitions, the checkpoint knows {done}", "restore it from a copy"
            )
        return AppendFile(path, len(header) + records.nbytes), records[done:].tobytes()

    def append(self, step: Transition, row: np.ndarray, stream: int = 0, first: bool = False) -> int:
        """Acknowledge one transition.

        Args:
            step: the transition.
            row: its row in the replay memory (layout.row,).
            stream: which of several environments it came from.
            first: whether it is the first of an episode.

        Returns:
            Its number.

        Raises:
            CheckpointError: if a resumed environment does not repeat itself, or if it cannot be
                written; it is not acknowledged then.
        """
        record = self._record
        record["number"], record["stream"] = self.number, stream
        record["x"], record["u"], record["reward"], record["x1"] = step.x, step.u, step.reward, step.x1
        record["proposed"] = step.proposed
        record["row"], record["flags"] = row, flags_of(step) + FIRST * first
        data = record.tobytes()
        data = data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")
        if self._ahead:
            if self._ahead[: len(data)] != data:
                raise CheckpointError(
                    f"step {self.number} came out differently from the step on file",
                    "resume needs an environment that repeats itself when reset with the same seed",
                )
            self._ahead = self._ahead[len(data) :]
        else:
            with typed_disk_errors(self.path):
                self._file.append(data)
        self.number += 1
        return self.number - 1

    def sync(self) -> None:
        """Force the records to disk, so that they survive a power failure too."""
        with typed_disk_errors(self.path):
            self._file.sync()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def read_layout(path: Path) -> Layout:
    """Read the first line of a log.

    Args:
        path: the file.

    Returns:
        What its records hold.

    Raises:
        CheckpointError: if it is not a log of transitions.
    """
    try:
        with open(path, "rb") as file:
            header = json.loads(file.readline(4096))
        if header.pop("yannctl") != "transitions" or header.pop("version") != VERSION:
            raise ValueError("another kind or version")
        return Layout(**header)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a log of transitions: {error}", "give a transitions.bin") from error


def read_records(path: Path, layout: Layout | None = None, start: int = 0) -> np.ndarray:
    """Read the acknowledged records; a torn last one is left out.

    Args:
        path: the file.
        layout: what its records hold; None reads it from the file.
        start: number of the first record wanted.

    Returns:
        Structured array of `Layout.dtype`.

    Raises:
        CheckpointError: if a record before the end is damaged.
    """
    layout = layout or read_layout(path)
    dtype, skip = layout.dtype, len(layout.header())
    with open(path, "rb") as file:
        file.seek(skip + start * dtype.itemsize)
        data = file.read()
    records = np.frombuffer(data[: len(data) - len(data) % dtype.itemsize], dtype)
    good = len(records)
    raw = memoryview(data)
    for i in range(good):
        place = i * dtype.itemsize
        body = raw[place : place + dtype.itemsize - 4]
        if zlib.crc32(body) != records["crc"][i] or records["number"][i] != start + i:
            if i < good - 1:
                raise CheckpointError(f"{path}: transition {start + i} is damaged", "restore the file from a copy")
            good = i
    return records[:good]
