"""Random search over the weights of a scenario's linear MPC, on starts of its own."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yannctl.errors import ModelError, NotStabilisableError
from yannctl.files import write_whole

from .scenario import Factory, Scenario, Tunable, World, draw_world
from .simulation import simulate
from .weights import TUNED, Weights, entry_name, read_tuned

SPREAD = 30.0  # factors are drawn from 1/30 to 30, evenly in their logarithm
FARTHEST = 0.15  # largest back-off, as a share of the limit's range
NARROWER = 2.0  # factors around the best one in the second half of the search


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Args:
        scenario: name.
        variant: name.
        row: name of the tuned row.
        weights: the best ones.
        cost: their mean cost on the tuning starts.
        plain_cost: that of the plain weights.
        trials: weights tried.
        starts: number of tuning starts.
        seed: of the starts and of the search.
    """

    scenario: str
    variant: str
    row: str
    weights: Weights
    cost: float
    plain_cost: float
    trials: int
    starts: int
    seed: int

    @property
    def command(self) -> str:
        """The command that made it."""
        options = f"--trials {self.trials} --starts {self.starts} --seed {self.seed}"
        row = "" if self.row == "tuned" else f" --row {self.row}"
        return f"yannctl tune {self.scenario} --variant {self.variant}{row} {options}"


def tune(
    scenario: Scenario,
    trials: int = 300,
    n: int = 40,
    seed: int = 1000,
    tick: Callable[[], object] = lambda: None,
    row: str = "tuned",
    known: Sequence[Weights] = (),
) -> Tuning:
    """Search weights that lower the mean cost on tuning starts: half of the trials far, half around the best so far.

    Args:
        scenario: the scenario.
        trials: weights to try beside the plain ones.
        n: number of tuning starts.
        seed: of the starts and of the search; use another one than for testing.
        tick: called once a trial.
        row: which row to tune.
        known: weights to try first, such as those of related rows; those outside the row's space are passed over.

    Returns:
        The best weights.

    Raises:
        ModelError: a row that has nothing to tune, or no trial.
    """
    if row not in scenario.tunable:
        names = ", ".join(scenario.tunable) or "no row"
        raise ModelError("row", f"{scenario.name} has nothing to tune in {row!r}", remedy=f"choose from {names}")
    if trials < 1:
        raise ModelError("trials", f"got {trials}", remedy="try at least once")
    world = draw_world(scenario, n, seed)
    rng = np.random.default_rng([seed, 7])
    best, tunable = Weights(), scenario.tunable[row]
    plain = lowest = _cost(scenario, world, tunable.make(best))
    usable = [weights for weights in known if _fits(weights, tunable.space)]
    for trial in range(-len(usable), trials):
        candidate = usable[trial] if trial < 0 else _draw(rng, tunable.space, best if trial >= trials // 2 else None)
        cost = _cost(scenario, world, tunable.make(candidate))
        if cost < lowest:
            best, lowest = candidate, cost
        if trial >= 0:
            tick()
    return Tuning(scenario.name, scenario.variant, row, best, lowest, plain, trials, n, seed)


def tuned_rows(name: str, variant: str, tunable: Mapping[str, Tunable], path: Path = TUNED) -> dict[str, Factory]:
    """Make the rows whose weights a search has found.

    Args:
        name: of the scenario.
        variant: of the scenario.
        tunable: what may be tuned, by name of the row.
        path: file written by `yannctl tune`.

    Returns:
        Factories by name of the row; a filtered row without an entry takes that of the row without filter, and a row
        without either is left out.
    """

    def read(row: str) -> Weights | None:
        own = read_tuned(name, variant, path, row)
        return read_tuned(name, variant, path, row.removeprefix("filtered-")) if own is None else own

    found = {row: read(row) for row in tunable}
    return {row: tunable[row].make(weights) for row, weights in found.items() if weights is not None}


def write_tuned(found: Tuning, path: Path = TUNED) -> None:
    """Add a result to the file of tuned weights.

    Args:
        found: of a search.
        path: the file.
    """
    table = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    table[entry_name(found.scenario, found.variant, found.row)] = {
        "factors": found.weights.factors,
        "backoff": found.weights.backoff,
        "tuning_cost": found.cost,
        "plain_cost": found.plain_cost,
        "command": found.command,
    }
    write_whole(path, (json.dumps(dict(sorted(table.items())), indent=1) + "\n").encode())


def _draw(rng: np.random.Generator, space: tuple[str, ...], around: Weights | None) -> Weights:
    factors, backoff = {}, 0.0
    spread = np.log(SPREAD if around is None else NARROWER)
    for name in space:
        factor = float(np.exp(rng.uniform(-spread, spread)))
        if name == "backoff":
            near = 0.0 if around is None else around.backoff
            wide = rng.uniform(0.0, FARTHEST) if around is None else near + 0.02 * rng.normal()
            backoff = float(np.clip(wide, 0.0, FARTHEST))
        else:
            factors[name] = factor * (1.0 if around is None else around.factors.get(name, 1.0))
    return Weights(factors, backoff)


def _fits(weights: Weights, space: tuple[str, ...]) -> bool:
    return set(weights.factors) <= set(space) and (weights.backoff == 0 or "backoff" in space)


def _cost(scenario: Scenario, world: World, factory: Factory) -> float:
    try:
        controller = factory(scenario, world)
    except NotStabilisableError:
        return np.inf
    return float(simulate(scenario, world, controller).cost.sum(axis=1).mean())
