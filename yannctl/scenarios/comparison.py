"""Controllers side by side on one world: cost, gap, violations, settling, input movement."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.types import Float

from .guarded import Guarded
from .oracle import Oracle
from .scenario import Scenario, World, draw_world
from .simulation import Runs, simulate

RESAMPLES = 2000  # of the bootstrap
ALLOWED = 0.01  # relative: no row may be better than the best one knowing the truth by more
SLACK = 1e-3  # of a limit's range: more planned excess than this means the best row itself is not to be trusted


@dataclass(frozen=True)
class Row:
    """One controller's figures over all starts.

    Args:
        name: of the row.
        runs: the trajectories.
        total: cost of each run (n,).
        gap: sum of the costs over that of the best row, minus 1.
        gap_low: lower end of the gap's 95 % interval (bootstrap over the starts, paired).
        gap_high: upper end.
        gap_median: median over the starts of the run's own gap.
        gap_90: 90 % quantile of it.
        violating: number of runs that leave a hard limit.
        worst: largest excess, in the unit of the limited state.
        settling: median time to stay within `settled` of `x_ref`, infinite where less than half the runs do.
        settles: share of the runs that settle.
        movement: mean over the runs of the sum of |u_k - u_{k-1}|, inputs scaled to their range.
        details: further figures of the controller itself, such as the slack of NMPC.
    """

    name: str
    runs: Runs
    total: Float[np.ndarray, " n"]
    gap: float
    gap_low: float
    gap_high: float
    gap_median: float
    gap_90: float
    violating: int
    worst: float
    settling: float
    settles: float
    movement: float
    details: dict[str, float]

    def figures(self) -> dict[str, Any]:
        """Give the figures without the trajectories, for a file."""
        left_out = {"runs", "total", "details"}
        own = {key: value for key, value in self.__dict__.items() if key not in left_out}
        mean = {"cost": float(self.total.mean()), "cost_median": float(np.median(self.total))}
        effort = {"seconds_a_step": self.runs.seconds, "clipped": self.runs.clipped, "missing": self.runs.missing}
        return {**own, **mean, **effort, **self.details}


@dataclass(frozen=True)
class Comparison:
    """The table of one scenario.

    Args:
        scenario: what was compared on.
        world: what was random.
        rows: one a controller.
        beaten: rows better than the best one by more than `ALLOWED`, where that cannot be.
        slack: largest excess of a limit that the best row planned, as a share of the limit's range.
    """

    scenario: Scenario
    world: World
    rows: tuple[Row, ...]
    beaten: tuple[str, ...]
    slack: float

    @property
    def ok(self) -> bool:
        """Whether the row the gaps count from can be believed."""
        return not self.beaten and self.slack <= SLACK


def compare(
    scenario: Scenario,
    n: int = 100,
    seed: int = 0,
    controllers: tuple[str, ...] = (),
    progress: bool = False,
) -> Comparison:
    """Run the scenario's controllers on the same starts, parameters, disturbances and noise.

    Args:
        scenario: the scenario.
        n: number of starts.
        seed: of everything random.
        controllers: names of rows; empty for all. The row the gaps count from always takes part.
        progress: show a bar on a terminal.

    Returns:
        The comparison.

    Raises:
        ModelError: an unknown row.
    """
    from tqdm import tqdm

    world = draw_world(scenario, n, seed)
    chosen = scenario.choose(controllers)
    runs, details = {}, {}
    total = len(chosen) * scenario.steps
    with tqdm(total=total, desc=scenario.name, unit="step", disable=None if progress else True) as bar:
        for name, factory in chosen.items():
            bar.set_postfix_str(name)
            controller = factory(scenario, world)
            runs[name] = simulate(scenario, world, controller, bar.update)
            details[name] = controller.figures() if isinstance(controller, Guarded | Oracle) else {}
    return summarise(scenario, world, runs, details)


def summarise(
    scenario: Scenario, world: World, runs: dict[str, Runs], details: dict[str, dict[str, float]] | None = None
) -> Comparison:
    """Turn runs into the table.

    Args:
        scenario: the scenario.
        world: what was random.
        runs: by name of the row; the best row must be among them.
        details: further figures by name.

    Returns:
        The comparison.
    """
    best = runs[scenario.best].cost.sum(axis=1)
    rows = tuple(
        _row(scenario, name, run, best, (details or {}).get(name, {}), world.seed) for name, run in runs.items()
    )
    beaten = tuple(row.name for row in rows if scenario.certain and row.gap < -ALLOWED and row.violating == 0)
    slack = max((row.details.get("planned_slack", 0.0) for row in rows if row.name == scenario.best), default=0.0)
    return Comparison(scenario, world, rows, beaten, slack)


def _row(scenario: Scenario, name: str, runs: Runs, best: np.ndarray, details: dict[str, float], seed: int) -> Row:
    total = runs.cost.sum(axis=1)
    own = total / np.maximum(best, 1e-300) - 1
    low, high = bootstrap_gap(total, best, seed)
    excess = scenario.excess(runs.x).max(axis=1)
    settling = settling_times(scenario, runs.x)
    span = scenario.plant.u_max - scenario.plant.u_min
    movement = np.abs(np.diff(runs.u / span, axis=1)).sum(axis=(1, 2)).mean()
    return Row(
        name=name,
        runs=runs,
        total=total,
        gap=float(total.sum() / best.sum() - 1),
        gap_low=low,
        gap_high=high,
        gap_median=float(np.median(own)),
        gap_90=float(np.quantile(own, 0.9)),
        violating=int((excess > 0).sum()),
        worst=float(excess.max()),
        settling=float(np.median(settling)),
        settles=float(np.isfinite(settling).mean()),
        movement=float(movement),
        details=details,
    )


def bootstrap_gap(total: np.ndarray, best: np.ndarray, seed: int, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Bound the gap sum(total) / sum(best) - 1 by a paired bootstrap over the starts (percentile method).

    Args:
        total: costs (n,).
        best: costs (n,) of the best row on the same starts.
        seed: of the resampling.
        resamples: how many.

    Returns:
        Ends of the 95 % interval.
    """
    picks = np.random.default_rng([seed, 99]).integers(0, len(total), (resamples, len(total)))
    gaps = total[picks].sum(axis=1) / best[picks].sum(axis=1) - 1
    low, high = np.quantile(gaps, [0.025, 0.975])
    return float(low), float(high)


def settling_times(scenario: Scenario, x: Float[np.ndarray, "n steps1 nx"]) -> Float[np.ndarray, " n"]:
    """Time after which a run stays within `settled` of `x_ref` to its end; infinite where it does not.

    Args:
        scenario: the scenario.
        x: states (n, steps + 1, nx).

    Returns:
        Times (n,), unit of the plant's dt.
    """
    counted = np.isfinite(scenario.x_ref)
    away = np.abs(x - scenario.x_ref)[..., counted] - scenario.settled[counted]
    outside = away.max(axis=-1) > 0
    steps = x.shape[1]
    last = steps - 1 - np.argmax(outside[:, ::-1], axis=1)
    first = np.where(outside.max(axis=1), last + 1, 0)
    return np.where(first < steps, first * scenario.plant.dt, np.inf)
