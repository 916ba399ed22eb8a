"""TurtleBot3 Burger following a path: a wheeled robot whose speed and turn rate share the wheels."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant, Expression, Range, vector
from yannctl.plant.integration import extrapolate

from .parameters import require_positive

# (substeps, stages) of the extrapolation.
SCHEMES = {"accurate": (1, 6), "fast": (1, 4)}
SHARPEST_BEND = 8.0  # 1/m


@dataclass(frozen=True)
class DifferentialDrive(AbstractPlant):
    """A two-wheeled robot in the frame of the path it follows, with lag between commanded and real speeds.

    | state | meaning | unit | bounds |
    | --- | --- | --- | --- |
    | ey | offset to the left of the path | m | -0.1 to 0.1, hard: the corridor; outside the episode ends |
    | epsi | heading relative to the path, wrapped to [-pi, pi) | rad | none |
    | v | speed of the wheels' centre by the encoders | m/s | -0.22 to 0.22 |
    | omega | turn rate by the encoders | rad/s | -2.75 to 2.75 |
    | s | distance travelled along the path | m | none |

    | input | meaning | unit | bounds |
    | --- | --- | --- | --- |
    | vc | commanded speed | m/s | vc_min = 0 to 0.22 |
    | wc | commanded turn rate | rad/s | -2.75 to 2.75 |

    Each wheel runs at vc -+ b wc, b = 0.08 m being half the wheels' separation, and at most at 0.22 m/s, hence the
    diamond |vc| + b |wc| <= 0.22 (`input_rows`); each wheel is clipped on its own, as the motors do.

    | field | meaning | nominal, range | kind |
    | --- | --- | --- | --- |
    | lag | time constant of the speeds [s] | 0.1, 0.1 to 0.2 | uncertain |
    | speed_gain | real over encoder speed (slip, worn wheels) | 1, 0.9 to 1 | uncertain |
    | turn_gain | real over encoder turn rate | 1, 0.9 to 1.05 | uncertain |
    | side_slip | speed to the left [m/s] | 0, +-0.01 | disturbance, not measured |
    | v_ref | wanted speed [m/s] | 0.22, 0.05 to 0.22 | reference |

    Dynamics, with real speeds V = speed_gain v, W = turn_gain omega and the curvature kappa(s) of the path:

        ds/dt = V cos(epsi) / (1 - kappa ey),  dey/dt = V sin(epsi) + side_slip,  depsi/dt = W - kappa ds/dt,
        dv/dt = (vc - v) / lag,  domega/dt = (wc - omega) / lag

    Path: kappa(s) = bend tanh(sharpness sin(2 pi s / wavelength)) [1/m], alternating arcs; bend = 0 is straight.
    Stage cost (reward is its negative):
    400 ey^2 + 2 epsi^2 + 20 (v - v_ref)^2 + 1e-3 (vc - v_ref)^2 + 0.05 (wc - v_ref kappa(s))^2.
    Sample period 0.1 s: the 10 Hz of the robot's controller and odometry; 22 mm of path at full speed.
    Starts: |ey| <= 0.099, |epsi| <= 1.2, v <= 0.2, any s of one wavelength; 50 steps an episode.
    Odometry noise when asked for: 2 mm, 0.01 rad, 0.005 m/s, 0.02 rad/s, 2 mm. Command delay left out: one period.

    Args:
        bend: greatest curvature of the path [1/m], at most 8: the frame ends at the centre of a curve.
        sharpness: how suddenly the arcs change.
        wavelength: length of a left and a right arc [m].
        lag: time constant of the speeds [s].
        speed_gain: real over encoder speed.
        turn_gain: real over encoder turn rate.
        side_slip: speed to the left [m/s].
        v_ref: wanted speed [m/s].
        vc_min: least commanded speed [m/s]; -0.22 lets the robot drive backwards.
        integrator: "accurate" (error below 1e-8 of the range a period) or "fast" (below 1e-6).

    Raises:
        ModelError: a parameter out of its sense, naming it.

    Source: ROBOTIS e-manual of the TurtleBot3 Burger (0.22 m/s, 2.84 rad/s) and its ROS 2 package
    `turtlebot3_node/param/burger.yaml` (wheel radius 0.033 m, separation 0.160 m). At rest the wheels give
    0.22 / 0.08 = 2.75 rad/s, less than the manual says. Lag, gains and noise are typical values, not the maker's.
    """

    bend: float = 6.0
    sharpness: float = 3.0
    wavelength: float = 1.0
    lag: float = 0.1
    speed_gain: float = 1.0
    turn_gain: float = 1.0
    side_slip: float = 0.0
    v_ref: float = 0.22
    vc_min: float = 0.0
    integrator: Literal["accurate", "fast"] = "accurate"

    wheel_speed: ClassVar[float] = 0.22
    half_track: ClassVar[float] = 0.08
    x_names: ClassVar[tuple[str, ...]] = ("ey", "epsi", "v", "omega", "s")
    u_names: ClassVar[tuple[str, ...]] = ("vc", "wc")
    x_units: ClassVar[tuple[str, ...]] = ("m", "rad", "m/s", "rad/s", "m")
    u_units: ClassVar[tuple[str, ...]] = ("m/s", "rad/s")
    x_min: ClassVar[np.ndarray] = vector(-0.1, -np.pi, -0.22, -2.75, -np.inf)
    x_max: ClassVar[np.ndarray] = vector(0.1, np.pi, 0.22, 2.75, np.inf)
    u_max: ClassVar[np.ndarray] = vector(0.22, 2.75)
    dt: ClassVar[float] = 0.1
    angles: ClassVar[tuple[int, ...]] = (1,)
    hard_states: ClassVar[tuple[int, ...]] = (0,)
    x_noise: ClassVar[np.ndarray] = vector(0.002, 0.01, 0.005, 0.02, 0.002)
    command_delay: ClassVar[int] = 1
    # A curve's centre is where the path frame ends: |ey| < 1 / curvature.
    possible_min: ClassVar[np.ndarray] = vector(-10.0, -100.0, -2.0, -20.0, -np.inf)
    possible_max: ClassVar[np.ndarray] = vector(10.0, 100.0, 2.0, 20.0, np.inf)
    episode_steps: ClassVar[int] = 50

    def __post_init__(self) -> None:
        require_positive(self, ("sharpness", "wavelength", "lag", "speed_gain", "turn_gain", "v_ref"))
        # One period beyond the corridor the robot must still be nearer to the path than the centre of its curves.
        if not abs(self.bend) <= SHARPEST_BEND:
            raise ModelError(
                "bend", f"is {self.bend}, expected at most {SHARPEST_BEND:g} 1/m, where the path frame ends"
            )
        if not -self.wheel_speed <= self.vc_min < self.wheel_speed:
            raise ModelError("vc_min", f"is {self.vc_min}, expected -0.22 to below 0.22 m/s")
        if self.integrator not in SCHEMES:
            raise ModelError("integrator", f"is {self.integrator!r}, expected 'accurate' or 'fast'")
        if not self.v_ref <= self.wheel_speed:
            raise ModelError("v_ref", f"is {self.v_ref}, expected at most 0.22 m/s")
        b, limit = self.half_track, self.wheel_speed
        rows = np.array([[1.0, b], [1.0, -b], [-1.0, b], [-1.0, -b]]), np.full(4, limit)
        self._declare(
            u_min=vector(self.vc_min, -limit / b),
            input_rows=rows,
            periods=((4, self.wavelength),),
            start_min=vector(-0.099, -1.2, 0.0, 0.0, 0.0),
            start_max=vector(0.099, 1.2, 0.2, 0.0, self.wavelength),
            uncertain={
                "lag": Range(min(0.1, self.lag), max(0.2, self.lag), "s"),
                "speed_gain": Range(min(0.9, self.speed_gain), max(1.0, self.speed_gain)),
                "turn_gain": Range(min(0.9, self.turn_gain), max(1.05, self.turn_gain)),
            },
            disturbances={"side_slip": Range(-0.01 - abs(self.side_slip), 0.01 + abs(self.side_slip), "m/s")},
            references={"v_ref": Range(min(0.05, self.v_ref), self.wheel_speed, "m/s")},
        )

    def curvature(self, s: Expression) -> Expression:
        """Curvature of the path, kappa(s) = bend tanh(sharpness sin(2 pi s / wavelength)) [1/m].

        Args:
            s: distance along the path, CasADi expression or array [m].
        """
        import casadi as ca

        sin, tanh = (np.sin, np.tanh) if isinstance(s, np.ndarray | float) else (ca.sin, ca.tanh)
        return self.bend * tanh(self.sharpness * sin(s * (2 * np.pi / self.wavelength)))

    def path_rate(self, x: Expression, u: Expression, kappa: Expression) -> Expression:
        """Rates of (ey, epsi, v, omega) on a path of curvature kappa, for a linear model with kappa as disturbance.

        Args:
            x: state (ey, epsi, v, omega) [m, rad, m/s, rad/s].
            u: input (vc, wc) [m/s, rad/s].
            kappa: curvature [1/m].
        """
        import casadi as ca

        speed, turn = self.speed_gain * x[2], self.turn_gain * x[3]
        along = speed * ca.cos(x[1]) / (1 - kappa * x[0])
        return ca.vertcat(
            speed * ca.sin(x[1]) + self.side_slip,
            turn - kappa * along,
            (u[0] - x[2]) / self.lag,
            (u[1] - x[3]) / self.lag,
        )

    def rhs(self, x: Expression, u: Expression) -> Expression:
        """Rates of the five states; the path frame ends before the centre of a curve, where the rate of s is bounded.

        Args:
            x: state (ey, epsi, v, omega, s) [m, rad, m/s, rad/s, m].
            u: input (vc, wc) [m/s, rad/s].
        """
        import casadi as ca

        kappa = self.curvature(x[4])
        along = self.speed_gain * x[2] * ca.cos(x[1]) / (1 - kappa * x[0])
        return ca.vertcat(self.path_rate(x, u, kappa), along)

    def step_map(self, x: Expression, u: Expression) -> Expression:
        """State after one period by the chosen integrator.

        Args:
            x: state (ey, epsi, v, omega, s) [m, rad, m/s, rad/s, m].
            u: input (vc, wc) [m/s, rad/s].
        """
        return extrapolate(self.rhs, x, u, self.dt, *SCHEMES[self.integrator])

    def reward(self, x: Expression, u: Expression) -> Expression:
        """Minus the stage cost of following the path at the wanted speed.

        Args:
            x: state (ey, epsi, v, omega, s) [m, rad, m/s, rad/s, m].
            u: input (vc, wc) [m/s, rad/s].
        """
        speed, command, turn = x[2] - self.v_ref, u[0] - self.v_ref, u[1] - self.v_ref * self.curvature(x[4])
        return -(400 * x[0] ** 2 + 2 * x[1] ** 2 + 20 * speed**2 + 1e-3 * command**2 + 0.05 * turn**2)

    def saturate(self, u: Expression) -> Expression:
        """Speeds that the wheels give: vc clipped to vc_min to 0.22 m/s, then each wheel to +-0.22 m/s.

        Args:
            u: command (vc, wc) [m/s, rad/s].
        """
        import casadi as ca

        b, limit = self.half_track, self.wheel_speed
        speed = ca.fmax(self.vc_min, ca.fmin(limit, u[0]))
        right = ca.fmax(-limit, ca.fmin(limit, speed + b * u[1]))
        left = ca.fmax(-limit, ca.fmin(limit, speed - b * u[1]))
        # Where no wheel is clipped the command passes to the last bit.
        free = ca.fabs(speed) + b * ca.fabs(u[1]) <= limit
        mean, turn = (right + left) / 2, (right - left) / (2 * b)
        return ca.vertcat(ca.if_else(free, speed, mean), ca.if_else(free, u[1], turn))

    def draw(self, axes: Any, x: np.ndarray) -> None:
        """Draw the corridor, the path and the robot around its place on matplotlib axes.

        Args:
            axes: matplotlib axes.
            x: state (ey, epsi, v, omega, s) [m, rad, m/s, rad/s, m].
        """
        ahead = np.linspace(0.0, 2 * self.wavelength, 400)
        step = ahead[1] - ahead[0]
        heading = np.concatenate([[0.0], np.cumsum(self.curvature(ahead[:-1] + step / 2)) * step])
        middle = heading[:-1] + np.diff(heading) / 2
        path = np.stack([np.cumsum(np.r_[0.0, np.cos(middle) * step]), np.cumsum(np.r_[0.0, np.sin(middle) * step])])
        left = np.stack([-np.sin(heading), np.cos(heading)])
        for side, style in ((0.0, ":"), (self.x_min[0], "-"), (self.x_max[0], "-")):
            axes.plot(*(path + side * left), style, color="black" if style == ":" else "tab:red", linewidth=1.5)
        here = int(np.argmin(np.abs(ahead - x[4] % self.wavelength)))
        place = path[:, here] + x[0] * left[:, here]
        direction = heading[here] + x[1]
        axes.plot(*place, "o", color="tab:blue", markersize=14)
        nose = place + 0.12 * np.array([np.cos(direction), np.sin(direction)])
        axes.plot(*np.stack([place, nose], axis=1), color="tab:blue", linewidth=4)
        axes.set(aspect="equal", xlabel="x [m]", ylabel="y [m]")
