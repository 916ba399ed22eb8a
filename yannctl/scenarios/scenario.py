"""What controllers are compared on: a plant, what is true of it, where it starts, what counts, and who takes part."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from yannctl.assurance import SafetyFilter
from yannctl.controllers import AbstractController
from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.types import Float

from .weights import Weights

BOUND_SHARE = 1e-5  # of a limit's range: an excess below it is not counted as a violation


@dataclass(frozen=True)
class Condition:
    """How the true plant differs from the one the controllers know.

    Args:
        factors: name of an uncertain parameter -> range of the factor on its nominal value, drawn once a start.
        disturbed: each disturbance jumps once, at a random step of the first half, to a random value of its range.
        noisy: the plant's `x_noise` is added to what controllers see.
    """

    factors: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))
    disturbed: bool = False
    noisy: bool = False


@dataclass(frozen=True)
class World:
    """Everything random of one comparison, drawn once: all controllers meet the same.

    Args:
        x0: starts (n, nx) [x_units].
        p: true parameters of each start (n, np).
        d: disturbances of each start and step (n, steps, nd).
        noise: measurement errors of each start and step (n, steps, nx) [x_units].
        seed: of the draw.
    """

    x0: Float[np.ndarray, "n nx"]
    p: Float[np.ndarray, "n np"]
    d: Float[np.ndarray, "n steps nd"]
    noise: Float[np.ndarray, "n steps nx"]
    seed: int


# A row of the comparison: makes its controller for a scenario. The world is for those that are told the truth.
Factory = Callable[["Scenario", World], AbstractController]


@dataclass(frozen=True)
class Tunable:
    """A row whose numbers a random search may change.

    Args:
        make: makes its factory for other weights.
        space: names of the factors, see `Weights`, and "backoff".
    """

    make: Callable[[Weights], Factory]
    space: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Scenario:
    """One task: everything that a comparison of controllers needs.

    Args:
        name: as on the command line.
        variant: name of the condition.
        title: one line for people.
        plant: the nominal plant, as controllers know it; minus its reward is the stage cost, its bounds on
            `hard_states` are the limits, unless `limits` says otherwise.
        steps: length of a run.
        starts: draws n starts from a generator.
        condition: how the truth differs.
        rows: factories by name, in the order of the table.
        best: row the gaps count from.
        x_ref: where a run should settle (nx,); NaN for a state that does not count.
        settled: distance from it that counts as settled (nx,).
        limits: hard limits (x_min, x_max), or None for the plant's.
        certain: whether `best` knows all of the truth in advance, so that no other row may be better by more than 1 %.
        short_starts: starts of the short form.
        tunable: what may be tuned, by name of the row.
        safety_filter: filter whose proof covers every true plant of the condition, or None.
    """

    name: str
    variant: str
    title: str
    plant: AbstractPlant
    steps: int
    starts: Callable[[np.random.Generator, int], np.ndarray]
    condition: Condition
    rows: Mapping[str, Factory]
    best: str
    x_ref: Float[np.ndarray, " nx"]
    settled: Float[np.ndarray, " nx"]
    limits: tuple[Float[np.ndarray, " nx"], Float[np.ndarray, " nx"]] | None = None
    certain: bool = True
    short_starts: int = 10
    tunable: Mapping[str, Tunable] = field(default_factory=lambda: MappingProxyType({}))
    safety_filter: SafetyFilter | None = None

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Hard limits (nx,), infinite where there is none."""
        if self.limits is not None:
            return self.limits
        low, high = np.full(self.plant.nx, -np.inf), np.full(self.plant.nx, np.inf)
        hard = list(self.plant.hard_states)
        low[hard], high[hard] = self.plant.x_min[hard], self.plant.x_max[hard]
        return low, high

    def excess(self, x: Float[np.ndarray, "... nx"]) -> Float[np.ndarray, "..."]:
        """Largest excess of a hard limit, in the unit of that state; 0 within the tolerance of `BOUND_SHARE`.

        Args:
            x: states (..., nx).

        Returns:
            Excess (...).
        """
        low, high = self.bounds
        span = np.where(np.isfinite(high - low), high - low, 1.0)
        over = np.maximum(np.maximum(x - high, low - x), 0.0)
        return np.where(over > BOUND_SHARE * span, over, 0.0).max(axis=-1, initial=0.0)

    def choose(self, names: tuple[str, ...]) -> dict[str, Factory]:
        """Rows by name, the best one always first in mind: it is added where it is missing.

        Args:
            names: names of rows; empty for all.

        Returns:
            Factories in the order of the table.

        Raises:
            ModelError: an unknown name.
        """
        for i, name in enumerate(names):
            if name not in self.rows:
                raise ModelError(
                    "controllers", f"{self.name} has no {name!r}", index=i, remedy=f"choose from {', '.join(self.rows)}"
                )
        return {name: row for name, row in self.rows.items() if not names or name in names or name == self.best}


def draw_world(scenario: Scenario, n: int, seed: int) -> World:
    """Draw the starts, the true parameters, the disturbances and the noise of a comparison.

    Args:
        scenario: the scenario.
        n: number of starts.
        seed: of the draw; each part has its own stream.

    Returns:
        The world.
    """
    plant, condition, steps = scenario.plant, scenario.condition, scenario.steps
    streams = [np.random.default_rng([seed, i]) for i in range(4)]
    p = np.broadcast_to(plant.parameters, (n, len(plant.parameters))).copy()
    for i, name in enumerate(plant.parameter_names):
        low, high = condition.factors.get(name, (1.0, 1.0))
        p[:, i] *= streams[1].uniform(low, high, n)
    d = np.broadcast_to(plant.d, (n, steps, len(plant.d))).copy()
    if condition.disturbed:
        when = streams[2].integers(0, max(1, steps // 2), n)
        after = streams[2].uniform(*plant.d_ranges, (n, len(plant.d)))
        for i in range(n):
            d[i, when[i] :] = after[i]
    noise = np.zeros((n, steps, plant.nx))
    if condition.noisy and plant.x_noise is not None:
        noise = streams[3].normal(size=noise.shape) * plant.x_noise
    return World(scenario.starts(streams[0], n), p, d, noise, seed)


def kept_starts(
    draw: Callable[[np.random.Generator, int], np.ndarray], keep: Callable[[np.ndarray], np.ndarray]
) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Draw until n starts are among those to keep.

    Args:
        draw: draws n states.
        keep: says which of the states (n, nx) to keep.

    Returns:
        The drawing function of a scenario.
    """

    def starts(rng: np.random.Generator, n: int) -> np.ndarray:
        found = np.zeros((0, 0))
        while len(found) < n:
            x = draw(rng, 4 * n)
            some = x[keep(x)]
            found = some if len(found) == 0 else np.vstack([found, some])
        return found[:n]

    return starts
