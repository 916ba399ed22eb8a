"""The stirred tank: hold or reach the unstable point under a temperature limit."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from yannctl.assurance import SafetyFilter, reactor_barrier
from yannctl.controllers import (
    AbstractController,
    DynamicProgramming,
    Filtered,
    KalmanFilter,
    Limited,
    Nmpc,
    OffsetFreeMpc,
    OnlineMpc,
)
from yannctl.linear import LinearModel, linearise
from yannctl.models import CSTR
from yannctl.mpqp import condense
from yannctl.ocp import Ocp

from .guarded import Guarded, guarded_rows, tunable_behind
from .oracle import Oracle
from .scenario import Condition, Factory, Scenario, Tunable, World, kept_starts
from .tuning import tuned_rows
from .weights import Weights

BEYOND = (np.array([-1.0, 250.0]), np.array([2.0, 600.0]))  # states at which the linear laws may be asked
UNSTABLE = 0.5  # [mol/L]
NODES, COOLANTS = 161, 25  # of dynamic programming
HORIZON, SUBSTEPS = 40, 4  # of NMPC at 0.1 min; fewer substeps at a shorter period
SENSOR = (0.005, 0.2)  # [mol/L, K], standard deviations an estimator reckons with
EXPLICIT_N = 10  # longest horizon of an explicit offset-free law
LAW_SPACE = ("Q:CA", "Q:T", "R:Tc", "backoff")
ESTIMATOR_SPACE = ("drift:CA", "drift:T", "sensor")


@functools.lru_cache(maxsize=8)
def safety_filter(mismatch: float, dt: float, Tc_max: float) -> SafetyFilter:
    """Prove the filter of the temperature limit; computed once.

    Args:
        mismatch: share by which k0 and UA may be off.
        dt: sample period [min].
        Tc_max: warmest coolant [K].
    """
    barrier = reactor_barrier(mismatch, dt, Tc_max)
    return SafetyFilter(barrier, safe_action=barrier.u_min)


@functools.lru_cache(maxsize=8)
def linear_model(plant: CSTR) -> LinearModel:
    """Linearise at the unstable point (0.5 mol/L, 350 K), whatever the set-point: one model for all.

    Args:
        plant: the nominal plant.
    """
    T, Tc = plant.steady_state(UNSTABLE)
    return linearise(plant, x=[UNSTABLE, T], u=[Tc])


def linear_problem(plant: CSTR, N: int, weights: Weights, lin: LinearModel | None = None, **tracking: Any) -> Ocp:
    """State the linear MPC: weights of the stage cost, soft temperature limit, terminal cost of the LQR.

    Args:
        plant: the nominal plant.
        N: horizon.
        weights: factors on the weights.
        lin: another model of the same states, with disturbances; default the plain one.
        tracking: fields of `Ocp` for disturbances and tracking.
    """
    from yannctl.models.cstr import WEIGHTS

    a, b, c = WEIGHTS[plant.cost]
    T, Tc = plant.steady_state(plant.set_point)
    limit = plant.T_max - weights.backoff * (plant.x_max[1] - plant.x_min[1])
    return Ocp(
        linear_model(plant) if lin is None else lin,
        Q=weights.scaled("Q", plant.x_names, [a, b]),
        R=weights.scaled("R", plant.u_names, [c]),
        N=N,
        x_max=[np.inf, limit],
        u_min=plant.u_min,
        u_max=plant.u_max,
        soft="l1l2",
        x_ref=[plant.set_point, T],
        u_ref=[Tc],
        theta_min=BEYOND[0],
        theta_max=BEYOND[1],
        **tracking,
    )


def linear(N: int, weights: Weights | None = None) -> Factory:
    """Make the row of the linear MPC.

    Args:
        N: horizon.
        weights: factors on its weights; default the plain ones.
    """

    def factory(scenario: Scenario, world: World) -> AbstractController:
        return _linear(scenario.plant, N, weights or Weights())

    return factory


def _linear(plant: Any, N: int, weights: Weights) -> AbstractController:
    ocp = linear_problem(plant, N, weights)
    return Limited(OnlineMpc(ocp), plant.u_min, plant.u_max)


def offset_free(N: int, weights: Weights | None = None) -> Factory:
    """Make the row of the offset-free linear MPC: constant disturbances on both rates, estimated.

    Args:
        N: horizon.
        weights: factors on its weights and on the estimator's variances; default the plain ones.
    """
    chosen = weights or Weights()

    def factory(scenario: Scenario, world: World) -> AbstractController:
        plant: Any = scenario.plant
        lin, ocp = _tracking_problem(plant, N, chosen)
        highest = max([1.0, *(chosen.factors.get(name, 1.0) for name in LAW_SPACE)])
        # The soft limit's weight is the plain problem's, which takes half a second, raised like the others.
        ocp = replace(ocp, soft_weight=highest * _soft_weight(plant, N))
        sensor = np.square(SENSOR)
        W = np.concatenate([sensor, 0.1 * chosen.scaled("drift", plant.x_names, sensor)])
        V = chosen.sensor * (1.0 if scenario.condition.noisy else 1e-2) * sensor
        estimator = KalmanFilter(lin.with_outputs(("CA", "T")), W=W, V=V)
        return OffsetFreeMpc(ocp, estimator, y_ref=[plant.set_point])

    return factory


def _tracking_problem(plant: CSTR, N: int, weights: Weights) -> tuple[LinearModel, Ocp]:
    """Model and problem with a constant disturbance on both rates."""
    plain = linear_model(plant)
    lin = replace(plain, E=np.eye(2), d_names=("d_CA", "d_T"), d_op=np.zeros(2), C_d=None).with_outputs(("CA",))
    ends = {"d_min": [-0.2, -20.0], "d_max": [0.2, 20.0], "ref_min": [0.0], "ref_max": [1.0], "track": "y"}
    return lin, linear_problem(plant, N, weights, lin, **ends)


@functools.lru_cache(maxsize=8)
def _soft_weight(plant: CSTR, N: int) -> float:
    """Smallest exact weight of the plain offset-free problem's soft limit; for a long horizon twice a short one's.

    It comes from the explicit hard law, whose regions in five parameters have too many corners beyond `EXPLICIT_N`.
    """
    weight = condense(_tracking_problem(plant, min(N, EXPLICIT_N), Weights())[1]).soft_weight
    assert weight is not None
    return weight if N <= EXPLICIT_N else 2 * weight


def nmpc(N: int, keep: SafetyFilter) -> Factory:
    """Make the row of NMPC with the true parameters.

    Args:
        N: horizon of the linear law in its first guess.
        keep: filter of that guess.
    """

    def factory(scenario: Scenario, world: World) -> AbstractController:
        plant: Any = scenario.plant
        ocp = linear_problem(plant, N, Weights())
        low, high = scenario.bounds
        law = Nmpc(
            plant,
            N=round(HORIZON * 0.1 / plant.dt),
            terminal=lambda x: (x - ocp.x_ref).T @ ocp.P @ (x - ocp.x_ref),
            x_min=np.where(np.isfinite(low), -np.inf, low),
            x_max=high,
            guesses=(Filtered(_linear(plant, N, Weights()), keep),),
            open_parameters=True,
            substeps=SUBSTEPS if plant.dt > 0.05 else SUBSTEPS // 2,
        )
        return Oracle(law, scenario, world)

    return factory


def filtered_best(keep: SafetyFilter) -> Factory:
    """Make the row of dynamic programming behind the filter: the best that any feedback of the state reaches there.

    It knows the true parameters where all starts share them, the nominal ones otherwise.

    Args:
        keep: the filter.
    """

    def factory(scenario: Scenario, world: World) -> AbstractController:
        plant = scenario.plant
        if (world.p == world.p[0]).all():
            plant = plant.perturbed(world.p[0])

        def limits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            warmest = np.broadcast_to(plant.u_max, (len(x), 1))
            return np.broadcast_to(plant.u_min, (len(x), 1)), keep(x, warmest)

        best = DynamicProgramming.solve(plant, NODES, COOLANTS, steps=scenario.steps, limits=limits)
        return Guarded(best, keep)

    return factory


BOTH = {"k0": (0.9, 1.1), "UA": (0.9, 1.1)}
FIXED = {"k0": (1.08, 1.08), "UA": (0.92, 0.92)}
WIDE = {"Tc_max": 370.0, "cost": "QC"}


AS_KNOWN = Condition()


@dataclass(frozen=True)
class _Variant:
    """What changes from one variant to the next."""

    title: str
    condition: Condition = AS_KNOWN
    plant: dict[str, Any] | None = None
    N: int = 10
    uncertainty: float = 0.1
    lowest: float = 0.2


VARIANTS = {
    "nominal": _Variant("no mismatch"),
    "fast": _Variant("no mismatch, 3 s a step", plant={"dt": 0.05}, N=20),
    "perturbed": _Variant("k0 and UA +-10 % at random", Condition(BOTH)),
    "wide": _Variant("coolant up to 370 K, cheap heat and input (cost QC)", plant=WIDE),
    "narrow": _Variant("no mismatch, 3 s a step, starts safe for +-5 %", plant={"dt": 0.05}, N=20, uncertainty=0.05),
    "mismatch": _Variant("k0 +8 %, UA -8 %, set-point 0.6", Condition(FIXED), {"set_point": 0.6}),
    "mismatch-qc": _Variant("k0 +8 %, UA -8 %, cost QC", Condition(FIXED), {"cost": "QC"}),
    "mismatch-qc-0.6": _Variant(
        "k0 +8 %, UA -8 %, cost QC, set-point 0.6", Condition(FIXED), {"cost": "QC", "set_point": 0.6}
    ),
    "disturbed": _Variant("feed concentration, temperature and flow jump once", Condition(disturbed=True)),
    "noisy": _Variant("noisy sensors", Condition(noisy=True)),
}
STARTUP = {
    "perturbed": _Variant("starts above 0.6 mol/L, k0 and UA +-10 %", Condition(BOTH), lowest=0.6),
    "nominal": _Variant("starts above 0.6 mol/L, no mismatch", lowest=0.6),
}


def make(name: str, variant: str) -> Scenario:
    """Make a scenario of the reactor.

    Args:
        name: "cstr-setpoint" or "cstr-startup".
        variant: a key of `VARIANTS` or `STARTUP`.

    Returns:
        The scenario.
    """
    what = (STARTUP if name == "cstr-startup" else VARIANTS)[variant]
    plant = CSTR(**(what.plant or {}))
    keep = safety_filter(what.uncertainty, plant.dt, plant.Tc_max)
    box = np.array([what.lowest, 310.0]), np.array([plant.CAf, plant.T_max])
    starts = kept_starts(lambda rng, n: rng.uniform(*box, (n, 2)), keep.safe_set.contains)
    exact = not (what.condition.disturbed or what.condition.noisy)
    tunable = _tunable(what.N, keep if exact else None)
    rows: dict[str, Factory] = {"linear": linear(what.N), "offset-free": offset_free(what.N)}
    if exact:  # the proof covers k0 and UA only
        rows |= guarded_rows(keep, rows)
    rows |= tuned_rows(name, variant, tunable)
    if exact:
        rows["filtered-best"] = filtered_best(keep)
    rows["nmpc"] = nmpc(what.N, keep)
    T, _ = plant.steady_state(plant.set_point)
    return Scenario(
        name=name,
        variant=variant,
        title=f"reactor, {what.title}",
        plant=plant,
        steps=round(4.0 / plant.dt),
        starts=starts,
        condition=what.condition,
        rows=rows,
        best="nmpc",
        x_ref=np.array([plant.set_point, T]),
        settled=np.array([0.02, 2.0]),
        limits=(np.array([-np.inf, -np.inf]), np.array([np.inf, plant.T_max])),
        certain=exact,
        tunable=tunable,
        safety_filter=keep if exact else None,
    )


def _tunable(N: int, keep: SafetyFilter | None) -> dict[str, Tunable]:
    """Rows that a search may tune, each on its own: weights and estimator, in front of the filter and behind it."""
    both = (*LAW_SPACE, *ESTIMATOR_SPACE)
    tunable = {
        "offset-free": Tunable(lambda weights: offset_free(N, weights), ESTIMATOR_SPACE),
        "tuned": Tunable(lambda weights: linear(N, weights), LAW_SPACE),
        "tuned-offset-free": Tunable(lambda weights: offset_free(N, weights), both),
    }
    return tunable if keep is None else tunable | tunable_behind(keep, tunable)
