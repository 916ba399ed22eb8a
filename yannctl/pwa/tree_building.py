"""Building a search tree without linear programs.

The planes are facets of the regions. At each node the regions on either side are found exactly, from their corners
clipped to the node's cell (after Tondel, Johansen and Bemporad, Automatica 39(5), 2003). Regions are first moved
outwards by twice the tolerance of membership, so that points on facets and just outside find theirs too. Parts of the
tree that ask the same and answer the same are kept once.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from .joining import group_rows
from .kernels_cell import CHECK, COUNT, N_LEAVES, N_MEMBERS, N_NODES, N_WAITING
from .kernels_tree import arrange, expand, grow, share
from .merging import bitwise_laws
from .regions import scaled_rows, scaling
from .search_tree import SearchTree
from .tree_check import leads_right

MOST_PARAMETERS = 6  # above, regions have too many corners
MARGIN = 1e-7  # scaled distance from a plane below which both sides are searched, at least 50 tolerances
SIZE = 1.001  # the tree divides this multiple of the parameter box
DEPTH = 200
NODES_PER_REGION = 60  # planes tried; what is left over becomes leaves of several regions
WORK = 1_000_000  # corners measured per node when planes are scored
SAMPLE = 256  # regions that a plane is scored on
PEEL = 1  # a plane with no region beyond it is preferred once a cell holds at most this many laws
SNAP = 1e-11  # a corner this close to a plane lies on it
DUPLICATES = 0.5  # what a region on both sides of a plane costs, against one more on the larger side


def build_tree(law: Any, precision: str = "double") -> SearchTree | None:
    """Return a search tree of a law, None where none can be built.

    That is so with too many parameters or corners, bad scaling, or rows so close that corners are told wrongly.

    Args:
        law: a `PwaLaw`.
        precision: "double" or "float", of the points that will be looked up.
    """
    if law.n_regions == 0 or law.ntheta > MOST_PARAMETERS:
        return None
    builder = _Builder(law, precision)
    tree = builder.run() if builder.possible else None
    return tree if tree is None or leads_right(law, tree, builder.same) else None


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
        tolerance = law.settings.locate_tolerance
        self.rooms = 0.05 * tolerance, 0.25 * tolerance + 4 * rounding
        self.width = max(MARGIN, 50 * self.tolerance)
        self.possible = self.room + rounding < 1e-3 and (half > 0).all()
        rows = group_rows(*scaled_rows(law))
        self.tables = (rows.H, rows.k, rows.plane, rows.head, law.row_start)
        self.same = bitwise_laws(law)
        most = int(np.diff(law.row_start).max())
        self.words = max(2, (2 * n + most + 63) // 64)
        limit = law.settings.max_vertices
        self.scratch = (
            np.zeros((n, limit)), np.zeros((limit, self.words), np.uint64), np.zeros(limit),
            np.zeros((2, limit), np.int64), np.zeros((n, 1)), np.zeros(1),
        )  # fmt: skip
        planes = len(rows.head)
        self.marks = (
            np.zeros((law.n_regions, 2), np.int64), np.zeros(planes, np.int64), np.zeros(planes, np.int64),
            np.zeros(limit), (np.zeros((n, limit)), np.zeros((limit, self.words), np.uint64)),
        )  # fmt: skip
        self.bounded = False

    def run(self) -> SearchTree | None:
        """Return the tree, or None when a region has too many corners."""
        root = self._root()
        if root is None:
            return None
        grown = self._grown(*root)
        return replace(self._packed(*grown, tell=False), regions=self._packed(*grown, tell=True))

    def _arena(self, polytopes: int, corners: int) -> tuple[np.ndarray, ...]:
        """Return arrays for polytopes: owner, begin, count, vx, bits."""
        m, n = polytopes, self.law.ntheta
        sizes = np.empty(m, np.int64), np.empty(m, np.int64), np.empty(m, np.int64)
        return (*sizes, np.empty((n, corners)), np.empty((corners, self.words), np.uint64))

    def _root(self) -> tuple | None:
        """Return the regions as polytopes and the numbers of polytopes and corners."""
        law, n = self.law, self.law.ntheta
        corners = 64 * law.n_regions + law.settings.max_vertices
        for _ in range(6):
            arena = self._arena(law.n_regions + 1, corners)
            H, k = self.tables[:2]
            m, end = expand(H, k, law.row_start, self.room, SIZE, self.words, SNAP, self.scratch, arena)
            if m >= 0:
                self.bounded = bool((np.abs(arena[3][:, 1 << n : end]) < (1 + SIZE) / 2).all())
                return arena, m, end
            corners *= 4
        return None

    def _grown(self, arena: tuple[np.ndarray, ...], m: int, end: int) -> tuple[np.ndarray, ...]:
        """Return rows and children of the nodes, answers and sizes of the leaves, and the leaves' regions."""
        counts = np.zeros(6, np.int64)
        counts[N_WAITING] = 1
        waiting = np.empty((DEPTH + 4, 6), np.int64)
        waiting[0] = 0, m, 0, end, 0, -1
        rooms = (self.width, *self.rooms, self.room, SNAP)
        caps = (rooms, DEPTH, NODES_PER_REGION * m)
        limits = (self.width, 0.25 * self.tolerance, WORK, SAMPLE, DUPLICATES, PEEL)
        groups = (self.same, np.arange(self.law.n_regions))
        arena, out = self._wider(arena, 3), _outputs(4 * m + 64, 32 * m + 512)
        while not grow(self.tables, groups, limits, caps, arena, waiting, out, counts, self.marks, self.scratch):
            here = int(waiting[counts[N_WAITING] - 1, COUNT])
            if min(len(out[0]) - counts[N_NODES], len(out[3]) - counts[N_MEMBERS] - here) > 0:
                arena = self._wider(arena, 2)
            else:
                old, out = out, _outputs(2 * len(out[0]), 2 * len(out[3]) + here)
                for a, b in zip(old, out, strict=True):
                    b[: len(a)] = a
        nodes, leaves = counts[N_NODES], counts[N_LEAVES]
        return out[0][:nodes], out[1][:nodes], out[2][:leaves], out[3][: counts[N_MEMBERS]]

    def _wider(self, arena: tuple[np.ndarray, ...], factor: int) -> tuple[np.ndarray, ...]:
        """Return larger arrays with the same contents."""
        new = self._arena(factor * len(arena[0]), factor * len(arena[4]))
        for a, b in zip(arena[:3], new[:3], strict=True):
            b[: len(a)] = a
        new[3][:, : arena[3].shape[1]] = arena[3]
        new[4][: len(arena[4])] = arena[4]
        return new

    def _packed(
        self, row: np.ndarray, child: np.ndarray, leaf: np.ndarray, members: np.ndarray, tell: bool
    ) -> SearchTree:
        """Return the tree in the units of theta, equal parts once; leaves of one law stay apart to `tell` regions."""
        law = self.law
        answer, lists, numbers = self._answers(leaf, members, tell)
        order, links, depth = _shared(self.tables[2][row], child.copy(), numbers)
        used = np.unique(-1 - links[links < 0])
        place = np.full(len(answer), -1)
        place[used] = len(order) + np.arange(len(used))
        links = np.where(links >= 0, links, place[np.maximum(-1 - links, 0)])
        first = np.concatenate([[0], np.cumsum([len(lists[i]) for i in used])])
        centre, half = scaling(law)
        margin = 1.01 * self.width
        sizes = np.array([margin - 1, 1 - margin, -SIZE, SIZE])
        box = (centre + sizes[:, None] * half).astype(self.dtype)
        rows = row[order]
        return SearchTree(
            np.column_stack([law.H[rows], law.k[rows]]).astype(self.dtype), links[1:].astype(np.uint32),
            first.astype(np.int32), np.concatenate([lists[i] for i in used]).astype(np.int32),
            answer[used].astype(np.int32), box, np.array([margin, self.tolerance, float(self.bounded)]),
            depth,
        )  # fmt: skip

    def _answers(
        self, leaf: np.ndarray, members: np.ndarray, tell: bool
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Return each distinct answer with its regions, and the number of each leaf's answer."""
        ends = np.cumsum(leaf[:, 1])
        law = np.where(leaf[:, 0] >= 0, self.same[np.maximum(leaf[:, 0], 0)], leaf[:, 0])
        empty = np.empty(0, np.int64)
        owners = np.repeat(law, leaf[:, 1])
        by_law = _lists(owners, members)
        names: dict[Any, int] = {}
        numbers, heads, lists = np.empty(len(leaf), np.int64), [], []
        for i, (number, answer) in enumerate(zip(law.tolist(), leaf[:, 0].tolist(), strict=True)):
            apart = answer == CHECK or (tell and answer >= 0)
            own = np.sort(members[ends[i] - leaf[i, 1] : ends[i]]) if apart else by_law.get(number, empty)
            numbers[i] = names.setdefault((number, tuple(own.tolist())) if apart else number, len(names))
            if numbers[i] == len(lists):
                lists.append(own)
                heads.append(answer)
        return np.array(heads), lists, numbers


def _shared(plane: np.ndarray, child: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the nodes that stay, parents first, the links of the root and of each, and the longest way.

    A link counts the nodes that stay, -1 - i leads to answer i.
    """
    nodes = len(plane)
    target = np.full(nodes + 1, -1 - numbers[0])
    share(plane, child, numbers, np.full(2 << nodes.bit_length(), -1), target)
    order, count, depth = np.empty(nodes, np.int64), 0, 0
    if target[0] >= 0:
        count, depth = arrange(target[0], child, np.zeros(nodes, np.int64), order)
    order = order[:count]
    place = np.zeros(nodes + 1, np.int64)
    place[order] = np.arange(count)
    links = np.vstack([[target[0], target[0]], child[order]])
    return order, np.where(links >= 0, place[links], links), int(depth)


def _lists(group: np.ndarray, members: np.ndarray) -> dict[int, np.ndarray]:
    """Return the distinct members of each group, rising."""
    pairs = np.unique(np.column_stack([group, members]), axis=0)
    names, first = np.unique(pairs[:, 0], return_index=True)
    return {int(name): part for name, part in zip(names, np.split(pairs[:, 1], first[1:]), strict=False)}


def _outputs(nodes: int, members: int) -> tuple[np.ndarray, ...]:
    """Return arrays for the nodes' rows, children and links, the leaves' answers and sizes, and their regions."""
    return (
        np.empty(nodes, np.int64), np.empty((nodes, 2), np.int64), np.empty((nodes + 1, 2), np.int64),
        np.empty(members, np.int64), np.empty(nodes, np.int64),
    )  # fmt: skip
