"""A regular grid over one or two states, periodic where a state is an angle."""

from dataclasses import dataclass

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.types import ArrayLike, Float, Int

FULL_TURN = 2 * np.pi * (1 - 1e-9)  # [rad]; an angle with narrower bounds is an axis like any other


@dataclass(frozen=True)
class StateGrid:
    """Nodes origin + i spacing on two axes; a plant of one state has a single node on the second.

    Args:
        origin: position of the first node (2,), physical units.
        spacing: distance of the nodes (2,).
        count: number of nodes (2,).
        periodic: whether the axis closes on itself (2,).
        nx: states of the plant, 1 or 2.
    """

    origin: Float[np.ndarray, "2"]
    spacing: Float[np.ndarray, "2"]
    count: Int[np.ndarray, "2"]
    periodic: np.ndarray
    nx: int

    @classmethod
    def of(cls, plant: AbstractPlant, nodes: int, box: tuple[ArrayLike, ArrayLike] | None = None) -> "StateGrid":
        """Span the state bounds of a plant; an angle free to turn is covered all around, with a node at equilibrium.

        Args:
            plant: a plant with one or two states and finite bounds.
            nodes: nodes an axis.
            box: lower and upper ends (nx,) to span instead, angles within (-pi, pi); None for the bounds.

        Returns:
            The grid.

        Raises:
            ModelError: more than two states, an infinite bound, or fewer than three nodes.
        """
        if plant.nx > 2:
            raise ModelError(
                "plant", f"has {plant.nx} states", remedy="dynamic programming on a grid takes at most two"
            )
        if nodes < 3:
            raise ModelError("nodes", f"got {nodes}", remedy="use at least 3 nodes an axis")
        origin, spacing = np.zeros(2), np.ones(2)
        count, periodic = np.ones(2, np.int64), np.zeros(2, bool)
        centre = np.zeros(plant.nx) if plant.x_equilibrium is None else np.asarray(plant.x_equilibrium, float)
        ends = (plant.x_min, plant.x_max) if box is None else (np.asarray(box[0], float), np.asarray(box[1], float))
        for axis in range(plant.nx):
            count[axis] = nodes
            low, high = float(ends[0][axis]), float(ends[1][axis])
            if axis in plant.angles and not high - low < FULL_TURN:
                origin[axis], spacing[axis], periodic[axis] = centre[axis], 2 * np.pi / nodes, True
                continue
            if not np.isfinite(high - low):
                raise ModelError("plant.x_min", "and x_max must be finite to lay a grid", index=axis)
            origin[axis], spacing[axis] = low, (high - low) / (nodes - 1)
        return cls(origin, spacing, count, periodic, plant.nx)

    @property
    def stride(self) -> int:
        """Distance of two rows in the padded array of values."""
        return int(self.count[1]) + 1

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(self.count[0] * self.count[1])

    def nodes(self) -> Float[np.ndarray, "n nx"]:
        """All nodes, the last axis fastest; angles may lie beyond pi."""
        axes = [self.origin[i] + self.spacing[i] * np.arange(self.count[i]) for i in range(2)]
        mesh = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        return np.ascontiguousarray(mesh[:, : self.nx])

    def padded(self) -> Float[np.ndarray, " n"]:
        """Zero values in the padded layout of the kernels."""
        return np.zeros(int(self.count[0] + 1) * self.stride)

    def locate(self, x: Float[np.ndarray, "n nx"]) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
        """Cell and position in it of each point.

        Args:
            x: points, physical units.

        Returns:
            Index of the cell's first corner and the position between its corners, 0 to 1.
        """
        from .grid_kernels import locate_points

        points = np.zeros((len(x), 2))
        points[:, : self.nx] = x
        base, weight = np.empty(len(x), np.int64), np.empty((len(x), 2))
        locate_points(points, self.origin, self.spacing, self.count, self.periodic, self.stride, base, weight)
        return base, weight

    def interpolate(self, values: Float[np.ndarray, " n_padded"], x: Float[np.ndarray, "n nx"]) -> np.ndarray:
        """Values at points between the nodes; beyond an edge, those on it.

        Args:
            values: padded values.
            x: points, physical units.

        Returns:
            Values (n,).
        """
        from .grid_kernels import interpolate

        base, weight = self.locate(x)
        out = np.empty(len(x))
        interpolate(values, base, weight, self.stride, out)
        return out
