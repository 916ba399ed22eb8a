"""NMPC that is told the truth: the parameters of each start and the disturbances of each step."""

import numpy as np

from yannctl.controllers import AbstractController, Nmpc
from yannctl.types import ArrayLike, Float

from .scenario import Scenario, World


class Oracle(AbstractController):
    """Call an NMPC with open parameters, each start with its true ones, and keep account of its plans.

    Args:
        nmpc: built with open_parameters=True.
        scenario: the scenario.
        world: the truth.
    """

    def __init__(self, nmpc: Nmpc, scenario: Scenario, world: World) -> None:
        self.nmpc, self.scenario, self.world = nmpc, scenario, world
        self.nx, self.nu = nmpc.nx, nmpc.nu
        low, high = scenario.bounds
        spans = (high - low)[np.isfinite(high - low)]
        self._span = float(spans.min()) if len(spans) else 1.0
        self.reset()

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Plan with the true parameters and the present disturbances.

        Args:
            x: states (n, nx) of the world's starts.
            reference: must be None.

        Returns:
            Inputs (n, nu).
        """
        k = min(self._step, self.world.d.shape[1] - 1)
        self.nmpc.set_parameters(np.hstack([self.world.p, self.world.d[:, k]]))
        u = self.nmpc(x, reference)
        plans = [plan for plan in self.nmpc.last_plans if plan is not None]
        self._slack = max(self._slack, max((plan.slack for plan in plans), default=0.0))
        self._plans += len(plans)
        self._solved += sum(plan.solved for plan in plans)
        self._iterations += [plan.iterations for plan in plans]
        self._seconds += self.nmpc.last_seconds.tolist()
        self._step += 1
        return u

    def reset(self) -> None:
        """Begin the world anew."""
        self.nmpc.reset()
        self._step, self._plans, self._solved, self._slack = 0, 0, 0, 0.0
        self._iterations: list[int] = []
        self._seconds: list[float] = []

    def figures(self) -> dict[str, float]:
        """Planned slack as a share of the limit's range, share of local optima, medians of iterations and seconds."""
        known = bool(self._plans)
        return {
            "planned_slack": self._slack / self._span,
            "solved": self._solved / max(1, self._plans),
            "iterations": float(np.median(self._iterations)) if known else 0.0,
            "median_seconds": float(np.median(self._seconds)) if known else 0.0,
        }
