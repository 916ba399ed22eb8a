"""Why there is no invariant set, and what to change by how much: each cause alone, by bisection."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from yannctl.errors import EmptySetError, ModelError

from .certificate import Certificate
from .designs import Design, design
from .inclusion import Domain
from .invariant_set import invariant_set

_HALVINGS = 6
_LEAST = 1 / 64  # a cause that must shrink below this share is not the one to change


@dataclass(frozen=True)
class Remedy:
    """One change that alone gives a set.

    Args:
        what: "box", "parameters", "sensor error" or "sample time".
        share: what it must shrink to, as a share of what was asked for; 0 where no change of it alone is enough.
    """

    what: str
    share: float

    def __str__(self) -> str:
        """Word it."""
        if self.share <= 0:
            return f"{self.what}: no change of it alone is enough"
        return f"{self.what}: at most {100 * self.share:.0f} % of what was asked for"


def diagnose(chosen: Design, at_sample_time: Callable[[float], Design] | None = None) -> tuple[Remedy, ...]:
    """Find, for each cause on its own, how far it must shrink until an invariant set exists.

    Args:
        chosen: the design without one.
        at_sample_time: share of the sample time -> the design with it, None leaves the sample time out.

    Returns:
        One remedy a cause.
    """
    domain = chosen.domain
    causes: list[tuple[str, Callable[[float], Design]]] = [
        ("box", lambda share: replace(chosen, domain=_shrunk(domain, "x", share)))
    ]
    if np.any(domain.p_max > domain.p_min):
        causes.append(("parameters", lambda share: replace(chosen, domain=_shrunk(domain, "p", share))))
    if np.any(chosen.sensor):
        causes.append(("sensor error", lambda share: replace(chosen, sensor=share * np.asarray(chosen.sensor))))
    if at_sample_time is not None:
        causes.append(("sample time", at_sample_time))
    return tuple(Remedy(what, _largest(make)) for what, make in causes)


def certify_design(name: str, dt: float | None = None) -> Certificate:
    """Certify a named design, or say what to change.

    Args:
        name: one of `DESIGNS`.
        dt: another sample period [the plant's unit of time], None for the design's own.

    Returns:
        The certificate.

    Raises:
        EmptySetError: as `certify_or_explain`, the sample time among the causes.
    """
    chosen = design(name, dt)
    period = chosen.statement.dt
    return certify_or_explain(chosen, lambda share: design(name, share * period))


def certify_or_explain(chosen: Design, at_sample_time: Callable[[float], Design] | None = None) -> Certificate:
    """Compute the certificate, or say what to change.

    Args:
        chosen: the design.
        at_sample_time: as for `diagnose`.

    Returns:
        The certificate.

    Raises:
        EmptySetError: there is none; the text names each change that alone would give one.
    """
    try:
        return chosen.certify()
    except EmptySetError as error:
        remedies = diagnose(chosen, at_sample_time)
        raise EmptySetError("C", error.problem, remedy="; ".join(map(str, remedies))) from error


def _largest(make: Callable[[float], Design]) -> float:
    """Largest share for which a set exists, found by halving the range of shares."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if _exists(make(middle)):
            low = middle
        else:
            high = middle
    return low if low >= _LEAST else 0.0


def _exists(chosen: Design) -> bool:
    try:
        invariant_set(chosen.inclusion(), chosen.domain, 0.99, max_rows=150)
    except (EmptySetError, ModelError):
        return False
    return True


def _shrunk(domain: Domain, letter: str, share: float) -> Domain:
    low, high = getattr(domain, f"{letter}_min"), getattr(domain, f"{letter}_max")
    middle = 0.5 * (low + high)
    return replace(
        domain, **{f"{letter}_min": middle + share * (low - middle), f"{letter}_max": middle + share * (high - middle)}
    )
