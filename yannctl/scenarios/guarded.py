"""Rows behind a certified filter: the same controller, whose every input the filter may change."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from yannctl.assurance import SafetyFilter
from yannctl.controllers import AbstractController, Filtered

from .scenario import Factory, Tunable, World
from .weights import Weights

SAME = 1e-6  # of the range of an input: a smaller change does not count as one


class Guarded(Filtered):
    """u = filter(x, inner(x)), with an account of what the filter did.

    Args:
        inner: the controller that proposes.
        safety_filter: the certified filter.
    """

    def __init__(self, inner: AbstractController, safety_filter: SafetyFilter) -> None:
        super().__init__(inner, self._decide)
        self.safety_filter = safety_filter
        self.reset()

    def reset(self) -> None:
        """Reset the inner controller and the account."""
        super().reset()
        self._seen = self._changed = self._outside = 0

    def figures(self) -> dict[str, float]:
        """Shares of the inputs that the filter changed and of the states outside its set."""
        seen = max(1, self._seen)
        return {"filter_changed": self._changed / seen, "filter_outside": self._outside / seen}

    def _decide(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        decision, safe_set = self.safety_filter.decide(x, u), self.safety_filter.safe_set
        near = np.abs(decision.u - u) <= SAME * (safe_set.u_max - safe_set.u_min)
        self._seen += len(x)
        self._changed += int((~near.all(axis=1)).sum())
        self._outside += int(decision.outside.sum())
        return decision.u


def behind(name: str) -> str:
    """Name of the row that is another one behind the filter.

    Args:
        name: of the row without filter.
    """
    return "filtered" if name == "linear" else f"filtered-{name}"


def guarded(safety_filter: SafetyFilter, row: Factory) -> Factory:
    """Put a row behind a filter that covers the true plants.

    Args:
        safety_filter: the certified filter.
        row: the row.

    Returns:
        The filtered row.
    """

    def factory(scenario: Any, world: World) -> AbstractController:
        return Guarded(row(scenario, world), safety_filter)

    return factory


def guarded_rows(safety_filter: SafetyFilter, rows: Mapping[str, Factory]) -> dict[str, Factory]:
    """Put linear rows behind a filter that covers the true plants.

    Args:
        safety_filter: the certified filter.
        rows: by name.

    Returns:
        The filtered rows by their names.
    """
    return {behind(name): guarded(safety_filter, row) for name, row in rows.items()}


def tunable_behind(safety_filter: SafetyFilter, tunable: Mapping[str, Tunable]) -> dict[str, Tunable]:
    """Let rows be tuned anew behind the filter, which other weights suit.

    Args:
        safety_filter: the certified filter.
        tunable: rows without filter, by name.

    Returns:
        The same rows behind it, by their names.
    """

    def filtered(what: Tunable) -> Tunable:
        def make(weights: Weights) -> Factory:
            return guarded(safety_filter, what.make(weights))

        return Tunable(make, what.space)

    return {behind(name): filtered(what) for name, what in tunable.items()}
