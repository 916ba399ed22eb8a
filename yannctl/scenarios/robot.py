"""The wheeled robot: follow a winding path at full speed, where the wheels cannot do both."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.assurance import SafetyFilter, robot_stopping_set
from yannctl.controllers import AbstractController, Nmpc, Preview, PreviewMpc
from yannctl.linear import LinearModel, linearise
from yannctl.models import DifferentialDrive

from .guarded import guarded_rows, tunable_behind
from .oracle import Oracle
from .robot_offset_free import OffsetFreeRobot
from .scenario import Condition, Factory, Scenario, Tunable, World, kept_starts
from .tuning import tuned_rows
from .weights import Weights

HORIZON, SUBSTEPS = 30, 2  # of NMPC
N = 10  # of the linear laws
STATE_COST, INPUT_COST = (400.0, 2.0, 20.0, 0.0), (1e-3, 0.05)
Look = Callable[[np.ndarray], Preview]
CORRIDOR = 0.1  # [m]
TURN_WEIGHT = 0.01  # what a tuned weight of omega multiplies; the stage cost has none


def linear_model(plant: DifferentialDrive) -> LinearModel:
    """Linearise (ey, epsi, v, omega) on a straight path at the wanted speed, the curvature as disturbance.

    Args:
        plant: the nominal plant.
    """
    import casadi as ca

    x, u, kappa = ca.SX.sym("x", 4), ca.SX.sym("u", 2), ca.SX.sym("kappa")
    rates = ca.Function("rates", [x, u, kappa], [plant.path_rate(x, u, kappa)])
    point = {"x": [0.0, 0.0, plant.v_ref, 0.0], "u": [plant.v_ref, 0.0], "d": [0.0]}
    names = {"x_names": plant.x_names[:4], "u_names": plant.u_names, "d_names": ("kappa",)}
    return linearise(rates, **point, method="zoh", dt=plant.dt, **names)


def _planner(
    plant: DifferentialDrive, weights: Weights, lin: LinearModel, look: Look, walls: tuple[float, float] | None = None
) -> PreviewMpc:
    """The linear MPC of a model and of what it sees ahead: the wheels' diamond as rows, the corridor soft."""
    from yannctl.solvers.riccati import solve_riccati

    Q = weights.scaled("Q", plant.x_names[:4], STATE_COST)
    Q[3] = TURN_WEIGHT * weights.factors.get("Q:omega", 0.0)
    R = weights.scaled("R", plant.u_names, INPUT_COST)
    P = weights.terminal * solve_riccati(lin.A, lin.B, np.diag(Q), np.diag(R))[0]
    edge = CORRIDOR * (1 - 2 * weights.backoff)
    right, left = (-edge, edge) if walls is None else walls
    free = [np.inf, np.inf, np.inf]
    limits = {"u_min": plant.u_min, "u_max": plant.u_max, "input_rows": plant.input_rows}
    return PreviewMpc(lin, Q, R, N, look, [right, *np.negative(free)], [left, *free], **limits, P=P, nx=plant.nx)


def linear_law(
    plant: DifferentialDrive, weights: Weights, preview: bool, walls: tuple[float, float] | None = None
) -> PreviewMpc:
    """Make the linear MPC with the curvature as known disturbance.

    Args:
        plant: the nominal plant.
        weights: factors on its weights.
        preview: look along the path at the present speed; otherwise the present curvature is taken to last.
        walls: limits of ey to the right and to the left [m]; None for the corridor's.
    """

    def look(x: np.ndarray) -> Preview:
        ahead = np.arange(N) * plant.dt * (x[:, 2:3] if preview else 0.0)
        kappa = np.asarray(plant.curvature(x[:, 4:5] + ahead))
        speed = np.full_like(kappa, plant.v_ref)
        none = np.zeros_like(kappa)
        turn = plant.v_ref * kappa
        return Preview(kappa[..., None], np.stack([none, none, speed, turn], axis=-1), np.stack([speed, turn], axis=-1))

    return _planner(plant, weights, linear_model(plant), look, walls)


def offset_free(weights: Weights | None = None) -> Factory:
    """Make the row of the offset-free linear MPC.

    Args:
        weights: factors on its weights and on the estimator's variances; default the plain ones.
    """
    chosen = weights or Weights()

    def factory(scenario: Scenario, world: World) -> AbstractController:
        plant: Any = scenario.plant

        def law(lin: LinearModel, look: Look) -> PreviewMpc:
            return _planner(plant, chosen, lin, look)

        return OffsetFreeRobot(plant, linear_model(plant), law, N, scenario.condition.noisy, chosen)

    return factory


def linear(weights: Weights | None = None, preview: bool = False) -> Factory:
    """Make the row of the linear MPC.

    Args:
        weights: factors on its weights; default the plain ones.
        preview: look ahead along the path.
    """

    def factory(scenario: Scenario, world: World) -> AbstractController:
        plant: Any = scenario.plant
        return linear_law(plant, weights or Weights(), preview)

    return factory


def nmpc(scenario: Scenario, world: World) -> AbstractController:
    """Make the row of NMPC with the true parameters.

    Args:
        scenario: the scenario.
        world: the truth.
    """
    plant: Any = scenario.plant
    ahead = linear_law(plant, Weights(), preview=True)
    low, high = scenario.bounds
    law = Nmpc(
        plant,
        N=HORIZON,
        x_min=low,
        x_max=high,
        input_rows=plant.input_rows,
        guesses=(ahead, lambda x: np.zeros((len(x), 2))),
        open_parameters=True,
        substeps=SUBSTEPS,
    )
    return Oracle(law, scenario, world)


LAW_SPACE = ("Q:ey", "Q:epsi", "Q:v", "Q:omega", "R:vc", "R:wc", "terminal")
ESTIMATOR_SPACE = ("drift:ey", "drift:epsi", "drift:v", "drift:omega", "sensor")
TUNABLE = {
    "offset-free": Tunable(offset_free, ESTIMATOR_SPACE),
    "tuned": Tunable(linear, LAW_SPACE),
    "tuned-offset-free": Tunable(offset_free, (*LAW_SPACE, *ESTIMATOR_SPACE)),
    "tuned-preview": Tunable(lambda weights: linear(weights, preview=True), LAW_SPACE),
}
SLIP = {"lag": (1.0, 2.0), "speed_gain": (0.9, 1.0), "turn_gain": (0.9, 1.05)}


AS_KNOWN = Condition()


@dataclass(frozen=True)
class _Variant:
    title: str
    bend: float = 6.0
    condition: Condition = AS_KNOWN
    turned: float = 1.2


VARIANTS = {
    "nominal": _Variant("no mismatch"),
    "perturbed": _Variant("slip and lag at random", condition=Condition(SLIP)),
    "kappa4": _Variant("wider bends (4 1/m), slip and lag at random", bend=4.0, condition=Condition(SLIP)),
    "straight": _Variant("straight path, no mismatch", bend=0.0, turned=1.0),
    "disturbed": _Variant("side slip sets in once", condition=Condition(disturbed=True)),
    "noisy": _Variant("noisy odometry", condition=Condition(noisy=True)),
}


def make(name: str, variant: str) -> Scenario:
    """Make a scenario of the robot.

    Args:
        name: "robot-kappa6".
        variant: a key of `VARIANTS`.

    Returns:
        The scenario.
    """
    what = VARIANTS[variant]
    plant = DifferentialDrive(bend=what.bend)
    low, high = np.array(plant.start_min), np.array(plant.start_max)
    low[1], high[1] = -what.turned, what.turned
    stopping = robot_stopping_set(plant.bend)
    starts = kept_starts(lambda rng, n: rng.uniform(low, high, (n, 5)), stopping.contains)
    exact = not (what.condition.disturbed or what.condition.noisy)
    tunable, keep = dict(TUNABLE), SafetyFilter(stopping)
    rows: dict[str, Factory] = {"linear": linear(), "offset-free": offset_free(), "preview": linear(preview=True)}
    if exact:  # the proof covers lag, gains and curvature only
        rows |= guarded_rows(keep, rows)
        tunable |= tunable_behind(keep, tunable)
    rows |= tuned_rows(name, variant, tunable)
    rows["nmpc"] = nmpc
    return Scenario(
        name=name,
        variant=variant,
        title=f"robot on a winding path, {what.title}",
        plant=plant,
        steps=50,
        starts=starts,
        condition=what.condition,
        rows=rows,
        best="nmpc",
        x_ref=np.array([0.0, np.nan, np.nan, np.nan, np.nan]),
        settled=np.array([0.02, np.inf, np.inf, np.inf, np.inf]),
        certain=exact,
        tunable=tunable,
        safety_filter=keep if exact else None,
    )
