"""Any Gymnasium environment as data source, beside the plant that is its nominal model."""

from typing import Any

import gymnasium
import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant


class AttachedEnvironment(gymnasium.Env[np.ndarray, np.ndarray]):
    """An environment of any origin, a simulator or a rig, with the plant that models it.

    Its observation must be the state and its action the input, in the plant's order and units. Actions are clipped to
    the plant's limits; `info` gains cost, constraint_margin, u_proposed, u_applied and clipped. What the plant
    says about bounds and trips holds for the environment: a trip terminates.

    Args:
        env: the environment; observation and action are boxes of nx and nu numbers.
        plant: its nominal model.

    Raises:
        ModelError: spaces that do not fit the plant, naming the space.
    """

    def __init__(self, env: gymnasium.Env, plant: AbstractPlant) -> None:
        for name, space, channels in (
            ("observation_space", env.observation_space, plant.x_names),
            ("action_space", env.action_space, plant.u_names),
        ):
            if space.shape != (len(channels),):
                text = f"has shape {space.shape}, the plant {(len(channels),)}: {', '.join(channels)}"
                raise ModelError(name, text, remedy="wrap the environment so that it gives the plant's state")
        self.env, self.plant = env, plant
        self.metadata, self.render_mode = env.metadata, env.render_mode
        self.observation_space = _doubled(env.observation_space)
        self.action_space = gymnasium.spaces.Box(np.array(plant.u_min), np.array(plant.u_max), dtype=np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start an episode of the environment.

        Args:
            seed: seed of the environment, or None.
            options: passed on.

        Returns:
            Observation (nx,) [x_units] and info.
        """
        super().reset(seed=seed)
        x, info = self.env.reset(seed=seed, options=options)
        state = np.asarray(x, dtype=np.float64)
        return state, {**info, **self._constraints(state)}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply an input for one step of the environment.

        Args:
            action: input (nu,) [u_units].

        Returns:
            Observation (nx,) [x_units], reward, terminated, truncated, info.
        """
        u = np.asarray(action, dtype=float)
        applied = self.plant.clip(u)
        kind = self.env.action_space.dtype
        x, reward, terminated, truncated, info = self.env.step(applied.astype(kind))
        state = np.asarray(x, dtype=np.float64)
        tripped = bool(self.plant.trip(state))
        extra = {"u_proposed": u.copy(), "u_applied": applied, "clipped": bool((applied != u).any())}
        info = {**info, **self._constraints(state), **extra}
        return state, float(reward), bool(terminated) or tripped, bool(truncated), info

    def render(self) -> Any:
        """Render the environment."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _constraints(self, x: np.ndarray) -> dict[str, Any]:
        margin = float(self.plant.margin(x))
        return {"cost": float(margin < 0 or bool(self.plant.trip(x))), "constraint_margin": margin}


def _doubled(space: gymnasium.Space) -> gymnasium.spaces.Box:
    if not isinstance(space, gymnasium.spaces.Box):
        raise ModelError("observation_space", f"is a {type(space).__name__}, expected a Box")
    return gymnasium.spaces.Box(space.low.astype(np.float64), space.high.astype(np.float64), dtype=np.float64)
