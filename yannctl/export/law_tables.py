"""The bare arrays of an explicit law and the evaluation rule every form of it follows.

Region i holds theta where its violation v_i = max_r ((H_r0 t0 + H_r1 t1) + …) - k_r is not positive. The region used is
argmin_i v_i (the lowest index on ties) and the output is u_r = ((F_r0 t0 + F_r1 t1) + …) + g_r. Sums run in column
order and without fused multiply-add, so Python, C and the networks agree in every bit.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from yannctl.errors import ModelError
from yannctl.pwa.law import PwaLaw
from yannctl.types import ArrayLike, Float, Int

CHUNK_ELEMENTS = 1 << 20  # rows of H times points held at once, 8 MiB in double precision


class Evaluation(NamedTuple):
    """Outputs, the regions they come from, and how far theta lies outside them.

    Args:
        u: outputs (..., n_out).
        region: index of the nearest region (...,).
        violation: largest row violation of that region (...,), scaled units; not positive inside.
    """

    u: np.ndarray
    region: np.ndarray
    violation: np.ndarray


@dataclass(frozen=True)
class LawTables:
    """The constant tables of an explicit law, in the precision they are evaluated in.

    Args:
        row_start: first row of each region and the number of rows at the end (n_regions + 1,).
        H: facet normals, scaled rows (q, ntheta).
        k: facet offsets (q,).
        F: gains (n_regions, n_out, ntheta).
        g: offsets (n_regions, n_out).

    Raises:
        ModelError: shapes that do not fit together, a region without rows, or a value that is not finite.
    """

    row_start: Int[np.ndarray, " n_starts"]
    H: Float[np.ndarray, "q ntheta"]
    k: Float[np.ndarray, " q"]
    F: Float[np.ndarray, "n_regions n_out ntheta"]
    g: Float[np.ndarray, "n_regions n_out"]

    def __post_init__(self) -> None:
        if len(self.row_start) != len(self.F) + 1 or len(self.F) == 0:
            raise ModelError(
                "law",
                f"has {len(self.F)} regions and {len(self.row_start)} row starts",
                remedy="give a law with at least one region and one row start more than regions",
            )
        if self.row_start[0] != 0 or self.row_start[-1] != len(self.k) or np.any(np.diff(self.row_start) < 1):
            raise ModelError("law.row_start", "must rise from 0 to the number of rows, with rows in every region")
        for field in ("H", "k", "F", "g"):
            bad = np.argwhere(~np.isfinite(getattr(self, field)))
            if len(bad):
                raise ModelError(
                    f"law.{field}",
                    f"is not finite in {self.H.dtype}",
                    index=tuple(int(i) for i in bad[0]),
                    remedy="scale the problem" if self.H.dtype == np.float32 else "rebuild the law",
                )

    @classmethod
    def of(cls, law: PwaLaw, precision: str = "double") -> "LawTables":
        """Take the tables of a law, rounded to a precision.

        Args:
            law: the explicit law.
            precision: "double" or "float".

        Returns:
            The tables; a float table holds the nearest float32 of each number.

        Raises:
            ModelError: another precision, or a number beyond the range of float32.
        """
        if precision not in {"double", "float"}:
            raise ModelError("precision", f"got {precision!r}", remedy='use "double" or "float"')
        dtype = np.float64 if precision == "double" else np.float32
        with np.errstate(over="ignore"):
            H, k, F, g = (np.ascontiguousarray(np.asarray(a), dtype) for a in (law.H, law.k, law.F, law.g))
        return cls(row_start=np.asarray(law.row_start, np.int64), H=H, k=k, F=F, g=g)

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return len(self.F)

    @property
    def n_theta(self) -> int:
        """Number of parameters."""
        return self.H.shape[1]

    @property
    def n_out(self) -> int:
        """Number of outputs."""
        return self.F.shape[1]

    def evaluate(self, theta: ArrayLike) -> Evaluation:
        """Evaluate the law at every theta, taking the nearest region outside all of them.

        Args:
            theta: parameters (..., ntheta), physical units, finite.

        Returns:
            Outputs, regions and violations, in the precision of the tables.
        """
        points = np.asarray(theta, self.H.dtype)
        if points.shape[-1:] != (self.n_theta,):
            raise ModelError("theta", f"has shape {points.shape}, expected (..., {self.n_theta})")
        batch = points.shape[:-1]
        flat = points.reshape(-1, self.n_theta)
        region = np.empty(len(flat), np.int64)
        violation = np.empty(len(flat), self.H.dtype)
        largest = np.finfo(self.H.dtype).max
        step = max(1, CHUNK_ELEMENTS // len(self.k))
        for start in range(0, len(flat), step):
            rows = flat[start : start + step]
            with np.errstate(over="ignore", invalid="ignore"):
                worst = np.maximum.reduceat(_affine(self.H, -self.k, rows), self.row_start[:-1], axis=1)
            worst[~(worst < largest)] = np.inf  # an overflow, NaN included, never makes a region the nearest
            region[start : start + step] = worst.argmin(axis=1)
            violation[start : start + step] = worst.min(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            u = self.F[region, :, 0] * flat[:, :1]
            for column in range(1, self.n_theta):
                u = u + self.F[region, :, column] * flat[:, column : column + 1]
            u = u + self.g[region]
        return Evaluation(u.reshape(*batch, self.n_out), region.reshape(batch), violation.reshape(batch))

    def outside_tolerance(self, law: PwaLaw) -> float:
        """Violation above which theta counts as outside all regions.

        The law's own in double precision; in float the rounding of H theta - k is added.

        Args:
            law: the law of these tables.

        Returns:
            The tolerance, scaled units.
        """
        if self.H.dtype == np.float64:
            return law.settings.locate_tolerance
        reach = np.maximum(np.abs(law.theta_min), np.abs(law.theta_max))
        largest = float(np.max(np.abs(self.H).astype(float) @ reach + np.abs(self.k)))
        return float(
            np.float32(law.settings.locate_tolerance + (self.n_theta + 2) * np.finfo(np.float32).eps * largest)
        )


def _affine(H: np.ndarray, offset: np.ndarray, points: np.ndarray) -> np.ndarray:
    """((H_0 t_0 + H_1 t_1) + …) + offset for every point and row; adding -k equals subtracting k in every bit."""
    total = points[:, :1] * H[:, 0]
    for column in range(1, H.shape[1]):
        total += points[:, column : column + 1] * H[:, column]
    total += offset
    return total
