"""`SearchTree`: planes that lead to the few regions that can hold a point; `Lookup` follows them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from yannctl.errors import ModelError

from .kernels import locate_many as scan_many
from .kernels_lookup import BEYOND, NOWHERE, STACK, apply_many, law_many, law_one, locate_many, resolve


@dataclass(frozen=True, eq=False)
class SearchTree:
    """A search tree over the regions of a law, in the precision of its arrays.

    Args:
        nodes: (n_nodes, ntheta + 1) planes [h, k] in the units of theta; the last n_leaves of them are the leaves.
        child: (2 n_nodes,) the node on the side h'theta <= k, then the other; a leaf leads to itself.
        first: (n_leaves + 1,) where each leaf's regions begin in `members`.
        members: (n_members,) regions of the leaves, rising within a leaf.
        region: (n_leaves,) the region that holds the whole cell, -1 where none holds any of it, -3 where neither is so.
        same: (n_leaves,) as `region`, or any region with the same law where several share the cell.
        box: (4, ntheta) corners of the parameter box and of the box that the tree divides.
        limits: (3,) distance from a plane below which both sides are searched; violation up to which a point lies in a
            region; 1 when no region reaches beyond the box that the tree divides, else 0.
        depth: the largest number of planes on the way to a leaf.
    """

    nodes: Float[np.ndarray, "n_nodes ntheta_1"]
    child: Integer[np.ndarray, " n_children"]
    first: Integer[np.ndarray, " n_leaves_1"]
    members: Integer[np.ndarray, " n_members"]
    region: Integer[np.ndarray, " n_leaves"]
    same: Integer[np.ndarray, " n_leaves"]
    box: Float[np.ndarray, "4 ntheta"]
    limits: Float[np.ndarray, " 3"]
    depth: int

    @property
    def n_nodes(self) -> int:
        """Number of nodes, leaves included."""
        return len(self.nodes)

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return len(self.region)

    def check(self, n_regions: int, ntheta: int) -> None:
        """Raise ModelError unless every index stays inside its array and every descent ends.

        Args:
            n_regions: number of regions of the law.
            ntheta: number of its parameters.
        """
        n, inner = len(self.nodes), len(self.nodes) - len(self.region)
        link = self.child[: 2 * inner].astype(np.int64)
        own = np.repeat(np.arange(inner), 2)
        sizes = (
            self.nodes.shape == (n, ntheta + 1) and self.box.shape == (4, ntheta) and len(self.child) == 2 * n
            and self.limits.shape == (3,) and len(self.first) == len(self.region) + 1
            and self.same.shape == self.region.shape
            and 0 <= inner < n and self.first[0] == 0 and self.first[-1] == len(self.members)
        )  # fmt: skip
        good = (
            sizes
            and bool((np.diff(self.first) >= 0).all())
            and bool(((link > own) & (link < n)).all())
            and bool((self.child[2 * inner :] == np.repeat(np.arange(inner, n), 2)).all())
            and all(bool((a < n_regions).all()) for a in (self.members, self.region, self.same))
            and bool((self.members >= 0).all())
            and self.depth < STACK
        )
        if not good:
            raise ModelError("tree", "its arrays do not fit together or do not fit the law")


class Lookup:
    """A search tree bound to the arrays of its law, ready for the compiled kernels.

    Args:
        law: a `PwaLaw`.
        tree: a tree built from it.
    """

    def __init__(self, law: Any, tree: SearchTree) -> None:
        dtype = tree.nodes.dtype
        self.tree = tree
        self.dtype = dtype
        self.n_out = law.n_out
        self.point = ((law.ntheta,), dtype)  # shape and type of one point that needs no conversion
        tables = np.ascontiguousarray(law.H, dtype), np.ascontiguousarray(law.k, dtype), law.row_start
        laws = np.concatenate([law.F, law.g[..., None]], axis=2)
        laws = np.ascontiguousarray(np.concatenate([laws, np.full((1, *laws.shape[1:]), np.nan)]), dtype)
        margin, tolerance = float(tree.limits[0]), float(tree.limits[1])
        arrays = (tree.nodes, tree.child, tree.first, tree.members)
        dims = (0,) * law.ntheta
        self._locate = (margin, arrays, tree.region, tree.box, dims)
        self._law = (margin, arrays, tree.same, tree.box, dims, laws)
        self._resolve = (margin, tolerance, arrays, tables, tree.box, dims)
        self._scan = (*tables, tolerance)

    def one(self, theta: Any) -> Any:
        """Return the law at one point.

        Args:
            theta: (ntheta,) array of the tree's precision.
        """
        point, out = theta.reshape(1, -1), np.empty((1, self.n_out), self.dtype)
        if law_one(point, *self._law, out):
            return self.many(point)[0]
        return out[0]

    def many(self, points: Any) -> Any:
        """Return the law at each point, NaN where no region holds it.

        Args:
            points: (n, ntheta) contiguous array of the tree's precision.
        """
        out, slow = np.empty((len(points), self.n_out), self.dtype), np.empty(len(points) + 4, np.int64)
        left = law_many(points, *self._law, out, slow)
        if left:
            apply_many(points, self._rest(points, left, slow), slow[:left], self._law[-2], self._law[-1], out)
        return out

    def locate(self, points: Any) -> Any:
        """Return the region of each point, -1 where none holds it.

        Args:
            points: (n, ntheta) contiguous array of the tree's precision.
        """
        index, slow = np.empty(len(points), np.int64), np.empty(len(points) + 4, np.int64)
        left = locate_many(points, *self._locate, index, slow)
        if left:
            index[slow[:left]] = self._rest(points, left, slow)
        return index

    def _rest(self, points: Any, left: int, slow: Any) -> Any:
        """Return the regions of the points listed first in `slow`."""
        index = np.empty(left, np.int64)
        resolve(points, left, *self._resolve, np.empty(STACK, np.int64), index, slow)
        beyond = np.flatnonzero(index == BEYOND)
        if self.tree.limits[2]:
            index[beyond] = NOWHERE
        elif len(beyond):
            found = np.empty(len(beyond), np.int64)
            scan_many(points[slow[beyond]], self._scan[2], self._scan[0], self._scan[1], self._scan[3], found)
            index[beyond] = found
        return index
