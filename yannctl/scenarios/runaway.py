"""The runaway reactor: bring a tank full of fresh, warm reactants to its operating point without an explosion.

A temperature controller sees only the temperature: as long as that is low it does not cool, and A is there in plenty
when the reaction sets in. That is how such reactors are lost.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.assurance import SafetyFilter, runaway_barrier
from yannctl.controllers import AbstractController, Filtered, Limited, Nmpc, OnlineMpc, Pid
from yannctl.linear import linearise
from yannctl.models import RunawayReactor
from yannctl.ocp import Ocp

from .guarded import guarded_rows, tunable_behind
from .oracle import Oracle
from .scenario import Condition, Factory, Scenario, Tunable, World, kept_starts
from .tuning import tuned_rows
from .weights import Weights

N = 15  # of the linear MPC: a quarter of an hour
STATE_COST, INPUT_COST = (0.1, 0.1, 0.1, 0.1), (1e-4,)
SOFT_WEIGHT = 1e3  # [cost/K] of the temperature limit
KP, RESET = 5.0, 0.25  # [W/(m^2 K) a K] and [h] of the temperature controller
BEYOND = (np.array([0.0, 0.0, 0.0, 373.0]), np.array([4.8, 5.7, 3.4, 520.0]))
HORIZON, SUBSTEPS = 60, 2  # of NMPC
CHARGE = (np.array([2.5, 428.0]), np.array([4.25, 475.0]))  # CA [mol/L] and T [K] of the starts


@functools.lru_cache(maxsize=1)
def safety_filter() -> SafetyFilter:
    """Prove the filter of the 480 K limit; computed once."""
    barrier = runaway_barrier()
    return SafetyFilter(barrier, safe_action=barrier.u_max)


def linear(weights: Weights | None = None) -> Factory:
    """Make the row of the linear MPC, which sees all concentrations.

    Args:
        weights: factors on its weights; default the plain ones.
    """
    chosen = weights or Weights()

    def factory(scenario: Scenario, world: World) -> AbstractController:
        plant: Any = scenario.plant
        limit = plant.T_max - chosen.backoff * (plant.x_max[3] - plant.x_min[3])
        ocp = Ocp(
            linearise(plant),
            Q=chosen.scaled("Q", plant.x_names, STATE_COST),
            R=chosen.scaled("R", plant.u_names, INPUT_COST),
            N=N,
            x_max=[np.inf, np.inf, np.inf, limit],
            u_min=plant.u_min,
            u_max=plant.u_max,
            soft="l1l2",
            soft_weight=SOFT_WEIGHT,
            x_ref=plant.x_equilibrium,
            u_ref=plant.u_equilibrium,
            theta_min=BEYOND[0],
            theta_max=BEYOND[1],
        )
        return Limited(OnlineMpc(ocp), plant.u_min, plant.u_max)

    return factory


def temperature_controller(scenario: Scenario, world: World) -> AbstractController:
    """Make the row of the usual temperature controller: PI from T to the heat transfer.

    Args:
        scenario: the scenario.
        world: not used.
    """
    plant: Any = scenario.plant
    ends = {"x_ref": plant.x_equilibrium, "u_ref": plant.u_equilibrium, "u_min": plant.u_min, "u_max": plant.u_max}
    return Pid(np.array([[0.0, 0.0, 0.0, -1.0]]), plant.dt, kp=KP, ki=KP / RESET, **ends)


def nmpc(scenario: Scenario, world: World) -> AbstractController:
    """Make the row of NMPC with the true parameters.

    Args:
        scenario: the scenario.
        world: the truth.
    """
    low, high = scenario.bounds
    keep = safety_filter()
    first = (linear()(scenario, world), temperature_controller(scenario, world))
    law = Nmpc(
        scenario.plant,
        N=HORIZON,
        x_min=low,
        x_max=high,
        guesses=tuple(Filtered(guess, keep) for guess in first),
        open_parameters=True,
        substeps=SUBSTEPS,
    )
    return Oracle(law, scenario, world)


KINETICS = {"A1": (0.9, 1.1), "A2": (0.5, 2.0), "area": (0.9, 1.0)}
LAW_SPACE = ("Q:CA", "Q:CB", "Q:T", "R:U", "backoff")
AS_KNOWN = Condition()


@dataclass(frozen=True)
class _Variant:
    title: str
    condition: Condition = AS_KNOWN


VARIANTS = {
    "perturbed": _Variant("both rates and the cooling surface off at random", Condition(KINETICS)),
    "nominal": _Variant("no mismatch"),
}


def make(name: str, variant: str) -> Scenario:
    """Make a scenario of the runaway reactor.

    Args:
        name: "runaway-restart".
        variant: a key of `VARIANTS`.

    Returns:
        The scenario.
    """
    what, plant, keep = VARIANTS[variant], RunawayReactor(), safety_filter()

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        """Contents of the feed's make-up: CB follows CA, the solvent is whole."""
        CA, T = rng.uniform(*CHARGE, (n, 2)).T
        return np.column_stack([CA, CA + plant.CBf - plant.CAf, np.full(n, plant.CSf), T])

    tunable = {"tuned": Tunable(linear, LAW_SPACE)}
    tunable |= tunable_behind(keep, tunable)
    rows: dict[str, Factory] = {"temperature-pi": temperature_controller, "linear": linear()}
    rows |= guarded_rows(keep, rows)
    rows |= tuned_rows(name, variant, tunable)
    rows["nmpc"] = nmpc
    assert plant.x_equilibrium is not None
    return Scenario(
        name=name,
        variant=variant,
        title=f"runaway reactor, {what.title}",
        plant=plant,
        steps=90,
        starts=kept_starts(draw, keep.safe_set.contains),
        condition=what.condition,
        rows=rows,
        best="nmpc",
        x_ref=np.array([np.nan, np.nan, np.nan, plant.set_point]),
        settled=np.array([np.inf, np.inf, np.inf, 2.0]),
        limits=(np.full(4, -np.inf), np.array([np.inf, np.inf, np.inf, plant.T_max])),
        tunable=tunable,
    )
