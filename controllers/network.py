"""A torch module as a controller."""

from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

from .base import AbstractController, as_states, refuse_reference


class NetworkController(AbstractController):
    """Call a torch module without gradients: u = module(x).

    Args:
        module: maps a tensor of states (n, nx) to inputs (n, nu), physical units.
        nx: number of states.
        nu: number of inputs.
        u_min: lower limits (nu,) the output is clipped to; default none.
        u_max: upper limits (nu,); default none.

    Raises:
        ModelError: the module does not return (n, nu).
    """

    def __init__(
        self, module: Any, nx: int, nu: int, u_min: ArrayLike | None = None, u_max: ArrayLike | None = None
    ) -> None:
        import torch

        self.module = module
        self.nx, self.nu = nx, nu
        self.u_min = np.broadcast_to(np.asarray(-np.inf if u_min is None else u_min, float), (nu,))
        self.u_max = np.broadcast_to(np.asarray(np.inf if u_max is None else u_max, float), (nu,))
        tensors = [*module.parameters(), *module.buffers()]
        first = next((t for t in tensors if t.is_floating_point()), torch.zeros(0, dtype=torch.float64))
        self._dtype, self._device = first.dtype, first.device
        shape = np.shape(self(np.zeros((2, nx))))
        if shape != (2, nu):
            raise ModelError("module", f"returns shape {shape} for 2 states, expected (2, {nu})")

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Evaluate the module in its own precision, on its own device.

        Args:
            x: states (..., nx).
            reference: must be None, the module holds its reference.

        Returns:
            Inputs (..., nu), float64.
        """
        import torch

        refuse_reference(reference)
        states, batch = as_states(x, self.nx)
        with torch.inference_mode():
            u = self.module(torch.as_tensor(states, dtype=self._dtype, device=self._device))
        values = u.detach().cpu().numpy().astype(np.float64)
        if values.shape != (len(states), self.nu):
            raise ModelError("module", f"returns shape {values.shape}, expected {(len(states), self.nu)}")
        return np.clip(values, self.u_min, self.u_max).reshape(*batch, self.nu)

    def reset(self) -> None:
        """Nothing is remembered."""
