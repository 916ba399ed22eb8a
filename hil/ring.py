"""A ring of rows in shared memory: one process writes and never waits, another reads; what does not fit is counted."""

import secrets
from multiprocessing import resource_tracker, shared_memory

import numpy as np

from yannctl.types import Float

_HEAD, _TAIL, _LOST, _CLOSED, _CELLS = 0, 1, 2, 3, 8


class RowRing:
    """Rows of float64 between two processes.

    The counters are aligned 64-bit words, each written by one side only; the row is written before the counter that
    publishes it.

    Args:
        width: numbers a row.
        rows: rows it holds.
        name: of an existing ring, or None to make one.
    """

    def __init__(self, width: int, rows: int, name: str | None = None) -> None:
        size = 8 * (_CELLS + width * rows)
        self._own = name is None
        if name is None:
            self._memory = shared_memory.SharedMemory(f"yannctl-{secrets.token_hex(8)}", create=True, size=size)
        else:
            self._memory = shared_memory.SharedMemory(name)
            # The maker removes it; a tracker of the reading process would do so too early.
            resource_tracker.unregister(self._memory._name, "shared_memory")  # type: ignore[attr-defined]
        self._counters = np.ndarray((_CELLS,), np.int64, self._memory.buf)
        self._rows = np.ndarray((rows, width), np.float64, self._memory.buf, offset=8 * _CELLS)

    @property
    def name(self) -> str:
        """Name under which the other process finds it."""
        return self._memory.name

    @property
    def lost(self) -> int:
        """Rows that found no room."""
        return int(self._counters[_LOST])

    @property
    def closed(self) -> bool:
        """Whether the writing side has said that it is done."""
        return bool(self._counters[_CLOSED])

    def put(self, row: Float[np.ndarray, " width"]) -> bool:
        """Add a row at once.

        Args:
            row: the numbers.

        Returns:
            Whether there was room.
        """
        head, tail = int(self._counters[_HEAD]), int(self._counters[_TAIL])
        if head - tail >= len(self._rows):
            self._counters[_LOST] += 1
            return False
        self._rows[head % len(self._rows)] = row
        self._counters[_HEAD] = head + 1
        return True

    def take(self) -> Float[np.ndarray, "n width"]:
        """Take all rows that are there.

        Returns:
            Copies, oldest first.
        """
        head, tail = int(self._counters[_HEAD]), int(self._counters[_TAIL])
        rows = self._rows[np.arange(tail, head) % len(self._rows)]
        self._counters[_TAIL] = head
        return rows

    def finish(self) -> None:
        """Say that no more rows will come."""
        self._counters[_CLOSED] = 1

    def close(self) -> None:
        """Give the memory back; its maker removes it."""
        del self._counters, self._rows  # they look into the memory
        self._memory.close()
        if self._own:
            self._memory.unlink()
