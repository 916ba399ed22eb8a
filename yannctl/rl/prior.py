"""The exact critic as a base of the learned ones: right where its linear model is, very wrong far away."""

import numpy as np
import torch
from torch import Tensor, nn

from yannctl.plant import AbstractPlant
from yannctl.yann.validity import ModelValidity


class ExactPrior:
    """Value w(x) critic(x, u) that the learned critics only correct, in scaled rewards.

    w(x) = exp(-(r(x) / 0.01)^2), r = max_j |plant(x, law(x)) - lin(x, law(x))|_j / half range_j for "validity", where
    the linear model is the critic's own and the plant's step comes from its nominal model; w = 1 for "everywhere".

    Args:
        critic: the exact critic (x, u) -> return [reward units].
        plant: the nominal model.
        law: the exact law.
        kind: "validity" or "everywhere".
    """

    def __init__(self, critic: nn.Module, plant: AbstractPlant, law: nn.Module, kind: str) -> None:
        self.critic, self.plant, self.law, self.kind = critic, plant, law, kind
        self.validity = ModelValidity(plant, law, critic) if kind == "validity" else None
        low, high = np.asarray(plant.u_min, float), np.asarray(plant.u_max, float)
        self.middle, self.half = torch.from_numpy((high + low) / 2.0), torch.from_numpy((high - low) / 2.0)
        self.scale = 1.0

    def __call__(self, x: Tensor, a: Tensor, weight: Tensor) -> Tensor:
        """Evaluate: (batch, nx), (batch, nu), (batch,) -> (batch,); 0 where the critic is -inf."""
        value = self.critic(x.double(), self.middle + self.half * a.double())
        value = torch.where(torch.isfinite(value) & (weight > 0), value, 0.0)
        return (self.scale * weight * value).float()

    def weight(self, x: Tensor) -> Tensor:
        """Weight w(x) of the exact critic: (1, nx) -> (1,)."""
        if self.kind == "everywhere":
            return torch.ones(len(x))
        assert self.validity is not None
        return self.validity(x)
