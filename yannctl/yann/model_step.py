"""One step of the linear model as a module: deviations from an origin, successor, and stage cost."""

from typing import Any

import numpy as np
import torch
from torch import nn

from yannctl.ocp import Ocp

from .cost_to_go import reference_drift
from .parts import flatten_batch


class ModelStep(nn.Module):
    """Deviations from an origin, one step of the linear model and the stage cost.

    Args:
        ocp: the problem in deviations.
        origin: (ntheta,) origin of the parameters.
        u_origin: (nu,) origin of the inputs.
        dtype: floating type of the buffers.
    """

    x_ref: torch.Tensor
    u_ref: torch.Tensor
    A: torch.Tensor
    B: torch.Tensor
    E: torch.Tensor
    c: torch.Tensor
    Q: torch.Tensor
    R: torch.Tensor
    R_rate: torch.Tensor
    X: torch.Tensor
    U: torch.Tensor
    x_offset: torch.Tensor
    u_offset: torch.Tensor

    def __init__(self, ocp: Ocp, origin: np.ndarray, u_origin: np.ndarray, dtype: torch.dtype) -> None:
        super().__init__()
        self.layout, self.nx, reference = ocp.parameters, ocp.nx, ocp.reference
        self.fixed = reference.X is None and not reference.x.any() and not reference.u.any()
        self.rate = ocp.R_rate is not None
        none = np.zeros((0, 0))
        arrays = {"x_ref": origin, "u_ref": u_origin, "A": ocp.lin.A, "B": ocp.lin.B, "Q": ocp.Q, "R": ocp.R}
        arrays |= {"c": reference_drift(ocp) if self.fixed else ocp.lin.c, "E": ocp.lin.E}
        arrays |= {"R_rate": ocp.R_rate if self.rate else none, "x_offset": reference.x, "u_offset": reference.u}
        arrays |= {name: none if part is None else part for name, part in (("X", reference.X), ("U", reference.U))}
        register(self, arrays, dtype)

    def deviations(self, x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Subtract the origin.

        Args:
            x: (..., ntheta) parameters.
            u: (..., nu) inputs.

        Returns:
            (batch, ntheta) and (batch, nu) deviations.
        """
        if x.shape[:-1] != u.shape[:-1]:
            shape = torch.broadcast_shapes(x.shape[:-1], u.shape[:-1])
            x, u = x.expand(*shape, x.shape[-1]), u.expand(*shape, u.shape[-1])
        theta = flatten_batch(x, self.x_ref.shape[0], self.A.dtype) - self.x_ref
        return theta, flatten_batch(u, self.B.shape[1], self.A.dtype, "u") - self.u_ref

    def stage(self, theta: torch.Tensor, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        """Evaluate `(x - x_s)'Q(x - x_s) + (e - u_s)'R(e - u_s)` with the reference of theta.

        Args:
            theta: (batch, ntheta) deviations of the parameters.
            x: (batch, nx) deviations of the state.
            e: (batch, nu) deviations of the input.

        Returns:
            (batch,) cost, without that of the rate.
        """
        if not self.fixed:
            x, e = x - self.x_offset, e - self.u_offset
            x = x - theta @ self.X.T if self.X.numel() else x
            e = e - theta @ self.U.T if self.U.numel() else e
        return quadratic(self.Q, x) + quadratic(self.R, e)

    def after(self, theta: torch.Tensor, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        """Evaluate `A x + B e + E d + c`.

        Args:
            theta: (batch, ntheta) deviations of the parameters.
            x: (batch, nx) deviations of the state.
            e: (batch, nu) deviations of the input.

        Returns:
            (batch, nx) deviations of the successor.
        """
        moved = x @ self.A.T + e @ self.B.T + self.c
        return moved + theta[:, self.layout.d] @ self.E.T if self.E.numel() else moved

    def forward(self, x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Evaluate one step and its cost, of a problem whose only parameter is the state.

        Args:
            x: (..., nx) state.
            u: (..., nu) input.

        Returns:
            (batch, nx) successor as a deviation from the reference, and (batch,) stage cost.
        """
        theta, e = self.deviations(x, u)
        return self.after(theta, theta[:, : self.nx], e), self.stage(theta, theta[:, : self.nx], e)


def register(module: nn.Module, arrays: dict[str, Any], dtype: torch.dtype) -> None:
    """Keep arrays as buffers.

    Args:
        module: the module.
        arrays: numbers by name.
        dtype: floating type.
    """
    for name, array in arrays.items():
        module.register_buffer(name, torch.as_tensor(np.array(array, dtype=float)).to(dtype))


def quadratic(weight: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Evaluate `d'W d` for each row of d.

    Args:
        weight: (n, n) weight.
        d: (batch, n) rows.

    Returns:
        (batch,) values.
    """
    return ((d @ weight) * d).sum(dim=1)
