"""The one contract of safe sets: what a filter, a falsifier or a monitor needs to know, however the set was proved."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.pwa import Settings
from yannctl.types import ArrayLike, Bool, Float

from .certificate import Certificate
from .clip_filter import ClipFilter
from .projection_filter import ProjectionFilter
from .recovery import LineRecovery


class AbstractSafeSet(ABC):
    """A set that some input always keeps, for every plant of a stated family.

    Args:
        nx: number of states the set speaks about.
        nu: number of inputs.
        u_min: lower input bounds (nu,) [u_units].
        u_max: upper input bounds (nu,) [u_units].
    """

    nx: int
    nu: int
    u_min: Float[np.ndarray, " nu"]
    u_max: Float[np.ndarray, " nu"]

    @abstractmethod
    def margin(self, x: ArrayLike) -> Float[np.ndarray, "..."]:
        """Distance to the border as a share of the set's size; negative outside, NaN where x is not finite.

        Args:
            x: states (..., nx) [x_units].
        """

    @abstractmethod
    def nearest(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Give the safe input nearest to a proposed one, for states inside.

        Args:
            x: states (..., nx) [x_units].
            u: proposed inputs (..., nu) [u_units], finite.
        """

    @abstractmethod
    def action(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Give a certified input for states inside: what is applied where a learner gives none.

        Args:
            x: states (..., nx) [x_units].
        """

    @abstractmethod
    def recover(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Give the input that leads back best from outside; always defined for finite states, never certified.

        Args:
            x: states (..., nx) [x_units].
        """

    @abstractmethod
    def enclose(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch 2 nx"]:
        """Bound every state one period later: lower and upper ends.

        Args:
            x: states (..., nx) [x_units].
            u: inputs (..., nu) [u_units].
        """

    def filter_one(self, x: Float[np.ndarray, " nx"], u: Float[np.ndarray, " nu"]) -> Float[np.ndarray, " nu"] | None:
        """Filter one state without any array work where a kernel can.

        Args:
            x: state (nx,) [x_units].
            u: proposed input (nu,) [u_units].

        Returns:
            The nearest safe input found (nu,); None where the long way must be taken: a state outside the set, a
            proposal that is not finite, or no kernel.
        """
        return None

    def contains(self, x: ArrayLike) -> Bool[np.ndarray, "..."]:
        """Tell which states are inside.

        Args:
            x: states (..., nx) [x_units].

        Returns:
            Truth values (...); False for a state that is not finite.
        """
        return np.asarray(self.margin(x) >= 0)


class CertifiedPolytope(AbstractSafeSet):
    """The set {x : H x <= h} of a certificate, however its filter is evaluated.

    Args:
        certificate: the certificate.
    """

    certificate: Certificate
    _depth: Float[np.ndarray, " rows"]

    def margin(self, x: ArrayLike) -> Float[np.ndarray, "..."]:
        """Least slack of a row of C, as a share of its slack in the middle of C."""
        found = self.certificate.found
        with np.errstate(invalid="ignore"):
            return np.asarray(((found.h - _states(x, self.nx) @ found.H.T) / self._depth).min(axis=-1))

    def enclose(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch 2 nx"]:
        """Hull of the models of one period, widened by W."""
        inclusion = self.certificate.inclusion
        one = inclusion.periods == 1
        after = np.einsum("mij,...j->...mi", inclusion.A[one], _states(x, self.nx)) + inclusion.c[one]
        after = after + np.einsum("mij,...j->...mi", inclusion.B[one], np.asarray(u, dtype=float))
        w = inclusion.w[one]
        return np.stack([(after - w).min(axis=-2), (after + w).max(axis=-2)], axis=-2)

    def _prepare(self, **more: Any) -> None:
        """Set what follows from the certificate."""
        domain, found, inclusion = self.certificate.domain, self.certificate.found, self.certificate.inclusion
        depth = found.h - found.H @ found.vertices.mean(axis=0)
        made = {"nx": inclusion.nx, "nu": inclusion.nu, "u_min": domain.u_min, "u_max": domain.u_max, "_depth": depth}
        for name, value in {**made, **more}.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class PolytopicSet(CertifiedPolytope):
    """The set of a certificate with one input.

    Args:
        certificate: the certificate.
    """

    certificate: Certificate
    clip: ClipFilter = field(init=False)

    def __post_init__(self) -> None:
        clip = self.certificate.clip()
        self._prepare(clip=clip, _lead=LineRecovery(clip))

    def interval(self, x: ArrayLike) -> Float[np.ndarray, "*batch 2"]:
        """Give the ends of the interval of safe inputs.

        Args:
            x: states (..., nx) [x_units].

        Returns:
            low and high (..., 2) [u_units]; low > high only outside the set.
        """
        return self.clip.interval(x)

    def nearest(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Clip to the interval of safe inputs."""
        return self.clip(x, u)

    def action(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Middle of the interval of safe inputs: furthest from both ends."""
        interval = self.clip.interval(x)
        return np.clip(interval.mean(axis=-1, keepdims=True), self.u_min, self.u_max)

    def recover(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Input whose worst line is violated least."""
        return self._lead(x)

    def filter_one(self, x: Float[np.ndarray, " nx"], u: Float[np.ndarray, " nu"]) -> Float[np.ndarray, " nu"] | None:
        """Filter one state in one compiled call."""
        from .clip_kernels import filter_one

        found, clip = self.certificate.found, self.clip
        value = filter_one(
            found.H, found.h, clip.F_low, clip.g_low, clip.F_high, clip.g_high, clip.u_min, clip.u_max, x, float(u[0])
        )
        return np.array([value]) if value == value else None  # noqa: PLR0124  (NaN asks for the long way)


@dataclass(frozen=True, eq=False)
class ProjectedSet(CertifiedPolytope):
    """The set of a certificate with several inputs; solving its filter takes seconds, once.

    Args:
        certificate: the certificate.
        settings: limits of the filter's explicit law, None for its own.
    """

    certificate: Certificate
    settings: Settings | None = None
    projection: ProjectionFilter = field(init=False)

    def __post_init__(self) -> None:
        self._prepare(projection=self.certificate.projection(self.settings))

    def nearest(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Project on the safe inputs, each input in units of its range."""
        return self.projection(x, u)

    def filter_one(self, x: Float[np.ndarray, " nx"], u: Float[np.ndarray, " nu"]) -> Float[np.ndarray, " nu"] | None:
        """Filter one state in compiled calls."""
        return self.projection.one(x, u)

    def action(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Safe input with most room to the nearest row or bound."""
        return self.projection.least(x)

    def recover(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Input whose worst row is violated least."""
        return self.projection.least(x, outside=True)


def _states(x: ArrayLike, nx: int) -> np.ndarray:
    states = np.asarray(x, dtype=float)
    if states.shape[-1:] != (nx,):
        raise ModelError("x", f"has shape {states.shape}, expected (..., {nx})")
    return states
