"""Controllers around controllers: limits, a rate limit, and a filter that has the last word."""

import numpy as np

from yannctl.assurance.filtered import Filtered as CertifiedFiltered
from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Bool, Float

from .base import AbstractController
from .memory import AbstractRecallingController, same_batch, tell


class Limited(AbstractRecallingController):
    """Clip the inner controller's input, and tell it: u = clip(inner(x), u_min, u_max).

    `last_limited` says for which states of the last call the limits had to act.

    Args:
        inner: the controller.
        u_min: lower limits (nu,) [u_units].
        u_max: upper limits (nu,).

    Raises:
        ModelError: limits of the wrong length or order.
    """

    def __init__(self, inner: AbstractController, u_min: ArrayLike | float, u_max: ArrayLike | float) -> None:
        self.inner, self.nx, self.nu = inner, inner.nx, inner.nu
        self.u_min, self.u_max = _limits(("u_min", u_min), ("u_max", u_max), inner.nu)
        self.last_limited: Bool[np.ndarray, "..."] = np.zeros(0, bool)

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Ask the inner controller and clip.

        Args:
            x: states (..., nx).
            reference: passed on.

        Returns:
            Inputs (..., nu); NaN stays NaN.
        """
        wanted = self.inner(x, reference)
        u = np.clip(wanted, self.u_min, self.u_max)
        self.last_limited = (u != wanted).any(axis=-1)
        tell(self.inner, u)
        return u

    def applied(self, u: ArrayLike) -> None:
        """Pass on what was really applied."""
        tell(self.inner, np.asarray(u, float))

    def reset(self) -> None:
        """Reset the inner controller."""
        self.inner.reset()


class RateLimited(AbstractRecallingController):
    """Limit the change from the last input applied: u = u_last + clip(inner(x) - u_last, du_min, du_max).

    The first input after a reset is compared with `u_start`, or not limited without one.

    Args:
        inner: the controller.
        du_min: lowest change a step (nu,), negative [u_units].
        du_max: largest change a step (nu,), positive.
        u_start: input before the first call (nu,), or None.

    Raises:
        ModelError: limits of the wrong length or order, or that forbid to hold the input.
    """

    def __init__(
        self,
        inner: AbstractController,
        du_min: ArrayLike | float,
        du_max: ArrayLike | float,
        u_start: ArrayLike | None = None,
    ) -> None:
        self.inner, self.nx, self.nu = inner, inner.nx, inner.nu
        self.du_min, self.du_max = _limits(("du_min", du_min), ("du_max", du_max), inner.nu)
        if np.any(self.du_min > 0) or np.any(self.du_max < 0):
            raise ModelError("du_min", "forbids to hold the input", remedy="give du_min <= 0 <= du_max")
        self.u_start = None if u_start is None else np.asarray(u_start, float)
        self._last: np.ndarray | None = None

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Ask the inner controller and limit the change; row i of a batch follows row i of the last one.

        Args:
            x: states (..., nx).
            reference: passed on.

        Returns:
            Inputs (..., nu).

        Raises:
            ModelError: a batch of another size than the last one without a reset.
        """
        wanted = self.inner(x, reference)
        rows = wanted.reshape(-1, self.nu)
        last = self._last if same_batch(self._last, len(rows)) else self.u_start
        u = rows if last is None else last + np.clip(rows - last, self.du_min, self.du_max)
        self._last = u
        u = u.reshape(wanted.shape)
        tell(self.inner, u)
        return u

    def applied(self, u: ArrayLike) -> None:
        """Count the next change from what was really applied."""
        given = np.asarray(u, float)
        self._last = given.reshape(-1, self.nu)
        tell(self.inner, given)

    def reset(self) -> None:
        """Forget the last input."""
        self._last = None
        self.inner.reset()


class Filtered(CertifiedFiltered, AbstractRecallingController):
    """Let a filter have the last word, u = filter(x, inner(x)): `assurance.Filtered` as a controller."""


def _limits(
    low: tuple[str, ArrayLike | float], high: tuple[str, ArrayLike | float], n: int
) -> tuple[np.ndarray, np.ndarray]:
    ends = []
    for name, value in (low, high):
        array = np.array(value, float)
        if array.shape not in {(), (n,)} or np.isnan(array).any():
            raise ModelError(name, f"got {value!r}", remedy=f"give {n} numbers")
        ends.append(np.broadcast_to(array, (n,)))
    if np.any(ends[0] > ends[1]):
        raise ModelError(low[0], f"lies above {high[0]}", index=int(np.argmax(ends[0] > ends[1])))
    return ends[0], ends[1]
