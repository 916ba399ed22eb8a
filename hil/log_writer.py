"""The process that writes a log: `python -m yannctl.hil.log_writer RING FILE HEADER FOLDER`.

It goes on when the loop is killed: it empties the ring, closes the file and ends.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from yannctl.types import Float

from .flight_log import CHUNK_BYTES, RING_ROWS, TOPIC, LogHeader, _header, _mcap, encode_row
from .ring import RowRing

PAUSE_SECONDS = 0.02
SYNC_SECONDS = 1.0


class LogFile:
    """An MCAP file of ticks in small chunks.

    Args:
        path: the file; it must not exist.
        header: what the columns are.
        attachments: bytes by name.
    """

    def __init__(self, path: Path, header: LogHeader, attachments: Mapping[str, bytes]) -> None:
        mcap = _mcap()
        self._header = header
        self._file = open(path, "xb")  # noqa: SIM115 (closed by close)
        self._writer = mcap.writer.Writer(
            self._file, chunk_size=CHUNK_BYTES, compression=mcap.writer.CompressionType.NONE
        )
        self._writer.start(profile="", library="yannctl")
        for name, data in attachments.items():
            now = time.time_ns()
            self._writer.add_attachment(now, now, name, "application/octet-stream", data)
        schema = self._writer.register_schema("yannctl.Tick", "jsonschema", json.dumps({"type": "object"}).encode())
        metadata = {"header": json.dumps(vars(header))}
        self._channel = self._writer.register_channel(TOPIC, "json", schema, metadata)
        self.sync()

    def write(self, row: Float[np.ndarray, " width"]) -> None:
        """Add a row.

        Args:
            row: as `FlightLog` lays it out.
        """
        instant = int(row[0])
        self._writer.add_message(self._channel, instant, encode_row(row, self._header), instant)

    def sync(self) -> None:
        """Force the complete chunks to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.finish()
        self.sync()
        self._file.close()


def main(words: list[str]) -> None:
    """Write rows until the loop is done, or gone.

    Args:
        words: ring, file, header, folder of attachments.
    """
    name, path, text, folder = words
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the loop, and the loop says so
    parent = os.getppid()
    header = _header({"header": text})
    ring = RowRing(header.width, RING_ROWS, name)
    attachments = {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}
    log = LogFile(Path(path), header, attachments)
    print("ready", flush=True)
    synced = time.monotonic()
    while True:
        ended = ring.closed or os.getppid() != parent
        for row in ring.take():
            log.write(row)
        if ended:
            break
        if time.monotonic() - synced > SYNC_SECONDS:
            log.sync()
            synced = time.monotonic()
        time.sleep(PAUSE_SECONDS)
    log.close()


if __name__ == "__main__":
    main(sys.argv[1:])
