"""A search tree as small constant tables for C, with the number of operations one descent can take.

The planes are rows of the regions already there. A leaf whose cell lies in regions of one law answers with that law;
a point closer to a plane on its way than the margin is answered by the rule (least violation, lowest index) among the
regions of all leaves whose widened cells hold it, or of all regions where that costs less at worst. So the tree gives
the bits of a scan.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.pwa.law import PwaLaw
from yannctl.types import Float, Int

from .law_tables import LawTables

MOST_CELLS = 20_000  # with more to follow, the bound of the search is the whole tree
ROOM = 1.01  # multiple of the parameter box that holds all cells


@dataclass(frozen=True, eq=False)
class TreeTables:
    """A search tree over the rows of `LawTables`.

    Args:
        node_row: row of H that each inner node asks (n_inner,).
        child: nodes on the side <= 0 and on the other (n_inner, 2); n_inner + l is leaf l.
        leaf_law: law of the whole leaf, n_laws where no region holds any of it, n_laws + 1 where the rule decides.
        leaf_start: first member of each leaf (n_leaves + 1,).
        member: regions that reach into each leaf (n_members,).
        box: corners of the parameter box without a border of the margin and of the box that the tree divides
            (4, ntheta).
        margin: distance from a plane below which both sides are searched, scaled units.
        stack: nodes that wait at most during a search.
        depth: rows at most on the way down.
        search_visits: nodes that one search visits at most.
        search_rows: rows that one search compares at most, those of its nodes included.
        searches: whether a point close to a plane is searched for; else all regions are scanned, which costs less.
    """

    node_row: Int[np.ndarray, " n_inner"]
    child: Int[np.ndarray, "n_inner two"]
    leaf_law: Int[np.ndarray, " n_leaves"]
    leaf_start: Int[np.ndarray, " n_starts"]
    member: Int[np.ndarray, " n_members"]
    box: Float[np.ndarray, "four ntheta"]
    margin: float
    stack: int
    depth: int
    search_visits: int
    search_rows: int
    searches: bool

    @property
    def n_inner(self) -> int:
        """Number of nodes that ask a row."""
        return len(self.node_row)

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return len(self.leaf_law)

    @classmethod
    def of(cls, law: PwaLaw, tables: LawTables, law_of: Int[np.ndarray, " n_regions"], n_laws: int) -> "TreeTables":
        """Build a tree in the precision of the tables.

        Args:
            law: the law.
            tables: its tables.
            law_of: number of each region's gains.
            n_laws: number of different gains.

        Returns:
            The tree.

        Raises:
            ModelError: no tree can be built (too many parameters or corners).
        """
        from yannctl.pwa.tree_building import build_tree

        precision = "double" if tables.H.dtype == np.float64 else "float"
        tree = build_tree(law, precision)
        if tree is None:
            text = f"no search tree can be built for {law.ntheta} parameters and {law.n_regions} regions"
            raise ModelError("search", text, remedy='use search="scan"')
        same = np.asarray(tree.answer, np.int64)
        leaf_law = np.where(same >= 0, law_of[np.maximum(same, 0)], np.where(same == -1, n_laws, n_laws + 1))
        node_row = _rows_of(tables, np.asarray(tree.planes))
        child = np.asarray(tree.child, np.int64)
        leaf_start, member = np.asarray(tree.first, np.int64), np.asarray(tree.members, np.int64)
        real = tables.H.dtype.type
        margin = float(np.nextafter(real(tree.limits[0]), real(np.inf)))
        visits, rows = _search_bound(law, tables, node_row, child, leaf_start, member, margin)
        return cls(
            node_row=node_row, child=child, leaf_law=leaf_law, leaf_start=leaf_start, member=member,
            box=np.ascontiguousarray(tree.box, tables.H.dtype), margin=margin, stack=_longest_way(child) + 2,
            depth=_longest_way(child), search_visits=visits, search_rows=rows, searches=rows < len(tables.k),
        )  # fmt: skip


def _rows_of(tables: LawTables, planes: np.ndarray) -> np.ndarray:
    """Row of the law each plane is."""
    rows = np.column_stack([tables.H, tables.k])
    known = {row.tobytes(): i for i, row in reversed(list(enumerate(rows)))}
    found = np.array([known.get(np.ascontiguousarray(plane, rows.dtype).tobytes(), -1) for plane in planes], np.int64)
    if (found < 0).any():
        raise ModelError("search", "the tree asks a plane that bounds no region", remedy='use search="scan"')
    return found


def _longest_way(child: np.ndarray) -> int:
    """Largest number of inner nodes on a way; children come after their parents."""
    depth = np.zeros(len(child) + 1, np.int64)
    for node in range(len(child) - 1, -1, -1):
        depth[node] = 1 + max(depth[c] if c < len(child) else 0 for c in child[node])
    return int(depth[0])


def _search_bound(
    law: Any,
    tables: LawTables,
    node_row: np.ndarray,
    child: np.ndarray,
    leaf_start: np.ndarray,
    member: np.ndarray,
    margin: float,
) -> tuple[int, int]:
    """Nodes and rows of one search at most.

    The search is run on sets in place of points: at each node the set is cut into the part that goes left, the part
    that goes right and the strip that goes both ways, and each is followed to the end.
    """
    from yannctl.pwa.regions import polytope_vertices, scaling

    sizes = np.diff(tables.row_start)
    leaf_rows = [int(sizes[member[s:e]].sum()) for s, e in itertools.pairwise(leaf_start)]
    centre, half = scaling(law)
    planes = tables.H[node_row].astype(float)
    H, k = planes * half, tables.k[node_row] - planes @ centre
    n_inner, n_cells, worst = len(node_row), 0, (0, 0)
    box = np.zeros((0, len(half))), np.zeros(0)
    pending: list[tuple] = [(*box, polytope_vertices(*box), (0,), 0, 0)]
    while pending:
        rows, right, corners, waiting, visits, compared = pending.pop()
        n_cells += 1
        if n_cells > MOST_CELLS:
            return n_inner + len(leaf_rows), n_inner + sum(leaf_rows)
        parts = [(rows, right, corners, waiting)]
        while len(parts) == 1 and waiting:
            node, waiting = waiting[-1], waiting[:-1]
            visits += 1
            compared += leaf_rows[node - n_inner] if node >= n_inner else 1
            if node >= n_inner:
                continue
            parts = _sides(rows, right, corners, H[node], float(k[node]), margin, (*map(int, child[node]), waiting))
            if len(parts) == 1:
                waiting = parts[0][3]
        if len(parts) == 1:
            worst = max(worst[0], visits), max(worst[1], compared)
        else:
            pending += [(*part, visits, compared) for part in parts]
    return worst


def _sides(
    rows: np.ndarray, right: np.ndarray, corners: np.ndarray, h: np.ndarray, k: float, margin: float, ways: tuple
) -> list[tuple]:
    """Parts of a set on the two sides of a plane and in the strip about it, with the nodes each goes on to."""
    from yannctl.pwa.regions import polytope_vertices

    below, above, waiting = ways
    size = float(np.linalg.norm(h))
    reach = ROOM * (corners @ h) - k
    inner, outer = 0.98 * margin, 1.02 * margin
    if reach.max() < -outer:
        return [(rows, right, corners, (*waiting, below))]
    if reach.min() > outer:
        return [(rows, right, corners, (*waiting, above))]
    h, k, inner, outer = h / size, k / size, inner / size, outer / size
    parts = []
    for new_rows, new_right, nodes in (
        ([h], [(k - inner) / ROOM], (below,)),
        ([-h], [(-k - inner) / ROOM], (above,)),
        ([h, -h], [(k + outer) / ROOM, (-k + outer) / ROOM], (below, above)),
    ):
        both = np.vstack([rows, *new_rows]), np.concatenate([right, new_right])
        cut = polytope_vertices(*both)
        if len(cut):
            parts.append((*both, cut, (*waiting, *nodes)))
    return parts or [(rows, right, corners, (*waiting, below, above))]
