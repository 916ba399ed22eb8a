"""How much a learned proposal may say: u = filter(law(x) + a (proposal(x) - law(x))), a from 0 (shadow) to 1.

At a = 0 the input is the exact law's bit for bit, whatever is proposed; at a = 1 the proposal's. The filter has the
last word at every authority.
"""

from collections.abc import Callable

import numpy as np

from yannctl.controllers.base import AbstractController
from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

Filter = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Blended(AbstractController):
    """The exact law and a learned proposal, mixed by an authority that may change between two calls.

    A proposal that is not finite, or that raises, counts as the law's own input (`failures`).

    Args:
        law: the exact law.
        proposer: the learned controller.
        u_min: lower input limits (nu,).
        u_max: upper input limits (nu,).
        authority: share of the proposal, 0 to 1.
        law_id: number of the proposer's weights.
        filter: last word, (x, u) -> u, or None.
        noise: exploration added to the proposal, one row a period (n, nu) [input units]; repeated after n periods.

    Raises:
        ModelError: sizes that do not fit, or an authority outside 0 to 1.
    """

    def __init__(
        self,
        law: AbstractController,
        proposer: AbstractController,
        u_min: ArrayLike,
        u_max: ArrayLike,
        authority: float = 0.0,
        law_id: int = 0,
        filter: Filter | None = None,
        noise: Float[np.ndarray, "n nu"] | None = None,
    ) -> None:
        self.law, self.proposer, self.filter, self.noise = law, proposer, filter, noise
        self.nx, self.nu, self.law_id = law.nx, law.nu, law_id
        self.u_min, self.u_max = np.asarray(u_min, float), np.asarray(u_max, float)
        if (proposer.nx, proposer.nu) != (law.nx, law.nu):
            raise ModelError("proposer", f"has nx, nu = {proposer.nx}, {proposer.nu}; the law {law.nx}, {law.nu}")
        self.period_index = self.failures = 0
        self.proposed: Float[np.ndarray, " nu"] = np.full(self.nu, np.nan)
        self.authority = authority

    @property
    def authority(self) -> float:
        """Share of the proposal in the input."""
        return self._authority

    @authority.setter
    def authority(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ModelError("authority", f"is {value}", remedy="give 0 (shadow) to 1")
        self._authority = float(value)

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Mix, then filter.

        Args:
            x: state (nx,); one at a time, as the noise belongs to a period.
            reference: must be None.

        Returns:
            Input (nu,).
        """
        state = np.asarray(x, float)
        base = self.law(state, reference)
        self.proposed = self._proposal(state, base)
        a = self._authority
        if a == 0.0:
            u = base
        elif a == 1.0:
            u = self.proposed
        else:
            u = base + a * (self.proposed - base)
        return u if self.filter is None else np.asarray(self.filter(state, u), float)

    def reset(self) -> None:
        """Reset both."""
        self.law.reset()
        self.proposer.reset()
        self.period_index = self.failures = 0

    def _proposal(self, x: np.ndarray, base: np.ndarray) -> np.ndarray:
        """The learned input with its exploration, inside the limits."""
        try:
            u = np.asarray(self.proposer(x), float)
        except Exception:
            u = np.full(self.nu, np.nan)
        if u.shape != base.shape or not np.all(np.isfinite(u)):
            self.failures += 1
            return base
        if self.noise is not None:
            u = np.clip(u + self.noise[self.period_index % len(self.noise)], self.u_min, self.u_max)
        return u


def exploration(
    seed: int, sigma: float, u_min: ArrayLike, u_max: ArrayLike, periods: int = 4096
) -> Float[np.ndarray, "n nu"] | None:
    """Draw the exploration of a run beforehand, so that a tick draws nothing and a replay has the same numbers.

    Args:
        seed: of the draws.
        sigma: standard deviation as a share of half the input range; 0 for none.
        u_min: lower input limits (nu,).
        u_max: upper input limits (nu,).
        periods: rows.

    Returns:
        Noise (periods, nu) [input units], or None.

    Raises:
        ModelError: a negative sigma.
    """
    if sigma < 0:
        raise ModelError("exploration", f"is {sigma}", remedy="give a share of half the input range")
    half = (np.asarray(u_max, float) - np.asarray(u_min, float)) / 2
    if sigma == 0:
        return None
    return sigma * half * np.random.default_rng(seed).standard_normal((periods, len(half)))
