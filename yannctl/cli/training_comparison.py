"""What a training run is judged by at its end: policies from common fresh starts, and where the input changed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from yannctl import rl
from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.rl.episodes import stream_seed
from yannctl.rl.networks import CentreLaw
from yannctl.rl.task import Task, task_of

from .intervals import mean_interval

Policy = Callable[[np.ndarray], np.ndarray]
STARTS, VISITS = 200, 40  # common starts; those of them whose courses are kept
REPORT_STREAM = 9  # of the run's seed: starts that neither learner nor gate has seen
NODES, INPUTS = 161, 41  # of dynamic programming


@dataclass(frozen=True)
class Row:
    """One policy on the common starts.

    Args:
        label: what it is.
        returns: return from each start (n,).
        violations: steps outside the state bounds from each start (n,).
        interventions: share of the steps in which the filter changed its input (n,).
    """

    label: str
    returns: np.ndarray
    violations: np.ndarray
    interventions: np.ndarray


@dataclass(frozen=True)
class Course:
    """Closed loops of one policy from the first of the common starts.

    Args:
        x: states (n, steps + 1, nx) [x_units].
        u: inputs applied (n, steps, nu) [u_units].
        returns: of each (n,).
    """

    x: np.ndarray
    u: np.ndarray
    returns: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Policies on the plant of the environment, all behind the run's filter, from the same starts.

    Args:
        plant: the plant.
        starts: the starts (n, nx).
        rows: policies by name: "linear", "tuned" (deployed), "learning", and "optimum" where one is known.
        courses: closed loops of "linear" and "tuned".
        before: the exact law, raw, x (n, nx) -> u (n, nu).
        after: the deployed policy, raw.
        bound: how "optimum" was found, or why there is none.
    """

    plant: AbstractPlant
    starts: np.ndarray
    rows: dict[str, Row]
    courses: dict[str, Course]
    before: Policy
    after: Policy
    bound: str

    def gain(self, name: str) -> tuple[float, float, float]:
        """Mean gain of a policy over the law from the same starts, with its 95 % interval.

        Args:
            name: of the row.

        Returns:
            Mean, lower and upper end.
        """
        return mean_interval(self.rows[name].returns - self.rows["linear"].returns)

    @property
    def unchanged(self) -> bool:
        """Whether the deployed policy still is what the run started from."""
        return not any(bool(change.any()) for change in changes(self).values())

    def gap_closed(self) -> float | None:
        """Share of the way from the law to the best known return; None where there is no such way."""
        if "optimum" not in self.rows:
            return None
        way = float((self.rows["optimum"].returns - self.rows["linear"].returns).mean())
        return self.gain("tuned")[0] / way if way > 0 else None


def compare(result: "rl.TrainingResult", environment: Any, seed: int, n: int = STARTS) -> Comparison | None:
    """Run law, deployed and learning policy, and the best known one, from the same fresh starts.

    Args:
        result: of the run.
        environment: the environment it ran on.
        seed: seed of the run.
        n: number of starts.

    Returns:
        The comparison; None for an environment without a plant.
    """
    plant = getattr(environment.unwrapped, "plant", None)
    if not isinstance(plant, AbstractPlant):
        return None
    task = result.safeguard.guarded(task_of(environment))
    starts = task.starts(np.random.default_rng(stream_seed(seed, REPORT_STREAM, 0)), n)
    law: Any = result.deployed.base
    scratch = isinstance(law, CentreLaw)
    modules = {
        "linear": ("middle of the input range" if scratch else "exact law, before training", law),
        "tuned": ("deployed policy", result.deployed),
        "learning": ("learning policy, not deployed", result.learning),
    }
    best, bound = _best(plant, task)
    if best is not None:
        modules["optimum"] = ("best state feedback (grid)", best)
    rows, courses = {}, {}
    for name, (label, module) in modules.items():
        found = rl.evaluate(module, plant, starts, plant.episode_steps, safety=task.filter)
        rows[name] = Row(label, found.returns, found.violations, found.interventions)
        if name in ("linear", "tuned"):
            courses[name] = _course(plant, task, _raw(module), starts[:VISITS])
    if "optimum" in rows:
        level = float(rows["optimum"].returns.mean())
        if level < max(float(rows[name].returns.mean()) for name in modules if name != "optimum"):
            del rows["optimum"]  # a best that others surpass bounds nothing
            grid = bound.split(";")[0]
            bound = f"none, {grid} reached {level:.5g}, less than a policy here; the grid is too coarse for this task"
    return Comparison(plant, starts, rows, courses, _raw(law), _raw(result.deployed), bound)


def operating_point(plant: AbstractPlant) -> np.ndarray:
    """The point that slices go through: the plant's equilibrium, else the middle of its starts, (nx,).

    Args:
        plant: the plant.
    """
    if plant.x_equilibrium is not None:
        return np.array(plant.x_equilibrium, float)
    low, high = axes_of(plant)
    return (low + high) / 2.0


def axes_of(plant: AbstractPlant) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the axes on which a law is drawn: the state bounds, or the starts where a state has none.

    Args:
        plant: the plant.

    Returns:
        Lower and upper ends (nx,).
    """
    low, high = np.array(plant.x_min, float), np.array(plant.x_max, float)
    start_low = low if plant.start_min is None else np.asarray(plant.start_min, float)
    start_high = high if plant.start_max is None else np.asarray(plant.start_max, float)
    low, high = np.where(np.isfinite(low), low, start_low), np.where(np.isfinite(high), high, start_high)
    return np.nan_to_num(low, posinf=1.0, neginf=-1.0), np.nan_to_num(high, posinf=1.0, neginf=-1.0)


def changes(comparison: Comparison) -> dict[str, np.ndarray]:
    """Change of the input by learning where it counts, as shares of the input ranges.

    Args:
        comparison: the comparison.

    Returns:
        (deployed - law) / range at each state (m, nu): of the common starts, of the deployed closed loops, and within
        a tenth of the axes around the operating point.
    """
    plant = comparison.plant
    low, high = axes_of(plant)
    middle, reach = operating_point(plant), 0.1 * (high - low) / 2.0
    near = np.random.default_rng(0).uniform(middle - reach, middle + reach, (2000, plant.nx))
    visited = comparison.courses["tuned"].x[:, :-1].reshape(-1, plant.nx)
    span = plant.u_max - plant.u_min
    places = {"at the common starts": comparison.starts, "along the deployed closed loops": visited}
    places["around the operating point (10 % of the axes)"] = near
    return {
        name: (plant.clip(comparison.after(x)) - plant.clip(comparison.before(x))) / span for name, x in places.items()
    }


def _raw(module: Any) -> Policy:
    def policy(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(np.ascontiguousarray(x, float))).double().numpy()

    return policy


def _course(plant: AbstractPlant, task: Task, policy: Policy, starts: np.ndarray) -> Course:
    def act(x: np.ndarray) -> np.ndarray:
        return policy(x) if task.filter is None else np.asarray(task.filter(x, policy(x)), float)

    run = plant.rollout(act, starts, plant.episode_steps)
    return Course(run.x, run.u, run.rewards.sum(axis=1))


class _Feedback(torch.nn.Module):
    """A numpy state feedback as a module."""

    def __init__(self, controller: Policy) -> None:
        super().__init__()
        self.controller = controller

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.controller(x.numpy()))


def _best(plant: AbstractPlant, task: Task) -> tuple[torch.nn.Module | None, str]:
    """The best state feedback behind the same filter, where a grid can find it."""
    if plant.nx > 2 or plant.nu > 1:
        return None, "none, dynamic programming takes at most two states and one input"
    from yannctl.controllers import DynamicProgramming

    def limits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ends = [np.broadcast_to(end, (len(x), plant.nu)).copy() for end in (plant.u_min, plant.u_max)]
        if task.filter is not None:
            ends = [np.asarray(task.filter(x, end), float) for end in ends]
        return ends[0], ends[1]

    try:
        best = DynamicProgramming.solve(plant, NODES, INPUTS, limits=limits)
    except ModelError as error:
        return None, f"none, {error.problem}"
    behind = "" if task.filter is None else " behind the same filter"
    return _Feedback(best), f"dynamic programming on {NODES} x {NODES} nodes{behind}; error about 1 %"
