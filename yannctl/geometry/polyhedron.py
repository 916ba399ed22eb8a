"""Convex polyhedra {x : A x <= b}: centre, emptiness, redundancy, support, vertices.

Rows are scaled to unit norm inside, so radii and tolerances are distances in the caller's coordinates.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.spatial

from yannctl.errors import EmptySetError, ModelError
from yannctl.solvers.lp import LinearProgram, farkas_vector, solve_lp
from yannctl.types import ArrayLike, Bool, Float

from .validation import as_array, vector

TOLERANCE = 1e-9  # distance that counts as zero, rows of unit norm


@dataclass(frozen=True, eq=False)
class Polyhedron:
    """The set {x : A x <= b}; rows with b = +inf are dropped, rows of zeros must be trivially true.

    Args:
        A: rows (m, n).
        b: right-hand sides (m,), in the unit of A x.

    Raises:
        ModelError: for wrong shapes or unusable numbers.
        EmptySetError: for a row `0'x <= b` with b < 0.
    """

    A: Float[np.ndarray, "m n"] | Any
    b: Float[np.ndarray, " m"] | Any

    def __post_init__(self) -> None:
        A = as_array("A", self.A)
        if A.ndim != 2:
            raise ModelError("A", f"expected a matrix, got shape {A.shape}", remedy="give rows (m, n)")
        b = vector("b", self.b, len(A), infinite=True)
        norms = np.linalg.norm(A, axis=1)
        wrong = ((norms == 0) & (b < 0)) | (b == -np.inf)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise EmptySetError("b", f"row {i} reads {A[i]} x <= {b[i]:.6g}, never true", index=i, remedy="correct it")
        keep = (norms > 0) & np.isfinite(b)
        object.__setattr__(self, "A", np.array(A[keep]))
        object.__setattr__(self, "b", np.array(b[keep]))

    @classmethod
    def box(cls, low: ArrayLike, high: ArrayLike) -> "Polyhedron":
        """Make {x : low <= x <= high}; infinite bounds give no row.

        Args:
            low: lower bounds (n,).
            high: upper bounds (n,).

        Returns:
            The box.
        """
        lo = np.atleast_1d(as_array("low", low, infinite=True))
        hi = vector("high", high, len(lo), infinite=True)
        identity = np.eye(len(lo))
        return cls(np.vstack([identity, -identity]), np.concatenate([hi, -lo]))

    @property
    def dimension(self) -> int:
        """Number of coordinates n."""
        return self.A.shape[1]

    def contains(self, x: ArrayLike, tolerance: float = TOLERANCE) -> Bool[np.ndarray, "..."]:
        """Test membership: `max_i (A_i x − b_i)/|A_i| <= tolerance`.

        Args:
            x: points (..., n).
            tolerance: distance that counts as inside.

        Returns:
            Truth values (...).
        """
        points = np.asarray(x, dtype=float)
        gap = (points @ self.A.T - self.b) / np.linalg.norm(self.A, axis=1)
        return np.asarray(gap.max(axis=-1, initial=-np.inf) <= tolerance)

    def chebyshev(self) -> tuple[Float[np.ndarray, " n"], float]:
        """Find the centre and radius of the largest ball inside: `max r  s.t.  A_i c + |A_i| r <= b_i`.

        Returns:
            Centre (n,) and radius; the radius is −inf (centre NaN) for an empty set, and capped at 1e6 for an
            unbounded one. A negative finite radius also means empty: the rows overlap by that distance.
        """
        norms = np.linalg.norm(self.A, axis=1)
        rows = np.vstack([np.hstack([self.A, norms[:, None]]), _unit(self.dimension + 1, self.dimension)])
        result = solve_lp(_unit(self.dimension + 1, self.dimension), rows, np.append(self.b, 1e6))
        if result.status != "optimal":
            return np.full(self.dimension, np.nan), -np.inf
        return result.x[:-1], float(result.x[-1])

    def is_empty(self, tolerance: float = TOLERANCE) -> bool:
        """Tell whether no point satisfies all rows to within a distance.

        Args:
            tolerance: overlap that counts as touching.

        Returns:
            True when empty.
        """
        return self.chebyshev()[1] < -tolerance

    def infeasibility_proof(self) -> Float[np.ndarray, " m"] | None:
        """Prove emptiness by a Farkas vector: y >= 0, A'y = 0, b'y < 0.

        Returns:
            y (m,), or None when the set has a point.
        """
        return farkas_vector(self.A, self.b)

    def support(self, directions: ArrayLike) -> Float[np.ndarray, "..."]:
        """Evaluate the support function `h(d) = max {d'x : A x <= b}`.

        Args:
            directions: (..., n).

        Returns:
            Values (...), +inf in unbounded directions, −inf for an empty set.
        """
        d = np.asarray(directions, dtype=float)
        program = LinearProgram(self.A, self.b)
        flat = [program.maximise(row).value for row in d.reshape(-1, self.dimension)]
        return np.array(flat, dtype=float).reshape(d.shape[:-1])

    def is_bounded(self) -> bool:
        """Tell whether every coordinate has a finite range (an empty set counts as bounded)."""
        identity = np.eye(self.dimension)
        return bool(np.all(self.support(np.vstack([identity, -identity])) < np.inf))

    def intersect(self, other: "Polyhedron") -> "Polyhedron":
        """Stack the rows of both sets.

        Args:
            other: a set of the same dimension.

        Returns:
            The intersection, redundant rows included.
        """
        return Polyhedron(np.vstack([self.A, other.A]), np.concatenate([self.b, other.b]))

    def irredundant_rows(self, tolerance: float = TOLERANCE) -> list[int]:
        """Find a smallest set of rows that describes the same polyhedron, by one linear program a row.

        A row stays when, without it, `max A_i x` exceeds b_i by more than the tolerance; of equal rows one stays.

        Args:
            tolerance: distance by which a row must cut.

        Returns:
            Indices into A, ascending.

        Raises:
            EmptySetError: when the set is empty.
        """
        if self.is_empty(tolerance):
            raise EmptySetError("b", "the rows contradict each other", remedy="see infeasibility_proof()")
        program = LinearProgram(self.A, self.b)
        norms = np.linalg.norm(self.A, axis=1)
        kept = []
        for i in range(len(self.b)):
            # Relaxed by one unit of distance instead of removed: bounded, and enough to see whether it cuts.
            program.set_bound(i, self.b[i] + norms[i])
            if program.maximise(self.A[i]).value > self.b[i] + tolerance * norms[i]:
                kept.append(i)
                program.set_bound(i, self.b[i])
            else:
                program.set_bound(i, np.inf)
        return kept

    def reduced(self, tolerance: float = TOLERANCE) -> "Polyhedron":
        """Drop redundant rows.

        Args:
            tolerance: distance by which a row must cut to stay.

        Returns:
            The same set with as few rows as possible.
        """
        kept = self.irredundant_rows(tolerance)
        return Polyhedron(self.A[kept], self.b[kept])

    def corners(self, centre: Float[np.ndarray, " n"]) -> Float[np.ndarray, "count n"]:
        """List the vertices of a bounded set around an interior point, some of them more than once.

        Where many rows nearly meet in one vertex, Qhull may fail on them; then redundant rows are dropped, and where
        that is not enough the rows are moved by about the rounding of their numbers.

        Args:
            centre: a point well inside (n,).

        Returns:
            Vertices (count, n).

        Raises:
            ModelError: Qhull fails on the moved rows too.
        """
        failure: Exception | None = None
        for attempt, options in ((self, None), (None, None), (None, "H Qx QJ Pp")):
            part = self.reduced() if attempt is None else attempt
            rows = np.hstack([part.A, -part.b[:, None]])
            try:
                points = scipy.spatial.HalfspaceIntersection(rows, centre, qhull_options=options).intersections
            except scipy.spatial.QhullError as error:
                failure = error
                continue
            return points[np.isfinite(points).all(axis=1)]
        raise ModelError(
            "A", f"the vertices of {len(self.b)} rows in {self.dimension} dimensions are not found in floating point",
            remedy="fewer or less similar rows, or units in which the set is about equally wide in all directions",
        ) from failure  # fmt: skip

    def vertices(self) -> Float[np.ndarray, "count n"]:
        """List the vertices of a bounded set with interior; meant for small dimension (up to about 6).

        Returns:
            Vertices (count, n), each once.

        Raises:
            EmptySetError: when the set is empty or flat.
            ModelError: when it is unbounded.
        """
        centre, radius = self.chebyshev()
        if not radius > TOLERANCE:
            raise EmptySetError("b", f"the set has no interior (radius {radius:.3g})", remedy="widen the bounds")
        if not self.is_bounded():
            raise ModelError("A", "the set is unbounded, vertices do not describe it", remedy="intersect it with a box")
        if self.dimension == 1:
            return np.array([[-float(self.support([-1.0]))], [float(self.support([1.0]))]])
        # Duality: a vertex of the set is a facet of the hull of the rows' poles around an interior point.
        try:
            hull = scipy.spatial.ConvexHull(self.A / (self.b - self.A @ centre)[:, None])
            points = centre - hull.equations[:, :-1] / hull.equations[:, -1:]
        except scipy.spatial.QhullError:
            points = self.corners(centre)
        size = np.ptp(points, axis=0)
        _, first = np.unique(np.round((points - centre) / size, 9) + 0.0, axis=0, return_index=True)
        return points[np.sort(first)]


def _unit(n: int, i: int) -> Float[np.ndarray, " n"]:
    out = np.zeros(n)
    out[i] = 1.0
    return out
