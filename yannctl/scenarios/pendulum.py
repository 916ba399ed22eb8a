"""The pendulum: swing it up, or keep it upright within hard limits."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.assurance import SafetyFilter, guard
from yannctl.controllers import (
    AbstractController,
    DynamicProgramming,
    KalmanFilter,
    Lqr,
    Nmpc,
    OffsetFreeMpc,
    OnlineMpc,
)
from yannctl.linear import linearise
from yannctl.models import Pendulum
from yannctl.ocp import Ocp

from .guarded import Guarded, guarded_rows, tunable_behind
from .oracle import Oracle
from .scenario import Condition, Factory, Scenario, Tunable, World, kept_starts
from .tuning import tuned_rows
from .weights import Weights

N = 10  # of the linear laws
NODES, INPUTS = 201, 41  # of dynamic programming within the limits
SWING_HORIZON, UPRIGHT_HORIZON = 60, 40  # of NMPC
STATE_COST, INPUT_COST = (1.0, 0.1), (0.001,)
UPRIGHT = np.array([0.25, 1.0])  # hard limits [rad, rad/s]
INSIDE = 0.9  # share of the limits within which upright starts must be recoverable by the linear model
BEYOND = np.array([2 * np.pi, 20.0])


def linear_problem(plant: Pendulum, weights: Weights, limits: np.ndarray, lin: Any = None, **tracking: Any) -> Ocp:
    """State the linear MPC about upright: weights of the reward, soft limits, terminal cost of the LQR.

    Args:
        plant: the nominal plant.
        weights: factors on the weights.
        limits: on the states, both ways (2,).
        lin: another model of the same states.
        tracking: fields of `Ocp` for disturbances and tracking.
    """
    kept = limits * (1 - 2 * weights.backoff)
    return Ocp(
        linearise(plant) if lin is None else lin,
        Q=weights.scaled("Q", plant.x_names, STATE_COST),
        R=weights.scaled("R", plant.u_names, INPUT_COST),
        N=N,
        x_min=-kept,
        x_max=kept,
        u_min=plant.u_min,
        u_max=plant.u_max,
        soft="l1l2",
        theta_min=-BEYOND,
        theta_max=BEYOND,
        **tracking,
    )


def linear(limits: np.ndarray, weights: Weights | None = None) -> Factory:
    """Make the row of the linear MPC.

    Args:
        limits: on the states, both ways (2,).
        weights: factors on its weights; default the plain ones.
    """

    def factory(scenario: Scenario, world: World) -> AbstractController:
        plant: Any = scenario.plant
        ocp = linear_problem(plant, weights or Weights(), limits)
        return OnlineMpc(ocp, fallback=Lqr.of(ocp))

    return factory


def offset_free(scenario: Scenario, world: World) -> AbstractController:
    """Make the row of the offset-free linear MPC: a constant push on the motor, estimated.

    Args:
        scenario: the scenario.
        world: not used.
    """
    plant: Any = scenario.plant
    lin = linearise(plant).with_outputs(("theta",)).with_input_disturbance()
    ends = {"d_min": [-1.0], "d_max": [1.0], "ref_min": [-0.1], "ref_max": [0.1], "track": "y"}
    ocp = linear_problem(plant, Weights(), UPRIGHT, lin, **ends)
    V = np.array([0.002, 0.02]) ** 2
    estimator = KalmanFilter(lin.with_outputs(plant.x_names), W=np.concatenate([V, [1e-3]]), V=V)
    return OffsetFreeMpc(ocp, estimator, y_ref=[0.0])


def pump(plant: Pendulum) -> Any:
    """Energy pumping with the LQR at the top (Astrom and Furuta, Automatica 2000): a first guess of the swing-up.

    Args:
        plant: the nominal plant.
    """
    ocp = linear_problem(plant, Weights(), BEYOND)
    top = Lqr.of(ocp)
    gravity = 3 * plant.g / (2 * plant.l)

    def policy(x: np.ndarray) -> np.ndarray:
        angle = np.mod(x[:, 0] + np.pi, 2 * np.pi) - np.pi
        missing = gravity * (1 - np.cos(angle)) - x[:, 1] ** 2 / 2
        push = plant.u_max * np.clip(missing, -1, 1) * np.where(x[:, 1] >= 0, 1.0, -1.0)
        near = (np.abs(angle) < 0.4) & (np.abs(x[:, 1]) < 2.0)
        return np.where(near[:, None], top(np.column_stack([angle, x[:, 1]])), push[:, None])

    return policy


def nmpc(horizon: int, swing: bool) -> Factory:
    """Make the row of NMPC with the true parameters.

    Args:
        horizon: steps it looks ahead.
        swing: whether its first guesses must swing the pendulum up.
    """

    def factory(scenario: Scenario, world: World) -> AbstractController:
        plant: Any = scenario.plant
        ocp = linear_problem(plant, Weights(), BEYOND if swing else UPRIGHT)
        low, high = scenario.bounds
        guesses = (pump(plant), Lqr.of(ocp)) if swing else (OnlineMpc(ocp), Lqr.of(ocp))
        terminal = (lambda x: x.T @ ocp.P @ x) if not swing else None
        law = Nmpc(plant, N=horizon, terminal=terminal, x_min=low, x_max=high, guesses=guesses, open_parameters=True)
        return Oracle(law, scenario, world)

    return factory


def dynamic_programming(scenario: Scenario, world: World) -> AbstractController:
    """Make the row of dynamic programming on a grid.

    Args:
        scenario: the scenario.
        world: not used.
    """
    plant: Any = scenario.plant
    return grid_policy(plant, 401)


@functools.lru_cache(maxsize=4)
def grid_policy(plant: Pendulum, nodes: int) -> DynamicProgramming:
    """Solve the swing-up on a grid; computed once.

    Args:
        plant: the plant.
        nodes: nodes a state.
    """
    return DynamicProgramming.solve(plant, nodes=nodes, inputs=41)


def filtered_best(keep: SafetyFilter) -> Factory:
    """Make the row of dynamic programming behind the filter, on a grid of the box within the limits.

    Args:
        keep: the filter.
    """

    def factory(scenario: Scenario, world: World) -> AbstractController:
        plant, steps = scenario.plant, scenario.steps

        def limits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            ends = [np.broadcast_to(end, (len(x), 1)) for end in (plant.u_min, plant.u_max)]
            return keep(x, ends[0]), keep(x, ends[1])

        box = (-UPRIGHT, UPRIGHT)
        return Guarded(DynamicProgramming.solve(plant, NODES, INPUTS, steps=steps, limits=limits, box=box), keep)

    return factory


ROD = {"m": (0.9, 1.1), "l": (0.9, 1.1)}


AS_KNOWN = Condition()


@dataclass(frozen=True)
class _Variant:
    title: str
    condition: Condition = AS_KNOWN


VARIANTS = {
    "nominal": _Variant("no mismatch"),
    "perturbed": _Variant("mass and length +-10 % at random", Condition(ROD)),
    "disturbed": _Variant("a torque from outside sets in once", Condition(disturbed=True)),
    "noisy": _Variant("noisy sensors", Condition(noisy=True)),
}


def make(name: str, variant: str) -> Scenario:
    """Make a scenario of the pendulum.

    Args:
        name: "pendulum-swingup" or "pendulum-upright".
        variant: a key of `VARIANTS`.

    Returns:
        The scenario.
    """
    what, plant = VARIANTS[variant], Pendulum()
    return _swingup(name, variant, what, plant) if name == "pendulum-swingup" else _upright(name, variant, what, plant)


def _swingup(name: str, variant: str, what: _Variant, plant: Pendulum) -> Scenario:
    tunable = {"tuned": Tunable(lambda weights: linear(BEYOND, weights), ("Q:theta", "Q:theta_dot", "R:torque"))}
    rows: dict[str, Factory] = {"linear": linear(BEYOND), **tuned_rows(name, variant, tunable)}
    rows |= {"nmpc": nmpc(SWING_HORIZON, swing=True), "dynamic-programming": dynamic_programming}
    return Scenario(
        name=name,
        variant=variant,
        title=f"pendulum swing-up, {what.title}",
        plant=plant,
        steps=plant.episode_steps,
        starts=lambda rng, n: plant.sample_starts(n, rng),
        condition=what.condition,
        rows=rows,
        best="dynamic-programming",
        x_ref=np.zeros(2),
        settled=np.array([0.1, 0.2]),
        certain=variant == "nominal",
        short_starts=4,
        tunable=tunable,
    )


def _upright(name: str, variant: str, what: _Variant, plant: Pendulum) -> Scenario:
    space = ("Q:theta", "Q:theta_dot", "R:torque", "backoff")
    tunable = {"tuned": Tunable(lambda weights: linear(UPRIGHT, weights), space)}
    rows: dict[str, Factory] = {"linear": linear(UPRIGHT), "offset-free": offset_free}
    # The proof covers g +-1 % and m +-3 %, neither push nor noise.
    keep = guard("pendulum-upright") if variant == "nominal" else None
    if keep is not None:
        rows |= guarded_rows(keep, rows)
        tunable |= tunable_behind(keep, tunable)
        inside = keep.safe_set.contains
    else:
        inside = _recoverable(plant)
    rows |= tuned_rows(name, variant, tunable)
    if keep is not None:
        rows["filtered-best"] = filtered_best(keep)
    rows["nmpc"] = nmpc(UPRIGHT_HORIZON, swing=False)
    return Scenario(
        name=name,
        variant=variant,
        title=f"pendulum kept upright, {what.title}",
        plant=plant,
        steps=100,
        starts=kept_starts(lambda rng, n: rng.uniform(-UPRIGHT, UPRIGHT, (n, 2)), inside),
        condition=what.condition,
        rows=rows,
        best="nmpc",
        x_ref=np.zeros(2),
        settled=np.array([0.02, 0.05]),
        limits=(-UPRIGHT, UPRIGHT),
        certain=not (what.condition.disturbed or what.condition.noisy),
        tunable=tunable,
        safety_filter=keep,
    )


def _recoverable(plant: Pendulum) -> Any:
    """Whether the linear model can be brought to rest within tightened hard limits: it only chooses starts."""
    tight = INSIDE * UPRIGHT
    limits = {"x_min": -tight, "x_max": tight, "u_min": 0.9 * plant.u_min, "u_max": 0.9 * plant.u_max}
    ocp = Ocp(linearise(plant), Q=STATE_COST, R=INPUT_COST, N=20, terminal="set", **limits)
    law = OnlineMpc(ocp)

    def keep(x: np.ndarray) -> np.ndarray:
        return np.asarray((np.abs(x) <= tight).all(axis=1) & np.isfinite(law(x)).all(axis=1))

    return keep
