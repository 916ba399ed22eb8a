"""`Region`: one piece of a law, and the lazy list of all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Region:
    """One critical region {theta: H theta <= k} with its law u = F theta + g.

    Args:
        index: position in the law.
        H: (rows, ntheta) facet normals, unit norm in scaled theta.
        k: (rows,) right-hand sides.
        F: (n_out, ntheta) gain of the law.
        g: (n_out,) offset of the law.
        active_set: indices of the constraints of the program that hold with equality here.
        centre: (ntheta,) Chebyshev centre, in the units of theta.
        radius: Chebyshev radius in scaled theta.
        vertices: (nv, ntheta) corners, in the units of theta.
    """

    index: int
    H: Float[np.ndarray, "rows ntheta"]
    k: Float[np.ndarray, " rows"]
    F: Float[np.ndarray, "n_out ntheta"]
    g: Float[np.ndarray, " n_out"]
    active_set: tuple[int, ...]
    centre: Float[np.ndarray, " ntheta"]
    radius: float
    vertices: Float[np.ndarray, "nv ntheta"]


@dataclass(frozen=True)
class RegionList(Sequence):
    """The regions of a law, made one at a time when asked for."""

    law: Any

    def __len__(self) -> int:
        return self.law.n_regions

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= i < len(self):
            raise IndexError(f"region {index} of {len(self)}")
        from .regions import chebyshev

        law = self.law
        rows = slice(law.row_start[i], law.row_start[i + 1])
        centre, radius = chebyshev(law, i)
        active = law.active[i] if law.active else ()
        return Region(i, law.H[rows], law.k[rows], law.F[i], law.g[i], active, centre, radius, law.vertices(i))

    def __iter__(self) -> Iterator[Region]:
        return (self[i] for i in range(len(self)))
