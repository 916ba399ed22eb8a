"""A plant as a Gymnasium environment: the observation is the state, the action the input, both in physical units."""

from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np

from yannctl.errors import ModelError
from yannctl.models import Pendulum
from yannctl.plant import AbstractPlant

# A state counts as outside its bounds beyond this share of their range, so that a clipped state does not.
BOUND_TOLERANCE = 1e-9
# States without a natural limit are observed in a box no finite simulation leaves (an infinite one breaks `sample`).
_WIDE = float(np.finfo(np.float32).max)
_FACTORIES = {"yannctl/Pendulum-v0": "make_pendulum"}


class PlantEnvironment(gymnasium.Env[np.ndarray, np.ndarray]):
    """Episodes of a plant.

    | part | content |
    | --- | --- |
    | observation | state x (nx,) float64 [x_units], angles in [-pi, pi) |
    | action | input u (nu,) float64 [u_units]; what exceeds the bounds is clipped and counted |
    | reward | the plant's, on the state before the step |
    | terminated | only when the simulation diverged; the last finite state is observed then |
    | truncated | after `plant.episode_steps` steps |
    | info["cost"] | 1.0 where the new state is outside its bounds, else 0.0 |
    | info["constraint_margin"] | smallest distance to a state bound, as a share of half its range; negative outside |
    | info["u_applied"] | the input after clipping (nu,) [u_units] (after a step only) |
    | info["clipped"] | whether the action was clipped (after a step only) |

    A reset draws its start from `plant.sample_starts`, or takes it from `options={"x": ...}`.

    Args:
        plant: the plant.
        render_mode: None or "rgb_array".

    Raises:
        ModelError: an action or a given start of the wrong shape or not finite.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, plant: AbstractPlant, render_mode: Literal["rgb_array"] | None = None) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ModelError("render_mode", f"is {render_mode!r}, expected None or 'rgb_array'")
        self.plant = plant
        self.render_mode = render_mode
        angles = np.isin(np.arange(plant.nx), plant.angles)
        limit = np.where(angles, np.pi, _WIDE)
        self.observation_space = gymnasium.spaces.Box(-limit, limit, dtype=np.float64)
        self.action_space = gymnasium.spaces.Box(np.array(plant.u_min), np.array(plant.u_max), dtype=np.float64)
        # An angle bounded by the whole circle cannot leave it.
        self._bounded = ~(angles & (plant.x_max - plant.x_min >= 2 * np.pi * (1 - BOUND_TOLERANCE)))
        self._x: np.ndarray | None = None
        self._steps = 0
        self._figure: Any = None

    @property
    def state(self) -> np.ndarray:
        """Copy of the present state (nx,) [x_units].

        Raises:
            ModelError: before the first reset.
        """
        return self._present().copy()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start an episode.

        Args:
            seed: seed of the environment's generator, or None to go on with it.
            options: {"x": start state (nx,) [x_units]}, or None for a drawn one.

        Returns:
            Observation (nx,) [x_units] and info.
        """
        super().reset(seed=seed)
        unknown = set(options or {}) - {"x"}
        if unknown:
            raise ModelError("options", f"does not know {sorted(unknown)}, only 'x'")
        if options and "x" in options:
            x = np.array(options["x"], dtype=float)
            if x.shape != (self.plant.nx,) or not np.isfinite(x).all():
                raise ModelError("options", f"x is {x}, expected {self.plant.nx} finite numbers")
            angles = list(self.plant.angles)
            x[angles] = (x[angles] + np.pi) % (2 * np.pi) - np.pi
        else:
            x = self.plant.sample_starts(1, self.np_random)[0]
        self._x, self._steps = x, 0
        return x.copy(), self._constraints(x)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply an input for one sample period.

        Args:
            action: input (nu,) [u_units].

        Returns:
            Observation (nx,) [x_units], reward, terminated, truncated, info.
        """
        x, plant = self._present(), self.plant
        u = np.asarray(action, dtype=float)
        if u.shape != (plant.nu,):
            raise ModelError("action", f"shape {u.shape}, expected {(plant.nu,)}")
        if not np.isfinite(u).all():
            channel = int(np.argmin(np.isfinite(u)))
            raise ModelError("action", f"{plant.u_names[channel]} is {u[channel]}", index=channel)
        applied = np.clip(u, plant.u_min, plant.u_max)
        reward = float(plant.rewards(x, applied))
        after = plant.step(x, applied)
        diverged = not np.isfinite(after).all()
        self._x = x if diverged else after
        self._steps += 1
        info = self._constraints(self._x)
        if diverged:
            info["cost"] = 1.0
        info |= {"u_applied": applied, "clipped": bool((applied != u).any())}
        return self._x.copy(), reward, diverged, self._steps >= plant.episode_steps, info

    def render(self) -> np.ndarray | None:
        """Draw the present state.

        Returns:
            Image (height, width, 3) uint8, or None without a render mode.
        """
        if self.render_mode is None:
            return None
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        if self._figure is None:
            self._figure = Figure(figsize=(4, 4), dpi=100)
            FigureCanvasAgg(self._figure)
        self._figure.clear()
        self.plant.draw(self._figure.add_subplot(), self._present())
        self._figure.canvas.draw()
        return np.asarray(self._figure.canvas.buffer_rgba())[..., :3].copy()

    def close(self) -> None:
        """Drop the figure; calling it twice is allowed."""
        self._figure = None

    def _present(self) -> np.ndarray:
        if self._x is None:
            raise ModelError("env", "has no state yet", remedy="call reset() first")
        return self._x

    def _constraints(self, x: np.ndarray) -> dict[str, Any]:
        low, high = self.plant.x_min[self._bounded], self.plant.x_max[self._bounded]
        distance = np.minimum(x[self._bounded] - low, high - x[self._bounded])
        half = np.where(np.isfinite(high - low), (high - low) / 2, 1.0)
        margin = float((distance / half).min(initial=np.inf))
        return {"cost": float(margin < -BOUND_TOLERANCE), "constraint_margin": margin}


def make_pendulum(
    integrator: Literal["gymnasium", "accurate"] = "gymnasium",
    render_mode: Literal["rgb_array"] | None = None,
    g: float = 10.0,
    m: float = 1.0,
    length: float = 1.0,
) -> PlantEnvironment:
    """Make the environment of `yannctl/Pendulum-v0`.

    Args:
        integrator: "gymnasium" (to the last digit its Pendulum-v1) or "accurate".
        render_mode: None or "rgb_array".
        g: gravity [m/s^2].
        m: mass of the rod [kg].
        length: length of the rod [m].

    Returns:
        The environment; `.plant` is the `Pendulum`.
    """
    return PlantEnvironment(Pendulum(g, m, length, integrator), render_mode)


def register() -> None:
    """Register every plant's environment with gymnasium; calling it again changes nothing."""
    for name, factory in _FACTORIES.items():
        if name not in gymnasium.registry:
            gymnasium.register(id=name, entry_point=f"yannctl.rl.environment:{factory}")
