"""`SearchTree`: planes that lead to the few regions that can hold a point; `Lookup` follows them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from yannctl.errors import ModelError

from .kernels import locate_many as scan_many
from .kernels_cell import CHECK, NOWHERE
from .kernels_lookup import BEYOND, STACK, apply_many, law_many, law_one, locate_many, resolve


@dataclass(frozen=True, eq=False)
class SearchTree:
    """A search tree over the regions of a law, in the precision of its planes; equal parts of it are kept once.

    Links to nodes count the inner nodes first, then the leaves.

    Args:
        planes: (n_inner, ntheta + 1) planes [h, k] of the inner nodes in the units of theta, parents first.
        child: (n_inner, 2) the node on the side h'theta <= k, then the other.
        first: (n_leaves + 1,) where each leaf's regions begin in `members`.
        members: (n_members,) regions of the leaves, rising within a leaf.
        answer: (n_leaves,) a region whose law holds at all points of the leaf's cells farther from the planes on their
            way than the distance in `limits`, -1 where no region holds any of these, -3 where neither is so.
        box: (4, ntheta) corners of the parameter box without a border of that distance, and of the box that the tree
            divides.
        limits: (3,) distance from a plane below which both sides are searched; violation up to which a point lies in a
            region; 1 when no region reaches beyond the box that the tree divides, else 0.
        depth: the largest number of planes on the way to a leaf.
        regions: a larger tree of the same planes, where leaves with the same law but other regions are not one, so that
            few regions are left to compare where the region is asked for.
    """

    planes: Float[np.ndarray, "n_inner ntheta_1"]
    child: Integer[np.ndarray, "n_inner 2"]
    first: Integer[np.ndarray, " n_leaves_1"]
    members: Integer[np.ndarray, " n_members"]
    answer: Integer[np.ndarray, " n_leaves"]
    box: Float[np.ndarray, "4 ntheta"]
    limits: Float[np.ndarray, " 3"]
    depth: int
    regions: "SearchTree | None" = None

    @property
    def n_nodes(self) -> int:
        """Number of nodes, leaves included."""
        return len(self.planes) + len(self.answer)

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return len(self.answer)

    def check(self, n_regions: int, ntheta: int) -> None:
        """Raise ModelError unless every index stays inside its array and every descent ends.

        Args:
            n_regions: number of regions of the law.
            ntheta: number of its parameters.
        """
        n, inner = self.n_nodes, len(self.planes)
        sizes = (
            self.planes.shape == (inner, ntheta + 1) and self.box.shape == (4, ntheta) and self.limits.shape == (3,)
            and self.child.shape == (inner, 2) and len(self.first) == len(self.answer) + 1 and inner < n
            and self.first[0] == 0 and self.first[-1] == len(self.members)
        )  # fmt: skip
        link, own = self.child.astype(np.int64), np.arange(inner)[:, None]
        good = (
            sizes
            and bool((np.diff(self.first) >= 0).all())
            and bool(((link > own) & (link < n)).all())
            and all(bool((a < n_regions).all()) for a in (self.members, self.answer))
            and bool((self.members >= 0).all())
            and self.depth < STACK
        )
        if self.regions is not None:
            self.regions.check(n_regions, ntheta)
        if not good:
            raise ModelError("tree", "its arrays do not fit together or do not fit the law")


class Lookup:
    """A search tree bound to the arrays of its law, ready for the compiled kernels.

    Args:
        law: a `PwaLaw`.
        tree: a tree built from it.
    """

    def __init__(self, law: Any, tree: SearchTree) -> None:
        dtype = tree.planes.dtype
        self.tree = tree
        self.dtype = dtype
        self.n_out = law.n_out
        self.point = ((law.ntheta,), dtype)  # shape and type of one point that needs no conversion
        tables = np.ascontiguousarray(law.H, dtype), np.ascontiguousarray(law.k, dtype), law.row_start
        self._laws = _tables(law, np.arange(law.n_regions), dtype)
        margin, tolerance = float(tree.limits[0]), float(tree.limits[1])
        arrays = (*_records(tree, law.ntheta), tree.first, tree.members)
        dims = (0,) * law.ntheta
        telling = tree if tree.regions is None else tree.regions
        places = (*_records(telling, law.ntheta), telling.first, telling.members)
        self._locate = (margin, places, np.where(_alone(law, telling), telling.answer, CHECK), tree.box, dims)
        self._law = (margin, arrays, tree.answer.astype(np.int64), tree.box, dims, _tables(law, tree.answer, dtype))
        self._resolve = (margin, tolerance, places, tables, tree.box, dims)
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
        out, slow = np.empty((len(points), self.n_out), self.dtype), np.empty(len(points) + 8, np.int64)
        left = law_many(points, *self._law, out, slow)
        if left:
            apply_many(points, self._rest(points, left, slow), slow[:left], self._law[-2], self._laws, out)
        return out

    def locate(self, points: Any) -> Any:
        """Return the region of each point, -1 where none holds it.

        Args:
            points: (n, ntheta) contiguous array of the tree's precision.
        """
        index, slow = np.empty(len(points), np.int64), np.empty(len(points) + 8, np.int64)
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


def _tables(law: Any, regions: Any, dtype: Any) -> Any:
    """Return [F, g] of some regions, NaN for a negative number, and a last row of NaN."""
    laws = np.concatenate([law.F, law.g[..., None]], axis=2)
    laws = np.concatenate([laws, np.full((1, *laws.shape[1:]), np.nan)])
    return np.ascontiguousarray(laws[np.append(np.maximum(regions, -1), -1)], dtype)


def _alone(law: Any, tree: SearchTree) -> Any:
    """Tell for each leaf whether no two of its regions have the law of its answer."""
    sizes = np.diff(tree.first)
    flat = np.concatenate([law.F.reshape(law.n_regions, -1), law.g], axis=1)
    answer = np.repeat(np.maximum(tree.answer, 0), sizes)
    same = (flat[answer] == flat[tree.members]).all(axis=1)
    return (np.bincount(np.repeat(np.arange(len(sizes)), sizes), same, len(sizes)) <= 1) | (tree.answer < 0)


def _records(tree: SearchTree, ntheta: int) -> tuple[Any, Any]:
    """Return one record a node, its plane and then its two children, as planes and as a view of the children."""
    dtype, inner = tree.planes.dtype, len(tree.planes)
    per = dtype.itemsize // 4
    nodes = np.zeros((tree.n_nodes, ntheta + 1 + 2 // per), dtype)
    nodes[:inner, : ntheta + 1] = tree.planes
    nodes[inner:, ntheta] = -1.0  # a leaf is never near its plane
    words = nodes.view(np.uint32)
    words[:inner, per * (ntheta + 1) :] = tree.child
    words[inner:, per * (ntheta + 1) :] = np.arange(inner, tree.n_nodes)[:, None]
    return nodes, words
