"""Learning on top of the exact law: DSAC-T, TD3 and DDPG, behind a gate that never deploys a worse policy.

| name | what it is |
| --- | --- |
| `train` | tunes a law on an environment, gives a `TrainingResult` |
| `TrainingSettings`, `DsactSettings`, `Td3Settings`, `DdpgSettings` | every number of a run |
| `Callback`, `TensorBoard`, `WeightsAndBiases` | who is told of what a run does |
| `train_seeds` | several seeds at once in one stacked network |
| `train_asynchronously` | an actor process drives the rig, the learner follows |
| `load_log` | recorded transitions and a report on them, for `train(recorded=...)` |
| `sweep`, `cells_of` | seeds times configurations through joblib |
| `evaluate` | returns and violations of a policy on the nominal model |
| `TrainingError` | why a run stopped itself |

Importing this package is cheap; torch is loaded when a name is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asynchronous import train_asynchronously
    from .callbacks import Callback, TensorBoard, WeightsAndBiases
    from .ddpg import DdpgSettings
    from .dsact import DsactSettings
    from .errors import CheckpointError, RunLockedError, TrainingError
    from .evaluation import Evaluation, evaluate
    from .gate import GateEvent
    from .recorded import LogReport, RecordedLog, load_log
    from .seeds import train_seeds
    from .settings import TrainingSettings
    from .sweeps import cells_of, sweep
    from .td3 import Td3Settings
    from .training import TrainingResult, train

_HOME = {
    "Callback": "callbacks",
    "CheckpointError": "errors",
    "DdpgSettings": "ddpg",
    "DsactSettings": "dsact",
    "Evaluation": "evaluation",
    "GateEvent": "gate",
    "LogReport": "recorded",
    "RecordedLog": "recorded",
    "RunLockedError": "errors",
    "Td3Settings": "td3",
    "TensorBoard": "callbacks",
    "TrainingError": "errors",
    "TrainingResult": "training",
    "TrainingSettings": "settings",
    "WeightsAndBiases": "callbacks",
    "cells_of": "sweeps",
    "evaluate": "evaluation",
    "load_log": "recorded",
    "sweep": "sweeps",
    "train": "training",
    "train_asynchronously": "asynchronous",
    "train_seeds": "seeds",
}

__all__ = [
    "Callback",
    "CheckpointError",
    "DdpgSettings",
    "DsactSettings",
    "Evaluation",
    "GateEvent",
    "LogReport",
    "RecordedLog",
    "RunLockedError",
    "Td3Settings",
    "TensorBoard",
    "TrainingError",
    "TrainingResult",
    "TrainingSettings",
    "WeightsAndBiases",
    "cells_of",
    "evaluate",
    "load_log",
    "sweep",
    "train",
    "train_asynchronously",
    "train_seeds",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
