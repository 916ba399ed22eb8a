"""The plants that come with a certificate: task, sample time, box, parameter intervals and what is not covered.

Sample time and box are design variables of safety: with a longer period or a larger box the set shrinks, then is empty.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant.integration import extrapolate
from yannctl.types import Float

from .certificate import Certificate, Statement, certify
from .inclusion import MAX_CORNERS, Domain, Errors, Inclusion, bound_inclusion, join, with_delay
from .sampled_map import DiscreteMap, Flow, SampledMap

SIMULATION_ERROR = 1e-8  # of the box: what the plants' own integrators may differ from the true flow


@dataclass(frozen=True, eq=False)
class Design:
    """Everything a certificate is computed from.

    Args:
        statement: what it will speak about.
        domain: intervals of state, input and parameters.
        periods: the plant over k held periods, one function of k -> the maps to be covered at once.
        step: casadi.Function (x, u, p) -> x+, the plant's own step, for attacks.
        holds: most periods an accepted input may act (N_cert + 1).
        delay: whether the input acts one period late.
        sensor: bound of the measurement error (nx,) [x_units].
        pieces: pieces each coordinate of (x, u, p) is cut into.
        contraction: lambda of the invariant set.
        max_corners: most models each map is bounded by.
    """

    statement: Statement
    domain: Domain
    periods: Callable[[int], list[SampledMap]]
    step: Any
    holds: int = 1
    delay: bool = False
    sensor: Float[np.ndarray, " nx"] | float = 0.0
    pieces: tuple[int, ...] | int = 8
    contraction: float = 0.999
    max_corners: int = MAX_CORNERS

    def inclusion(self) -> Inclusion:
        """Bound the plant for every hold and map.

        Returns:
            The models.
        """
        span = self.domain.x_max - self.domain.x_min
        errors = Errors(sensor=self.sensor, simulation=SIMULATION_ERROR * span)
        parts = [
            bound_inclusion(sampled, self.domain, errors, self.pieces, k, self.max_corners)
            for k in range(1, self.holds + 1)
            for sampled in self.periods(k)
        ]
        joined = join(parts)
        return with_delay(joined) if self.delay else joined

    def certify(self) -> Certificate:
        """Compute and check the certificate.

        Returns:
            The certificate.
        """
        statement, domain = self.statement, self.domain
        if self.delay:
            names = tuple(f"sent {name}" for name in statement.u_names)
            statement = replace(
                statement, x_names=(*statement.x_names, *names), x_units=(*statement.x_units, *statement.u_units)
            )
        return certify(statement, domain, self.inclusion(), self.contraction)


def design(name: str, dt: float | None = None) -> Design:
    """Give a design by its name.

    Args:
        name: one of `DESIGNS`.
        dt: another sample period [the plant's unit of time], None for the design's own.

    Returns:
        The design.

    Raises:
        ModelError: another name.
    """
    if name not in DESIGNS:
        raise ModelError("plant", f"no design {name!r}", remedy=f"use one of {', '.join(DESIGNS)}")
    if dt is not None and not (np.isfinite(dt) and dt > 0):
        raise ModelError("dt", f"is {dt}, expected a positive sample period")
    return DESIGNS[name](dt)


def pendulum_upright(dt: float | None = None) -> Design:
    """Keep the pendulum upright: |theta| <= 0.25 rad, |theta_dot| <= 1 rad/s, one packet may be lost.

    Args:
        dt: another sample period [s], None for that of Gymnasium's step.
    """
    import casadi as ca

    from yannctl.models import Pendulum
    from yannctl.plant.ranges import field_function

    plant, fields = _sampled(Pendulum(), dt), {"p": ("g", "m")}
    rate = field_function(plant, lambda own, x, u: own.rhs(x, u), ("rate", "x_dot"), fields)
    step = field_function(plant, lambda own, x, u: own.step_map(x, u), ("step", "x_next"), fields)

    def periods(k: int) -> list[SampledMap]:
        x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("p", 2)
        after = x
        for _ in range(k):
            after = step(after, u, p)
        flow = Flow(rate, k * plant.dt, np.array([0.25, 1.0]), order=5, substeps=k)
        return [flow, DiscreteMap(ca.Function("held", [x, u, p], [after]))]

    g, m = plant.g, plant.m
    return Design(
        Statement(
            "Pendulum",
            plant.x_names, plant.x_units, plant.u_names, plant.u_units, ("g", "m"), plant.dt,
            "upright only; g +-1 %, m +-3 %; both Gymnasium's step and the exact flow; no friction, no push, no sensor "
            "error; swinging up is not covered",
        ),
        Domain([-0.25, -1.0], [0.25, 1.0], plant.u_min, plant.u_max, [0.99 * g, 0.97 * m], [1.01 * g, 1.03 * m]),
        periods, step, holds=2, pieces=(16, 2, 2, 1, 1),
    )  # fmt: skip


def pendulum_encoder(dt: float | None = None) -> Design:
    """Keep the pendulum upright with an encoder, a torque that acts one period late, and a limited rate of torque.

    Args:
        dt: another sample period [s], None for that of Gymnasium's step.
    """
    ideal = pendulum_upright(dt)
    note = (
        "readings of the encoder within 1 mrad and 0.01 rad/s, torque acts one period after it is sent and changes by "
        "at most 2 N m a period; upright only; g +-1 %, m +-3 %; both Gymnasium's step and the exact flow; "
        "no friction, no push, no lost packet"
    )
    return replace(
        ideal, statement=replace(ideal.statement, note=note), domain=replace(ideal.domain, u_rate=[2.0]), holds=1,
        delay=True, sensor=np.array([0.001, 0.01]), contraction=0.98, max_corners=8,
    )  # fmt: skip


def _sampled(plant: Any, dt: float | None) -> Any:
    """The same plant with another sample period, where its class has a fixed one."""
    if dt is None:
        return plant
    kind = type(plant)
    return type(kind.__name__, (kind,), {"dt": dt})()


def robot_corridor(dt: float | None = None) -> Design:
    """Keep a wheeled robot in its corridor by the turn rate: |ey| <= 0.1 m, |epsi| <= 0.5 rad at 0.05 to 0.1 m/s.

    Args:
        dt: another sample period [s], None for 0.1 s.
    """
    import casadi as ca

    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("p", 5)
    v, speed_gain, turn_gain, kappa, slip = ca.vertsplit(p)

    def rhs(x: Any, u: Any) -> Any:
        along = speed_gain * v * ca.cos(x[1]) / (1 - kappa * x[0])
        return ca.vertcat(speed_gain * v * ca.sin(x[1]) + slip, turn_gain * u - kappa * along)

    dt = 0.1 if dt is None else dt
    rate = ca.Function("rate", [x, u, p], [rhs(x, u)], ["x", "u", "p"], ["x_dot"])
    step = ca.Function("step", [x, u, p], [extrapolate(rhs, x, u, dt, 1, 6)], ["x", "u", "p"], ["x_next"])
    return Design(
        Statement(
            "robot corridor",
            ("ey", "epsi"), ("m", "rad"), ("wc",), ("rad/s",),
            ("v", "speed_gain", "turn_gain", "kappa", "side_slip"), dt,
            "errors to the path, turn rate as input, any speed of 0.05 to 0.1 m/s each period, slip, curvature up to "
            "1 1/m, side slip up to 0.01 m/s; the lag of the wheels is not covered (see the stopping set)",
        ),
        # At 0.1 m/s the wheels of 0.22 m/s and 0.08 m half track leave 1.5 rad/s.
        Domain(
            [-0.1, -0.5], [0.1, 0.5], [-1.5], [1.5], [0.05, 0.9, 0.9, -1.0, -0.01], [0.1, 1.0, 1.05, 1.0, 0.01]
        ),
        lambda k: [Flow(rate, k * dt, np.array([0.1, 0.5]), order=4, substeps=k)],
        step, pieces=(1, 8, 2, 1, 1, 1, 1, 1),
    )  # fmt: skip


def reactor_point(dt: float | None = None) -> Design:
    """Hold the reactor near its unstable point: +-0.05 mol/L, +-5 K, sampled every 1.2 s.

    Args:
        dt: another sample period [min], None for 0.02 min.
    """
    from yannctl.models import CSTR
    from yannctl.plant.ranges import field_function

    dt = 0.02 if dt is None else dt
    plant, fields = CSTR(dt=dt), {"p": ("k0", "UA")}
    names = ("rate", "x_dot")
    rate = field_function(plant, smooth_reactor_rate, names, fields)
    step = field_function(plant, lambda own, x, u: own.step_map(x, u), ("step", "x_next"), fields)
    low, high = np.array([0.99 * plant.k0, 0.99 * plant.UA]), np.array([1.01 * plant.k0, 1.01 * plant.UA])
    return Design(
        Statement(
            "CSTR", plant.x_names, plant.x_units, plant.u_names, plant.u_units, ("k0", "UA"), dt,
            "around 0.5 mol/L and 350 K only; k0 and UA +-1 %; feed as stated; the whole range of starts is covered by "
            "the barrier set instead",
        ),
        Domain([0.45, 345.0], [0.55, 355.0], plant.u_min, plant.u_max, low, high),
        lambda k: [Flow(rate, k * dt, np.array([0.05, 5.0]), order=4, substeps=k)],
        step, pieces=(2, 6, 2, 1, 1),
    )  # fmt: skip


def smooth_reactor_rate(plant: Any, x: Any, u: Any) -> Any:
    """Give the reactor's rates below 400 K, where its bound on the rate factor plays no part.

    Args:
        plant: the reactor.
        x: state (CA, T) [mol/L, K].
        u: coolant (Tc,) [K].
    """
    import casadi as ca

    rate = plant.k0 * ca.exp(-plant.E_R / x[1]) * x[0]
    flow, per_volume = plant.q / plant.V, plant.V * plant.rho * plant.Cp
    heat = -plant.dH / (plant.rho * plant.Cp) * rate + plant.UA / per_volume * (u[0] - x[1])
    return ca.vertcat(flow * (plant.CAf - x[0]) - rate, flow * (plant.Tf - x[1]) + heat)


def hot_water_tank(dt: float | None = None) -> Design:
    """Keep a hot-water tank between its rods and its rim, hot enough against germs and not scalding, by two inputs.

    Stirred, of 0.25 m^2; filled with cold water by F, heated by Q, drawn from at will:

        dh/dt = (F - D) / A,   dT/dt = (F (Tin - T) + Q / (rho cp)) / (A h)

    Args:
        dt: another sample period [min], None for 0.1 min.
    """
    import casadi as ca

    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u", 2), ca.SX.sym("p", 2)
    D, Tin = ca.vertsplit(p)
    area, heat_capacity = 0.25, 4150.0  # [m2, kJ/(m3 K)]

    def rhs(x: Any, u: Any) -> Any:
        warming = u[0] * (Tin - x[1]) + 60.0 / heat_capacity * u[1]
        return ca.vertcat((u[0] - D) / area, warming / (area * x[0]))

    dt = 0.1 if dt is None else dt
    rate = ca.Function("rate", [x, u, p], [rhs(x, u)], ["x", "u", "p"], ["x_dot"])
    step = ca.Function("step", [x, u, p], [extrapolate(rhs, x, u, dt, 1, 6)], ["x", "u", "p"], ["x_next"])
    return Design(
        Statement(
            "hot-water tank", ("h", "T"), ("m", "degC"), ("F", "Q"), ("m3/min", "kW"), ("D", "Tin"), dt,
            "0.6 to 0.8 m, 57 to 63 degC; any draw of 10 to 20 L/min and any cold water of 8 to 12 degC, constant in "
            "each period; well stirred; no sensor error, no lag of valve or rods",
        ),
        Domain([0.6, 57.0], [0.8, 63.0], [0.0, 0.0], [0.03, 100.0], [0.01, 8.0], [0.02, 12.0]),
        lambda k: [Flow(rate, k * dt, np.array([0.1, 3.0]), order=4, substeps=k)],
        step, pieces=(4, 2, 2, 1, 1, 1), contraction=0.99, max_corners=16,
    )  # fmt: skip


DESIGNS: dict[str, Callable[[float | None], Design]] = {
    "pendulum-upright": pendulum_upright,
    "pendulum-encoder": pendulum_encoder,
    "robot-corridor": robot_corridor,
    "reactor-point": reactor_point,
    "hot-water-tank": hot_water_tank,
}
