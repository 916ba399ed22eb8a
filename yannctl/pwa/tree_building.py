"""Building a search tree without linear programs.

The planes are facets of the regions. At each node the regions on either side are found exactly, from their corners
clipped to the node's cell (after Tondel, Johansen and Bemporad, Automatica 39(5), 2003). Regions are first moved
outwards by twice the tolerance of membership, so that points on facets and just outside find theirs too.
"""

from typing import Any

import numpy as np

from .kernels_lookup import CHECK, NOWHERE
from .kernels_tree import choose, clip, expand, farthest
from .regions import scaled_rows, scaling
from .search_tree import SearchTree

MOST_PARAMETERS = 6  # above, regions have too many corners
MARGIN = 1e-7  # scaled distance from a plane below which both sides are searched, at least 50 tolerances
SIZE = 1.001  # the tree divides this multiple of the parameter box
DEPTH = 200
NODES_PER_REGION = 60  # planes tried; what is left over becomes leaves of several regions
WORK = 200_000  # corners measured per node when planes are scored
PEEL = 2
DUPLICATES = 0.3  # what a region on both sides of a plane costs, against one more on the larger side


def build_tree(law: Any, precision: str = "double") -> SearchTree | None:
    """Return a search tree of a law, None where none can be built (too many parameters or corners, bad scaling).

    Args:
        law: a `PwaLaw`.
        precision: "double" or "float", of the points that will be looked up.
    """
    if law.n_regions == 0 or law.ntheta > MOST_PARAMETERS:
        return None
    builder = _Builder(law, precision)
    return builder.run() if builder.possible else None


class _Builder:
    """The state of one construction."""

    def __init__(self, law: Any, precision: str) -> None:
        self.law = law
        self.dtype = np.dtype(np.float64 if precision == "double" else np.float32)
        n = law.ntheta
        _, half = scaling(law)
        reach = np.maximum(np.abs(law.theta_min), np.abs(law.theta_max))
        rounding = (n + 2) * np.finfo(self.dtype).eps * float(np.max(np.abs(law.H) @ reach + np.abs(law.k), initial=0))
        self.tolerance = law.settings.locate_tolerance + (rounding if precision == "float" else 0.0)
        self.room = 2 * self.tolerance + 2 * rounding
        self.width = max(MARGIN, 50 * self.tolerance)
        self.possible = self.room + rounding < 1e-3 and (half > 0).all()
        self.H, self.k = scaled_rows(law)
        self.planes = _distinct_planes(self.H, self.k)
        self.same = np.unique(
            np.concatenate([law.F.reshape(law.n_regions, -1), law.g], axis=1), axis=0, return_inverse=True
        )[1].ravel()
        most = int(np.diff(law.row_start).max())
        self.first_slot = 2 * n + most
        self.words = (self.first_slot + DEPTH + 63) // 64
        limit = law.settings.max_vertices
        self.scratch = (
            np.zeros((self.first_slot + DEPTH, n)), np.zeros(self.first_slot + DEPTH), np.zeros((n, limit)),
            np.zeros((limit, self.words), np.uint64), np.zeros(limit),
        )  # fmt: skip
        self.alone = np.arange(law.n_regions)
        self.stamps, self.stamp = np.zeros((law.n_regions, 2), np.int64), 1
        self.seen = np.zeros(self.planes.max() + 1, np.int64)
        self.candidates = np.zeros(len(self.seen), np.int64)
        self.normals: list[int] = []
        self.children: list[list[int]] = []
        self.leaves: list[tuple[np.ndarray, int]] = []
        self.depth = 0
        self.replaced: dict[int, int] = {}

    def run(self) -> SearchTree | None:
        """Return the tree, or None when a region has too many corners."""
        root = self._root()
        if root is None:
            return None
        self.most_nodes = NODES_PER_REGION * len(root[0]) + 100
        pending = [(root, 0, -1, 0)]
        while pending:
            node, depth, parent, side = pending.pop()
            row = self._plane(node, depth)
            parts = self._split(node, row, depth) if row >= 0 else None
            if parts is None:
                here = -1 - self._leaf(node)
            else:
                here = len(self.normals)
                self.normals.append(row)
                self.children.append([0, 0])
                pending += [(part, depth + 1, here, s) for s, part in enumerate(parts)]
            if parent >= 0:
                self.children[parent][side] = here
        self._join()
        return self._packed()

    def _join(self) -> None:
        """Replace nodes whose two leaves have one answer by a leaf: regions that share a law, or no region at all."""
        for parent in range(len(self.children) - 1, -1, -1):
            ends = [self._resolved(c) for c in self.children[parent]]
            if max(ends) >= 0:
                continue
            (a, one), (b, other) = (self.leaves[-1 - c] for c in ends)
            if one == other == NOWHERE or (one >= 0 and other >= 0 and self.same[one] == self.same[other]):
                self.replaced[parent] = -1 - len(self.leaves)
                self.leaves.append((np.union1d(a, b), min(one, other)))

    def _resolved(self, link: int) -> int:
        return self.replaced.get(link, link)

    def _root(self) -> tuple | None:
        n, starts = self.law.ntheta, np.zeros(self.law.n_regions + 1, np.int64)
        size = 64 * self.law.n_regions + self.law.settings.max_vertices
        for _ in range(6):
            vx, bits = np.empty((size, n)), np.empty((size, self.words), np.uint64)
            end = expand(
                self.H, self.k, self.law.row_start, self.room, SIZE, self.words, 1e-11, self.scratch, starts, vx, bits
            )
            if end >= 0:
                break
            size *= 4
        else:
            return None
        self.bounded = bool((np.abs(vx[:end]) < (1 + SIZE) / 2).all())
        box = np.array([[1.0 if v >> j & 1 else -1.0 for j in range(n)] for v in range(1 << n)])
        box_bits = np.zeros((len(box), self.words), np.uint64)
        for v, corner in enumerate(box):
            for j in range(n):
                row = j if corner[j] > 0 else n + j
                box_bits[v, row >> 6] |= np.uint64(1) << np.uint64(row & 63)
        present = np.flatnonzero(np.diff(starts))
        owner = np.concatenate([[-1], present])
        begin = np.concatenate([[0], len(box) + starts[np.append(present, self.law.n_regions)]])
        return owner, begin, np.vstack([box, vx[:end]]), np.vstack([box_bits, bits[:end]])

    def _plane(self, node: tuple, depth: int) -> int:
        """Return the row that splits a node, or -1 for a leaf."""
        owner = node[0]
        if len(owner) == 1 or depth >= DEPTH or len(self.normals) >= self.most_nodes:
            return -1
        laws = len(np.unique(self.same[owner[1:]]))
        row = self._best(node, self.same, laws) if laws > 1 else -1
        return row if row >= 0 else self._best(node, self.alone, len(owner) - 1)

    def _best(self, node: tuple, group: np.ndarray, m: int) -> int:
        """Return the row that parts the groups of regions in a node best, -1 when none does."""
        peel = 0.25 * self.tolerance if m <= PEEL or group is self.alone else np.inf
        row, self.stamp = choose(
            self.H, self.k, self.planes, self.law.row_start, node[:3], self.width, peel, WORK, DUPLICATES, group, m,
            self.stamps, self.stamp, self.seen, self.candidates,
        )  # fmt: skip
        return row

    def _split(self, node: tuple, row: int, depth: int) -> list[tuple] | None:
        """Return the two children of a node, or None when there is no room for their corners."""
        owner, start, vx, bits = node
        parts = []
        for sign in (-1.0, 1.0):
            m, room = len(owner), 2 * len(vx) + 256
            new = (
                np.empty(m, np.int64),
                np.empty(m + 1, np.int64),
                np.empty((room, vx.shape[1])),
                np.empty((room, self.words), np.uint64),
            )
            m, end = clip(
                sign, self.H[row], self.k[row], self.first_slot + depth, self.width, self.words, 1e-11, owner, start,
                vx, bits, self.scratch, new,
            )  # fmt: skip
            if m < 0:
                return None
            parts.append((new[0][:m].copy(), new[1][: m + 1].copy(), new[2][:end].copy(), new[3][:end].copy()))
        return parts

    def _leaf(self, node: tuple) -> int:
        """Add a leaf and return its number."""
        owner, start, vx, _ = node
        members = np.sort(owner[1:])
        self.leaves.append((members, self._answer(members, vx[: start[1]])))
        return len(self.leaves) - 1

    def _answer(self, members: np.ndarray, cell: np.ndarray) -> int:
        """Return a region whose law holds in all of a cell, NOWHERE or CHECK."""
        if not len(members):
            return NOWHERE
        if (self.same[members] == self.same[members[0]]).all() and len(cell):
            for i in members:
                if self._uncovered(i, cell) < 0:
                    return int(i)
        return CHECK

    def _uncovered(self, i: Any, cell: np.ndarray) -> int:
        """Return the row of region i that the cell exceeds most, -1 when the region holds the cell."""
        first, last = self.law.row_start[i], self.law.row_start[i + 1]
        return int(farthest(self.H, self.k, first, last, cell, 0.25 * self.tolerance))

    def _ordered(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and children of the nodes still in use, parents first, and renumber the leaves."""
        rows, links, leaves = [], [], []
        pending = [(self._resolved(0) if self.normals else -1, -1, 0, 1)]
        self.depth = 0
        while pending:
            node, parent, side, depth = pending.pop()
            if node < 0:
                here = -1 - len(leaves)
                leaves.append(self.leaves[-1 - node])
            else:
                here = len(rows)
                rows.append(self.normals[node])
                links.append([0, 0])
                self.depth = max(self.depth, depth)
                pending += [(self._resolved(c), here, s, depth + 1) for s, c in enumerate(self.children[node])]
            if parent >= 0:
                links[parent][side] = here
        self.leaves = leaves
        return np.array(rows, np.int64), np.array(links, np.int64).reshape(-1, 2)

    def _packed(self) -> SearchTree:
        """Return the arrays of the tree in the units of theta."""
        law, n = self.law, self.law.ntheta
        normals, children = self._ordered()
        inner = len(normals)
        total = inner + len(self.leaves)
        nodes = np.zeros((total, n + 1), self.dtype)
        nodes[:, n] = -1.0
        nodes[:inner, :n], nodes[:inner, n] = law.H[normals], law.k[normals]
        child = np.repeat(np.arange(total), 2)
        child[: 2 * inner] = np.where(children < 0, inner - 1 - children, children).ravel()
        first = np.concatenate([[0], np.cumsum([len(members) for members, _ in self.leaves])])
        same = np.array([answer for _, answer in self.leaves])
        region = np.where(np.diff(first) <= 1, same, CHECK)
        centre, half = scaling(law)
        box = np.array([law.theta_min, law.theta_max, centre - SIZE * half, centre + SIZE * half], self.dtype)
        return SearchTree(
            nodes, child.astype(np.uint32), first.astype(np.int32),
            np.concatenate([members for members, _ in self.leaves]).astype(np.int32), region.astype(np.int32),
            same.astype(np.int32), box, np.array([1.01 * self.width, self.tolerance, float(self.bounded)]), self.depth,
        )  # fmt: skip


def _distinct_planes(H: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the number of each row's plane; rows within 1e-8 (either sign) share one."""
    rows = np.column_stack([H, k])
    first = np.argmax(np.abs(H) > 1e-6, axis=1)
    rows = rows * np.sign(rows[np.arange(len(rows)), first])[:, None]
    return np.unique(np.round(rows * 1e8).astype(np.int64), axis=0, return_inverse=True)[1].ravel().astype(np.int64)
