"""Independent check of the analytic certificates; nothing of the code that made them is imported.

**Barrier of a reactor**, S = {0 <= CA <= CA_max, T_low <= T <= Tb(CA)}: at every border of S full cooling points
inward, so S is kept in continuous time and hence at every sampling instant. Decided piece by piece in integer
intervals: n f(x, Tc_min, p) < 0 on the flat part and on every segment, for all T up to a stated depth below it; the
rates are affine in k0 and UA, so the corners of their intervals are enough.

**Stopping set of a robot**, S = {v >= 0, +-ey + tau_max g_v v max(0, sup sin(+-psi + [-rho, rho])) <= half_width}: with
the commands at zero, v and omega only fall, by at least 1 / tau_max of themselves; the heading turns by at most
g_w |omega| + kappa_bar g_v v, which is no more than rho falls; so the sector [psi - rho, psi + rho] only shrinks and
ey gains no more than the other summand loses. That holds for every number that fulfils the premises decided here, in
exact fractions and, for the decay of the speeds in a period, in integer intervals.
"""

import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from .checker import CheckReport
from .exact_numbers import Counter, WrongStatementError
from .fixed_point import FixedInterval

_MOST = {"corners": 10_000, "pieces": 1024}
_BARRIER = {
    "corners": 2, "limits": 1, "coolant": 1, "p_min": 1, "p_max": 1, "reactor": 1, "depth": 1, "room": 1, "pieces": 1,
}  # fmt: skip
_STOPPING = {"corridor": 1, "lag": 1, "gains": 1, "bend": 1, "u_min": 1, "u_max": 1, "wheels": 1, "decay": 1}


def check_analytic(form: str, data: Mapping[str, np.ndarray], dt: float) -> CheckReport:
    """Check every statement of an analytic certificate.

    Args:
        form: "barrier" or "stopping".
        data: its numbers by name.
        dt: sample period as stated [the plant's unit of time].

    Returns:
        The verdict, with the failing segment or premise named.
    """
    start, counter = time.perf_counter(), Counter()
    checks: dict[str, tuple[dict[str, int], Callable[..., None]]] = {
        "barrier": (_BARRIER, _check_barrier), "stopping": (_STOPPING, _check_stopping),
    }  # fmt: skip
    try:
        if form not in checks:
            raise WrongStatementError(f"form {form!r} is unknown")
        names, check = checks[form]
        _check_shapes(names, data)
        counter.one(0 < dt < float("inf"), f"the sample period {dt} is not positive")
        check({name: np.asarray(data[name], dtype=float).tolist() for name in names}, Fraction(dt), counter)
    except WrongStatementError as wrong:
        return CheckReport(False, str(wrong), counter.n, time.perf_counter() - start)
    except (ArithmeticError, ValueError, IndexError) as error:
        return CheckReport(False, f"numbers that do not fit ({error})", counter.n, time.perf_counter() - start)
    return CheckReport(True, "", counter.n, time.perf_counter() - start)


def _check_shapes(names: Mapping[str, int], data: Mapping[str, np.ndarray]) -> None:
    for name, ndim in names.items():
        if name not in data:
            raise WrongStatementError(f"{name} is missing")
        array = np.asarray(data[name], dtype=float)
        if array.ndim != ndim or not array.size or not np.all(np.isfinite(array)):
            raise WrongStatementError(f"{name} is not an array of finite numbers with {ndim} axes")
    if "corners" in names and not (2 <= len(data["corners"]) <= _MOST["corners"] and data["corners"].shape[1] == 2):
        raise WrongStatementError("corners is not a list of (CA, T)")


class _Reactor:
    """Rates of the reactor in integer intervals, with full cooling."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        q, V, CAf, Tf, E_R, dH, rho, Cp, self.hottest = data["reactor"]
        of = FixedInterval.of
        self.per_volume = of(rho) * of(Cp)
        self.flow, self.CAf, self.Tf, self.E_R = of(q) / of(V), of(CAf), of(Tf), of(E_R)
        self.heat = -of(dH) / self.per_volume
        self.V, self.Tc = of(V), of(data["coolant"][0])
        self.parameters = [
            (of(k0), of(UA) / (self.V * self.per_volume))
            for k0, UA in product(*zip(data["p_min"], data["p_max"], strict=True))
        ]

    def rates(self, CA: FixedInterval, T: FixedInterval) -> list[tuple[FixedInterval, FixedInterval]]:
        """(dCA/dt, dT/dt) for each corner of the parameters."""
        speed = (-(self.E_R / T)).exp() * CA
        refill, warming = self.flow * (self.CAf - CA), self.flow * (self.Tf - T)
        found = []
        for k0, cooling in self.parameters:
            r = k0 * speed
            found.append((refill - r, warming + self.heat * r + cooling * (self.Tc - T)))
        return found


def _check_barrier(data: Mapping[str, Any], dt: Fraction, counter: Counter) -> None:
    corners, (T_max, T_low), (coldest, warmest) = data["corners"], data["limits"], data["coolant"]
    (depth,), (room,), (pieces,) = data["depth"], data["room"], data["pieces"]
    counter.one(pieces == int(pieces) and 1 <= pieces <= _MOST["pieces"], f"pieces is {pieces}")
    counter.one(
        len(data["reactor"]) == 9 and min(data["reactor"][:2] + data["reactor"][4:5]) > 0, "reactor is no reactor"
    )
    counter.one(min(data["reactor"][6:8]) > 0, "density and heat capacity are not positive")
    counter.one(
        len(data["p_min"]) == len(data["p_max"]) == 2
        and all(0 < a <= b for a, b in zip(data["p_min"], data["p_max"], strict=True)),
        "the parameters' intervals are not positive and in order",
    )
    counter.one(
        0 < T_low < T_max <= data["reactor"][8],
        f"T_low = {T_low}, T_max = {T_max}: not in order, or beyond what the rate law is for",
    )
    counter.one(0 < coldest < warmest, f"coolant from {coldest} to {warmest} K is not in order")
    counter.one(depth > 0 and room > 0, "depth or room is not positive")
    counter.one(
        corners[0][0] > 0 and corners[0][1] <= T_max and corners[-1][1] > T_low,
        "the border does not run from T_max to above T_low",
    )
    for k in range(len(corners) - 1):
        (CA0, T0), (CA1, T1) = corners[k], corners[k + 1]
        counter.one(CA0 < CA1 and T0 > T1, f"segment {k + 1}: CA must rise and T must fall")
    reactor, n = _Reactor(data), int(pieces)
    _check_segment(reactor, (0.0, T_max), (corners[0][0], T_max), n, (depth, room), counter, "segment 0 (the limit)")
    for k in range(len(corners) - 1):
        where = f"segment {k + 1} of {len(corners) - 1}, CA {corners[k][0]:.4f} to {corners[k + 1][0]:.4f}"
        _check_segment(reactor, corners[k], corners[k + 1], n, (depth, room), counter, where)
    _check_sides(reactor, corners, (T_max, T_low), n, counter)


def _check_segment(
    reactor: _Reactor,
    start: Any,
    end: Any,
    n: int,
    depth_and_room: tuple[float, float],
    counter: Counter,
    where: str,
) -> None:
    """Decide n f <= -room on one segment and down to `depth` below it, with the normal n = (-slope, 1)."""
    (CA0, T0), (CA1, T1) = [[Fraction(value) for value in corner] for corner in (start, end)]
    depth, room = (Fraction(value) for value in depth_and_room)
    slope = (T1 - T0) / (CA1 - CA0)
    steep, least = _fixed(slope, slope), -_fixed(room, room).high
    for i in range(n):
        a, b = CA0 + (CA1 - CA0) * Fraction(i, n), CA0 + (CA1 - CA0) * Fraction(i + 1, n)
        T = _fixed(T0 + slope * (b - CA0) - depth, T0 + slope * (a - CA0))
        for fall, rise in reactor.rates(_fixed(a, b), T):
            outward = rise - steep * fall
            counter.one(outward.high <= least, f"{where}: full cooling does not hold the border there")


def _check_sides(reactor: _Reactor, corners: Any, limits: tuple[float, float], n: int, counter: Counter) -> None:
    """CA = 0, CA = CA_max and T = T_low point inward."""
    T_max, T_low = (Fraction(value) for value in limits)
    CA_max, top = (Fraction(value) for value in corners[-1])
    for i in range(n):
        T = _fixed(T_low + (T_max - T_low) * Fraction(i, n), T_low + (T_max - T_low) * Fraction(i + 1, n))
        zero = FixedInterval.of(0.0)
        counter.one(all(fall.low >= 0 for fall, _ in reactor.rates(zero, T)), "CA = 0: the rate points out of the set")
        T = _fixed(T_low + (top - T_low) * Fraction(i, n), T_low + (top - T_low) * Fraction(i + 1, n))
        inward = all(fall.high <= 0 for fall, _ in reactor.rates(_fixed(CA_max, CA_max), T))
        counter.one(inward, "CA = CA_max: the rate points out of the set")
        CA = _fixed(CA_max * Fraction(i, n), CA_max * Fraction(i + 1, n))
        inward = all(rise.low >= 0 for _, rise in reactor.rates(CA, _fixed(T_low, T_low)))
        counter.one(inward, "T = T_low: the rate points out of the set")


def _fixed(low: Fraction, high: Fraction) -> FixedInterval:
    return FixedInterval.of(low, high)


def _check_stopping(data: Mapping[str, Any], dt: Fraction, counter: Counter) -> None:
    sizes = {"corridor": 2, "lag": 2, "gains": 2, "bend": 1, "u_min": 2, "u_max": 2, "wheels": 2, "decay": 2}
    for name, size in sizes.items():
        counter.one(len(data[name]) == size, f"{name} holds {len(data[name])} numbers, expected {size}")
    width, curvature = (Fraction(value) for value in data["corridor"])
    lag_min, lag_max = (Fraction(value) for value in data["lag"])
    counter.one(width > 0 and curvature >= 0, "half width or curvature is negative")
    counter.one(0 < lag_min <= lag_max, "the lags are not positive and in order")
    counter.one(min(data["gains"]) > 0, "a gain is not positive")
    counter.one(width * curvature < 1, "the corridor reaches the centre of the path's curves")
    (bend,) = (Fraction(value) for value in data["bend"])
    counter.one(
        bend * (1 - width * curvature) >= curvature,
        f"bend {data['bend'][0]} is less than the path turns a metre, curvature / (1 - half_width curvature)",
    )
    v_min, w_min = data["u_min"]
    v_max, w_max = data["u_max"]
    half_track, wheel_speed = data["wheels"]
    counter.one(
        v_min == 0 < v_max and w_min <= 0 <= w_max, "the stop (0, 0) is not within the input bounds, or v is negative"
    )
    counter.one(half_track > 0 and v_max <= wheel_speed, "the largest speed is more than the wheels give")
    below, above = (FixedInterval.of(value) for value in data["decay"])
    least, most = ((-(FixedInterval.of(dt) / FixedInterval.of(lag))).exp() for lag in (lag_min, lag_max))
    counter.one(
        below.low >= 0 and below.high <= least.low,
        "the decay of a period with the least lag is not below exp(-dt / lag)",
    )
    counter.one(most.high <= above.low, "the decay of a period with the largest lag is not above exp(-dt / lag)")
