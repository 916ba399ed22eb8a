"""A controller behind a filter, and the guards of the plants that come with one."""

from collections.abc import Callable
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Bool, Float

from .analytic_certificate import AnalyticCertificate
from .certificate import Certificate
from .designs import DESIGNS
from .safe_set import AbstractSafeSet
from .safety_filter import Decision, SafetyFilter

Filter = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Filtered:
    """u = filter(x, inner(x)): a controller whose every input passes a filter, which has the last word.

    `controllers.Filtered` is this class as a controller of the package's contract.

    Args:
        inner: what proposes, u = inner(x).
        filter: a certificate, a safe set or a safety filter; or any function (n, nx), (n, nu) -> (n, nu) that gives
            back the proposed input where it is safe and the nearest safe one elsewhere, and answers for itself.
        law: the certified law that stands in where the controller gives NaN, (n, nx) -> (n, nu); None for the set's.

    Attributes:
        last: what a certified filter did in the last call, None before and for other filters.
        last_changed: which inputs of the last call the filter changed (n,).
    """

    def __init__(
        self,
        inner: Any,
        filter: Certificate | AnalyticCertificate | AbstractSafeSet | SafetyFilter | Filter,
        law: Any = None,
    ) -> None:
        safe_set = filter.safe_set() if isinstance(filter, Certificate | AnalyticCertificate) else filter
        made = SafetyFilter(safe_set, law) if isinstance(safe_set, AbstractSafeSet) else safe_set
        self.inner, self.filter = inner, made
        self.nx, self.nu = inner.nx, inner.nu
        self.last: Decision | None = None
        self.last_changed: Bool[np.ndarray, " n"] = np.zeros(0, bool)

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Ask the controller, then the filter, and tell the controller what was applied.

        Args:
            x: states (..., nx).
            reference: passed on to the controller.

        Returns:
            Inputs (..., nu); behind a certified filter finite and within the bounds.

        Raises:
            ModelError: states or a filter's answer of another shape.
        """
        states = np.asarray(x, dtype=float)
        if states.shape[-1:] != (self.nx,):
            raise ModelError("x", f"has shape {states.shape}, expected (..., {self.nx})")
        batch, flat = states.shape[:-1], states.reshape(-1, self.nx)
        wanted = np.asarray(self.inner(x, reference), dtype=float).reshape(-1, self.nu)
        if isinstance(self.filter, SafetyFilter):
            self.last = self.filter.decide(flat, wanted)
            u, self.last_changed = self.last.u, self.last.changed
        else:
            u = np.asarray(self.filter(flat, wanted.copy()), dtype=float)
            if u.shape != wanted.shape:
                raise ModelError("filter", f"gave shape {u.shape}, expected {wanted.shape}")
            self.last_changed = (u != wanted).any(axis=1)
        u = u.reshape(*batch, self.nu)
        self.applied(u)
        return u

    def applied(self, u: ArrayLike) -> None:
        """Tell a controller that wants to know what was really applied.

        Args:
            u: inputs (..., nu).
        """
        tell = getattr(self.inner, "applied", None)
        if tell is not None:
            tell(np.asarray(u, dtype=float))

    def reset(self) -> None:
        """Reset the controller and forget the last decision."""
        self.inner.reset()
        self.last = None


def guard(name: str) -> SafetyFilter:
    """Give the filter of a loop that comes with a proof, for `gymnasium.make(..., filter=guard(name))`.

    Args:
        name: one of `TARGETS`: "reactor-limit" for `yannctl/CSTR-v0`, "robot-stop" for `yannctl/DifferentialDrive-v0`.

    Returns:
        The filter, with the loop's certified safe action.
    """
    from .targets import target

    loop = target(name)
    if name in DESIGNS:
        return SafetyFilter(loop.safe_set)
    action = loop.safe_set.action(np.zeros(loop.safe_set.nx))
    return SafetyFilter(loop.safe_set, safe_action=action)
