"""From a plant, or A, B, Q, R, to an exact neural controller that is tuned behind a gate and runs on a chip.

| step | verb or class | what it makes |
| --- | --- | --- |
| 1 | `yannctl.models.Pendulum()` | the plant: f(x, u) with units and bounds |
| 2 | `linearise(plant, x, u)` | `LinearModel` |
| 3 | `Ocp(lin, Q, R, N)` | the optimal control problem |
| 4 | `condense(ocp)` | `MpQp`, the multi-parametric quadratic program |
| 5 | `solve_mpqp(mpqp)` | `PwaLaw`, the explicit control law |
| 6 | `yann.encode_actor(law)`, `yann.encode_critic(ocp)` | exact neural networks |
| 7 | `rl.train(actor, critic, env)` | the tuned policy, behind its gate |
| 8 | `export.write_c(law, folder)` | C99 without heap or solver |
| 9 | `hil` | the fixed-rate loop on a rig |
"""

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium as _gymnasium

if TYPE_CHECKING:
    from . import assurance, controllers, export, hil, models, rl, yann
    from .errors import (
        EmptySetError,
        FileFormatError,
        ModelError,
        NotInstalledError,
        NotStabilisableError,
        YannctlError,
    )
    from .linear import LinearModel, linearise
    from .mpqp import MpQp, condense, from_cvxpy
    from .ocp import Ocp
    from .plant import AbstractPlant, check_plant
    from .pwa import PwaLaw, Settings, solve_mpqp

__version__ = "0.1.0"

# Where each public name lives; it is imported on first use, so `import yannctl` stays light.
_HOME = {
    "AbstractPlant": "plant",
    "check_plant": "plant",
    "LinearModel": "linear",
    "linearise": "linear",
    "Ocp": "ocp",
    "MpQp": "mpqp",
    "condense": "mpqp",
    "from_cvxpy": "mpqp",
    "PwaLaw": "pwa",
    "Settings": "pwa",
    "solve_mpqp": "pwa",
    "YannctlError": "errors",
    "ModelError": "errors",
    "NotStabilisableError": "errors",
    "EmptySetError": "errors",
    "FileFormatError": "errors",
    "NotInstalledError": "errors",
}
_FOLDERS = ("models", "controllers", "hil", "yann", "assurance", "rl", "export")

__all__ = [
    "AbstractPlant",
    "EmptySetError",
    "FileFormatError",
    "LinearModel",
    "ModelError",
    "MpQp",
    "NotInstalledError",
    "NotStabilisableError",
    "Ocp",
    "PwaLaw",
    "Settings",
    "YannctlError",
    "assurance",
    "check_plant",
    "condense",
    "controllers",
    "export",
    "from_cvxpy",
    "hil",
    "linearise",
    "models",
    "rl",
    "solve_mpqp",
    "yann",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in _FOLDERS:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_environments() -> None:
    """Tell gymnasium where each plant's environment is made; nothing is imported until `gymnasium.make`."""
    plants = {plant: {"plant": plant} for plant in ("Pendulum", "CSTR", "RunawayReactor", "DifferentialDrive")}
    for label, fields in (plants | {"PendulumUpright": {"plant": "Pendulum", "task": "upright"}}).items():
        name = f"yannctl/{label}-v0"
        if name not in _gymnasium.registry:
            home = "yannctl.rl.environment_factory"
            _gymnasium.register(
                id=name,
                entry_point=f"{home}:make_environment",
                vector_entry_point=f"{home}:make_vector_environment",
                kwargs=fields,
            )


_register_environments()
