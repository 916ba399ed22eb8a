"""Torch modules around laws: a controller without memory to start from, a policy within the actuator's limits."""

from typing import Any

import torch
from torch import nn

from yannctl.controllers import AbstractController
from yannctl.plant import AbstractPlant


class ControllerLaw(nn.Module):
    """u = controller(x) on tensors; nothing in it learns, and no gradient passes.

    Args:
        controller: a controller without memory; its solver begins anew at each call, so equal states give equal bits.
    """

    anchor: torch.Tensor

    def __init__(self, controller: AbstractController) -> None:
        super().__init__()
        self.controller = controller
        self.register_buffer("anchor", torch.zeros(0, dtype=torch.float64), persistent=False)  # says the precision

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the law.

        Args:
            x: (..., nx) states [physical units].

        Returns:
            (..., nu) inputs [physical units].
        """
        self.controller.reset()
        return torch.from_numpy(self.controller(x.detach().double().cpu().numpy())).to(x.dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> "ControllerLaw":
        """Share the controller: it does not learn, and solvers cannot be copied."""
        return ControllerLaw(self.controller)


class LimitedPolicy(nn.Module):
    """u = clip(policy(x)), by the plant's own limits, those that inputs share included; no gradient passes.

    Args:
        policy: x (..., nx) -> u (..., nu).
        plant: the plant.
    """

    def __init__(self, policy: nn.Module, plant: AbstractPlant) -> None:
        super().__init__()
        self.policy, self.plant = policy, plant

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the policy and clip.

        Args:
            x: (..., nx) states [physical units].

        Returns:
            (..., nu) inputs [physical units].
        """
        u = self.policy(x)
        return torch.from_numpy(self.plant.clip(u.double().cpu().numpy())).to(u)
