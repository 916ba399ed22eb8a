"""What closes the loop: every controller is called as `u = controller(x)` and imported on first use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import AbstractController, check_controller
    from .composition import Filtered, Limited, RateLimited
    from .dynamic_programming import DynamicProgramming
    from .explicit_mpc import ExplicitMpc
    from .kalman_filter import KalmanFilter
    from .lqr import Lqr
    from .memory import AbstractRecallingController
    from .network import NetworkController
    from .nmpc import Nmpc
    from .offset_free_mpc import OffsetFreeMpc
    from .online_mpc import OnlineMpc
    from .pid import Pid
    from .planner import Planner
    from .preview_mpc import Preview, PreviewMpc

_HOME = {
    "AbstractController": "base",
    "AbstractRecallingController": "memory",
    "check_controller": "base",
    "DynamicProgramming": "dynamic_programming",
    "ExplicitMpc": "explicit_mpc",
    "Filtered": "composition",
    "KalmanFilter": "kalman_filter",
    "Limited": "composition",
    "Lqr": "lqr",
    "NetworkController": "network",
    "Nmpc": "nmpc",
    "OffsetFreeMpc": "offset_free_mpc",
    "OnlineMpc": "online_mpc",
    "Pid": "pid",
    "Planner": "planner",
    "Preview": "preview_mpc",
    "PreviewMpc": "preview_mpc",
    "RateLimited": "composition",
}

__all__ = [
    "AbstractController",
    "AbstractRecallingController",
    "DynamicProgramming",
    "ExplicitMpc",
    "Filtered",
    "KalmanFilter",
    "Limited",
    "Lqr",
    "NetworkController",
    "Nmpc",
    "OffsetFreeMpc",
    "OnlineMpc",
    "Pid",
    "Planner",
    "Preview",
    "PreviewMpc",
    "RateLimited",
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
