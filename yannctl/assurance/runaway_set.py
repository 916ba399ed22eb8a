"""The runaway reactor's safe set: the barrier of full cooling in the plane of A and temperature, and what it rests on.

The feed fixes CB - CA (both are used up alike, whatever the reaction does, so the difference only tends to that of the
feed) and bounds CS by the feed's. So two states are left, and what the others may do becomes parameters:

    dCA/dt = q/V (CAf - CA) - r,   dT/dt = q/V (Tf - T) + (-dH1)/c r - k U (T - Tc) + reserve - spared,
    r = share A1 exp(-E1/(R T)) CA (CA + CBf - CAf)

with `share` for A1 and for CB within `SPREAD` of its line, and 0 <= spared <= reserve, where the reserve is more than
what the solvent's decomposition heats at the limit and what fouling takes from full cooling.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yannctl.types import ArrayLike, Float

from .barrier_set import BarrierSet, barrier_set
from .safe_set import AbstractSafeSet, _states
from .sampled_map import Flow

SPREAD = 0.02  # [mol/L] that CB - CA may differ from the feed's
ABOVE_FEED = 1.001  # of CSf: more solvent than in the feed there cannot be, but for rounding
SEGMENTS, INFLATION = 200, 0.01  # of the border, which is curved everywhere
SECONDS = 3600.0
GAS_CONSTANT = 8.314


@dataclass(frozen=True, eq=False)
class RunawaySet(AbstractSafeSet):
    """States of the runaway reactor that full cooling keeps below the limit.

    Args:
        barrier: in (CA, T), its input minus U.
        excess: CB - CA of the feed [mol/L].
        CS_max: most solvent [mol/L].
    """

    barrier: BarrierSet
    excess: float
    CS_max: float
    nx: int = field(default=4, init=False)
    nu: int = field(default=1, init=False)
    u_min: Float[np.ndarray, " nu"] = field(init=False)
    u_max: Float[np.ndarray, " nu"] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "u_min", -self.barrier.u_max)
        object.__setattr__(self, "u_max", -self.barrier.u_min)

    @property
    def room(self) -> float:
        """Least speed at which full cooling leaves the border inwards [K/h], as proved."""
        return self.barrier.room

    def border(self, CA: ArrayLike | float) -> Float[np.ndarray, "..."]:
        """Highest safe temperature.

        Args:
            CA: concentrations (...) [mol/L].

        Returns:
            Temperatures (...) [K].
        """
        return self.barrier.border(CA)

    def margin(self, x: ArrayLike) -> Float[np.ndarray, "..."]:
        """Least distance to the barrier, to the feed's line of CB - CA and to the solvent's bounds, as shares."""
        states = _states(x, 4)
        with np.errstate(invalid="ignore"):
            line = 1 - np.abs(states[..., 1] - states[..., 0] - self.excess) / SPREAD
            solvent = np.minimum(states[..., 2], self.CS_max - states[..., 2]) / self.CS_max
            return np.asarray(np.minimum(self.barrier.margin(_plane(states)), np.minimum(line, solvent)))

    def nearest(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Least cooling from the proposed one on that is proved safe; full cooling where none is."""
        return -self.barrier.nearest(_plane(_states(x, 4)), -np.asarray(u, dtype=float))

    def action(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Full cooling."""
        return np.broadcast_to(self.u_max, (*_states(x, 4).shape[:-1], 1)).copy()

    def recover(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Full cooling."""
        return self.action(x)

    def enclose(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch 2 nx"]:
        """Validated bound of CA and T one period later; CB follows from the line, CS from the feed."""
        plane = self.barrier.enclose(_plane(_states(x, 4)), -np.asarray(u, dtype=float))
        low, high = plane[..., 0, :], plane[..., 1, :]
        ends = []
        for end, spread, solvent in ((low, -SPREAD, 0.0), (high, SPREAD, self.CS_max)):
            CA, T = end[..., 0], end[..., 1]
            ends.append(np.stack([CA, CA + self.excess + spread, np.full_like(CA, solvent), T], axis=-1))
        return np.stack(ends, axis=-2)


def runaway_barrier(plant: Any = None) -> RunawaySet:
    """Prove the barrier of the runaway reactor's limit for all of the plant's uncertain parameters.

    Args:
        plant: a `RunawayReactor`; None for the one of the data sheet.

    Returns:
        The set for 0 to CAf mol/L of A, feed and flow as stated, sensors without error.

    Raises:
        EmptySetError: full cooling does not hold the limit for this plant.
    """
    from yannctl.models import RunawayReactor

    own = RunawayReactor() if plant is None else plant
    excess, CS_max = own.CBf - own.CAf, ABOVE_FEED * own.CSf
    low, high = (dict(zip(own.parameter_names, ends, strict=True)) for ends in own.parameter_ranges)
    shares = [low["A1"] / own.A1 * (1 - SPREAD / excess), high["A1"] / own.A1 * (1 + SPREAD / excess)]
    decomposition = np.exp(np.log(high["A2"]) - own.E2 / (GAS_CONSTANT * own.T_max)) * CS_max
    conductance = SECONDS * own.area / (own.V * own.heat_capacity)
    fouling = (1 - low["area"] / own.area) * conductance * own.U_max * (own.T_max - own.Tc)
    reserve = 1.001 * (-own.dH2 / own.heat_capacity * decomposition + fouling)
    flow = Flow(_rate(own, excess, reserve), own.dt, np.array([0.2, 10.0]), order=3, substeps=2, slope_order=2)
    barrier = barrier_set(
        flow, own.T_max, own.Tc, own.CAf, (-own.U_max, 0.0), np.array([shares[0], 0.0]), np.array([shares[1], reserve]),
        SEGMENTS, INFLATION,
    )  # fmt: skip
    return RunawaySet(barrier, excess, CS_max)


def _rate(plant: Any, excess: float, reserve: float) -> Any:
    """Rates of (CA, T) for minus U and (share, spared): the plant's own with CB on its line and no decomposition."""
    import casadi as ca

    x, v, p = ca.SX.sym("x", 2), ca.SX.sym("v"), ca.SX.sym("p", 2)
    flow, per_heat = plant.q / plant.V, 1 / plant.heat_capacity
    r = p[0] * plant.A1 * ca.exp(-plant.E1 / (GAS_CONSTANT * x[1])) * x[0] * (x[0] + excess)
    cooling = SECONDS * plant.area / plant.V * per_heat * v * (x[1] - plant.Tc)
    heat = flow * (plant.Tf - x[1]) - plant.dH1 * per_heat * r + cooling + reserve - p[1]
    return ca.Function("rate", [x, v, p], [ca.vertcat(flow * (plant.CAf - x[0]) - r, heat)], ["x", "u", "p"], ["x_dot"])


def _plane(states: np.ndarray) -> np.ndarray:
    """(CA, T) of states."""
    return states[..., [0, 3]]
