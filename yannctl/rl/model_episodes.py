"""Simulated episodes of the model: transitions at no step of the plant, for training before and beside it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from yannctl.plant import AbstractPlant

from .simulation import Simulation, Variation
from .task import Task

# Draws n parameter vectors (n, np) of the model.
Draw = Callable[[np.random.Generator, int], np.ndarray]
View = Callable[[np.ndarray], tuple[Tensor, Tensor, Tensor, Tensor]]


class ModelEpisodes:
    """Episodes side by side on the nominal model, each with parameters of its own.

    Args:
        task: the model, its filter and its starts.
        n: number of episodes at once.
        draw: parameters of each new episode.
        view: states, features, law and weight of states, as `Run.view_of` gives them.
        rng: source of starts and parameters.
    """

    def __init__(self, task: Task, n: int, draw: Draw, view: View, rng: np.random.Generator) -> None:
        assert task.plant is not None
        self.task, self.plant, self.n, self.draw, self.view_of, self.rng = task, task.plant, n, draw, view, rng
        self.simulation = Simulation(self.plant, n, Variation(), None, task.filter)
        self._begin(np.ones(n, dtype=bool))
        self.view = view(self.simulation.x)
        self.steps = 0

    def step(self, u: np.ndarray) -> Tensor:
        """Advance every episode and give the rows of the memory.

        Args:
            u: proposed inputs (n, nu) [u_units].

        Returns:
            Rows (n, width) as `Replay` holds them.
        """
        before = self.view
        outcome = self.simulation.step(u, self.rng)
        after = self.view_of(self.simulation.x)
        middle, half = (self.task.u_max + self.task.u_min) / 2.0, self.task.span / 2.0
        a, proposed = (torch.from_numpy((each - middle) / half).float() for each in (outcome.u_applied, u))
        x, phi, base, weight = before
        reward = torch.from_numpy(outcome.reward).float()[:, None]
        live = torch.from_numpy(np.where(outcome.tripped, 0.0, 1.0)).float()[:, None]
        rows = torch.cat([x, phi, a, proposed, base, reward, live, weight, *after], 1)
        over = outcome.tripped | outcome.truncated
        self.view = after
        if over.any():
            self._begin(over)
            self.view = self.view_of(self.simulation.x)
        self.steps += self.n
        return rows

    def _begin(self, chosen: np.ndarray) -> None:
        m = int(chosen.sum())
        self.simulation.reset(self.rng, chosen, self.task.starts(self.rng, m), self.draw(self.rng, m))


def uniform_parameters(plant: AbstractPlant) -> Draw:
    """Draw parameters uniform in the declared ranges.

    Args:
        plant: the model.
    """
    low, high = plant.parameter_ranges
    return lambda rng, n: rng.uniform(low, high, (n, len(low)))
