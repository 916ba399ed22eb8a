"""What closes the loop: every controller is called as `u = controller(x)` and imported on first use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import AbstractController, check_controller
    from .dynamic_programming import DynamicProgramming
    from .explicit_mpc import ExplicitMpc
    from .lqr import Lqr
    from .network import NetworkController
    from .online_mpc import OnlineMpc

_HOME = {
    "AbstractController": "base",
    "check_controller": "base",
    "DynamicProgramming": "dynamic_programming",
    "ExplicitMpc": "explicit_mpc",
    "Lqr": "lqr",
    "NetworkController": "network",
    "OnlineMpc": "online_mpc",
}

__all__ = [
    "AbstractController",
    "DynamicProgramming",
    "ExplicitMpc",
    "Lqr",
    "NetworkController",
    "OnlineMpc",
    "check_controller",
]


def __getattr__(name: str) -> Any:
    """Import a controller on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
