"""A controller without memory as a torch module: a law that learning starts from where no explicit one is at hand."""

from typing import Any

import torch
from torch import nn

from yannctl.controllers import AbstractController


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
