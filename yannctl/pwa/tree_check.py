"""Does a search tree lead every point to its region? Compared with the scan of all regions at points of each.

Where rows of a region nearly coincide its corners may be told wrongly, and a region be left out of cells it reaches.
"""

from typing import Any

import numpy as np

from .kernels import locate_many
from .kernels_cell import CHECK
from .regions import ball, scaled_rows, scaling

_WORK = 1e8  # regions looked at, over all points
_LEAST = 2000  # points
_INWARDS = 0.98  # how far towards a row a point is taken


def leads_right(law: Any, tree: Any, same: np.ndarray) -> bool:
    """Tell whether the leaf of each of many points lists a region with the law that scanning finds there.

    Args:
        law: a `PwaLaw`.
        tree: its `SearchTree`.
        same: (n_regions,) number of each region's law.
    """
    points = _points(law)
    region = np.empty(len(points), np.int64)
    locate_many(points, law.row_start, law.H, law.k, law.settings.locate_tolerance, region)
    points, region = points[region >= 0], region[region >= 0]
    parts = [part for part in (tree, tree.regions) if part is not None]
    return all(bool(_lists(part, points, region, same).all()) for part in parts)


def _lists(tree: Any, points: np.ndarray, region: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Tell for each point whether its leaf answers its law or, where it does not tell, lists a region with it."""
    leaf, clear = _descend(tree, points)
    answer = tree.answer[leaf]
    answers = (answer >= 0) & (same[np.maximum(answer, 0)] == same[region])
    owner = np.repeat(np.arange(len(tree.answer)), np.diff(tree.first))
    listed = np.isin(leaf * len(same) + same[region], owner * len(same) + same[tree.members])
    return ~clear | answers | ((answer == CHECK) & listed)


def _points(law: Any) -> np.ndarray:
    """Return points in the middle of each region and near each of its rows, and others all over the box."""
    rng = np.random.default_rng(0)
    centre, half = scaling(law)
    count = int(min(law.k.size + law.n_regions + 20_000, max(_LEAST, _WORK / law.n_regions)))
    H, k = scaled_rows(law)
    owner = np.repeat(np.arange(law.n_regions), np.diff(law.row_start))
    rows = np.arange(law.k.size) if law.k.size <= count // 2 else rng.choice(law.k.size, count // 2, replace=False)
    middle = np.full((law.n_regions, law.ntheta), np.nan)
    for i in np.unique(owner[rows]):
        part = slice(law.row_start[i], law.row_start[i + 1])
        middle[i] = ball(H[part], k[part])[0]
    start = middle[owner[rows]]
    near = start + _INWARDS * (k[rows] - (H[rows] * start).sum(axis=1))[:, None] * H[rows]
    spread = rng.uniform(-1, 1, (count - len(rows), law.ntheta))
    points = np.vstack([middle, near, spread])
    return np.ascontiguousarray(centre + half * points[np.isfinite(points).all(axis=1)])


def _descend(tree: Any, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the leaf of each point, and whether it is clear of all planes on the way."""
    inner, margin = len(tree.planes), float(tree.limits[0])
    node = np.zeros(len(points), dtype=np.int64)
    clear = np.ones(len(points), dtype=bool)
    while inner and (going := np.flatnonzero(node < inner)).size:
        planes = tree.planes[node[going]].astype(float)
        distance = (planes[:, :-1] * points[going]).sum(axis=1) - planes[:, -1]
        clear[going] &= np.abs(distance) > margin
        node[going] = tree.child[node[going], (distance > 0).astype(int)]
    return node - inner, clear
