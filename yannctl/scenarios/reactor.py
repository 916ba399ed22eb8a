"""The stirred tank: hold or reach the unstable point under a temperature limit."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from yannctl.controllers import AbstractController, Filtered, KalmanFilter, Limited, Nmpc, OffsetFreeMpc, OnlineMpc
from yannctl.linear import LinearModel, linearise
from yannctl.models import CSTR
from yannctl.ocp import Ocp

from .oracle import Oracle
from .scenario import Condition, Factory, Scenario, World, kept_starts
from .weights import Weights, read_tuned

BEYOND = (np.array([-1.0, 250.0]), np.array([2.0, 600.0]))  # states at which the linear laws may be asked
SET_NODES = 2000  # of the backward trajectory
BISECTIONS = 12  # of the guard: to a hundredth of a kelvin
UNSTABLE = 0.5  # [mol/L]
HORIZON, SUBSTEPS = 40, 4  # of NMPC at 0.1 min; fewer substeps at a shorter period


@dataclass(frozen=True)
class CoolableSet:
    """States from which full cooling keeps T below its limit, numerically, NOT certified.

    T <= T_max for CA <= C*, else T <= Tb(CA): the backward trajectory of full cooling from the point (C*, T_max) where
    that trajectory touches the limit, for the worst parameters. It only chooses starts and first guesses here.

    Args:
        CA: nodes of the border, rising [mol/L].
        T: its temperatures [K].
        T_max: the limit [K].
    """

    CA: np.ndarray
    T: np.ndarray
    T_max: float

    @classmethod
    def of(cls, plant: CSTR, uncertainty: float) -> "CoolableSet":
        """Integrate backwards from the tangent point.

        Args:
            plant: the nominal plant.
            uncertainty: share by which k0 may be higher and UA lower.

        Returns:
            The set.
        """
        worst = plant.perturbed({"k0": plant.k0 * (1 + uncertainty), "UA": plant.UA * (1 - uncertainty)})
        cold = np.array([plant.Tc_min])
        levels = np.linspace(0.0, plant.CAf, SET_NODES)
        rates = worst.rate(np.column_stack([levels, np.full(SET_NODES, plant.T_max)]), np.tile(cold, (SET_NODES, 1)))
        first = levels[np.argmax(rates[:, 1] > 0)]
        border, h = [np.array([first, plant.T_max])], 1e-3
        while border[-1][0] < 1.05 * plant.CAf and len(border) < 20 * SET_NODES:
            middle = border[-1] - h / 2 * worst.rate(border[-1], cold)
            border.append(border[-1] - h * worst.rate(middle, cold))
        table = np.array(border)
        return cls(table[:, 0], table[:, 1], plant.T_max)

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Whether states lie in the set.

        Args:
            x: states (n, 2).

        Returns:
            Booleans (n,).
        """
        top = np.where(x[:, 0] <= self.CA[0], self.T_max, np.interp(x[:, 0], self.CA, self.T))
        return x[:, 1] <= top


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


def offset_free(N: int) -> Factory:
    """Make the row of the offset-free linear MPC: constant disturbances on both rates, estimated.

    Args:
        N: horizon.
    """

    def factory(scenario: Scenario, world: World) -> AbstractController:
        plant: Any = scenario.plant
        plain = linear_model(plant)
        lin = replace(plain, E=np.eye(2), d_names=("d_CA", "d_T"), d_op=np.zeros(2), C_d=None).with_outputs(("CA",))
        ends = {"d_min": [-0.2, -20.0], "d_max": [0.2, 20.0], "ref_min": [0.0], "ref_max": [1.0], "track": "y"}
        ocp = linear_problem(plant, N, Weights(), lin, **ends)
        sensor = np.array([0.005, 0.2]) ** 2
        W = np.concatenate([sensor, 0.1 * sensor])
        estimator = KalmanFilter(
            lin.with_outputs(("CA", "T")), W=W, V=sensor if scenario.condition.noisy else 1e-2 * sensor
        )
        return OffsetFreeMpc(ocp, estimator, y_ref=[plant.set_point])

    return factory


def guard(plant: CSTR, uncertainty: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The input nearest to the proposed one whose next state stays in the coolable set, else full cooling.

    NOT certified: the next state is looked at for the worst parameters only, and the set is numerical.

    Args:
        plant: the nominal plant.
        uncertainty: share of the parameters for which the next state is looked at.

    Returns:
        Function of states (n, 2) and proposed inputs (n, 1), as `Filtered` takes it.
    """
    safe = coolable(plant, uncertainty)
    worst = plant.perturbed({"k0": plant.k0 * (1 + uncertainty), "UA": plant.UA * (1 - uncertainty)})

    def stays(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        return safe.contains(worst.step_tape.evaluate(x, u))[:, None]

    def keep(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        wanted = plant.clip(np.nan_to_num(u, nan=plant.Tc_min))
        held = stays(x, wanted)
        if held.all():
            return wanted
        low, high = np.full_like(wanted, plant.Tc_min), wanted.copy()
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            good = stays(x, middle)
            low, high = np.where(good, middle, low), np.where(good, high, middle)
        return np.where(held, wanted, low)

    return keep


def nmpc(N: int, uncertainty: float) -> Factory:
    """Make the row of NMPC with the true parameters.

    Args:
        N: horizon of the linear law in its first guess.
        uncertainty: share covered by the set of that guess.
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
            guesses=(Filtered(_linear(plant, N, Weights()), guard(plant, uncertainty)),),
            open_parameters=True,
            substeps=SUBSTEPS if plant.dt > 0.05 else SUBSTEPS // 2,
        )
        return Oracle(law, scenario, world)

    return factory


@functools.lru_cache(maxsize=16)
def coolable(plant: CSTR, uncertainty: float) -> CoolableSet:
    """See `CoolableSet.of`; computed once.

    Args:
        plant: the nominal plant.
        uncertainty: share of k0 and UA.
    """
    return CoolableSet.of(plant, uncertainty)


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
    safe = coolable(plant, what.uncertainty)
    box = np.array([what.lowest, 310.0]), np.array([plant.CAf, plant.T_max])
    starts = kept_starts(lambda rng, n: rng.uniform(*box, (n, 2)), safe.contains)
    tuned = read_tuned(name, variant)
    rows: dict[str, Factory] = {"linear": linear(what.N), "offset-free": offset_free(what.N)}
    if tuned is not None:
        rows["tuned"] = linear(what.N, tuned)
    rows["nmpc"] = nmpc(what.N, what.uncertainty)
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
        certain=not (what.condition.disturbed or what.condition.noisy),
        tunable=lambda weights: linear(what.N, weights),
        tuning_space=("Q:CA", "Q:T", "R:Tc", "backoff"),
    )
