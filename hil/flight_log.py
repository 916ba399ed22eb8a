"""The log of a run: MCAP, written by a process of its own, readable after a crash at any byte.

The loop puts a row into a ring in shared memory and goes on; `log_writer` takes it from there. Numbers travel as
float64 and are printed so that every bit comes back.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yannctl.errors import FileFormatError, ModelError, NotInstalledError
from yannctl.types import Float, Int

from .ring import RowRing
from .tick import AbstractAttendant, LoopTick

TOPIC = "/tick"
CHUNK_BYTES = 4096
RING_ROWS = 4096
SCALARS = ("time_ns", "period_index", "source", "state", "lateness_ns", "io_ns", "compute_ns", "law_id")


@dataclass(frozen=True)
class LogHeader:
    """What the columns are; stored in the file.

    Args:
        x_names: names of the states.
        u_names: names of the inputs.
        x_units: units of the states.
        u_units: units of the inputs.
        dt: sample period [s].
        controller: SHA-256 of the controller's file, empty when unknown.
        exploration: standard deviation of the noise on the proposal, as a share of half the input range.
        seed: of that noise.
    """

    x_names: tuple[str, ...]
    u_names: tuple[str, ...]
    x_units: tuple[str, ...]
    u_units: tuple[str, ...]
    dt: float
    controller: str = ""
    exploration: float = 0.0
    seed: int = 0

    @property
    def width(self) -> int:
        """Numbers a row: scalars, authority, x, u asked for, u applied, u proposed."""
        return len(SCALARS) + 1 + len(self.x_names) + 3 * len(self.u_names)


@dataclass(frozen=True)
class FlightRecord:
    """What a log holds.

    Args:
        header: what the columns are.
        x: states (n, nx).
        u: inputs asked for (n, nu).
        u_applied: inputs applied (n, nu).
        scalars: `SCALARS` by name, each (n,).
        authority: share of the proposal in the input (n,).
        proposed: inputs the learned part proposed (n, nu), NaN where there is none.
        whole: whether the file ends as it should; False after a crash.
    """

    header: LogHeader
    x: Float[np.ndarray, "n nx"]
    u: Float[np.ndarray, "n nu"]
    u_applied: Float[np.ndarray, "n nu"]
    scalars: dict[str, Int[np.ndarray, " n"]]
    authority: Float[np.ndarray, " n"]
    proposed: Float[np.ndarray, "n nu"]
    whole: bool


class FlightLog(AbstractAttendant):
    """Write the log of a run from the loop; use it as a context manager.

    Args:
        path: MCAP file; refused if it exists.
        header: what the columns are.
        attachments: further bytes to keep by name, e.g. configuration and controller file.

    Raises:
        ModelError: the file exists.
        NotInstalledError: the package `mcap` is missing.
    """

    def __init__(self, path: str | Path, header: LogHeader, attachments: Mapping[str, bytes] | None = None) -> None:
        _mcap()
        self.path = Path(path)
        if self.path.exists():
            raise ModelError("record.file", f"{self.path} exists", remedy="name a new file, logs are never overwritten")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._header, self._attachments = header, dict(attachments or {})
        self._row = np.zeros(header.width)
        self._ring: RowRing | None = None
        self._writer: subprocess.Popen[bytes] | None = None
        self.lost = 0

    def __enter__(self) -> "FlightLog":  # noqa: PYI034 (Self cannot be checked at run time)
        self._ring = RowRing(self._header.width, RING_ROWS)
        self._folder = tempfile.TemporaryDirectory()
        for name, data in self._attachments.items():
            (Path(self._folder.name) / name).write_bytes(data)
        command = [sys.executable, "-m", "yannctl.hil.log_writer", self._ring.name, str(self.path)]
        words = [json.dumps(asdict(self._header)), self._folder.name]
        self._writer = subprocess.Popen([*command, *words], stdout=subprocess.PIPE)
        if self._writer.stdout is None or self._writer.stdout.readline() != b"ready\n":
            self.__exit__()
            raise ModelError("record.file", f"{self.path} cannot be written")
        return self

    def __exit__(self, *_: object) -> None:
        if self._ring is not None and self._writer is not None:
            self._ring.finish()
            self._writer.communicate()
            self.lost = self._ring.lost
            self._ring.close()
            self._folder.cleanup()
            self._ring = self._writer = None

    def boundary(self) -> str:
        """Nothing to do."""
        return ""

    def ticked(self, tick: LoopTick) -> None:
        """Log a tick; it takes a few microseconds and never waits.

        Args:
            tick: what happened; its integers below 2^53.
        """
        if self._ring is None:
            return
        row, nx, nu = self._row, len(self._header.x_names), len(self._header.u_names)
        row[: len(SCALARS)] = tick[: len(SCALARS)]
        row[len(SCALARS)] = tick.authority
        rest = row[len(SCALARS) + 1 :]
        rest[:nx], rest[nx : nx + nu] = tick.x, tick.u
        rest[nx + nu : nx + 2 * nu], rest[nx + 2 * nu :] = tick.applied, tick.proposed
        self._ring.put(row)

    def ended(self) -> None:
        """Nothing to do."""


def read_log(path: str | Path) -> FlightRecord:
    """Read a log, whole or cut off anywhere: every complete chunk of it.

    Args:
        path: MCAP file.

    Returns:
        Its content.

    Raises:
        FileFormatError: not one of our logs, or cut off before its header was written.
        NotInstalledError: the package `mcap` is missing.
    """
    header: LogHeader | None = None
    rows: list[list[float]] = []
    whole = False
    for kind, value in _records(Path(path)):
        if kind == "header":
            header = value
        elif kind == "row":
            rows.append(value)
        else:
            whole = True
    if header is None:
        raise FileFormatError(f"{path}: not a log of ours, or cut off before its first chunk")
    return _columns(header, np.array(rows, float).reshape(len(rows), header.width), whole)


def _columns(header: LogHeader, rows: np.ndarray, whole: bool) -> FlightRecord:
    n, nx, nu = len(SCALARS), len(header.x_names), len(header.u_names)
    x, u, applied, proposed = np.split(rows[:, n + 1 :], [nx, nx + nu, nx + 2 * nu], axis=1)
    scalars = {name: rows[:, i].astype(np.int64) for i, name in enumerate(SCALARS)}
    return FlightRecord(header, x, u, applied, scalars, rows[:, n], proposed, whole)


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Header, rows and the end of a file, until it breaks off."""
    mcap = _mcap()
    with open(path, "rb") as file:
        try:
            for record in mcap.stream_reader.StreamReader(file, validate_crcs=True).records:
                if isinstance(record, mcap.records.Channel) and record.topic == TOPIC:
                    yield "header", _header(record.metadata)
                elif isinstance(record, mcap.records.Message):
                    yield "row", _row(record.data)
                elif isinstance(record, mcap.records.Footer):
                    yield "end", None
        except (mcap.exceptions.McapError, EOFError, ValueError, OSError, OverflowError, MemoryError, IndexError):
            return
        except Exception as error:  # the decompressor and struct have errors of their own
            if type(error).__module__.split(".")[0] not in {"zstandard", "lz4", "struct", "_struct"}:
                raise
            return


def _header(metadata: Mapping[str, str]) -> LogHeader:
    content = json.loads(metadata["header"])
    x_names, u_names, x_units, u_units = (tuple(content[key]) for key in ("x_names", "u_names", "x_units", "u_units"))
    noise = float(content["exploration"]), int(content["seed"])
    return LogHeader(x_names, u_names, x_units, u_units, float(content["dt"]), str(content["controller"]), *noise)


def _row(data: bytes) -> list[float]:
    content = json.loads(data)
    numbers = [*(content[name] for name in (*SCALARS, "authority")), *content["x"], *content["u"]]
    numbers += content["u_applied"] + content["u_proposed"]
    return [float("nan") if number is None else float(number) for number in numbers]


def encode_row(row: Float[np.ndarray, " width"], header: LogHeader) -> bytes:
    """Write a row as JSON; a number that is not finite becomes null.

    Args:
        row: scalars, authority, x, u, u applied, u proposed.
        header: what they are.

    Returns:
        UTF-8 text.
    """
    n, nx, nu = len(SCALARS), len(header.x_names), len(header.u_names)
    content: dict[str, Any] = {name: int(value) for name, value in zip(SCALARS, row[:n], strict=True)}
    numbers = [value if np.isfinite(value) else None for value in row[n:].tolist()]
    content["authority"], numbers = numbers[0], numbers[1:]
    content |= {"x": numbers[:nx], "u": numbers[nx : nx + nu], "u_applied": numbers[nx + nu : nx + 2 * nu]}
    content["u_proposed"] = numbers[nx + 2 * nu :]
    return json.dumps(content, allow_nan=False).encode()


def recover(path: str | Path, out: str | Path) -> int:
    """Write what a log that was cut off still holds as a whole file.

    Args:
        path: the broken file; it is left as it is.
        out: file to write.

    Returns:
        Number of rows.

    Raises:
        FileFormatError: nothing of it can be read.
        ModelError: `out` exists.
    """
    from .log_writer import LogFile

    record = read_log(path)
    if Path(out).exists():
        raise ModelError("out", f"{out} exists", remedy="name a new file")
    file = LogFile(Path(out), record.header, {})
    scalars = [*record.scalars.values(), record.authority]
    for row in np.column_stack([*scalars, record.x, record.u, record.u_applied, record.proposed]):
        file.write(row)
    file.close()
    return len(record.x)


def to_parquet(path: str | Path, out: str | Path) -> int:
    """Write a log as a table: time, states, inputs applied, inputs asked for, and the loop's own columns.

    Args:
        path: MCAP file.
        out: Parquet file.

    Returns:
        Number of rows.

    Raises:
        NotInstalledError: the package `pyarrow` is missing.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise NotInstalledError("Parquet needs pyarrow: pip install 'yannctl[log]'") from error
    record = read_log(path)
    names = record.header
    columns = {"time_s": record.scalars["time_ns"] * 1e-9}
    columns |= {name: record.x[:, i] for i, name in enumerate(names.x_names)}
    columns |= {name: record.u_applied[:, i] for i, name in enumerate(names.u_names)}
    columns |= {f"{name}_asked": record.u[:, i] for i, name in enumerate(names.u_names)}
    columns |= {f"{name}_proposed": record.proposed[:, i] for i, name in enumerate(names.u_names)}
    columns |= {name: values for name, values in record.scalars.items() if name != "time_ns"}
    columns["authority"] = record.authority
    table = pyarrow.table(columns).replace_schema_metadata({"yannctl": json.dumps(asdict(names))})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    from yannctl.files import write_whole

    write_whole(Path(out), sink.getvalue().to_pybytes())
    return len(record.x)


def file_digest(path: str | Path) -> str:
    """Give the SHA-256 of a file.

    Args:
        path: the file.

    Returns:
        Hexadecimal digits.
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _mcap() -> Any:
    try:
        import mcap
        import mcap.exceptions
        import mcap.records
        import mcap.stream_reader
        import mcap.writer
    except ImportError as error:
        raise NotInstalledError("logs need mcap: pip install 'yannctl[log]'") from error
    return mcap
