"""Pictures of a law: its regions, coloured by law, and its outputs and its cost as surfaces over two parameters."""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from yannctl.errors import ModelError

from .law import PwaLaw
from .regions import polytope_vertices, scaled_rows, scaling

_EDGE = "#ffffff"
_TRAJECTORY = "#1b1b1b"


def plot_regions(
    law: PwaLaw,
    parameters: tuple[int, int] = (0, 1),
    fixed: ArrayLike | None = None,
    trajectory: ArrayLike | None = None,
    output: int = 0,
    axes: Any = None,
) -> tuple[Any, Any]:
    """Draw the regions in the plane of two parameters, one colour a law, darker where the output is larger.

    Args:
        law: a law with at least two parameters.
        parameters: the two parameters on the axes.
        fixed: (ntheta,) values of the others, the middle of the box when not given; the two on the axes are ignored.
        trajectory: (steps, ntheta) path drawn over the regions, or (paths, steps, ntheta).
        output: the output that orders the colours.
        axes: matplotlib axes to draw on; new ones when not given.

    Returns:
        The matplotlib figure and axes.

    Raises:
        ModelError: the law has fewer than two parameters, or the indices do not fit.
    """
    from matplotlib.collections import PolyCollection

    i, j = _checked(law, parameters, output)
    figure, axes = _axes(axes)
    polygons, numbers = slice_polygons(law, (i, j), fixed)
    axes.add_collection(
        PolyCollection(
            polygons, facecolors=_colours(law, output)[numbers], edgecolors=_EDGE, linewidths=_width(polygons)
        )
    )
    if trajectory is not None:
        _draw_paths(axes, np.asarray(trajectory, dtype=float)[..., [i, j]])
    axes.set(xlim=(law.theta_min[i], law.theta_max[i]), ylim=(law.theta_min[j], law.theta_max[j]))
    axes.set_xlabel(_name(law, i))
    axes.set_ylabel(_name(law, j))
    axes.set_title(_caption(law, (i, j), fixed), fontsize=10, loc="left", color="#444444")
    axes.set_facecolor("#f3f3f3")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plot_surface(
    law: PwaLaw,
    output: int = 0,
    parameters: tuple[int, int] = (0, 1),
    fixed: ArrayLike | None = None,
    axes: Any = None,
) -> tuple[Any, Any]:
    """Draw one output of the law as a surface over two parameters, one facet a region.

    Args:
        law: a law with at least two parameters.
        output: index of the output.
        parameters: the two parameters on the axes.
        fixed: (ntheta,) values of the others, the middle of the box when not given.
        axes: matplotlib 3-D axes to draw on; new ones when not given.

    Returns:
        The matplotlib figure and axes.

    Raises:
        ModelError: the law has fewer than two parameters, or the indices do not fit.
    """
    i, j = _checked(law, parameters, output)
    regions, polygons = _slice(law, (i, j), fixed)
    faces = []
    for region, polygon in zip(regions, polygons, strict=True):
        points = _in_plane(law, fixed, (i, j), polygon)
        faces.append(np.column_stack([polygon, points @ law.F[region, output] + law.g[region, output]]))
    colours = _colours(law, output)[law.law_index[regions]] if faces else "none"
    return _draw_faces(law, (i, j), fixed, faces, colours, (law.out_names or ())[output], axes)


def plot_value(
    law: PwaLaw,
    parameters: tuple[int, int] = (0, 1),
    fixed: ArrayLike | None = None,
    axes: Any = None,
) -> tuple[Any, Any]:
    """Draw the optimal cost V = theta'P_i theta/2 + p_i'theta + c_i as a surface over two parameters.

    Args:
        law: a law with at least two parameters; a merged one is drawn from the law it was merged from.
        parameters: the two parameters on the axes.
        fixed: (ntheta,) values of the others, the middle of the box when not given.
        axes: matplotlib 3-D axes to draw on; new ones when not given.

    Returns:
        The matplotlib figure and axes.

    Raises:
        ModelError: the law has fewer than two parameters, or the indices do not fit.
    """
    from matplotlib import colormaps

    law = law.unmerged or law
    i, j = _checked(law, parameters, 0)
    faces = value_faces(law, (i, j), fixed)
    middle = np.array([face[:, 2].mean() for face in faces])
    size = float(np.ptp(middle)) if len(middle) else 0.0
    level = (middle - middle.min()) / size if size > 0 else np.full(len(middle), 0.5)
    return _draw_faces(law, (i, j), fixed, faces, colormaps["viridis"](0.06 + 0.88 * level), "cost", axes, 0.0)


def value_faces(
    law: PwaLaw, parameters: tuple[int, int] = (0, 1), fixed: ArrayLike | None = None
) -> list[Float[np.ndarray, "3 3"]]:
    """Return small triangles on the optimal cost over the plane of two parameters.

    Args:
        law: a law with at least two parameters, not a merged one.
        parameters: the two parameters of the plane.
        fixed: (ntheta,) values of the others, the middle of the box when not given.

    Returns:
        The corners (3, 3) of each: the two parameters and the cost.
    """
    faces = []
    P, p, c = (np.asarray(part) for part in (law.P, law.p, law.c))
    for region, polygon in zip(*_slice(law, parameters, fixed), strict=True):
        for triangle in _triangles(polygon):
            points = _in_plane(law, fixed, parameters, triangle)
            curved = 0.5 * np.einsum("ni,ij,nj->n", points, P[region], points)
            faces.append(np.column_stack([triangle, curved + points @ p[region] + c[region]]))
    return faces


def _triangles(polygon: np.ndarray, parts: int = 4) -> list[np.ndarray]:
    """Return small triangles that fill a polygon, on which a parabola looks round."""
    found = []
    middle = polygon.mean(axis=0)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        edges = (a - middle) / parts, (b - middle) / parts
        for row in range(parts):
            for column in range(parts - row):
                corner = middle + row * edges[0] + column * edges[1]
                found.append(np.array([corner, corner + edges[0], corner + edges[1]]))
                if row + column < parts - 1:
                    found.append(np.array([corner + edges[0], corner + edges[0] + edges[1], corner + edges[1]]))
    return found


def _in_plane(law: PwaLaw, fixed: ArrayLike | None, parameters: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """Return all parameters at points of the plane."""
    theta = np.tile(_base(law, fixed), (len(points), 1))
    theta[:, list(parameters)] = points
    return theta


def _draw_faces(
    law: PwaLaw,
    parameters: tuple[int, int],
    fixed: ArrayLike | None,
    faces: list,
    colours: Any,
    height: str,
    axes: Any,
    width: float = 0.3,
) -> tuple[Any, Any]:
    """Draw faces over the plane of two parameters."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    i, j = parameters
    figure, axes = _axes(axes, projection="3d")
    edges = _EDGE if width else colours
    axes.add_collection3d(Poly3DCollection(faces, facecolors=colours, edgecolors=edges, linewidths=width or 0.2))
    heights = np.concatenate([face[:, 2] for face in faces]) if faces else np.array([0.0, 1.0])
    margin = 0.02 * max(float(np.ptp(heights)), 1e-9)
    axes.set(
        xlim=(law.theta_min[i], law.theta_max[i]), ylim=(law.theta_min[j], law.theta_max[j]),
        zlim=(heights.min() - margin, heights.max() + margin),
    )  # fmt: skip
    axes.set_xlabel(_name(law, i))
    axes.set_ylabel(_name(law, j))
    axes.set_zlabel(height, labelpad=14)
    axes.set_title(_caption(law, parameters, fixed), fontsize=10, loc="left", color="#444444")
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.set_major_locator(_locator())
    axes.view_init(elev=28, azim=-58)
    axes.set_box_aspect(None, zoom=0.86)
    return figure, axes


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def _caption(law: PwaLaw, parameters: tuple[int, int], fixed: ArrayLike | None) -> str:
    """Return the size of the law, and where the plane lies."""
    base = _base(law, fixed)
    held = [f"{_name(law, i)} = {base[i]:.3g}" for i in range(law.ntheta) if i not in parameters]
    return f"{law.n_regions} regions, {law.n_laws} laws" + (f"; at {', '.join(held)}" if held else "")


def slice_polygons(
    law: PwaLaw, parameters: tuple[int, int] = (0, 1), fixed: ArrayLike | None = None
) -> tuple[list[Float[np.ndarray, "corners 2"]], np.ndarray]:
    """Return the polygons that the regions cut out of the plane of two parameters, and the number of each one's law.

    Args:
        law: a law with at least two parameters.
        parameters: the two parameters of the plane.
        fixed: (ntheta,) values of the others, the middle of the box when not given.
    """
    regions, polygons = _slice(law, parameters, fixed)
    return polygons, law.law_index[regions]


def _slice(law: PwaLaw, parameters: tuple[int, int], fixed: ArrayLike | None) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the regions that meet the plane and their corners in it, in order around each polygon."""
    axes = list(parameters)
    centre, half = scaling(law)
    base = (_base(law, fixed) - centre) / half
    base[axes] = 0.0
    H, k = scaled_rows(law)
    right, rows = k - H @ base, H[:, axes]
    norm = np.linalg.norm(rows, axis=1)
    flat = norm < 1e-12
    norm = np.where(flat, 1.0, norm)
    regions, polygons = [], []
    for region in range(law.n_regions):
        own = np.arange(law.row_start[region], law.row_start[region + 1])
        if (right[own][flat[own]] < 0).any():
            continue
        own = own[~flat[own]]
        corners = polytope_vertices(rows[own] / norm[own, None], right[own] / norm[own])
        if len(corners) > 2:
            middle = corners.mean(axis=0)
            order = np.argsort(np.arctan2(corners[:, 1] - middle[1], corners[:, 0] - middle[0]))
            regions.append(region)
            polygons.append(centre[axes] + half[axes] * corners[order])
    return np.array(regions, dtype=np.int64), polygons


def _base(law: PwaLaw, fixed: ArrayLike | None) -> np.ndarray:
    """Return the values of all parameters in the plane."""
    base = (law.theta_min + law.theta_max) / 2 if fixed is None else np.array(fixed, dtype=float)
    if base.shape != (law.ntheta,):
        raise ModelError("fixed", f"expected shape ({law.ntheta},), got {base.shape}")
    return base


def _colours(law: PwaLaw, output: int) -> np.ndarray:
    """Return one colour a law: the colour map orders laws by their mean output, so saturated laws are its ends."""
    from matplotlib import colormaps

    centres = np.array([region.centre for region in law.regions]).reshape(-1, law.ntheta)
    outputs = np.einsum("nj,nj->n", law.F[:, output], centres) + law.g[:, output]
    count = np.maximum(np.bincount(law.law_index, minlength=law.n_laws), 1)
    means = np.bincount(law.law_index, weights=outputs, minlength=law.n_laws) / count
    size = float(np.ptp(means)) if len(means) else 0.0
    level = (means - means.min()) / size if size > 0 else np.full(len(means), 0.5)
    rank = np.argsort(np.argsort(level)) / max(len(level) - 1, 1)
    return colormaps["viridis"](0.06 + 0.88 * (0.6 * level + 0.4 * rank))


def _draw_paths(axes: Any, paths: np.ndarray) -> None:
    """Draw paths with a dot at each start."""
    for path in paths.reshape(-1, *paths.shape[-2:]):
        axes.plot(path[:, 0], path[:, 1], color="white", linewidth=3.0, solid_capstyle="round")
        axes.plot(path[:, 0], path[:, 1], color=_TRAJECTORY, linewidth=1.4, marker=".", markersize=4)
        axes.plot(*path[0], marker="o", color=_TRAJECTORY, markerfacecolor="white", markersize=7)


def _axes(axes: Any, projection: str | None = None) -> tuple[Any, Any]:
    """Return figure and axes, made when not given."""
    if axes is not None:
        return axes.figure, axes
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(5.6, 4.4), layout="constrained", subplot_kw={"projection": projection})


def _width(polygons: list[np.ndarray]) -> float:
    """Return a line width that many small regions do not drown in."""
    return float(np.clip(8.0 / np.sqrt(max(len(polygons), 1)), 0.15, 0.8))


def _name(law: PwaLaw, i: int) -> str:
    return (law.theta_names or ())[i]


def _checked(law: PwaLaw, parameters: tuple[int, int], output: int) -> tuple[int, int]:
    """Return the two parameters, or raise ModelError."""
    if law.ntheta < 2:
        raise ModelError("law", f"has {law.ntheta} parameter, a plane needs two")
    for index in parameters:
        if not 0 <= index < law.ntheta:
            raise ModelError("parameters", f"expected two of 0 ... {law.ntheta - 1}, got {parameters}")
    if not 0 <= output < law.n_out:
        raise ModelError("output", f"expected 0 ... {law.n_out - 1}, got {output}")
    return parameters
