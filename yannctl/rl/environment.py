"""A plant as a Gymnasium environment: the observation is the state, the action the input, both in physical units."""

from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant

from .simulation import BOUND_TOLERANCE, Filter, Simulation, Starts, Variation

__all__ = ["BOUND_TOLERANCE", "PlantEnvironment", "Variation"]

# States without a natural limit are observed in a box no finite simulation leaves (an infinite one breaks `sample`).
_WIDE = float(np.finfo(np.float32).max)
Render = Literal["rgb_array"] | None


class PlantEnvironment(gymnasium.Env[np.ndarray, np.ndarray]):
    """Episodes of a plant.

    | part | content |
    | --- | --- |
    | observation | state x (nx,) float64 [x_units], angles in [-pi, pi); then what varies and is known (`Variation`) |
    | action | input u (nu,) float64 [u_units]; what exceeds the limits is clipped and counted |
    | reward | the plant's, on the state before the step; a trip is charged (`trip_cost`) |
    | terminated | when a hard bound is left (`plant.trip`) or the simulation diverged (the last finite state is seen) |
    | truncated | after `plant.episode_steps` steps |
    | info["cost"] | 1.0 where the new state is outside its bounds, else 0.0 |
    | info["constraint_margin"] | smallest distance to a state bound, as a share of half its range; negative outside |
    | info["u_proposed"] | the action (nu,) [u_units]; this and the following after a step only |
    | info["u_applied"] | the input after filter and clipping (nu,) [u_units] |
    | info["clipped"], info["n_clipped"] | whether the action was clipped, and how often in this episode |
    | info["filter_active"] | whether the filter changed the input |

    A reset draws its start from `starts`, or takes it from `options={"x": ...}`; `options={"p": ...}` sets
    uncertain parameters by name or vector. Bounds and margin are those of the real state, also with noise.

    Args:
        plant: the plant.
        render_mode: None or "rgb_array".
        variation: randomised parameters, disturbances, noise and references; None for none.
        filter: u_safe = filter(x, u) on the measured state, (nx,), (nu,) -> (nu,) [x_units, u_units], before the clip;
            training behind a gate also calls it with batches (n, nx), (n, nu).
        trip_cost: cost of a trip; None: that of staying at the tripped state until the episode's end.
        starts: draws starts (rng, n) -> (n, nx) [x_units]; None: `plant.sample_starts`.

    Raises:
        ModelError: an action or a given start of the wrong shape or not finite.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(
        self,
        plant: AbstractPlant,
        render_mode: Render = None,
        variation: Variation | None = None,
        filter: Filter | None = None,
        trip_cost: float | None = None,
        starts: Starts | None = None,
    ) -> None:
        check_render_mode(render_mode)
        self.plant, self.filter, self.starts = plant, filter, starts
        self.render_mode = render_mode
        self.variation = variation or Variation()
        safety = None if filter is None else lambda x, u: np.asarray(filter(x[0], u[0]), dtype=float)[None]
        self._simulation = Simulation(plant, 1, self.variation, trip_cost, safety)
        self.observation_space, self.action_space = spaces(self._simulation)
        self._running = False
        self._figure: Any = None

    @property
    def state(self) -> np.ndarray:
        """Copy of the present state (nx,) [x_units], without noise.

        Raises:
            ModelError: before the first reset.
        """
        self._require_reset()
        return self._simulation.x[0].copy()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start an episode.

        Args:
            seed: seed of the environment's generator, or None to go on with it.
            options: {"x": start (nx,) [x_units], "p": parameters}, each optional, or None.

        Returns:
            Observation (no,) and info.
        """
        super().reset(seed=seed)
        x, p = start_of(self.plant, options)
        if x is None and self.starts is not None:
            x = self.starts(self.np_random, 1)
        self._simulation.reset(self.np_random, np.ones(1, dtype=bool), x, p)
        self._running = True
        return self._simulation.observation()[0], self._constraints()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply an input for one sample period.

        Args:
            action: input (nu,) [u_units].

        Returns:
            Observation (no,), reward, terminated, truncated, info.
        """
        self._require_reset()
        u = np.asarray(action, dtype=float)
        check_actions(u, (self.plant.nu,), self.plant)
        outcome = self._simulation.step(u[None], self.np_random)
        info = self._constraints()
        tripped = bool(outcome.tripped[0])
        if tripped:
            info["cost"] = 1.0
        info |= {
            "u_proposed": u.copy(),
            "u_applied": outcome.u_applied[0],
            "clipped": bool(outcome.clipped[0]),
            "n_clipped": int(self._simulation.n_clipped[0]),
            "filter_active": bool(outcome.filter_active[0]),
        }
        observation, reward = self._simulation.observation()[0], float(outcome.reward[0])
        return observation, reward, tripped, bool(outcome.truncated[0]), info

    def render(self) -> np.ndarray | None:
        """Draw the present state.

        Returns:
            Image (height, width, 3) uint8, or None without a render mode.
        """
        if self.render_mode is None:
            return None
        self._require_reset()
        self._figure = self._figure or blank_figure()
        return picture(self._figure, self.plant, self._simulation.x[0])

    def close(self) -> None:
        """Drop the figure; calling it twice is allowed."""
        self._figure = None

    def _require_reset(self) -> None:
        if not self._running:
            raise ModelError("env", "has no state yet", remedy="call reset() first")

    def _constraints(self) -> dict[str, Any]:
        cost, margin = self._simulation.constraints()
        return {"cost": float(cost[0]), "constraint_margin": float(margin[0])}


def spaces(simulation: Simulation) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """Make the spaces of one episode's observation and action.

    Args:
        simulation: the episodes.

    Returns:
        Observation space (no,) and action space (nu,).
    """
    plant = simulation.plant
    limit = np.full(len(simulation.observed_names()), _WIDE)
    limit[list(plant.angles)] = np.pi
    actions = gymnasium.spaces.Box(np.array(plant.u_min), np.array(plant.u_max), dtype=np.float64)
    return gymnasium.spaces.Box(-limit, limit, dtype=np.float64), actions


def check_render_mode(render_mode: Any) -> None:
    """Check a render mode.

    Args:
        render_mode: None or "rgb_array".

    Raises:
        ModelError: anything else.
    """
    if render_mode not in {None, "rgb_array"}:
        raise ModelError("render_mode", f"is {render_mode!r}, expected None or 'rgb_array'")


def check_actions(u: np.ndarray, shape: tuple[int, ...], plant: AbstractPlant) -> None:
    """Check that actions are finite numbers of the right shape.

    Args:
        u: actions (..., nu) [u_units].
        shape: their shape.
        plant: the plant, for the names.

    Raises:
        ModelError: naming the channel.
    """
    if u.shape != shape:
        raise ModelError("action", f"shape {u.shape}, expected {shape} for {', '.join(plant.u_names)}")
    if not np.isfinite(u).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(u))[0])
        index = where if u.ndim > 1 else where[0]
        raise ModelError("action", f"{plant.u_names[where[-1]]} is {u[where]}", index=index)


def start_of(plant: AbstractPlant, options: dict[str, Any] | None) -> tuple[np.ndarray | None, Any]:
    """Read the options of a reset.

    Args:
        plant: the plant.
        options: {"x": start, "p": parameters}, each optional, or None.

    Returns:
        Start (..., nx) [x_units] and parameters, None where not given.

    Raises:
        ModelError: an unknown option or a bad start.
    """
    unknown = set(options or {}) - {"x", "p"}
    if unknown:
        raise ModelError("options", f"does not know {sorted(unknown)}, only 'x' and 'p'")
    x, p = (options or {}).get("x"), (options or {}).get("p")
    if x is None:
        return None, p
    start = np.array(x, dtype=float)
    if start.shape[-1:] != (plant.nx,) or start.ndim > 2 or not np.isfinite(start).all():
        raise ModelError("options", f"x is {x}, expected {plant.nx} finite numbers: {', '.join(plant.x_names)}")
    return start, p


def blank_figure() -> Any:
    """Make a figure of 400 by 400 pixels without any window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), dpi=100)
    FigureCanvasAgg(figure)
    return figure


def picture(figure: Any, plant: AbstractPlant, x: np.ndarray) -> np.ndarray:
    """Draw a state.

    Args:
        figure: from `blank_figure`; its content is replaced.
        plant: the plant.
        x: state (nx,) [x_units].

    Returns:
        Image (height, width, 3) uint8.
    """
    figure.clear()
    plant.draw(figure.add_subplot(), x)
    figure.tight_layout()
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
