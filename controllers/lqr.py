"""Saturated linear state feedback."""

import numpy as np

from yannctl.errors import ModelError
from yannctl.ocp import Ocp
from yannctl.types import ArrayLike, Float

from .base import AbstractController, as_states


class Lqr(AbstractController):
    """Linear feedback with saturation: u = clip(u_ref - K (x - x_ref), u_min, u_max).

    Args:
        K: gain (nu, nx) [input/state].
        x_ref: reference of the states (nx,); default zero.
        u_ref: reference of the inputs (nu,); default zero.
        u_min: lower input limits (nu,); default none.
        u_max: upper input limits (nu,); default none.

    Raises:
        ModelError: shapes that do not fit, a gain that is not finite, or limits in the wrong order.
    """

    def __init__(
        self,
        K: ArrayLike,
        x_ref: ArrayLike | None = None,
        u_ref: ArrayLike | None = None,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
    ) -> None:
        self.K = np.array(K, float)
        if self.K.ndim != 2 or not np.all(np.isfinite(self.K)):
            raise ModelError("K", f"got shape {self.K.shape}", remedy="give finite gains (nu, nx)")
        self.nu, self.nx = self.K.shape
        self.x_ref = _vector("x_ref", x_ref, 0.0, self.nx)
        self.u_ref = _vector("u_ref", u_ref, 0.0, self.nu)
        self.u_min = _vector("u_min", u_min, -np.inf, self.nu)
        self.u_max = _vector("u_max", u_max, np.inf, self.nu)
        if np.any(self.u_min > self.u_max):
            raise ModelError("u_min", "lies above u_max", index=int(np.argmax(self.u_min > self.u_max)))

    @classmethod
    def of(cls, ocp: Ocp) -> "Lqr":
        """The (discounted) LQR of an optimal control problem, saturated at its input bounds.

        Args:
            ocp: the problem; its gain, reference and bounds are taken.

        Returns:
            The controller.
        """
        return cls(ocp.K, ocp.x_ref, ocp.u_ref, ocp.u_min, ocp.u_max)

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Apply the gain and saturate.

        Args:
            x: states (..., nx).
            reference: desired states (..., nx) in place of `x_ref`.

        Returns:
            Inputs (..., nu).
        """
        states, batch = as_states(x, self.nx)
        target = self.x_ref if reference is None else np.broadcast_to(np.asarray(reference, float), (*batch, self.nx))
        deviation = states - np.reshape(target, (-1, self.nx))
        u = np.clip(self.u_ref - deviation @ self.K.T, self.u_min, self.u_max)
        return u.reshape(*batch, self.nu)

    def reset(self) -> None:
        """Nothing is remembered."""


def _vector(field: str, value: ArrayLike | None, default: float, n: int) -> np.ndarray:
    """A vector of length n without NaN."""
    vector = np.full(n, default) if value is None else np.array(value, float)
    if vector.shape != (n,) or np.any(np.isnan(vector)):
        raise ModelError(field, f"got {value!r}", remedy=f"give {n} numbers")
    return vector
