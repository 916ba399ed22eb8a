"""Many episodes of a plant at once as a Gymnasium vector environment: one batched call of the plant a step."""

from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant

from .environment import Render, blank_figure, check_actions, check_render_mode, picture, spaces, start_of
from .simulation import Filter, Simulation, Variation


class PlantVectorEnvironment(VectorEnv):
    """Many episodes of a plant at once, each step one batched call of it; otherwise as `PlantEnvironment`.

    An episode that ended starts anew at the next step, whose action it ignores and whose reward is 0
    (`AutoresetMode.NEXT_STEP`). One generator draws for all of them. `info` holds an array for each key.

    Args:
        plant: the plant.
        num_envs: number of episodes.
        render_mode: None or "rgb_array".
        variation: randomised parameters, disturbances, noise and references; None for none.
        filter: u_safe = filter(x, u), (n, nx), (n, nu) -> (n, nu) [x_units, u_units], before the clip.
        trip_cost: cost of a trip; None: that of staying at the tripped state until the episode's end.

    Raises:
        ModelError: actions or given starts of the wrong shape or not finite.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        plant: AbstractPlant,
        num_envs: int = 1,
        render_mode: Render = None,
        variation: Variation | None = None,
        filter: Filter | None = None,
        trip_cost: float | None = None,
    ) -> None:
        check_render_mode(render_mode)
        self.plant, self.num_envs, self.render_mode = plant, num_envs, render_mode
        self._simulation = Simulation(plant, num_envs, variation or Variation(), trip_cost, filter)
        self.single_observation_space, self.single_action_space = spaces(self._simulation)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._over = np.zeros(num_envs, dtype=bool)
        self._running = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start every episode.

        Args:
            seed: seed of the generator, or None to go on with it; of a list the first counts.
            options: {"x": starts (nx,) or (num_envs, nx) [x_units], "p": parameters}, each optional, or None.

        Returns:
            Observations (num_envs, no) and info.
        """
        first = seed[0] if isinstance(seed, list) else seed
        super().reset(seed=first)
        x, p = start_of(self.plant, options)
        self._simulation.reset(self.np_random, np.ones(self.num_envs, dtype=bool), x, p)
        self._over[:] = False
        self._running = True
        return self._simulation.observation(), self._constraints()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply inputs for one sample period.

        Args:
            actions: inputs (num_envs, nu) [u_units].

        Returns:
            Observations (num_envs, no), rewards, terminated, truncated (num_envs,), info.
        """
        if not self._running:
            raise ModelError("env", "has no state yet", remedy="call reset() first")
        u = np.asarray(actions, dtype=float)
        check_actions(u, (self.num_envs, self.plant.nu), self.plant)
        outcome = self._simulation.step(u, self.np_random)
        again = self._over
        fresh = ~again
        if again.any():
            self._simulation.reset(self.np_random, again)
        info = self._constraints()
        info["cost"] = np.where(outcome.tripped & fresh, 1.0, info["cost"])
        info |= {
            "u_proposed": u.copy(),
            "u_applied": outcome.u_applied,
            "clipped": outcome.clipped & fresh,
            "n_clipped": self._simulation.n_clipped.copy(),
            "filter_active": outcome.filter_active & fresh,
        }
        terminated, truncated = outcome.tripped & fresh, outcome.truncated & fresh
        self._over = terminated | truncated
        return self._simulation.observation(), np.where(fresh, outcome.reward, 0.0), terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Draw every present state.

        Returns:
            Images (height, width, 3) uint8, or None without a render mode.
        """
        if self.render_mode is None:
            return None
        figure = blank_figure()
        return tuple(picture(figure, self.plant, x) for x in self._simulation.x)

    def _constraints(self) -> dict[str, Any]:
        cost, margin = self._simulation.constraints()
        return {"cost": cost, "constraint_margin": margin}
