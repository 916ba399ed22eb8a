"""Rows behind a certified filter: the same controller, whose every input the filter may change."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from yannctl.assurance import SafetyFilter
from yannctl.controllers import AbstractController, Filtered

from .scenario import Factory, World

ROWS = {"linear": "filtered", "offset-free": "filtered-offset-free", "tuned": "filtered-tuned"}
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


def guarded_rows(safety_filter: SafetyFilter, rows: Mapping[str, Factory]) -> dict[str, Factory]:
    """Put the linear rows behind a filter that covers the true plants.

    Args:
        safety_filter: the certified filter.
        rows: of the scenario; those in `ROWS` get a filtered one.

    Returns:
        The filtered rows.
    """

    def guarded(row: Factory) -> Factory:
        def factory(scenario: Any, world: World) -> AbstractController:
            return Guarded(row(scenario, world), safety_filter)

        return factory

    return {ROWS[name]: guarded(row) for name, row in rows.items() if name in ROWS}
