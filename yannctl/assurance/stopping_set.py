"""The robot's safe set: states from which braking and letting the wheels run out stays in the corridor.

With speeds that follow their commands with a lag tau <= tau_max, gains within g_v, g_w and a path of curvature at most
kappa, the robot commanded to stop still covers tau_max g_v v and turns by at most

    rho = tau_max g_w |omega| + kappa_bar tau_max g_v v,   kappa_bar = kappa / (1 - half_width kappa),

    S = {v >= 0, +-ey + tau_max g_v v max(0, sup sin(+-psi + [-rho, rho])) <= half_width}.

S is kept by the command (0, 0): later states have less to cover and less to turn, inside the same sector. The filter
bounds one period of the proposed command and the stop after it in the same closed form, and lowers the speed (not the
turn) until that fits. Not covered: side slip, errors of measurement and of the path.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from yannctl.types import ArrayLike, Float

from .safe_set import AbstractSafeSet, _states

_ROUND = 1e-12  # outward, over the rounding of the closed forms [m]


@dataclass(frozen=True, eq=False)
class StoppingSet(AbstractSafeSet):
    """A corridor around a path and a robot of two wheels with lag; the state is (ey, psi, v, omega, ...).

    Args:
        half_width: half width of the corridor [m].
        curvature: largest curvature of the path [1/m], below 1 / half_width.
        lag_min: least lag of the speeds [s].
        lag_max: largest lag [s].
        speed_gain: largest real over encoder speed.
        turn_gain: largest real over encoder turn rate.
        dt: sample period [s].
        u_min: lower commands (vc, wc) [m/s, rad/s], vc >= 0.
        u_max: upper commands (vc, wc) [m/s, rad/s].
        half_track: half the wheels' distance, for |vc| + half_track |wc| <= wheel speed [m].
        nx: number of states of the plant, the first four as above.
    """

    half_width: float
    curvature: float
    lag_min: float
    lag_max: float
    speed_gain: float
    turn_gain: float
    dt: float
    u_min: Float[np.ndarray, " nu"]
    u_max: Float[np.ndarray, " nu"]
    half_track: float
    nx: int = 5
    nu: int = field(default=2, init=False)

    @property
    def bend(self) -> float:
        """kappa_bar: turn of the path a metre that the robot covers [1/m]."""
        return self.curvature / (1 - self.half_width * self.curvature)

    def decays(self) -> tuple[float, float]:
        """Give what is left of a speed after one period: below it for the least lag, above it for the largest."""
        least, most = (float(np.exp(-self.dt / lag)) for lag in (self.lag_min, self.lag_max))
        return least * (1 - 1e-14), most * (1 + 1e-14)

    def reach(self, x: ArrayLike) -> Float[np.ndarray, "... 2"]:
        """Bound how far to the left and to the right the robot gets when it is stopped now.

        Args:
            x: states (..., nx).

        Returns:
            Distances (..., 2) [m].
        """
        states = _states(x, self.nx)
        v, omega = states[..., 2], states[..., 3]
        way = self.lag_max * self.speed_gain * np.abs(v)
        turn = self.lag_max * self.turn_gain * np.abs(omega) + self.bend * way
        return self._sides(states, way, -turn, turn)

    def margin(self, x: ArrayLike) -> Float[np.ndarray, "..."]:
        """Room left in the corridor, as a share of its half width; negative for a robot that drives backwards."""
        states = _states(x, self.nx)
        with np.errstate(invalid="ignore"):
            room = (self.half_width - self.reach(states).max(axis=-1)) / self.half_width
            return np.where(states[..., 2] >= 0, room, np.minimum(room, states[..., 2]))

    def nearest(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Lower the speed until the period and the stop after it fit; stop where nothing does."""
        from .stopping_kernels import filter_commands

        states = _states(x, self.nx)
        flat = np.ascontiguousarray(states.reshape(-1, self.nx))
        commands = np.ascontiguousarray(np.asarray(u, dtype=float).reshape(-1, 2))
        out = np.empty_like(commands)
        filter_commands(self._kernel_data, flat, commands, out)
        return out.reshape(*states.shape[:-1], 2)

    def filter_one(self, x: Float[np.ndarray, " nx"], u: Float[np.ndarray, " nu"]) -> Float[np.ndarray, " nu"] | None:
        """Filter one state in one compiled call."""
        from .stopping_kernels import filter_one_command

        v, w = filter_one_command(self._kernel_data, x, u)
        return np.array([v, w]) if v == v else None  # noqa: PLR0124  (NaN asks for the long way)

    @cached_property
    def _kernel_data(self) -> tuple[float, ...]:
        """Numbers the kernels take, in the order of `stopping_kernels`."""
        decay = self.decays()
        numbers = (
            self.half_width, self.bend, self.lag_min, self.lag_max, self.speed_gain, self.turn_gain, self.dt,
            *decay, *self.u_min, *self.u_max, self.half_track,
        )  # fmt: skip
        return tuple(float(number) for number in numbers)

    def action(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Stop."""
        return np.zeros((*_states(x, self.nx).shape[:-1], 2))

    def recover(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Stop."""
        return self.action(x)

    def enclose(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch 2 nx"]:
        """Bound (ey, psi, v, omega) one period later; further states are not bounded."""
        states, commands = _states(x, self.nx), np.asarray(u, dtype=float)
        way, left, right, ends = self._period(states, commands)
        out = np.full((*states.shape[:-1], 2, self.nx), np.inf)
        out[..., 0, :] = -np.inf
        sides = self._sides(states, way, left, right)
        out[..., 1, 0], out[..., 0, 0] = sides[..., 0], -sides[..., 1]
        out[..., 0, 1], out[..., 1, 1] = states[..., 1] + left, states[..., 1] + right
        out[..., :, 2:4] = ends
        return out

    def _period(self, states: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Way covered, turn to the right and left (both while under way), and ends of v and omega."""
        speeds = states[..., 2:4]
        decay = np.array(self.decays())
        held = np.array([self.lag_min, self.lag_max]) * (1 - decay)  # of the old speed's integral
        after = u[..., None, :] + (speeds - u)[..., None, :] * decay[:, None]
        ends = np.sort(after, axis=-2)
        integral = np.sort(self.dt * u[..., None, :] + (speeds - u)[..., None, :] * held[:, None], axis=-2)
        # tau (1 - exp(-T / tau)) rises with tau, so its ends are those of the lag.
        way = self.speed_gain * np.maximum(integral[..., 1, 0], 0.0) * (1 + 1e-12)
        most = self.dt * np.maximum(np.abs(speeds[..., 1]), np.abs(u[..., 1])) * self.turn_gain
        one_way = (speeds[..., 1] >= 0) == (u[..., 1] >= 0)
        whole = self.turn_gain * np.abs(integral[..., 1]).max(axis=-1)
        size = np.where(one_way, np.minimum(whole, most), most) * (1 + 1e-12)
        positive = np.where(one_way & (u[..., 1] < 0), 0.0, size)
        negative = np.where(one_way & (u[..., 1] >= 0), 0.0, size)
        path = self.bend * way
        return way, -negative - path, positive + path, ends

    def _sides(self, states: np.ndarray, way: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Bounds of +ey and -ey after covering `way` with headings psi + [low, high]."""
        ey, psi = states[..., 0], states[..., 1]
        left = ey + way * np.maximum(_largest_sine(psi + low, psi + high), 0.0)
        right = -ey + way * np.maximum(_largest_sine(-psi - high, -psi - low), 0.0)
        return np.stack([left, right], axis=-1) + _ROUND


def _largest_sine(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Largest sine on [low, high], rounded up."""
    with np.errstate(invalid="ignore"):
        peak = np.floor((high + 1e-9 - np.pi / 2) / (2 * np.pi)) != np.floor((low - 1e-9 - np.pi / 2) / (2 * np.pi))
        ends = np.maximum(np.sin(low), np.sin(high)) + 4e-16
    return np.where(peak, 1.0, np.minimum(ends, 1.0))
