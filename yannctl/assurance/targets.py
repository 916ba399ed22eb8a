"""The loops that come with a proved safe set, ready to be filtered and to be attacked."""

from functools import cache
from typing import Any

import numpy as np

from yannctl.errors import ModelError

from .barrier_set import BarrierSet, barrier_set
from .certificate import Certificate
from .designs import DESIGNS, Design, design, smooth_reactor_rate
from .falsifier import Target
from .runaway_set import runaway_barrier
from .safe_set import AbstractSafeSet
from .sampled_map import Flow
from .stopping_set import StoppingSet

REACTOR_MISMATCH = 0.1  # of k0 and UA


@cache
def certified(name: str) -> tuple[Design, Certificate]:
    """Give a design and its certificate, computed once a process.

    Args:
        name: one of `DESIGNS`.
    """
    chosen = design(name)
    return chosen, chosen.certify()


def reactor_barrier(mismatch: float = REACTOR_MISMATCH, dt: float = 0.1, Tc_max: float = 320.0) -> BarrierSet:
    """Prove the barrier of the reactor's temperature limit, 365 K with coolant from 280 K on.

    Args:
        mismatch: half width of the intervals of k0 and UA, as a share.
        dt: sample period of the filter [min].
        Tc_max: warmest coolant [K].

    Returns:
        The set for concentrations of 0 to 1 mol/L.
    """
    from yannctl.models import CSTR

    plant = CSTR(dt=dt, Tc_max=Tc_max)
    flow = reactor_flow(plant)
    nominal = np.array([plant.k0, plant.UA])
    bounds = float(plant.u_min[0]), float(plant.u_max[0])
    return barrier_set(flow, plant.T_max, 280.0, 1.0, bounds, (1 - mismatch) * nominal, (1 + mismatch) * nominal)


def reactor_flow(plant: Any) -> Flow:
    """Give a reactor over one period of its filter, with the rate factor and the heat transfer as parameters.

    Args:
        plant: the reactor.
    """
    from yannctl.plant.ranges import field_function

    rate = field_function(plant, smooth_reactor_rate, ("rate", "x_dot"), {"p": ("k0", "UA")})
    substeps = max(1, round(50 * plant.dt))
    return Flow(rate, plant.dt, np.array([0.1, 10.0]), order=3, substeps=substeps, slope_order=2)


def robot_stopping_set(bend: float = 6.0) -> StoppingSet:
    """Give the set from which the TurtleBot stops inside its corridor.

    Args:
        bend: greatest curvature of the path [1/m].

    Returns:
        The set for lags of 0.1 to 0.2 s and the gains of the plant's data sheet.
    """
    from yannctl.models import DifferentialDrive

    plant = DifferentialDrive(bend=bend)
    (lag_min, _, _), (lag_max, speed_gain, turn_gain) = plant.parameter_ranges
    return StoppingSet(
        float(plant.x_max[0]), abs(bend), float(lag_min), float(lag_max), float(speed_gain), float(turn_gain),
        float(plant.dt), np.array(plant.u_min), np.array(plant.u_max), float(plant.half_track), plant.nx,
    )  # fmt: skip


def target(name: str) -> Target:
    """Give a loop.

    Args:
        name: one of `TARGETS`.

    Returns:
        The loop.

    Raises:
        ModelError: another name.
    """
    if name in DESIGNS:
        return _polytopic(name)
    if name == "reactor-limit":
        return _reactor()
    if name == "robot-stop":
        return _robot()
    if name == "runaway-limit":
        return _runaway()
    raise ModelError("plant", f"no certified loop {name!r}", remedy=f"use one of {', '.join(TARGETS)}")


def covered_share(name: str, n: int = 100_000, seed: int = 0) -> float:
    """Estimate which share of a task's starts the set of a loop holds.

    Args:
        name: one of `TARGETS`.
        n: starts to draw.
        seed: of the starts.

    Returns:
        The share; for a polytopic set that of its declared box, which is exact.
    """
    if name in DESIGNS:
        return certified(name)[1].share
    from yannctl.models import CSTR, DifferentialDrive, RunawayReactor

    plant = {"reactor-limit": CSTR, "robot-stop": DifferentialDrive, "runaway-limit": RunawayReactor}[name]()
    return float(target(name).safe_set.contains(plant.sample_starts(n, seed)).mean())


def _polytopic(name: str) -> Target:
    chosen, certificate = certified(name)
    vertices, d = certificate.found.vertices, chosen.domain

    def starts(n: int, rng: np.random.Generator) -> np.ndarray:
        """States of the set, most of them near its border."""
        return rng.dirichlet(np.full(len(vertices), 0.2), n) @ vertices * (1 - 1e-9) + 1e-9 * vertices.mean(axis=0)

    step, low, high = chosen.step, d.x_min, d.x_max
    if chosen.delay:
        step = _delayed(step)
        low, high = np.concatenate([low, d.u_min]), np.concatenate([high, d.u_max])
    safe_set, E = certificate.safe_set(), certificate.inclusion.sensor
    return Target(name, step, d.p_min, d.p_max, low, high, safe_set, starts, chosen.statement.dt, E)


def _delayed(step: Any) -> Any:
    """The step of (x, sent input): the input sent before acts, the new one waits."""
    import casadi as ca

    nx, nu, n_p = (step.numel_in(i) for i in range(3))
    z, u, p = ca.SX.sym("z", nx + nu), ca.SX.sym("u", nu), ca.SX.sym("p", n_p)
    after = ca.vertcat(step(z[:nx], z[nx:], p), u)
    return ca.Function("step", [z, u, p], [after], ["x", "u", "p"], ["x_next"])


def _reactor() -> Target:
    from yannctl.models import CSTR

    plant, barrier = CSTR(), reactor_barrier()

    def starts(n: int, rng: np.random.Generator) -> np.ndarray:
        """States up to 1 K below the part of the border that full cooling alone holds."""
        CA = rng.uniform(barrier.corners[0, 0], 0.99, n)
        return np.column_stack([CA, barrier.border(CA) - 10.0 ** rng.uniform(-6, 0, n)])

    low, high = np.array([-np.inf, -np.inf]), np.array([np.inf, plant.T_max])
    p_min, p_max = barrier.p_min, barrier.p_max
    return Target(
        "reactor-limit", plant.step_function(bounded=False, parameters=True), p_min, p_max, low, high, barrier, starts,
        plant.dt,
    )  # fmt: skip


def _runaway() -> Target:
    from yannctl.models import RunawayReactor

    plant, kept = RunawayReactor(), runaway_barrier()

    def starts(n: int, rng: np.random.Generator) -> np.ndarray:
        """Fresh contents, rich in A, up to 0.01 K below the part of the border that full cooling alone holds."""
        least = kept.barrier.corners[0, 0]
        CA = rng.uniform(0.7 * least + 0.3 * 0.99 * plant.CAf, 0.99 * plant.CAf, n)
        T = kept.border(CA) - 10.0 ** rng.uniform(-6, -2, n)
        return np.column_stack([CA, CA + kept.excess, np.full(n, plant.CSf), T])

    low, high = np.full(4, -np.inf), np.array([np.inf, np.inf, np.inf, plant.T_max])
    step = plant.step_function(bounded=False, parameters=True)
    return Target("runaway-limit", step, *plant.parameter_ranges, low, high, kept, starts, plant.dt, horizon=36)


def _robot() -> Target:
    from yannctl.models import DifferentialDrive

    plant, stopping = DifferentialDrive(), robot_stopping_set()

    def starts(n: int, rng: np.random.Generator) -> np.ndarray:
        low, high = np.array([-0.1, -1.2, 0.0, -1.0, 0.0]), np.array([0.1, 1.2, 0.2, 1.0, 1.0])
        return _inside(stopping, low, high, n, rng)

    width = plant.x_max[0]
    low, high = np.array([-width, *[-np.inf] * 4]), np.array([width, *[np.inf] * 4])
    p_min, p_max = plant.parameter_ranges
    return Target(
        "robot-stop", plant.step_function(bounded=False, parameters=True), p_min, p_max, low, high, stopping, starts,
        plant.dt,
    )  # fmt: skip


def _inside(
    safe_set: AbstractSafeSet, low: np.ndarray, high: np.ndarray, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Uniform states of a box that lie in the set."""
    found = np.empty((0, len(low)))
    while len(found) < n:
        x = rng.uniform(low, high, (2 * n + 10, len(low)))
        found = np.vstack([found, x[safe_set.contains(x)]])
    return found[:n]


TARGETS = (*DESIGNS, "reactor-limit", "robot-stop", "runaway-limit")
