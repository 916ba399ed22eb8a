"""The reactor's safe set: below the trajectory of full cooling that just touches the temperature limit.

    S = {0 <= CA <= CA_max, T_low <= T <= Tb(CA)},   Tb = T_max for CA <= C*,  beyond it a polyline

Full cooling keeps S in continuous time, so no sample time empties it. That is proved segment by segment: with outward
normal n, n f(x, Tc_min, p) < 0 for every x of the segment and every p, by interval arithmetic. The filter lets a warmer
coolant pass where a validated bound of the whole period stays in S, and cools fully elsewhere.
"""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from yannctl.errors import EmptySetError, ModelError
from yannctl.types import ArrayLike, Float

from .intervals import IntervalTape, split_boxes
from .monotone_cells import MonotoneCells, monotone_cells
from .safe_set import AbstractSafeSet, _states
from .sampled_map import Flow

_INFLATION = 0.002  # of the parameters' distance from nominal 1, so that the chords of the polyline hold with room
_LOWERED = 1e-9  # [K] over the rounding of lines and interpolation; the proof holds for all lines within twice of it
_LEAST_RATE = 0.01  # [1/min], share of CA_max that A must be used up at along the border


@dataclass(frozen=True, eq=False)
class BarrierSet(AbstractSafeSet):
    """A verified barrier for one temperature limit and one coolant.

    Args:
        flow: the reactor over one sample period, (CA, T), (Tc,), p.
        corners: border from C* to CA_max (n, 2), CA rising, T falling [mol/L, K].
        T_max: temperature limit [K].
        T_low: lowest temperature of the set [K], at most the coldest coolant.
        u_min: coldest coolant (1,) [K].
        u_max: warmest coolant (1,) [K].
        p_min: lower parameters (np,).
        p_max: upper parameters (np,).
        room: least -n f along the border [K/min], as proved.
    """

    flow: Flow
    corners: Float[np.ndarray, "n 2"]
    T_max: float
    T_low: float
    u_min: Float[np.ndarray, " nu"]
    u_max: Float[np.ndarray, " nu"]
    p_min: Float[np.ndarray, " np"]
    p_max: Float[np.ndarray, " np"]
    nx: int = field(default=2, init=False)
    nu: int = field(default=1, init=False)
    room: float = field(init=False)
    lines: Float[np.ndarray, "segments 4"] = field(init=False)

    def __post_init__(self) -> None:
        steps = np.diff(self.corners, axis=0)
        if not (np.all(steps[:, 0] > 0) and np.all(steps[:, 1] < 0) and self.corners[0, 1] <= self.T_max):
            raise ModelError("corners", "CA must rise and T must fall from T_max on")
        slopes = steps[:, 1] / steps[:, 0]
        offsets = self.corners[:-1, 1] - slopes * self.corners[:-1, 0] - _LOWERED
        lines = np.column_stack([slopes, offsets, self.corners[:-1, 0], self.corners[1:, 0]])
        object.__setattr__(self, "lines", lines)
        object.__setattr__(self, "room", self._prove())

    @property
    def CA_max(self) -> float:
        """Largest concentration of the set [mol/L]."""
        return float(self.corners[-1, 0])

    def border(self, CA: ArrayLike | float) -> Float[np.ndarray, "..."]:
        """Highest safe temperature.

        Args:
            CA: concentrations (...) [mol/L].

        Returns:
            Temperatures (...) [K].
        """
        values = np.asarray(CA, dtype=float)
        return np.asarray(np.interp(values, self.corners[:, 0], self.corners[:, 1] - 2 * _LOWERED))

    def margin(self, x: ArrayLike) -> Float[np.ndarray, "..."]:
        """Least distance to the border, the axes and the lowest temperature, as a share of the set's size."""
        states = _states(x, 2)
        CA, T = states[..., 0], states[..., 1]
        with np.errstate(invalid="ignore"):
            in_T = np.minimum(self.border(CA) - T, T - self.T_low) / (self.T_max - self.T_low)
            return np.asarray(np.minimum(in_T, np.minimum(CA, self.CA_max - CA) / self.CA_max))

    def nearest(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Warmest coolant up to the proposed one that is proved safe; full cooling where none is."""
        from .barrier_kernels import filter_coolant

        states = _states(x, 2)
        flat = np.ascontiguousarray(states.reshape(-1, 2))
        wanted = np.clip(np.asarray(u, dtype=float).reshape(-1), self.u_min[0], self.u_max[0])
        out = np.empty(len(flat))
        flow, lines, cells, T_max, _, CA_max, p, u_min, _ = self._kernel_data
        filter_coolant(flow, lines, cells, T_max, CA_max, p, u_min, flat, wanted, out)
        return out.reshape(*states.shape[:-1], 1)

    def filter_one(self, x: Float[np.ndarray, " nx"], u: Float[np.ndarray, " nu"]) -> Float[np.ndarray, " nu"] | None:
        """Filter one state in one compiled call."""
        from .barrier_kernels import filter_one_coolant

        flow, lines, cells, T_max, T_low, CA_max, p, u_min, u_max = self._kernel_data
        found = filter_one_coolant(flow, lines, cells, T_max, T_low, CA_max, p, u_min, u_max, x, float(u[0]))
        return np.array([found]) if found == found else None  # noqa: PLR0124  (NaN asks for the long way)

    @cached_property
    def _kernel_data(self) -> tuple[Any, ...]:
        """Flow, lines, cells, limits, parameters and coolants as the kernels take them."""
        p = np.stack([self.p_min, self.p_max])
        limits = float(self.T_max), float(self.T_low), self.CA_max
        bounds = float(self.u_min[0]), float(self.u_max[0])
        return self.flow.kernel_data(), self.lines, self.cells.kernel_data(), *limits, p, *bounds

    @cached_property
    def cells(self) -> MonotoneCells:
        """Where the worst parameters are known, proved when first asked for."""
        bounds = float(self.u_min[0]), float(self.u_max[0])
        return monotone_cells(self.flow, self.lines, self.border, float(self.T_max), bounds, self.p_min, self.p_max)

    def action(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Full cooling."""
        return np.broadcast_to(self.u_min, (*_states(x, 2).shape[:-1], 1)).copy()

    def recover(self, x: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Full cooling."""
        return self.action(x)

    def enclose(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch 2 nx"]:
        """Validated bound of the flow over one period for all parameters."""
        states, inputs = _states(x, 2), np.asarray(u, dtype=float)
        point = np.concatenate([states, inputs], axis=-1)
        batch = point.shape[:-1]
        low = np.concatenate([point, np.broadcast_to(self.p_min, (*batch, self.p_min.size))], axis=-1)
        high = np.concatenate([point, np.broadcast_to(self.p_max, (*batch, self.p_max.size))], axis=-1)
        return self.flow.enclose(low, high).image

    def _prove(self, pieces: int = 16) -> float:
        """Bound n f < 0 on every segment, on the flat part and on the other borders; give the least room."""
        import casadi as ca

        rate, np_ = self.flow.rate, self.p_min.size
        z = ca.SX.sym("z", 5 + np_)  # CA, then T = T0 + slope (CA - CA0), p
        CA, CA0, T0, slope, below = ca.vertsplit(z[:5])
        f = rate(ca.vertcat(CA, T0 + slope * (CA - CA0) - below), float(self.u_min[0]), z[5:])
        value = f[1] - slope * f[0]
        outward = IntervalTape.from_function(ca.Function("outward", [z], [value]))
        # Affine in each parameter on its own: the largest value is at a corner of their intervals.
        for i in range(np_):
            if ca.jacobian(ca.jacobian(value, z[5 + i]), z[5 + i]).nnz():
                raise ModelError("flow", f"the rate is not affine in parameter {i}", remedy="state it as a multiplier")
        first = np.vstack([[[0.0, self.T_max]], self.corners[:-1]])
        ends = np.concatenate([self.corners[:1, 0], self.corners[1:, 0]])
        fixed = np.column_stack([first, np.concatenate([[0.0], self.lines[:, 0]])])
        worst = np.full(len(ends), -np.inf)
        for p in product(*zip(self.p_min, self.p_max, strict=True)):
            tail = np.tile(p, (len(ends), 1))
            low = np.column_stack([first[:, 0], fixed, np.zeros(len(ends)), tail])
            high = np.column_stack([ends, fixed, np.full(len(ends), barrier_depth()), tail])
            bound = outward.bound(*split_boxes(low, high, [pieces, *[1] * (4 + np_)]))[1]
            worst = np.maximum(worst, bound[:, 0].reshape(len(ends), -1).max(axis=1))
        if not np.all(worst < 0):
            k = int(np.argmax(worst))
            at = f"between CA = {first[k, 0]:.4f} and {ends[k]:.4f} mol/L"
            raise EmptySetError(
                "corners", f"full cooling does not hold the border {at} (n f <= {worst[k]:.3g} K/min)", index=k,
                remedy="a colder coolant, narrower parameters or a higher limit",
            )  # fmt: skip
        self._prove_sides()
        return float(-worst.max())

    def _prove_sides(self) -> None:
        """CA = 0 and CA = CA_max point inward for every T; T = T_low does for every CA (any coolant above it)."""
        rate = IntervalTape.from_function(self.flow.rate)
        u, p = self.u_min, (self.p_min, self.p_max)
        T = (self.T_low, float(self.border(self.CA_max)))
        sides = (
            ("CA = 0", [0.0, self.T_low], [0.0, self.T_max], 0, 1.0),
            ("CA_max", [self.CA_max, T[0]], [self.CA_max, T[1]], 0, -1.0),
            ("T_low", [0.0, self.T_low], [self.CA_max, self.T_low], 1, 1.0),
        )
        for name, low, high, i, sign in sides:
            boxes = split_boxes(
                np.concatenate([low, u, p[0]])[None], np.concatenate([high, u, p[1]])[None], [32, 32, 1, 1, 1]
            )
            bounds = rate.bound(*boxes)
            inward = bounds[0][:, i].min() if sign > 0 else -bounds[1][:, i].max()
            if not inward >= 0:
                raise EmptySetError(name, f"the rate points out of the set there ({-inward:.3g})")


def barrier_depth() -> float:
    """How far below the polyline the border is proved as well [K], over the rounding of lines and interpolation."""
    return 3 * _LOWERED


def barrier_set(
    flow: Flow,
    T_max: float,
    T_low: float,
    CA_max: float,
    u_bounds: tuple[float, float],
    p_min: Float[np.ndarray, " np"],
    p_max: Float[np.ndarray, " np"],
    segments: int = 96,
    inflation: float = _INFLATION,
) -> BarrierSet:
    """Compute the barrier of a reactor and prove it.

    The trajectory of full cooling with slightly inflated worst parameters is followed backward from the point where it
    touches the limit; its corners become the border.

    Args:
        flow: the reactor over one period.
        T_max: temperature limit [K].
        T_low: lowest temperature of the set [K].
        CA_max: largest concentration [mol/L].
        u_bounds: coldest and warmest coolant [K].
        p_min: lower parameters (rate factor, heat transfer).
        p_max: upper parameters.
        segments: segments of the border.
        inflation: share by which the worst parameters are exceeded along it; a curved border needs more.

    Returns:
        The set.

    Raises:
        EmptySetError: full cooling cannot hold the limit, or the border does not pass the proof.
    """
    worst = np.array([p_max[0], p_min[1]]) * np.array([1 + inflation, 1 - inflation])

    def rate(state: Any) -> np.ndarray:
        return np.array(flow.rate(state, u_bounds[0], worst)).ravel()

    touch = _touching_point(rate, T_max, CA_max)
    time, path = _backward(rate, np.array([touch, T_max]), T_low, CA_max)
    # Finest where the border bends most, beside the point where it leaves the limit.
    fine = path(time * np.linspace(0.0, 1.0, 100 * segments + 1) ** 2)
    CA = touch + (CA_max - touch) * np.linspace(0.0, 1.0, segments + 1) ** 2
    CA[-1] = CA_max
    T = np.interp(CA, fine[0], fine[1])
    corners = np.column_stack([CA, np.minimum.accumulate(T) - 1e-6 * np.arange(len(T))])
    low, high = np.array(u_bounds[:1]), np.array(u_bounds[1:])
    return BarrierSet(flow, corners, T_max, T_low, low, high, np.asarray(p_min), np.asarray(p_max))


def _touching_point(rate: Any, T_max: float, CA_max: float) -> float:
    """Largest concentration at which full cooling holds the limit."""
    from scipy.optimize import brentq

    def heating(CA: float) -> float:
        return float(rate([CA, T_max])[1])

    if heating(0.0) >= 0:
        raise EmptySetError("T_max", "full cooling does not hold the limit even without A", remedy="a colder coolant")
    return float(np.asarray(brentq(heating, 0.0, CA_max))) if heating(CA_max) > 0 else CA_max


def _backward(rate: Any, start: np.ndarray, T_low: float, CA_max: float) -> tuple[float, Any]:
    """The trajectory that ends in `start`, followed back to CA_max: its length in time and the state at each time."""
    from scipy.integrate import solve_ivp

    def backward(_: float, state: Any) -> np.ndarray:
        return -rate(state)

    def arrived(_: float, state: Any) -> float:
        return float(state[0] - CA_max)

    def turned(_: float, state: Any) -> float:
        """Where A is no longer used up, or below the set, the trajectory bounds nothing."""
        return float(min(-rate(state)[0] - _LEAST_RATE * CA_max, state[1] - T_low))

    arrived.terminal = turned.terminal = True
    refused = EmptySetError(
        "T_max", f"full cooling does not hold the limit for concentrations up to {CA_max} mol/L",
        remedy="a colder coolant, narrower parameters or a higher limit",
    )  # fmt: skip
    if turned(0.0, start) <= 0:
        raise refused
    path = solve_ivp(
        backward, (0.0, 1 / _LEAST_RATE), start, method="DOP853", rtol=1e-10, atol=1e-10, dense_output=True,
        events=(arrived, turned),
    )  # fmt: skip
    if not path.t_events[0].size:
        raise refused
    return float(path.t_events[0][0]), path.sol
