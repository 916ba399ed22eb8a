"""The scenarios by name."""

from yannctl.errors import ModelError

from . import pendulum, published, reactor, robot, runaway
from .scenario import Scenario

# Name -> (module that makes it, its variants, the first of which is the default).
_MAKERS = {
    "cstr-setpoint": (reactor.make, tuple(reactor.VARIANTS)),
    "cstr-startup": (reactor.make, tuple(reactor.STARTUP)),
    "robot-kappa6": (robot.make, tuple(robot.VARIANTS)),
    "runaway-restart": (runaway.make, tuple(runaway.VARIANTS)),
    "pendulum-swingup": (pendulum.make, tuple(pendulum.VARIANTS)),
    "pendulum-upright": (pendulum.make, tuple(pendulum.VARIANTS)),
    "pendulum-clipped": (published.make, published.VARIANTS),
    "runaway-published": (published.make, published.VARIANTS),
}
NAMES = tuple(_MAKERS)


def variants(name: str) -> tuple[str, ...]:
    """Variants of a scenario; the first is the default.

    Args:
        name: of the scenario.

    Raises:
        ModelError: an unknown name.
    """
    if name not in _MAKERS:
        raise ModelError("scenario", f"none is called {name!r}", remedy=f"choose from {', '.join(NAMES)}")
    return _MAKERS[name][1]


def make_scenario(name: str, variant: str | None = None) -> Scenario:
    """Make a scenario.

    Args:
        name: one of `NAMES`.
        variant: one of `variants(name)`; None for the first.

    Returns:
        The scenario.

    Raises:
        ModelError: an unknown name or variant.
    """
    known = variants(name)
    wanted = known[0] if variant is None else variant
    if wanted not in known:
        raise ModelError("variant", f"{name} has no {wanted!r}", remedy=f"choose from {', '.join(known)}")
    return _MAKERS[name][0](name, wanted)
