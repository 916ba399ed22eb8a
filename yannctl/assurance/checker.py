"""Independent check of a polytopic certificate, in exact integers; nothing of the code that made it is imported.

Every number of the file is a float, hence an integer over a power of two, so each inequality is decided exactly. With

    C = {x : H x <= h},   x+ in co_i {A_i x + B_i u + c_i} + {|d| <= w_i}

the statements checked, each with the number of the row that fails, are: the errors named in `terms` fit into w; the
listed corners are all corners of C (each is simple and its edges end in listed corners; the graph of a bounded polytope
is connected); C lies in the declared box less the sensor error; at every corner the stated input is within its bounds
and sends every model with its whole W into C, for one period and for each held one; and every filter row that was left
out follows from those kept. Together: for every x in C the filter has an input, and any input it accepts keeps x+ in C.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .exact_numbers import Counter, Exact, WrongStatementError, inverse_of, over_common_denominator

_NUMBERS = (
    "H",
    "h",
    "inputs",
    "A",
    "B",
    "c",
    "w",
    "terms",
    "sensor",
    "x_min",
    "x_max",
    "u_min",
    "u_max",
    "weights",
    "tightening",
)
_INDICES = ("bases", "periods", "kept", "implied", "proof")


@dataclass(frozen=True)
class CheckReport:
    """Outcome of a check.

    Args:
        ok: every statement holds.
        failure: the first statement that does not, empty when all hold.
        n_checked: inequalities and equalities that were decided.
        seconds: time it took [s].
    """

    ok: bool
    failure: str
    n_checked: int
    seconds: float


def check_polytopic(
    data: Mapping[str, np.ndarray], n_cert: int, delay: int, u_rate: Sequence[float] | np.ndarray = ()
) -> CheckReport:
    """Check every statement of a certificate.

    Args:
        data: arrays of the certificate by name.
        n_cert: periods an accepted input may be held beyond its own, as stated.
        delay: inputs on their way that the state holds at its end, as stated.
        u_rate: most an input may differ from the one sent before (nu,), as stated; empty for no limit.

    Returns:
        The verdict, with the failing row named.
    """
    start = time.perf_counter()
    counter = Counter()
    try:
        _check_shapes(data)
        exact = {name: Exact(np.asarray(data[name], dtype=float)) for name in _NUMBERS}
        _check_errors(exact, counter)
        _check_holds(data["periods"], n_cert, counter)
        _check_delay(exact, delay, counter)
        corners = _check_corners(exact, data["bases"], counter)
        _check_box(exact, corners, counter)
        counter.all(exact["tightening"].value >= 0, lambda at: f"tightening of row {at[0]} is negative")
        rows = _SuccessorRows(exact)
        _check_invariance(exact, rows, corners, counter)
        _check_rate(exact["inputs"], [float(value) for value in u_rate], delay, corners, counter)
        _check_left_out(exact, rows, data, counter)
    except WrongStatementError as wrong:
        return CheckReport(False, str(wrong), counter.n, time.perf_counter() - start)
    return CheckReport(True, "", counter.n, time.perf_counter() - start)


def _check_shapes(data: Mapping[str, np.ndarray]) -> None:
    for name in (*_NUMBERS, *_INDICES):
        if name not in data:
            raise WrongStatementError(f"{name} is missing")
    for name in _NUMBERS:
        if not np.all(np.isfinite(np.asarray(data[name], dtype=float))):
            raise WrongStatementError(f"{name} holds a number that is not finite")
    for name in _INDICES:
        if np.asarray(data[name]).dtype.kind not in "iu":
            raise WrongStatementError(f"{name} does not hold integers")
    if any(np.ndim(data[name]) != ndim for name, ndim in (("H", 2), ("A", 3), ("B", 3), ("terms", 3), ("bases", 2))):
        raise WrongStatementError("H, A, B, terms or bases has a wrong number of axes")
    _check_sizes(data)


def _check_sizes(data: Mapping[str, np.ndarray]) -> None:
    rows, nx = data["H"].shape
    models, _, nu = data["B"].shape
    left_out = models * rows - len(data["kept"])
    wanted = {
        "h": (rows,), "tightening": (rows,), "A": (models, nx, nx), "B": (models, nx, nu), "c": (models, nx),
        "w": (models, nx),
        "terms": (len(data["terms"]), models, nx), "sensor": (nx,), "x_min": (nx,), "x_max": (nx,),
        "u_min": (nu,), "u_max": (nu,), "bases": (len(data["inputs"]), nx), "inputs": (len(data["inputs"]), nu),
        "periods": (models,), "implied": (left_out,), "proof": (left_out, np.shape(data["proof"])[-1]),
        "weights": (left_out, np.shape(data["proof"])[-1]),
    }  # fmt: skip
    for name, shape in wanted.items():
        if np.shape(data[name]) != shape:
            raise WrongStatementError(f"{name} has shape {np.shape(data[name])}, expected {shape}")
    split = np.sort(np.concatenate([data["kept"], data["implied"]]))
    if not np.array_equal(split, np.arange(models * rows)):
        raise WrongStatementError("kept and implied are not a split of all filter rows")
    if rows <= nx or len(data["inputs"]) <= nx or models < 1 or nu < 1:
        raise WrongStatementError("too few rows, corners, models or inputs for a bounded set")


def _check_errors(exact: dict[str, Exact], counter: Counter) -> None:
    """0 <= terms, sum of terms <= w, and the sensor's share is part of them."""
    terms, w, A, E = exact["terms"], exact["w"], exact["A"], exact["sensor"]
    counter.all(terms.value >= 0, lambda at: f"error term {at[0]} of model {at[1]}, state {at[2]} is negative")
    counter.all(E.value >= 0, lambda at: f"sensor error of state {at[0]} is negative")
    total: Any = terms.value.sum(axis=0) if len(terms.value) else np.zeros(w.value.shape, dtype=object)
    holds = (total << w.shift) <= (w.value << terms.shift)
    counter.all(holds, lambda at: f"w of model {at[0]}, state {at[1]} is smaller than its error terms together")
    needed = abs(A.value) @ E.value + (E.value << A.shift)  # over 2^(A.shift + E.shift)
    holds = (needed << w.shift) <= (w.value << (A.shift + E.shift))
    counter.all(holds, lambda at: f"w of model {at[0]}, state {at[1]} is smaller than |A| E + E of the sensor")


def _check_holds(periods: np.ndarray, n_cert: int, counter: Counter) -> None:
    for held in range(1, n_cert + 2):
        counter.one(bool(np.any(periods == held)), f"N_cert = {n_cert}, but no model spans {held} periods")


def _check_delay(exact: dict[str, Exact], delay: int, counter: Counter) -> None:
    """With a delay the last nu states are the input that was sent: v+ = u, exactly."""
    counter.one(delay in {0, 1}, f"delay is {delay}, expected 0 or 1")
    if not delay:
        return
    A, B, c, w = (exact[name] for name in "ABcw")
    nu = B.value.shape[2]
    identity = np.array([[(1 << B.shift) * (i == j) for j in range(nu)] for i in range(nu)], dtype=object)
    exactly = (
        np.all(A.value[:, -nu:] == 0)
        and np.all(c.value[:, -nu:] == 0)
        and np.all(w.value[:, -nu:] == 0)
        and np.all(B.value[:, -nu:] == identity)
    )
    counter.one(bool(exactly), "a delay is stated, but the last states do not keep the input that was sent")
    counter.one(
        bool(
            np.all(exact["x_min"].value[-nu:] << exact["u_min"].shift == exact["u_min"].value << exact["x_min"].shift)
            and np.all(
                exact["x_max"].value[-nu:] << exact["u_max"].shift == exact["u_max"].value << exact["x_max"].shift
            )
        ),
        "a delay is stated, but the kept input has other bounds than the input",
    )


def _check_corners(exact: dict[str, Exact], bases: np.ndarray, counter: Counter) -> list[tuple[np.ndarray, int]]:
    """Solve for each corner exactly, and follow every edge to a corner that is listed too.

    Returns:
        Each corner as integers over one positive denominator.
    """
    H, h = exact["H"], exact["h"]
    listed = {tuple(sorted(int(i) for i in basis)) for basis in bases}
    counter.one(len(listed) == len(bases), "a corner is listed twice")
    corners = []
    for number, basis in enumerate(bases):
        rows = [int(i) for i in basis]
        counter.one(
            len(set(rows)) == len(rows) and min(rows) >= 0 and max(rows) < len(H.value),
            f"corner {number} names rows that do not exist",
        )
        inverse = inverse_of([[H.fraction(i, j) for j in range(len(rows))] for i in rows])
        counter.one(inverse is not None, f"the rows of corner {number} do not meet in a point")
        right = [h.fraction(i) for i in rows]
        x = [sum((a * b for a, b in zip(line, right, strict=True)), Fraction(0)) for line in inverse or []]
        point, under = over_common_denominator(x)
        # slack_k = h_k - H_k x, over 2^(h.shift + H.shift) * under
        slack = (h.value << H.shift) * under - ((H.value @ point) << h.shift)
        slack[rows] = 1
        counter.all(slack > 0, lambda at, n=number: f"row {at[0]} of C cuts corner {n} off, or passes through it")
        slack[rows] = 0
        for place, row in enumerate(rows):
            direction, _ = over_common_denominator([-line[place] for line in inverse or []])
            new = _blocking_row(H.value @ direction, slack, rows)
            where = f"the edge of corner {number} that leaves row {row}"
            counter.one(new >= 0, f"{where} " + ("never ends" if new == -1 else "ends where more rows meet"))
            end = tuple(sorted({*rows, new} - {row}))
            counter.one(end in listed, f"{where} ends in a corner that is not listed (rows {end})")
        corners.append((point, under))
    return corners


def _blocking_row(rate: np.ndarray, slack: np.ndarray, rows: list[int]) -> int:
    """The row an edge meets first: the least slack / rate over positive rates; -1 for none, -2 for a tie."""
    best, tie = -1, False
    own = set(rows)
    for k in range(len(rate)):
        if k in own or rate[k] <= 0:
            continue
        if best < 0:
            best, tie = k, False
            continue
        difference = slack[k] * rate[best] - slack[best] * rate[k]
        if difference < 0:
            best, tie = k, False
        elif difference == 0:
            tie = True
    return -2 if tie else best


def _check_box(exact: dict[str, Exact], corners: list[tuple[np.ndarray, int]], counter: Counter) -> None:
    E = exact["sensor"]
    for name, sign in (("x_min", -1), ("x_max", 1)):
        bound = exact[name]
        limit = sign * (bound.value << E.shift) - (E.value << bound.shift)  # over 2^(bound.shift + E.shift)
        shift = bound.shift + E.shift
        for number, (point, under) in enumerate(corners):
            holds = (sign * point << shift) <= limit * under
            counter.all(
                holds, lambda at, n=number, which=name: f"corner {n} is outside {which}[{at[0]}] less the sensor error"
            )


class _SuccessorRows:
    """H A_i x + H B_i u <= h - H c_i - |H| w_i for every model i and row, as integers over one power of two."""

    def __init__(self, exact: dict[str, Exact]) -> None:
        H, h, A, B, c, w, t = (exact[name] for name in ("H", "h", "A", "B", "c", "w", "tightening"))
        models, nx, nu = B.value.shape
        self.shift = H.shift + max(A.shift, B.shift, c.shift, w.shift, h.shift, t.shift)

        def lift(array: np.ndarray, shift: int) -> np.ndarray:
            return array << (self.shift - shift)

        in_x = [lift(H.value @ A.value[i], H.shift + A.shift) for i in range(models)]
        in_u = [lift(H.value @ B.value[i], H.shift + B.shift) for i in range(models)]
        right = [
            lift(h.value, h.shift)
            - lift(H.value @ c.value[i], H.shift + c.shift)
            - lift(abs(H.value) @ w.value[i], H.shift + w.shift)
            for i in range(models)
        ]
        self.n = models * len(H.value)
        self.x = np.concatenate(in_x).reshape(self.n, nx)
        self.u = np.concatenate(in_u).reshape(self.n, nu)
        self.right = np.concatenate(right)
        # What the filter holds: the same rows, moved in a little.
        self.held = self.right - np.tile(lift(t.value, t.shift), models)


def _check_invariance(
    exact: dict[str, Exact], rows: _SuccessorRows, corners: list[tuple[np.ndarray, int]], counter: Counter
) -> None:
    u, low, high = exact["inputs"], exact["u_min"], exact["u_max"]
    n_rows = len(exact["H"].value)
    counter.all(
        (low.value << u.shift) <= (u.value << low.shift),
        lambda at: f"input {at[1]} of corner {at[0]} is below its bound",
    )
    counter.all(
        (u.value << high.shift) <= (high.value << u.shift),
        lambda at: f"input {at[1]} of corner {at[0]} is above its bound",
    )
    for number, (point, under) in enumerate(corners):
        left = ((rows.x @ point) << u.shift) + (rows.u @ u.value[number]) * under
        holds = left <= (rows.held << u.shift) * under
        counter.all(
            holds,
            lambda at, n=number: f"corner {n}: model {at[0] // n_rows} leaves C through row {at[0] % n_rows}",
        )


def _check_rate(
    u: Exact, rate: list[float], delay: int, corners: list[tuple[np.ndarray, int]], counter: Counter
) -> None:
    """Each corner's input is within reach of the input sent before, which is the corner's last states."""
    if not rate:
        return
    nu = u.value.shape[1]
    counter.one(delay == 1 and len(rate) == nu, "a rate limit is stated, but the state does not hold the input sent")
    for number, (point, under) in enumerate(corners):
        for j, limit in enumerate(rate):
            change = abs(u.fraction(number, j) - Fraction(int(point[j - nu]), under))
            counter.one(change <= Fraction(limit), f"input {j} of corner {number} is beyond its rate limit")


def _check_left_out(
    exact: dict[str, Exact], rows: _SuccessorRows, data: Mapping[str, np.ndarray], counter: Counter
) -> None:
    """Each filter row left out is a sum of kept rows, rows of C and input bounds (weights >= 0), up to a remainder."""
    one = Fraction(1, 1 << rows.shift)
    nx, nu, n_rows = rows.x.shape[1], rows.u.shape[1], len(exact["H"].value)
    base: list[tuple[list[Fraction], Fraction]] = [
        ([exact["H"].fraction(k, j) for j in range(nx)] + [Fraction(0)] * nu, exact["h"].fraction(k))
        for k in range(n_rows)
    ]
    for sign, name in ((1, "u_max"), (-1, "u_min")):
        for j in range(nu):
            line = [Fraction(0)] * (nx + nu)
            line[nx + j] = Fraction(sign)
            base.append((line, sign * exact[name].fraction(j)))
    lows = [exact["x_min"].fraction(j) for j in range(nx)] + [exact["u_min"].fraction(j) for j in range(nu)]
    highs = [exact["x_max"].fraction(j) for j in range(nx)] + [exact["u_max"].fraction(j) for j in range(nu)]
    kept = {int(k) for k in data["kept"]}

    def row(index: int) -> tuple[list[Fraction], Fraction]:
        if index >= rows.n:
            return base[index - rows.n]
        if index not in kept:
            raise WrongStatementError(f"the proof of a filter row uses row {index}, which is not kept")
        return [v * one for v in (*rows.x[index], *rows.u[index])], rows.held[index] * one

    weights = exact["weights"]
    for n, d in enumerate(int(k) for k in data["implied"]):
        rest = [v * one for v in (*rows.x[d], *rows.u[d])]
        bound = Fraction(0)
        for place, index in enumerate(int(k) for k in data["proof"][n]):
            if index < 0:
                continue
            y = weights.fraction(n, place)
            where = f"filter row {d} (model {d // n_rows}, row {d % n_rows} of C)"
            counter.one(y >= 0 and index < rows.n + len(base), f"{where} has a proof with a negative weight or no row")
            a, b = row(index)
            rest = [r - y * v for r, v in zip(rest, a, strict=True)]
            bound += y * b
        for r, lo, hi in zip(rest, lows, highs, strict=True):
            bound += max(r * lo, r * hi)
        counter.one(
            bound <= rows.right[d] * one,
            f"filter row {d} (model {d // n_rows}, row {d % n_rows} of C) does not follow from the rows that are kept",
        )
