"""A controller behind its certificate, and the guards of the plants that come with one."""

from typing import Any

import numpy as np

from yannctl.types import ArrayLike, Float

from .certificate import Certificate
from .designs import DESIGNS
from .safe_set import AbstractSafeSet, PolytopicSet
from .safety_filter import Decision, SafetyFilter


class Filtered:
    """u = filter(x, controller(x)): a controller whose every input passes the certified filter.

    Args:
        controller: what proposes, u = controller(x).
        certificate: a certificate, a safe set, or a filter.
        law: the certified law that stands in where the controller gives NaN, (n, nx) -> (n, nu); None for the set's.

    Attributes:
        last: what the filter did in the last call, None before.
    """

    def __init__(
        self, controller: Any, certificate: Certificate | AbstractSafeSet | SafetyFilter, law: Any = None
    ) -> None:
        safe_set = PolytopicSet(certificate) if isinstance(certificate, Certificate) else certificate
        self.filter = safe_set if isinstance(safe_set, SafetyFilter) else SafetyFilter(safe_set, law)
        self.controller = controller
        self.nx, self.nu = controller.nx, controller.nu
        self.last: Decision | None = None

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Ask the controller, then the filter.

        Args:
            x: states (..., nx).
            reference: passed on to the controller.

        Returns:
            Inputs (..., nu), finite and within the bounds.
        """
        self.last = self.filter.decide(x, self.controller(x, reference))
        self.applied(self.last.u)
        return self.last.u

    def applied(self, u: ArrayLike) -> None:
        """Tell a controller that wants to know what was really applied.

        Args:
            u: inputs (..., nu).
        """
        tell = getattr(self.controller, "applied", None)
        if tell is not None:
            tell(np.asarray(u, dtype=float))

    def reset(self) -> None:
        """Reset the controller and forget the last decision."""
        self.controller.reset()
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
