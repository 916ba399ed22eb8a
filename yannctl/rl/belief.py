"""What a run believes of the plant's uncertain parameters: an estimate, and draws of what else they may be."""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from yannctl.plant import AbstractPlant
from yannctl.types import Float

from .identification import Estimate

CERTAIN = 0.1  # of its declared range: a parameter whose standard error is below this counts as known
MOST_CORNERS = 16  # beyond this number they are drawn


@dataclass(frozen=True)
class Belief:
    """Parameters of a plant as uncertain as its data leave them.

    Args:
        plant: the nominal model, whose declared ranges bound every draw.
        estimate: from the data, or None where only the data sheet speaks.
    """

    plant: AbstractPlant
    estimate: Estimate | None = None

    @property
    def name(self) -> str:
        """What stands for the parameters: "nominal" without uncertain ones, "fitted", or "ranges"."""
        if not self.plant.parameter_names:
            return "nominal"
        return "fitted" if self.known else "ranges"

    @property
    def known(self) -> bool:
        """Whether the data single out one specimen: no doubt in the model's form, every standard error small."""
        if self.estimate is None or not self.estimate.n or self.estimate.doubt:
            return False
        low, high = self.plant.parameter_ranges
        return bool((self.estimate.deviations <= CERTAIN * (high - low)).all())

    def draw(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "n np"]:
        """Draw parameters: around the estimate where the plant is known, else uniform in the declared ranges.

        Args:
            rng: source of the draw.
            n: number of draws.

        Returns:
            Parameters (n, np).
        """
        low, high = self.plant.parameter_ranges
        if self.known:
            assert self.estimate is not None
            root = np.linalg.cholesky(self.estimate.covariance)
            return np.clip(self.estimate.p + rng.standard_normal((n, len(low))) @ root.T, low, high)
        return rng.uniform(low, high, (n, len(low)))

    def members(self, rng: np.random.Generator, n: int) -> list[Float[np.ndarray, "m np"]]:
        """Give the groups of parameters that a policy must be better on, each of them by itself.

        One group of draws where the plant is known; else a group each for the data sheet's parameters and for every
        corner of the declared ranges.

        Args:
            rng: source of the draws.
            n: draws in a group of draws.

        Returns:
            The groups, each (m, np).
        """
        if self.known:
            return [self.draw(rng, n)]
        nominal = self.plant.parameters[None]
        low, high = self.plant.parameter_ranges
        if not len(low):
            return [nominal]
        if 2 ** len(low) > MOST_CORNERS:
            return [nominal, *(where[None] for where in self.draw(rng, MOST_CORNERS))]
        corners = itertools.product(*zip(low, high, strict=True))
        return [nominal, *(np.array(corner)[None] for corner in corners)]

    def moved(self, other: "Belief", share: float) -> bool:
        """Whether this belief differs from an earlier one by enough to train anew.

        Args:
            other: the earlier belief.
            share: of a declared range that counts.

        Returns:
            True where it does.
        """
        if self.known != other.known:
            return self.known
        if not self.known:
            return False
        assert self.estimate is not None
        assert other.estimate is not None
        low, high = self.plant.parameter_ranges
        return bool((np.abs(self.estimate.p - other.estimate.p) > share * (high - low)).any())

    def record(self) -> dict[str, float]:
        """The parameters by name."""
        p = self.plant.parameters if self.estimate is None else self.estimate.p
        return dict(zip(self.plant.parameter_names, p.tolist(), strict=True))

    def errors(self) -> dict[str, float]:
        """Their standard errors by name; empty without an estimate."""
        if self.estimate is None:
            return {}
        return dict(zip(self.plant.parameter_names, self.estimate.deviations.tolist(), strict=True))

    def with_estimate(self, estimate: Estimate) -> "Belief":
        """The same plant, other data.

        Args:
            estimate: the new estimate.

        Returns:
            The belief.
        """
        return replace(self, estimate=estimate)
