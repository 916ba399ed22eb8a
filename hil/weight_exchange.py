"""Approved weights in shared memory: the courier writes one of two slots, the loop copies it between two ticks."""

import secrets
import zlib
from multiprocessing import resource_tracker, shared_memory

import numpy as np

from yannctl.types import Float

_GENERATION, _REFUSED, _SLOTS, _CELLS = 0, 1, 2, 8  # slot i: law id, CRC-32


class WeightExchange:
    """A vector of weights with its number, from one process to another; neither waits.

    The slot is complete before the generation that publishes it is raised; a reader that is overtaken by two more
    generations sees it by the CRC-32 and keeps what it has.

    Args:
        size: numbers in a vector.
        name: of an existing exchange, or None to make one.
    """

    def __init__(self, size: int, name: str | None = None) -> None:
        self._own, self.size = name is None, size
        if name is None:
            length = 8 * (_CELLS + 2 * size)
            self._memory = shared_memory.SharedMemory(f"yannctl-{secrets.token_hex(8)}", create=True, size=length)
        else:
            self._memory = shared_memory.SharedMemory(name)
            resource_tracker.unregister(self._memory._name, "shared_memory")  # type: ignore[attr-defined]
        self._cells = np.ndarray((_CELLS,), np.int64, self._memory.buf)
        self._slots = np.ndarray((2, size), np.float64, self._memory.buf, offset=8 * _CELLS)
        self._seen = 0

    @property
    def name(self) -> str:
        """Name under which the other process finds it."""
        return self._memory.name

    @property
    def refused(self) -> int:
        """Weights that the courier refused."""
        return int(self._cells[_REFUSED])

    def refuse(self) -> None:
        """Count weights that were not let in."""
        self._cells[_REFUSED] += 1

    def offer(self, weights: Float[np.ndarray, " n"], law_id: int) -> None:
        """Publish weights.

        Args:
            weights: (size,).
            law_id: their number.
        """
        generation = int(self._cells[_GENERATION]) + 1
        slot = generation % 2
        self._slots[slot] = weights
        self._cells[_SLOTS + 2 * slot : _SLOTS + 2 * slot + 2] = law_id, zlib.crc32(self._slots[slot].tobytes())
        self._cells[_GENERATION] = generation

    def take(self) -> tuple[Float[np.ndarray, " n"], int] | None:
        """Take weights not taken before.

        Returns:
            A copy and their number, or None.
        """
        generation = int(self._cells[_GENERATION])
        if generation == self._seen:
            return None
        slot = generation % 2
        weights = self._slots[slot].copy()
        law_id, check = (int(value) for value in self._cells[_SLOTS + 2 * slot : _SLOTS + 2 * slot + 2])
        if zlib.crc32(weights.tobytes()) != check or generation != int(self._cells[_GENERATION]):
            return None  # overtaken: the newer ones come at the next tick
        self._seen = generation
        return weights, law_id

    def close(self) -> None:
        """Give the memory back; its maker removes it."""
        del self._cells, self._slots  # they look into the memory
        self._memory.close()
        if self._own:
            self._memory.unlink()
