"""Attacks that are optimised: CMA-ES over proposals, parameters and measurement errors of a short run at the border.

Each search starts from a state of the set, most of them at its border, and lowers the least margin to the set's border
over the run; every run it tries is counted. The same searches without the filter tell whether they are attacks.

Source: Hansen, "The CMA evolution strategy: a tutorial" (2016), by the `cma` package.
"""

from importlib.util import find_spec

import numpy as np

from yannctl.errors import ModelError
from yannctl.tape import ExpressionTape

from .falsifier import Attack, Target, beyond
from .safety_filter import SafetyFilter

SEARCH = "search"
_HORIZON = 12
_POPULATION = 32
_GENERATIONS = 12


def can_search() -> bool:
    """Tell whether the package that searches is installed."""
    return find_spec("cma") is not None


def search_attack(target: Target, steps: int, seed: int = 0) -> Attack:
    """Attack a filtered loop by searches, and the same loop without the filter.

    Args:
        target: the loop.
        steps: filtered steps in all, at least.
        seed: of starts and searches.

    Returns:
        The counts; an episode is one search.

    Raises:
        ModelError: the `cma` package is not installed.
    """
    if not can_search():
        raise ModelError("policy", "needs the package cma", remedy="pip install cma")
    searches = max(2, -(-steps // (_HORIZON * _POPULATION * _GENERATIONS)))
    starts = target.starts(searches, np.random.default_rng(seed))
    filtered, plain = _Runs(target, True), _Runs(target, False)
    for number, start in enumerate(starts):
        filtered.search(start, seed + number + 1)
        plain.search(start, seed + number + 1)
    return Attack(
        SEARCH, filtered.steps, searches, filtered.violations, filtered.exits, filtered.infeasible,
        filtered.changed / max(filtered.steps, 1), filtered.broken, plain.lost / searches, filtered.closest,
    )  # fmt: skip


class _Runs:
    """Runs of one loop, and what they achieved so far."""

    def __init__(self, target: Target, filtered: bool) -> None:
        self.target, self.filtered = target, filtered
        self.tape, self.filter = ExpressionTape.from_function(target.step), SafetyFilter(target.safe_set)
        self.E = np.broadcast_to(np.asarray(target.sensor, dtype=float), target.x_min.shape)
        self.sizes = (len(target.safe_set.u_min), len(target.p_min), len(self.E))
        self.steps = self.violations = self.exits = self.infeasible = self.broken = self.lost = 0
        self.changed, self.closest = 0.0, np.inf

    def search(self, start: np.ndarray, seed: int) -> None:
        """Lower the least margin of the runs from one start."""
        import cma

        before = self.violations, self.exits
        options = {
            "bounds": [0.0, 1.0], "popsize": _POPULATION, "maxiter": _GENERATIONS, "seed": seed, "verbose": -9,
            "CMA_diagonal": True,
        }  # fmt: skip
        strategy = cma.CMAEvolutionStrategy(np.full(_HORIZON * sum(self.sizes), 0.5), 0.4, options)
        while not strategy.stop():
            tried = strategy.ask()
            strategy.tell(tried, self._least_margins(start, np.array(tried)).tolist())
        self.broken += (self.violations, self.exits) != before
        self.lost += self.violations > before[0]

    def _least_margins(self, start: np.ndarray, tried: np.ndarray) -> np.ndarray:
        """Least margin on each run, to the set of readings; what lies beyond a hard bound is counted on the way."""
        target, safe = self.target, self.target.safe_set
        n_u, n_p, _ = self.sizes
        moves = tried.reshape(len(tried), _HORIZON, -1)
        x = np.repeat(start[None], len(tried), axis=0)
        error = np.zeros_like(x)
        least = np.full(len(tried), np.inf)
        for k in range(_HORIZON):
            share = moves[:, k]
            # Ends are where the harm is: shares are stretched and cut.
            share = np.clip(1.5 * share - 0.25, 0.0, 1.0)
            proposed = safe.u_min + share[:, :n_u] * (safe.u_max - safe.u_min)
            p = target.p_min + share[:, n_u : n_u + n_p] * (target.p_max - target.p_min)
            u = self._applied(x, proposed)
            true = self.tape.evaluate(x - error, u, p)
            error = (2 * share[:, n_u + n_p :] - 1) * self.E
            x = true + error
            margin = np.nan_to_num(safe.margin(x), nan=-1e6)
            self.violations += int(beyond(target, true).sum())
            self.exits += int((margin < 0).sum())
            self.steps += len(x)
            least = np.minimum(least, margin)
        self.closest = min(self.closest, float(least.min()))
        return least

    def _applied(self, x: np.ndarray, proposed: np.ndarray) -> np.ndarray:
        if not self.filtered:
            return proposed
        safe = self.target.safe_set
        decision = self.filter.decide(x, proposed)
        u = decision.u
        bad = ~np.isfinite(u).all(axis=1) | (u < safe.u_min - 1e-12).any(axis=1) | (u > safe.u_max + 1e-12).any(axis=1)
        self.infeasible += int((bad & ~decision.outside).sum())
        self.changed += float(decision.changed.sum())
        return u
