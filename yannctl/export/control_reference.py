"""What generated C must compute, bit by bit: law, learned part and filter in numpy, in the exported precision."""

from dataclasses import dataclass

import numpy as np

from yannctl.types import Float

from .clip_tables import ClipTables
from .law_tables import LawTables
from .projection_tables import ProjectionTables
from .residual_tables import ResidualTables
from .status import BAD_INPUT, LAW_USED, OK, OUTSIDE


@dataclass(frozen=True, eq=False)
class ControlReference:
    """The evaluation rule of one exported controller.

    Args:
        tables: the law.
        tolerance: violation above which theta is outside, scaled units.
        safe_output: u given with BAD_INPUT (n_out,).
        out_min: lower limits applied outside all regions (n_out,), or None.
        out_max: upper limits applied outside all regions (n_out,), or None.
        outside: "nearest" continues the nearest region, "safe" gives the safe output.
        residual: the learned part, or None.
        clip: the safety filter, or None.
    """

    tables: LawTables
    tolerance: float
    safe_output: Float[np.ndarray, " n_out"]
    out_min: Float[np.ndarray, " n_out"] | None = None
    out_max: Float[np.ndarray, " n_out"] | None = None
    outside: str = "nearest"
    residual: ResidualTables | None = None
    clip: ClipTables | ProjectionTables | None = None

    @property
    def dtype(self) -> np.dtype:
        """Number type of the arithmetic."""
        return self.tables.H.dtype

    def law(self, theta: Float[np.ndarray, "n ntheta"]) -> tuple[Float[np.ndarray, "n n_out"], np.ndarray]:
        """Evaluate the explicit law alone.

        Args:
            theta: parameters (n, ntheta) in the exported precision, NaN and infinities allowed.

        Returns:
            Outputs (n, n_out) and status codes (n,).
        """
        found = self.tables.evaluate(theta)
        u, real = found.u.copy(), self.dtype.type
        outside = found.violation > real(self.tolerance)
        status = np.where(outside, OUTSIDE, OK)
        bad = ~np.isfinite(theta).all(axis=1)
        if self.outside == "safe":
            u[outside] = self.safe_output
            bad |= ~outside & ~np.isfinite(u).all(axis=1)
        else:
            bad |= ~(found.violation < np.inf) | ~np.isfinite(u).all(axis=1)
            if self.out_min is not None and self.out_max is not None:
                u[outside] = np.clip(u[outside], self.out_min, self.out_max)
        u[bad] = self.safe_output
        status[bad] = BAD_INPUT
        return u, status

    def evaluate(self, theta: Float[np.ndarray, "n ntheta"]) -> tuple[Float[np.ndarray, "n n_out"], np.ndarray]:
        """Evaluate everything the controller holds: law, learned part, filter.

        Args:
            theta: parameters (n, ntheta) in the exported precision, NaN and infinities allowed.

        Returns:
            Outputs (n, n_out) and status codes (n,).
        """
        law, status = self.law(theta)
        u = law.copy()
        go_on = (status == OK) | ((status == OUTSIDE) & (self.outside == "nearest"))
        if not go_on.any():
            return u, status
        points = theta[go_on]
        if self.residual is not None:
            u[go_on], good = self.residual.extend(law[go_on], points[:, : self.residual.nx])
            status[go_on] = np.where(good, status[go_on], LAW_USED)
        if isinstance(self.clip, ProjectionTables):
            u[go_on], found = self.clip.apply(points[:, : self.clip.nx], u[go_on], law[go_on])
            status[go_on] = np.where(found > status[go_on], found, status[go_on])
        elif self.clip is not None:
            clipped, found = self.clip.apply(points[:, : self.clip.nx], u[go_on, 0], law[go_on, 0])
            u[go_on, 0] = clipped
            status[go_on] = np.where(found > status[go_on], found, status[go_on])
        return u, status
