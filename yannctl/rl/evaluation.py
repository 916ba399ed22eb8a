"""Run a policy on the nominal model from many starts at once."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant

from .simulation import Filter
from .task import Task

BOUND_TOLERANCE = 1e-9  # of the range between the bounds: rounding on a bound is not a violation


class Evaluation(NamedTuple):
    """What the rollouts gave.

    Args:
        returns: undiscounted sum of rewards, a start each (n,).
        violations: steps with a state outside its bounds (an angle free on the whole circle has
            none), a start each (n,).
        interventions: share of the steps in which the filter changed the input, a start each (n,); 0 without one.
    """

    returns: Float[np.ndarray, " n"]
    violations: Int[np.ndarray, " n"]
    interventions: Float[np.ndarray, " n"]


def evaluate(
    policy: nn.Module,
    plant: AbstractPlant,
    starts: Float[np.ndarray, "n nx"],
    steps: int,
    p: Float[np.ndarray, "n np"] | None = None,
    safety: Filter | None = None,
) -> Evaluation:
    """Return of a policy without exploration, on the nominal model.

    J_i = sum_{k < steps} reward(x_k, u_k) from x_0 = starts[i]; inputs are clipped to the plant's bounds. A trajectory
    that trips is over: its state and its reward stay what they were then.

    Args:
        policy: torch module, states (n, nx) -> inputs (n, nu) [physical units].
        plant: the nominal model.
        starts: initial states (n, nx) [physical units].
        steps: length of each rollout.
        p: uncertain parameters of each rollout (n, np), or None for the plant's own.
        safety: filter (n, nx), (n, nu) -> (n, nu) that every input passes, or None.

    Returns:
        Returns, violations and interventions, a start each; NaN returns where the policy or the
        model left the finite numbers.
    """
    task, changed = Task(plant.nx, plant.nu, plant, plant), np.zeros(len(starts))

    def act(x: np.ndarray) -> np.ndarray:
        u = policy(torch.from_numpy(x)).numpy()
        if safety is None:
            return u
        safe = np.asarray(safety(x, u), float)
        changed[:] += task.changed(u, safe)
        return safe

    try:
        with torch.no_grad():
            rollout = plant.rollout(act, starts, steps, p)
    except ModelError:  # an input or a state that is not finite
        return Evaluation(np.full(len(starts), np.nan), np.full(len(starts), steps), changed / steps)
    x = rollout.x[:, 1:]
    low, high = np.asarray(plant.x_min, float), np.asarray(plant.x_max, float)
    tolerance = BOUND_TOLERANCE * np.where(np.isfinite(high - low), high - low, 1.0)
    outside = (x < low - tolerance) | (x > high + tolerance)
    circle = [j for j in plant.angles if high[j] - low[j] >= 2.0 * np.pi * (1.0 - BOUND_TOLERANCE)]
    outside[..., circle] = False
    return Evaluation(rollout.rewards.sum(-1), outside.any(-1).sum(-1), changed / steps)
