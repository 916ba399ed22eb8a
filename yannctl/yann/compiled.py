"""The lattice without torch in the loop: compiled once, then numpy in and numpy out on as many threads as wanted."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike

if TYPE_CHECKING:
    from .lattice import LatticeActor

BLOCK_BYTES = 1 << 15  # of law values at once: they stay in the first cache
MIN_BLOCK, MAX_BLOCK = 32, 256
POINTS_PER_THREAD = 4096  # below this a second thread costs more than it saves


class CompiledLattice:
    """`u_c = max_t min_{j in t} (F_j x + g_j)` in compiled loops, the same bits as the module it was made from.

    The weights are copied: a module that learns must be compiled again.

    Args:
        actor: the lattice.
        threads: threads of a large batch, None for one a core.

    Raises:
        ModelError: if `threads` is below 1.
    """

    def __init__(self, actor: "LatticeActor", threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ModelError("threads", f"got {threads}, expected at least 1")
        self.threads = threads or len(os.sched_getaffinity(0))
        parts = actor.outputs
        self.ntheta, self.n_out = actor.ntheta, len(parts)
        self.dtype = np.dtype(str(parts[0].F.dtype).removeprefix("torch."))
        sizes = [part.F.shape[0] for part in parts]
        terms = [np.array(term) for part in parts for term in part.members]
        F = np.concatenate([part.F.detach().cpu().numpy() for part in parts])
        g = np.concatenate([part.g.detach().cpu().numpy() for part in parts])
        self._tables = (
            np.ascontiguousarray(F),
            np.ascontiguousarray(g),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.concatenate(terms).astype(np.int64),
            np.concatenate([[0], np.cumsum([len(term) for term in terms])]).astype(np.int64),
            np.concatenate([[0], np.cumsum([len(part.members) for part in parts])]).astype(np.int64),
        )
        largest = max(sizes)
        self._block = int(np.clip(BLOCK_BYTES // (self.dtype.itemsize * largest), MIN_BLOCK, MAX_BLOCK))
        self._shape = (self.ntheta + largest + 2, self._block)
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Evaluate the lattice.

        Args:
            x: (..., ntheta) parameters [physical units].

        Returns:
            (..., n_out) inputs [physical units], in the type of the weights; NaN where x has an entry that is NaN or
            infinite.

        Raises:
            ModelError: if the last dimension is not ntheta.
        """
        theta = np.asarray(x)
        if theta.ndim == 0 or theta.shape[-1] != self.ntheta:
            raise ModelError("x", f"got shape {theta.shape}, expected (..., {self.ntheta})")
        points = np.ascontiguousarray(theta.reshape(-1, self.ntheta), dtype=self.dtype)
        out = np.empty((len(points), self.n_out), dtype=self.dtype)
        parts = min(self.threads, len(points) // POINTS_PER_THREAD)
        if self._pool is None or parts < 2:
            self._part(points, out)
        else:
            cuts = np.linspace(0, len(points), parts + 1).astype(int)
            slices = [slice(*pair) for pair in pairwise(cuts)]
            list(self._pool.map(lambda part: self._part(points[part], out[part]), slices))
        return out.reshape(*theta.shape[:-1], self.n_out)

    def _part(self, points: np.ndarray, out: np.ndarray) -> None:
        """Evaluate one thread's share."""
        from .kernels_lattice import lattice_many

        work = np.empty(self._shape, dtype=self.dtype)
        columns, values = work[: self.ntheta], work[self.ntheta : -2]
        lattice_many(points, *self._tables, columns, values, work[-2:], out)
        # A comparison with NaN is false, so the loops would drop it; the sum is finite when every entry is.
        if not np.isfinite(points.sum()):
            out[~np.isfinite(points).all(axis=1)] = np.nan
