"""Attacks that are optimised: CMA-ES over proposals, parameters and measurement errors of a short run at the border.

Each search starts from a state of the set, most of them at its border, and lowers the least margin to the set's border
over the run; every run it tries is counted. The same searches without the filter tell whether they are attacks.

Source: Hansen, "The CMA evolution strategy: a tutorial" (2016), by the `cma` package.
"""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from yannctl.errors import ModelError
from yannctl.tape import ExpressionTape

from .falsifier import Attack, Target, beyond
from .safety_filter import SafetyFilter

SEARCH = "search"
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
    rng = np.random.default_rng(seed)
    starts = list(target.starts(max(2, -(-steps // (target.horizon * _POPULATION * _GENERATIONS))), rng))
    filtered, plain = Runs(target, True), Runs(target, False)
    searches = 0
    # Searches may end early; then there are more of them.
    while searches < len(starts) or filtered.steps < steps:
        if searches == len(starts):
            starts.extend(target.starts(8, rng))
        filtered.search(starts[searches], seed + searches + 1)
        plain.search(starts[searches], seed + searches + 1)
        searches += 1
    return Attack(
        SEARCH, filtered.steps, searches, filtered.violations, filtered.exits, filtered.infeasible,
        filtered.changed / max(filtered.steps, 1), filtered.broken, plain.lost / searches, filtered.closest,
    )  # fmt: skip


class Paths(NamedTuple):
    """Short runs of a loop, side by side.

    Args:
        least: least margin of each run's readings (n,), -1e6 for one that is not a number.
        when: step after which it was met (n,).
        beyond: runs that broke a hard bound (n,).
        x: true states before each step (steps, n, nx).
        u: inputs applied (steps, n, nu).
        p: parameters (steps, n, np).
        after: readings after each step (steps, n, nx).
    """

    least: np.ndarray
    when: np.ndarray
    beyond: np.ndarray
    x: np.ndarray
    u: np.ndarray
    p: np.ndarray
    after: np.ndarray


class Runs:
    """Runs of one loop, and what they achieved so far.

    Args:
        target: the loop.
        filtered: whether the filter acts.
    """

    def __init__(self, target: Target, filtered: bool) -> None:
        self.target, self.filtered = target, filtered
        self.tape, self.filter = ExpressionTape.from_function(target.step), SafetyFilter(target.safe_set)
        self.E = np.broadcast_to(np.asarray(target.sensor, dtype=float), target.x_min.shape)
        self.sizes = (len(target.safe_set.u_min), len(target.p_min), len(self.E))
        self.steps = self.violations = self.exits = self.infeasible = self.broken = self.lost = 0
        self.changed, self.closest = 0.0, np.inf

    def search(self, start: np.ndarray, seed: int) -> None:
        """Lower the least margin of the runs from one start, by CMA-ES.

        Args:
            start: state (nx,).
            seed: of the search.
        """
        import cma

        before = self.violations, self.exits
        options = {
            "bounds": [0.0, 1.0], "popsize": _POPULATION, "maxiter": _GENERATIONS, "seed": seed, "verbose": -9,
            "CMA_diagonal": True,
        }  # fmt: skip
        strategy = cma.CMAEvolutionStrategy(np.full(self.target.horizon * sum(self.sizes), 0.5), 0.4, options)
        while not strategy.stop():
            tried = strategy.ask()
            moves = np.array(tried).reshape(len(tried), self.target.horizon, -1)
            strategy.tell(tried, self.play(np.repeat(start[None], len(tried), axis=0), moves).least.tolist())
        self.broken += (self.violations, self.exits) != before
        self.lost += self.violations > before[0]

    def play(self, starts: np.ndarray, shares: np.ndarray) -> Paths:
        """Run from each start with given moves, and count.

        Args:
            starts: states (n, nx).
            shares: proposals, parameters and measurement errors as shares of their ranges (n, steps, sizes).

        Returns:
            The runs; the margin is that of the readings.
        """
        target, safe = self.target, self.target.safe_set
        n_u, n_p, _ = self.sizes
        x, error = starts, np.zeros_like(starts)
        hard, margins, kept = np.zeros(len(x), dtype=bool), [], []
        # Ends are where the harm is: shares are stretched and cut.
        for share in np.clip(1.5 * shares - 0.25, 0.0, 1.0).swapaxes(0, 1):
            proposed = safe.u_min + share[:, :n_u] * (safe.u_max - safe.u_min)
            p = target.p_min + share[:, n_u : n_u + n_p] * (target.p_max - target.p_min)
            u = self._applied(x, proposed)
            before = x - error
            true = self.tape.evaluate(before, u, p)
            error = (2 * share[:, n_u + n_p :] - 1) * self.E
            x = true + error
            out = beyond(target, true)
            hard |= out
            margins.append(np.nan_to_num(safe.margin(x), nan=-1e6))
            kept.append((before, u, p, x))
            self.violations += int(out.sum())
            self.exits += int((margins[-1] < 0).sum())
            self.steps += len(x)
        least, when = np.min(margins, axis=0), np.argmin(margins, axis=0)
        self.closest = min(self.closest, float(least.min()))
        return Paths(least, when, hard, *(np.array(part) for part in zip(*kept, strict=True)))

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
