"""The explicit MPC law as a controller."""

import math
from typing import Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.pwa.law import PwaLaw
from yannctl.types import ArrayLike, Float

from .base import AbstractController, as_states, refuse_reference


class ExplicitMpc(AbstractController):
    """Look up the region of x and apply its affine law.

    Args:
        law: the explicit law; its parameter is the state.
        outside: where no region holds x, "nearest" extends the region of least violation, "nan" gives NaN.
        u_min: lower limits of u (nu,), applied outside the regions only; default none.
        u_max: upper limits of u (nu,); default none.

    Raises:
        ModelError: another word for `outside`, or a law without regions.
    """

    def __init__(
        self,
        law: PwaLaw,
        outside: Literal["nearest", "nan"] = "nearest",
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
    ) -> None:
        if outside not in {"nearest", "nan"}:
            raise ModelError("outside", f"got {outside!r}", remedy='use "nearest" or "nan"')
        if law.n_regions == 0:
            raise ModelError("law", f"has no region ({law.status}: {law.message})", remedy="solve it again")
        self.law = law
        self.outside = outside
        self.nx, self.nu = law.ntheta, law.n_out
        self.u_min = np.broadcast_to(np.asarray(-np.inf if u_min is None else u_min, float), (self.nu,))
        self.u_max = np.broadcast_to(np.asarray(np.inf if u_max is None else u_max, float), (self.nu,))

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Evaluate the law.

        Args:
            x: states (..., nx).
            reference: must be None, the law holds its reference.

        Returns:
            Inputs (..., nu), equal to `law(x)` in every bit inside the regions.
        """
        if type(x) is np.ndarray and x.shape == (self.nx,) and x.dtype == float and reference is None:
            u = self.law(x)  # one state of a running loop: nothing to list and to put back in shape
            if not math.isnan(u.sum()):
                return u
        refuse_reference(reference)
        states, batch = as_states(x, self.nx)
        u = self.law(states)
        total = u.sum()  # one sum is the quickest way to see whether anything is NaN
        if math.isnan(total) and self.outside == "nearest":
            missing = np.isnan(u).any(axis=1)
            u[missing] = np.clip(self.law.extrapolate(states[missing]), self.u_min, self.u_max)
        return u.reshape(*batch, self.nu)

    def reset(self) -> None:
        """Nothing is remembered."""
