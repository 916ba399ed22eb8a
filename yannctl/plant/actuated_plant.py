"""A plant seen through its actuators: their lag and the delay of commands become states."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import Float

from .abstract_plant import AbstractPlant
from .data_sheet import Expression, vector
from .integration import extrapolate
from .ranges import specimen


@dataclass(frozen=True, eq=False)
class ActuatedPlant(AbstractPlant):
    """Another plant whose input passes a delay of whole periods and a first-order lag.

        tau da/dt = u(k - delay) - a,   the plant sees a, or u(k - delay) without a lag

    States: those of the plant, then the actuators' positions `<input>_real` if they lag, then the commands under way,
    `<input>_1_ago`, ..., the newest first. The reward counts the input that the plant sees. Bounds, uncertain fields,
    disturbances and references are the plant's; `plant.actuated()` makes one with the plant's own lag and delay.

    Args:
        plant: the plant.
        time_constants: lag of each actuator (nu,), all positive [unit of dt], or None for none.
        delay: whole periods from command to effect.

    Raises:
        ModelError: a lag or delay out of its sense, or neither.
    """

    plant: AbstractPlant
    time_constants: Float[np.ndarray, " nu"] | None = None
    delay: int = 0

    def __post_init__(self) -> None:
        plant, nu = self.plant, self.plant.nu
        if self.time_constants is None and self.delay == 0:
            raise ModelError(
                "time_constants, delay", "there is neither", remedy="use the plant itself, or give one of them"
            )
        if self.time_constants is not None:
            lag = np.asarray(self.time_constants, dtype=float)
            if lag.shape != (nu,) or not (np.isfinite(lag) & (lag > 0)).all():
                raise ModelError("time_constants", f"is {self.time_constants}, expected {nu} positive time constants")
        if self.delay < 0:
            raise ModelError("delay", f"is {self.delay}, expected 0 or more periods")
        copies = (self.time_constants is not None) + self.delay
        names = [f"{name}_real" for name in plant.u_names if self.time_constants is not None]
        names += [f"{name}_{k}_ago" for k in range(1, self.delay + 1) for name in plant.u_names]
        rest = (plant.u_min + plant.u_max) / 2 if plant.u_equilibrium is None else plant.u_equilibrium
        unbounded = np.full(nu, np.inf)
        self._declare(
            x_names=(*plant.x_names, *names),
            x_units=(*plant.x_units, *plant.u_units * copies),
            x_min=_extended(plant.x_min, plant.u_min, copies),
            x_max=_extended(plant.x_max, plant.u_max, copies),
            x_equilibrium=_extended(plant.x_equilibrium, rest, copies),
            start_min=_extended(plant.x_min if plant.start_min is None else plant.start_min, rest, copies),
            start_max=_extended(plant.x_max if plant.start_max is None else plant.start_max, rest, copies),
            x_noise=_extended(plant.x_noise, 0 * rest, copies),
            possible_min=_extended(plant.possible_min, -unbounded, copies),
            possible_max=_extended(plant.possible_max, unbounded, copies),
        )
        same = (
            "u_names",
            "u_units",
            "u_min",
            "u_max",
            "dt",
            "time_unit",
            "angles",
            "periods",
            "u_equilibrium",
            "episode_steps",
            "input_rows",
        )
        ranges = ("uncertain", "disturbances", "references", "hard_states")
        self._declare(**{name: getattr(plant, name) for name in (*same, *ranges)})
        self._declare(**{name: getattr(plant, name) for name in self._fields})

    @property
    def _fields(self) -> tuple[str, ...]:
        return (*self.plant.uncertain, *self.plant.disturbances, *self.plant.references)

    @property
    def _inner(self) -> AbstractPlant:
        """The plant with the present values of its uncertain fields, disturbances and references."""
        return specimen(self.plant, {name: getattr(self, name) for name in self._fields})

    def rhs(self, x: Expression, u: Expression) -> Expression:
        """Rates of the plant at the input it sees, of the actuators, and zero of the commands under way.

        Args:
            x: state (nx,) [x_units].
            u: command (nu,) [u_units].
        """
        import casadi as ca

        plant, n, nu = self._inner, self.plant.nx, self.plant.nu
        arriving = x[-nu:] if self.delay else u
        if self.time_constants is None:
            return ca.vertcat(plant.rhs(x[:n], arriving), ca.DM.zeros(self.delay * nu))
        real = x[n : n + nu]
        moving = (arriving - real) / ca.DM(np.asarray(self.time_constants))
        return ca.vertcat(plant.rhs(x[:n], real), moving, ca.DM.zeros(self.delay * nu))

    def step_map(self, x: Expression, u: Expression) -> Expression:
        """State after one period: the plant's own step without a lag, else an accurate integration of both.

        Args:
            x: state (nx,) [x_units].
            u: command (nu,) [u_units].
        """
        import casadi as ca

        n, nu = self.plant.nx, self.plant.nu
        arriving = x[-nu:] if self.delay else u
        moved = n if self.time_constants is None else n + nu
        if self.time_constants is None:
            after = self._inner.step_map(x[:n], arriving)
        else:
            after = extrapolate(self.rhs, x, u, self.dt, substeps=2, stages=5)[:moved]
        if not self.delay:
            return after
        return ca.vertcat(after, u, x[moved : self.nx - nu])

    def reward(self, x: Expression, u: Expression) -> Expression:
        """Reward of the plant for the input it sees at the beginning of the period.

        Args:
            x: state (nx,) [x_units].
            u: command (nu,) [u_units].
        """
        n, nu = self.plant.nx, self.plant.nu
        seen = x[n : n + nu] if self.time_constants is not None else x[-nu:]
        return self._inner.reward(x[:n], seen)

    def saturate(self, u: Expression) -> Expression:
        """Commands within the plant's limits.

        Args:
            u: command (nu,) [u_units].
        """
        return self.plant.saturate(u)

    def draw(self, axes: Any, x: np.ndarray) -> None:
        """Draw the plant on matplotlib axes.

        Args:
            axes: matplotlib axes.
            x: state (nx,) [x_units].
        """
        self.plant.draw(axes, x[: self.plant.nx])


def _extended(own: np.ndarray | None, more: np.ndarray, copies: int) -> np.ndarray | None:
    return None if own is None else vector(*own, *np.tile(more, copies))
