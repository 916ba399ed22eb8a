"""Torque-limited pendulum: the swing-up task of Gymnasium's `Pendulum-v1`, to the last digit."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant, Expression, Range, vector
from yannctl.plant.integration import extrapolate

from .parameters import require_positive

UPRIGHT = vector(0.25, 1.0)  # hard limits of the task "upright" [rad, rad/s]


@dataclass(frozen=True)
class Pendulum(AbstractPlant):
    """A rod swinging about a motor that is too weak to lift it in one go.

    | state | meaning | unit | bounds |
    | --- | --- | --- | --- |
    | theta | angle from upright, wrapped to [-pi, pi) | rad | -pi to pi; task "upright": +-0.25, hard |
    | theta_dot | angular speed | rad/s | -8 to 8; task "upright": +-1, hard |

    | input | meaning | unit | bounds |
    | --- | --- | --- | --- |
    | torque | motor torque, clipped to its bounds | N m | -2 to 2 |

    | field | meaning | nominal, range | kind |
    | --- | --- | --- | --- |
    | m, l | mass [kg] and length [m] of the rod | 1, +-10 % | uncertain |
    | friction | viscous friction of the motor [N m s] | 0, 0 to 0.1 | uncertain |
    | push | torque from outside [N m] | 0, +-0.2 | disturbance, not measured |

    Dynamics: d theta_dot / dt = 3 g / (2 l) sin(theta) + 3 / (m l^2) (u + push - friction theta_dot), a uniform rod;
    theta = 0 is upright.
    Step ("gymnasium"): theta_dot+ = clip(theta_dot + dt * acceleration, -8, 8), theta+ = theta + dt * theta_dot+.
    Step ("accurate"): the dynamics integrated over the period with an error below 1e-8 and no clip of the speed, so
    that the speed can leave its bounds, which then counts as a violation.
    Reward: -(theta^2 + 0.1 theta_dot^2 + 0.001 u^2) on the state before the step.
    Sample period 0.05 s, Gymnasium's, a fifth of the unstable time constant; 200 steps an episode, starts uniform in
    theta all around and |theta_dot| <= 1. Task "upright" starts anywhere within its hard limits, beyond which the
    episode ends; not every such start can be saved.
    Equilibrium: upright at rest without torque (unstable, time constant sqrt(2 l / (3 g)) = 0.26 s).
    Sensor noise when asked for: 0.002 rad, 0.02 rad/s. Motor lag left out: 0.01 s.
    Energy without torque and friction: theta_dot^2 / 2 + 3 g / (2 l) cos(theta) is constant.

    Args:
        g: gravity [m/s^2].
        m: mass of the rod [kg].
        l: length of the rod [m].
        integrator: "gymnasium" or "accurate".
        friction: viscous friction of the motor [N m s].
        push: disturbing torque [N m].
        task: "swing-up", or "upright" with hard limits.

    Raises:
        ModelError: a parameter that is not positive, an unknown integrator or task.

    Source: Gymnasium 1.x, `gymnasium/envs/classic_control/pendulum.py` (`Pendulum-v1`).
    """

    g: float = 10.0
    m: float = 1.0
    l: float = 1.0  # noqa: E741  (the symbol of the source)
    integrator: Literal["gymnasium", "accurate"] = "gymnasium"
    friction: float = 0.0
    push: float = 0.0
    task: Literal["swing-up", "upright"] = "swing-up"

    max_speed: ClassVar[float] = 8.0
    x_names: ClassVar[tuple[str, ...]] = ("theta", "theta_dot")
    u_names: ClassVar[tuple[str, ...]] = ("torque",)
    x_units: ClassVar[tuple[str, ...]] = ("rad", "rad/s")
    u_units: ClassVar[tuple[str, ...]] = ("N m",)
    x_min: ClassVar[np.ndarray] = vector(-np.pi, -8.0)
    x_max: ClassVar[np.ndarray] = vector(np.pi, 8.0)
    u_min: ClassVar[np.ndarray] = vector(-2.0)
    u_max: ClassVar[np.ndarray] = vector(2.0)
    dt: ClassVar[float] = 0.05
    angles: ClassVar[tuple[int, ...]] = (0,)
    x_equilibrium: ClassVar[np.ndarray] = vector(0.0, 0.0)
    u_equilibrium: ClassVar[np.ndarray] = vector(0.0)
    start_min: ClassVar[np.ndarray] = vector(-np.pi, -1.0)
    start_max: ClassVar[np.ndarray] = vector(np.pi, 1.0)
    episode_steps: ClassVar[int] = 200
    x_noise: ClassVar[np.ndarray] = vector(0.002, 0.02)
    actuator_lag: ClassVar[np.ndarray] = vector(0.01)

    def __post_init__(self) -> None:
        require_positive(self, ("g", "m", "l"))
        if self.integrator not in {"gymnasium", "accurate"}:
            raise ModelError("integrator", f"is {self.integrator!r}, expected 'gymnasium' or 'accurate'")
        if self.task not in {"swing-up", "upright"}:
            raise ModelError("task", f"is {self.task!r}, expected 'swing-up' or 'upright'")
        if self.task == "upright":
            low, high = vector(*-UPRIGHT), UPRIGHT
            self._declare(x_min=low, x_max=high, start_min=low, start_max=high, hard_states=(0, 1), episode_steps=100)
        self._declare(
            uncertain={
                "m": Range(0.9 * self.m, 1.1 * self.m, "kg"),
                "l": Range(0.9 * self.l, 1.1 * self.l, "m"),
                "friction": Range(0.0, max(0.1, self.friction), "N m s"),
            },
            disturbances={"push": Range(-0.2, 0.2, "N m")},
        )

    def rhs(self, x: Expression, u: Expression) -> Expression:
        """Rate (theta_dot, 3 g / (2 l) sin(theta) + 3 / (m l^2) u) [rad/s, rad/s^2].

        Args:
            x: state (theta, theta_dot) [rad, rad/s].
            u: input (torque,) [N m].
        """
        import casadi as ca

        torque = u[0] if self._frictionless else u[0] + self.push - self.friction * x[1]
        return ca.vertcat(x[1], 3 * self.g / (2 * self.l) * ca.sin(x[0]) + 3.0 / (self.m * self.l**2) * torque)

    @property
    def _frictionless(self) -> bool:
        """Whether the terms beyond Gymnasium's are absent: then the numbers are its own to the last digit."""
        return all(isinstance(value, int | float) and value == 0 for value in (self.push, self.friction))

    def step_map(self, x: Expression, u: Expression) -> Expression:
        """State after one period, by Gymnasium's semi-implicit Euler step or by accurate integration.

        Args:
            x: state (theta, theta_dot) [rad, rad/s].
            u: input (torque,) [N m].
        """
        import casadi as ca

        if self.integrator == "accurate":
            return extrapolate(self.rhs, x, u, self.dt)
        speed = x[1] + self.rhs(x, u)[1] * self.dt
        speed = ca.fmin(ca.fmax(speed, -self.max_speed), self.max_speed)
        return ca.vertcat(x[0] + speed * self.dt, speed)

    def reward(self, x: Expression, u: Expression) -> Expression:
        """Reward -(theta^2 + 0.1 theta_dot^2 + 0.001 u^2).

        Args:
            x: state (theta, theta_dot) [rad, rad/s].
            u: input (torque,) [N m].
        """
        return -(x[0] ** 2 + 0.1 * x[1] ** 2 + 0.001 * u[0] ** 2)

    def draw(self, axes: Any, x: np.ndarray) -> None:
        """Draw the rod on matplotlib axes; upright is up.

        Args:
            axes: matplotlib axes.
            x: state (theta, theta_dot) [rad, rad/s].
        """
        tip = self.l * np.array([-np.sin(x[0]), np.cos(x[0])])
        reach = 1.15 * self.l
        axes.plot([0.0, tip[0]], [0.0, tip[1]], color="tab:red", linewidth=8, solid_capstyle="round")
        axes.plot(0.0, 0.0, "o", color="black")
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
