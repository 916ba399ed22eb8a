"""The two case studies of the published Y-wise affine networks: a clipped pendulum and a reactor that can run away.

Braniff and Tian (arXiv:2505.07054 and 2508.16474) print Q = I with R = 0.001 and seven regions for the pendulum; that
gives nine. With Q = diag(1, 0.1), the weights of Gymnasium's reward, it gives the seven regions and 32 rows that follow
from their parameter counts, and costs like theirs, so those weights are used. They do not report the range of the
starts.

Of the reactor they report kinetics, heats and limits, but no flows, feed or steady state; those are `RunawayReactor`'s.
Its sample time, printed as 1/60 s, fits their matrices as 1/60 h. Two steps, 0.1 on every state, 1e-4 on the input and
no limit but the input's give the seven regions and 56 rows of their counts here too. Neither has a filter.
"""

from typing import Any

import numpy as np

from yannctl.controllers import AbstractController, ExplicitMpc, Nmpc
from yannctl.linear import linearise
from yannctl.models import Pendulum, RunawayReactor
from yannctl.mpqp import condense
from yannctl.ocp import Ocp
from yannctl.pwa import solve_mpqp

from .oracle import Oracle
from .pendulum import INPUT_COST, STATE_COST, grid_policy
from .runaway import BEYOND
from .runaway import INPUT_COST as REACTOR_INPUT_COST
from .runaway import STATE_COST as REACTOR_STATE_COST
from .scenario import Condition, Scenario, World

N = 2
CLIPPED = np.array([2.0, 8.0])  # |theta| [rad], |theta_dot| [rad/s]: bounds of the law
STARTS = np.array([0.5, 1.0])  # rad, rad/s
REACTOR_STARTS = np.array([0.25, 5.0])  # mol/L of A, with B as much, and K, about the operating point
HORIZON, SUBSTEPS = 30, 1  # of the reactor's NMPC
VARIANTS = ("nominal",)


def published_problem(plant: Pendulum) -> Ocp:
    """State the published problem: two steps, weights of the reward, hard limits.

    Args:
        plant: the pendulum.

    Returns:
        The problem; its law has seven regions.
    """
    limits = {"x_min": -CLIPPED, "x_max": CLIPPED, "u_min": plant.u_min, "u_max": plant.u_max}
    return Ocp(linearise(plant, method="zoh"), Q=STATE_COST, R=INPUT_COST, N=N, **limits)


def reactor_problem(plant: RunawayReactor) -> Ocp:
    """State the published problem of the reactor: two steps, hard limits on the input alone.

    Args:
        plant: the reactor.

    Returns:
        The problem; its law has seven regions.
    """
    return Ocp(
        linearise(plant),
        Q=REACTOR_STATE_COST,
        R=REACTOR_INPUT_COST,
        N=N,
        u_min=plant.u_min,
        u_max=plant.u_max,
        x_ref=plant.x_equilibrium,
        u_ref=plant.u_equilibrium,
        theta_min=BEYOND[0],
        theta_max=BEYOND[1],
    )


def make(name: str, variant: str) -> Scenario:
    """Make a scenario.

    Args:
        name: "pendulum-clipped" or "runaway-published".
        variant: "nominal".

    Returns:
        The scenario.
    """
    return _pendulum(name, variant) if name == "pendulum-clipped" else _reactor(name, variant)


def _pendulum(name: str, variant: str) -> Scenario:
    plant = Pendulum()
    return Scenario(
        name=name,
        variant=variant,
        title="pendulum as published, no mismatch",
        plant=plant,
        steps=plant.episode_steps,
        starts=lambda rng, n: rng.uniform(-STARTS, STARTS, (n, 2)),
        condition=Condition(),
        rows={"linear": _linear, "dynamic-programming": _best},
        best="dynamic-programming",
        x_ref=np.zeros(2),
        settled=np.array([0.1, 0.2]),
        short_starts=4,
    )


def _reactor(name: str, variant: str) -> Scenario:
    plant = RunawayReactor()
    middle = plant.x_equilibrium
    assert middle is not None

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        """Contents of the feed's make-up: CB follows CA, the solvent is whole."""
        A, T = rng.uniform(-REACTOR_STARTS, REACTOR_STARTS, (n, 2)).T
        return middle + np.column_stack([A, A, np.zeros(n), T])

    return Scenario(
        name=name,
        variant=variant,
        title="runaway reactor as published, no mismatch",
        plant=plant,
        steps=plant.episode_steps,
        starts=draw,
        condition=Condition(),
        rows={"linear": _reactor_linear, "nmpc": _nmpc},
        best="nmpc",
        x_ref=np.array([np.nan, np.nan, np.nan, plant.set_point]),
        settled=np.array([np.inf, np.inf, np.inf, 2.0]),
        limits=(np.full(4, -np.inf), np.array([np.inf, np.inf, np.inf, plant.T_max])),
        short_starts=2,
    )


def _reactor_linear(scenario: Scenario, world: World) -> AbstractController:
    plant: Any = scenario.plant
    return ExplicitMpc(solve_mpqp(condense(reactor_problem(plant))), u_min=plant.u_min, u_max=plant.u_max)


def _nmpc(scenario: Scenario, world: World) -> AbstractController:
    low, high = scenario.bounds
    first = _reactor_linear(scenario, world)
    law = Nmpc(
        scenario.plant, N=HORIZON, x_min=low, x_max=high, guesses=(first,), open_parameters=True, substeps=SUBSTEPS
    )
    return Oracle(law, scenario, world)


def _linear(scenario: Scenario, world: World) -> AbstractController:
    plant: Any = scenario.plant
    law = solve_mpqp(condense(published_problem(plant)))
    return ExplicitMpc(law, u_min=plant.u_min, u_max=plant.u_max)


def _best(scenario: Scenario, world: World) -> AbstractController:
    plant: Any = scenario.plant
    return grid_policy(plant, 401)
