"""The numbers of a linear MPC that tuning may change, and where tuned ones are kept."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yannctl.errors import FileFormatError

TUNED = Path(__file__).with_name("tuned.json")


@dataclass(frozen=True)
class Weights:
    """Factors on the numbers of a scenario's linear MPC; all 1 is the plain one.

    Args:
        factors: by name: "Q:<state>", "R:<input>", "terminal" (where the law has its own), each on its weight;
            "drift:<state>" and "sensor" on the variances of an estimator.
        backoff: distance the controller keeps from the hard limits, as a share of their range.
    """

    factors: dict[str, float] = field(default_factory=dict)
    backoff: float = 0.0

    def scaled(self, letter: str, names: tuple[str, ...], values: Any) -> np.ndarray:
        """Diagonal weights times their factors.

        Args:
            letter: "Q" or "R".
            names: names of the states or inputs.
            values: weights.

        Returns:
            Weights of the same length.
        """
        factors = [self.factors.get(f"{letter}:{name}", 1.0) for name in names]
        return np.asarray(values, float) * factors

    @property
    def terminal(self) -> float:
        """Factor on the terminal weight."""
        return self.factors.get("terminal", 1.0)

    @property
    def sensor(self) -> float:
        """Factor on the variances that an estimator takes its sensors to have."""
        return self.factors.get("sensor", 1.0)


def entry_name(scenario: str, variant: str, row: str = "tuned") -> str:
    """Name a row's entry in the file of tuned weights.

    Args:
        scenario: name.
        variant: name.
        row: name of the row.
    """
    return f"{scenario}:{variant}" if row == "tuned" else f"{scenario}:{variant}:{row}"


def read_tuned(scenario: str, variant: str, path: Path = TUNED, row: str = "tuned") -> Weights | None:
    """Read the tuned weights of a scenario's row.

    Args:
        scenario: name.
        variant: name.
        path: file written by `yannctl tune`.
        row: name of the row.

    Returns:
        The weights, or None where there are none.

    Raises:
        FileFormatError: a file of another form.
    """
    try:
        entry = json.loads(path.read_text(encoding="utf-8")).get(entry_name(scenario, variant, row))
        if entry is None:
            return None
        return Weights({str(k): float(v) for k, v in entry["factors"].items()}, float(entry["backoff"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise FileFormatError(f"{path}: not a file of tuned weights: {error}") from None
