"""The safety filter of several inputs as bare arrays, and the evaluation rule its C text follows.

A proposal is clipped to the input bounds. Where (x, u) then meets every line `LINE (x, u) <= BOUND` it passes;
elsewhere an explicit law of (x, u), exported like any other, gives the nearest input that meets them, in half ranges
about the middle of the bounds. An answer that misses a line gives way to the law's own input, and the status says so. A
proposal that is NaN or infinite gives way to the certified law's input, which is filtered like any other.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import Bool, Float

from .clip_tables import ClipTables, words_of
from .status import FILTERED, LAW_USED, NO_SAFE_INPUT, OK

if TYPE_CHECKING:
    from yannctl.pwa.law import PwaLaw

    from .control_reference import ControlReference


@dataclass(frozen=True, eq=False)
class ProjectionTables:
    """Lines that bound several inputs, and the explicit law of the nearest input between them; in double.

    Args:
        lines: coefficients of (x, u) (n_rows, nx + nu).
        bounds: right-hand sides (n_rows,).
        u_min: lower input bounds (nu,).
        u_max: upper input bounds (nu,).
        middle: middle of the bounds (nu,).
        half: half their distance (nu,).
        law: the explicit law, (x, clipped proposal) -> input in half ranges about the middle.
        source: where the lines come from, in words.
        answers: what the exported law gives, bit by bit; None before it is exported.
        cost: operations, flash [byte] and RAM [byte] of the exported law.
    """

    lines: Float[np.ndarray, "n_rows n"]
    bounds: Float[np.ndarray, " n_rows"]
    u_min: Float[np.ndarray, " nu"]
    u_max: Float[np.ndarray, " nu"]
    middle: Float[np.ndarray, " nu"]
    half: Float[np.ndarray, " nu"]
    law: "PwaLaw"
    source: str = ""
    answers: "ControlReference | None" = None
    cost: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of(cls, certificate: Any) -> "ProjectionTables":
        """Solve the filter of a certificate with several inputs into its explicit law.

        Args:
            certificate: an `assurance.Certificate` or its `ProjectedSet`.

        Returns:
            The tables.

        Raises:
            ModelError: the law is not complete within its budget of regions.
        """
        found = certificate.projection() if hasattr(certificate, "statement") else certificate.projection
        said = certificate if hasattr(certificate, "statement") else certificate.certificate
        if found.law.status != "complete":
            raise ModelError("filter", f"its explicit law is {found.law.status}", remedy="run it in Python")
        middle, half = 0.5 * (found.u_min + found.u_max), 0.5 * (found.u_max - found.u_min)
        lines = np.hstack([found.G, found.K])
        return cls(lines, found.b, found.u_min, found.u_max, middle, half, found.law, words_of(said))

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.lines.shape[1] - self.nu

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return len(self.u_min)

    @property
    def n_rows(self) -> int:
        """Number of lines."""
        return len(self.bounds)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Everything that identifies the filter, for the law id."""
        own = self.lines, self.bounds, self.u_min, self.u_max
        return *own, self.law.row_start, self.law.H, self.law.k, self.law.F, self.law.g

    def meets(self, point: Float[np.ndarray, "n nx_nu"]) -> Bool[np.ndarray, " n"]:
        """Tell which (x, u) meet every line, with the sums of the C text.

        Args:
            point: states and inputs (n, nx + nu).
        """
        total = np.zeros((len(point), self.n_rows))
        with np.errstate(over="ignore", invalid="ignore"):
            for j, column in enumerate(self.lines.T):
                total = total + column * point[:, j : j + 1]
            return np.asarray((total <= self.bounds).all(axis=1))

    def apply(
        self,
        x: Float[np.ndarray, "n nx"],
        proposal: Float[np.ndarray, "n nu"],
        certified: Float[np.ndarray, "n nu"],
    ) -> tuple[Float[np.ndarray, "n nu"], np.ndarray]:
        """Evaluate the filter with the operations of the C text.

        Args:
            x: states (n, nx).
            proposal: proposed inputs (n, nu); NaN and infinities are allowed.
            certified: the certified law's inputs (n, nu).

        Returns:
            Inputs (n, nu) and status codes (n,).
        """
        assert self.answers is not None
        good = np.asarray(np.isfinite(proposal).all(axis=1))
        wanted = np.where(good[:, None], proposal, certified)
        point = np.hstack([x, self._clipped(wanted)])
        u, ask = point[:, self.nx :].copy(), ~self.meets(point)
        status = np.where(good, np.where((u != wanted).any(axis=1), FILTERED, OK), LAW_USED)
        if ask.any():
            with np.errstate(over="ignore", invalid="ignore"):
                v, _ = self.answers.law(point[ask])
                u[ask] = self._clipped(self.middle + self.half * v)
            met = self.meets(np.hstack([x, u]))
            status = np.where(ask & good, FILTERED, status)
            status = np.where(ask & ~met, NO_SAFE_INPUT, status)
            u = np.where((ask & ~met)[:, None], self._clipped(certified), u)
        return u, status

    def _clipped(self, value: np.ndarray) -> np.ndarray:
        value = np.where(value >= self.u_min, value, self.u_min)
        return np.where(value <= self.u_max, value, self.u_max)


def filter_tables(clip: Any) -> ClipTables | ProjectionTables:
    """Take the arrays of a filter: lines of one input, or lines and a law of several.

    Args:
        clip: a `ClipTables`, `ProjectionTables`, `assurance.Certificate`, its set, or an `assurance.ClipFilter`.

    Returns:
        The tables in float64.

    Raises:
        ModelError: something that is no such filter, or arrays that do not fit.
    """
    if isinstance(clip, ProjectionTables):
        return clip
    certificate = getattr(clip, "certificate", clip)
    inclusion = getattr(certificate, "inclusion", None)
    return ClipTables.of(clip) if inclusion is None or inclusion.nu == 1 else ProjectionTables.of(clip)
