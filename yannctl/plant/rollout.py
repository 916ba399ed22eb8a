"""Trajectories of a closed loop, the datum between a plant and everything that judges a policy."""

from dataclasses import dataclass

import numpy as np

from yannctl.types import Bool, Float


@dataclass(frozen=True)
class Rollout:
    """Closed-loop trajectories of one policy from n starts.

    Args:
        x: states (n, steps + 1, nx) [x_units].
        u: inputs really applied, after clipping (n, steps, nu) [u_units].
        rewards: reward of each step (n, steps).
        tripped: whether each trajectory left a hard bound (n,); its state and reward stay constant from there on.
    """

    x: Float[np.ndarray, "n steps1 nx"]
    u: Float[np.ndarray, "n steps nu"]
    rewards: Float[np.ndarray, "n steps"]
    tripped: Bool[np.ndarray, " n"]

    def __repr__(self) -> str:
        n, steps = self.u.shape[:2]
        returns = f"return {self.returns.mean():.4g} mean, {self.returns.min():.4g} worst"
        return f"Rollout({n} runs of {steps} steps, {returns}, {self.tripped.sum()} tripped)"

    @property
    def returns(self) -> Float[np.ndarray, " n"]:
        """Sum of the rewards of each trajectory, undiscounted."""
        return self.rewards.sum(axis=1)
