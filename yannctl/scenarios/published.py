"""The clipped pendulum of the published Y-wise affine networks: a short horizon, starts mostly within its reach.

Braniff and Tian (arXiv:2505.07054 and 2508.16474) print Q = I with R = 0.001 and seven regions; that gives nine. With
Q = diag(1, 0.1), the weights of Gymnasium's reward, it gives the seven regions and 32 rows that follow from their
parameter counts, and costs like theirs, so those weights are used. They do not report the range of the starts.
"""

from typing import Any

import numpy as np

from yannctl.controllers import AbstractController, ExplicitMpc
from yannctl.linear import linearise
from yannctl.models import Pendulum
from yannctl.mpqp import condense
from yannctl.ocp import Ocp
from yannctl.pwa import solve_mpqp

from .pendulum import INPUT_COST, STATE_COST, grid_policy
from .scenario import Condition, Scenario, World

N = 2
CLIPPED = np.array([2.0, 8.0])  # |theta| [rad], |theta_dot| [rad/s]: bounds of the law
STARTS = np.array([0.5, 1.0])  # rad, rad/s
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


def make(name: str, variant: str) -> Scenario:
    """Make the scenario.

    Args:
        name: "pendulum-clipped".
        variant: "nominal".

    Returns:
        The scenario.
    """
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


def _linear(scenario: Scenario, world: World) -> AbstractController:
    plant: Any = scenario.plant
    law = solve_mpqp(condense(published_problem(plant)))
    return ExplicitMpc(law, u_min=plant.u_min, u_max=plant.u_max)


def _best(scenario: Scenario, world: World) -> AbstractController:
    plant: Any = scenario.plant
    return grid_policy(plant, 401)
