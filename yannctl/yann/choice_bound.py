"""Bound of a network that chooses a region: gather and five layers.

A point of law region i may go to any network region j whose rows hold there within the rounding of both comparisons:
that is all the choice can be off. What a row rounds grows with |x|, so over region i it is bounded by an affine
function of x. On the part of region i where region j may be taken, the change of law `(F_j - F_i) x + g_j - g_i` is
bounded by a linear program's multipliers.
"""

from dataclasses import dataclass

import numpy as np
import torch

from yannctl.pwa import PwaLaw

from .actor import GatherActor
from .bound_parts import ErrorBound, largest, numbers, proved, rounding_unit
from .five_layer import FiveLayerActor
from .parts import law_scale

MAX_PROGRAMS = 20_000  # linear programs of one bound
SECOND_ORDER = 1.001  # products of roundings beside their sum


@dataclass(frozen=True)
class _Choice:
    """A network that chooses a region: its rows, its laws, and how it may err.

    Args:
        H: (q, ntheta) rows.
        k: (q,) right-hand sides, with the network's own tolerance.
        F: (p, n_out, ntheta) gains.
        g: (p, n_out) offsets.
        rounding: what a row rounds at x, `rounding[0] |H| |x| + rounding[1] |k|`.
        least: True where the least violation decides, False where the first region that holds does.
        extra: error that comes with every output.
        small: errors up to this are not worth a linear program.
        decides: see `ErrorBound`.
    """

    H: np.ndarray
    k: np.ndarray
    F: np.ndarray
    g: np.ndarray
    rounding: tuple[float, float]
    least: bool
    extra: float
    small: float
    decides: bool


@dataclass(frozen=True)
class _Part:
    """Region i with the network's rows as they may be rounded on it.

    Args:
        index: i.
        points: (corners, ntheta) its corners.
        low: rows (q, ntheta) and right-hand sides (q,) that hold wherever the network's may seem to.
        high: the same for region i's own rows, for the largest value they may seem to have.
        violation: (corners, q) of the low rows, less what region i's own may seem to be violated.
        own: how far a row of region i may seem to be violated on it.
    """

    index: int
    points: np.ndarray
    low: tuple[np.ndarray, np.ndarray]
    high: tuple[np.ndarray, np.ndarray]
    violation: np.ndarray
    own: float


def _part(choice: _Choice, law: PwaLaw, i: int, points: np.ndarray) -> _Part:
    """Bound the rounding of all rows over a region: |x| lies below its chord between the region's ends."""
    rows = slice(law.row_start[i], law.row_start[i + 1])
    H, k, size = choice.H, choice.k, np.abs(choice.H)
    relative, fixed = choice.rounding[0], choice.rounding[1] * np.abs(choice.k)
    start, end = points.min(axis=0), points.max(axis=0)
    slope = np.divide(np.abs(end) - np.abs(start), end - start, out=np.zeros_like(start), where=end > start)
    tilt, shift = relative * size * slope, relative * size @ (np.abs(start) - slope * start) + fixed
    low, high = (H - tilt, k + shift), (H[rows] + tilt[rows], k[rows] - shift[rows])
    at_corners = points @ H[rows].T - k[rows] + relative * np.abs(points) @ size[rows].T + fixed[rows]
    own = float(at_corners.max(initial=-np.inf))
    violation = points @ low[0].T - low[1] - (max(own, 0.0) if choice.least else 0.0)
    return _Part(i, points, low, high, violation, own)


def _reach(law: PwaLaw) -> np.ndarray:
    return np.maximum(np.abs(law.theta_min), np.abs(law.theta_max))


def gather_bound(actor: GatherActor, law: PwaLaw, corners: list[np.ndarray]) -> ErrorBound:
    """Bound the error of the gather form.

    Args:
        actor: the network.
        law: the explicit law.
        corners: (corners, ntheta) corners of each region.

    Returns:
        The bound.
    """
    part = actor.law
    if not np.array_equal(part.row_start.cpu().numpy(), law.row_start):
        return ErrorBound(np.inf, 0.0, -1, "the network's regions have other numbers of rows than the law's")
    H, k, F, g = (numbers(array) for array in (part.H, part.k, part.F, part.g))
    rounding = (law.ntheta + 2) * rounding_unit(part.F.dtype) * law_scale(law)
    precise = part.F.dtype == torch.float64
    unit = SECOND_ORDER * rounding_unit(part.F.dtype)
    choice = _Choice(H, k, F, g, ((law.ntheta + 1) * unit, unit), True, 0.0, actor.tolerance() / 2, precise)
    changed = np.add.reduceat((H != law.H).any(axis=1) | (k != law.k), law.row_start[:-1]) > 0
    if not precise:
        changed[:] = True
    return _choice_bound(choice, law, corners, changed, rounding)


def five_layer_bound(actor: FiveLayerActor, law: PwaLaw, corners: list[np.ndarray]) -> ErrorBound:
    """Bound the error of the five-layer form; a weight of its layers of zeros and ones that is wrong is named.

    Args:
        actor: the network.
        law: the explicit law.
        corners: (corners, ntheta) corners of each region.

    Returns:
        The bound.
    """
    p, m, n = law.F.shape
    wrong = _wrong_structure(actor, law)
    if wrong:
        return ErrorBound(np.inf, 0.0, -1, wrong)
    weight, bias = numbers(actor.suppressed.weight), numbers(actor.suppressed.bias)
    own = weight[np.arange(2 * m * p), np.repeat(np.arange(p), 2 * m)]
    gains, offsets = weight[:, p:].reshape(p, m, 2, n), bias.reshape(p, m, 2)
    # Positive and negative part are opposites; where a wrong weight makes them differ, that is an error of its own.
    uneven = float(np.abs(gains[:, :, 0] + gains[:, :, 1]).max(initial=0.0) * _reach(law).sum())
    uneven += float(np.abs(offsets.sum(axis=2)).max(initial=0.0))
    centre, half = (law.theta_max + law.theta_min) / 2, (law.theta_max - law.theta_min) / 2
    dtype = actor.step.weight.dtype
    size = np.abs(weight[:, p:]) @ _reach(law) + np.abs(bias)
    highest = weight[:, p:] @ centre + np.abs(weight[:, p:]) @ half + bias + (n + 2) * rounding_unit(dtype) * size
    leak = np.maximum(highest - own, 0.0)
    rounding = (n + 2) * rounding_unit(dtype) * law_scale(law)
    H, k = -numbers(actor.step.weight), numbers(actor.step.bias)
    rows = (n * SECOND_ORDER * rounding_unit(dtype), 0.0)  # the last sum, with k, keeps its sign
    extra, small = uneven + float(leak.sum()), actor.tolerance() / 2
    choice = _Choice(H, k, gains[:, :, 0], offsets[:, :, 0], rows, False, extra, small, dtype == torch.float64)
    return _choice_bound(choice, law, corners, np.ones(p, dtype=bool), rounding)


def _wrong_structure(actor: FiveLayerActor, law: PwaLaw) -> str:
    """Name the first weight of the layers of zeros and ones that is not what the layout asks for, or return nothing."""
    p, m, _ = law.F.shape
    count = np.diff(law.row_start)
    member = np.repeat(np.arange(p), count) == np.arange(p)[:, None]
    block = np.kron(np.eye(p), np.ones((2 * m, 1))) > 0
    choose = numbers(actor.suppressed.weight)[:, :p]
    wanted = {
        "indicator weight": (numbers(actor.indicator.weight), member.astype(float)),
        "indicator bias": (numbers(actor.indicator.bias), 1.0 - count),
        "first_match weight": (numbers(actor.first_match.weight), 2 * np.eye(p) - np.tril(np.ones((p, p)))),
        "suppressed weight": (np.where(block, 0.0, choose), np.zeros_like(choose)),
        "output weight": (numbers(actor.output.weight), np.tile(np.kron(np.eye(m), [1.0, -1.0]), (1, p))),
    }
    for name, (found, expected) in wanted.items():
        if not np.array_equal(found, expected):
            place = tuple(int(index) for index in np.argwhere(found != expected)[0])
            return f"{name}{list(place)} is {found[place]:.6g}, the layout asks for {expected[place]:.6g}"
    return ""


def _choice_bound(
    choice: _Choice, law: PwaLaw, corners: list[np.ndarray], changed: np.ndarray, rounding: float
) -> ErrorBound:
    """Bound a network that chooses a region; regions not `changed` compete as they do in the law itself."""
    worst, where, rival, programs = 0.0, -1, -1, 0
    for i, points in enumerate(corners):
        if not len(points):
            continue
        part = _part(choice, law, i, points)
        if not choice.least and part.own > 0:
            message = f"region {i} may hold in no indicator: a row is violated by {part.own:.3g}"
            return ErrorBound(np.inf, rounding, i, message)
        bound, taken = float(np.abs(points @ (choice.F[i] - law.F[i]).T + choice.g[i] - law.g[i]).max()), -1
        for j in _rivals(choice, law, part, changed):
            found, used = _pair_bound(choice, law, part, j, max(bound, worst, choice.small))
            programs += used
            bound, taken = max((bound, taken), (found, j))
            if programs > MAX_PROGRAMS:
                message = f"not proved: more than {MAX_PROGRAMS} linear programs"
                return ErrorBound(np.inf, rounding, i, message, False)
        if bound > worst:
            worst, where, rival = bound, i, taken
    total = float(worst + choice.extra + rounding)
    return proved(total, rounding, where, rival, choice.decides)


def _rivals(choice: _Choice, law: PwaLaw, part: _Part, changed: np.ndarray) -> list[int]:
    """List the regions that may be taken in a part of region i instead of it."""
    i = part.index
    near = np.maximum.reduceat(part.violation.min(axis=0), law.row_start[:-1]) <= 0
    near[i] = False
    near &= changed | changed[i]
    if not choice.least:
        near[i:] = False
    return np.flatnonzero(near).tolist()


def _pair_bound(choice: _Choice, law: PwaLaw, part: _Part, j: int, allowed: float) -> tuple[float, int]:
    """Bound what taking region j in region i costs; and how many linear programs that took."""
    i = part.index
    difference = part.points @ (choice.F[j] - law.F[i]).T + choice.g[j] - law.g[i]  # (corners, n_out)
    sizes = np.abs(difference).max(axis=0)
    if sizes.max() <= allowed:
        return float(sizes.max()), 0
    violation = part.violation[:, law.row_start[j] : law.row_start[j + 1]]
    worst, used = 0.0, 0
    for output in np.flatnonzero(sizes > allowed):
        for sign in (1.0, -1.0):
            value = _one_row_bound(sign * difference[:, output], violation)
            if value > allowed:
                objective = sign * (choice.F[j, output] - law.F[i, output])
                constant = sign * (choice.g[j, output] - law.g[i, output])
                found, programs = _programs_bound(choice, law, part, j, objective, allowed - constant)
                value, used = min(value, found + constant), used + programs
            worst = max(worst, value)
    return worst, used


def _programs_bound(
    choice: _Choice, law: PwaLaw, part: _Part, j: int, objective: np.ndarray, enough: float
) -> tuple[float, int]:
    """Bound an objective where region j may be taken in region i; and how many linear programs that took.

    Region j's rows must hold. Where the least violation decides, more is known if that is not enough:
    `H_j x - k_j <= max_r (H_r x - k_r)` over the rows r of region i, one program for each r that may be the largest.
    """
    rows, inside = (slice(law.row_start[index], law.row_start[index + 1]) for index in (j, part.index))
    region, bounds = law.H[inside], law.k[inside]
    reach = np.abs(part.points).max(axis=0)
    H, k = part.low[0][rows], part.low[1][rows]
    slack = max(part.own, 0.0) if choice.least else 0.0
    simple = largest(np.vstack([region, H]), np.concatenate([bounds, k + slack]), objective, reach)
    if not choice.least or simple <= enough:
        return simple, 1
    worst = -np.inf
    for row, bound in zip(*part.high, strict=True):
        worst = max(worst, largest(np.vstack([region, H - row]), np.concatenate([bounds, k - bound]), objective, reach))
    return min(worst, simple), int(1 + inside.stop - inside.start)


def _one_row_bound(difference: np.ndarray, violation: np.ndarray) -> float:
    """Bound `max d` where every violation is at most 0, by one row: `min_lam max_v (d - lam violation)`.

    With the shared facet of two neighbours as the row this is the answer, as d is a multiple of its violation.
    """
    best = float(difference.max())
    high, low = difference.argmax(), difference.argmin()
    for row in violation.T:
        gap = row[high] - row[low]
        if gap > 0:
            slope = (difference[high] - difference[low]) / gap
            best = min(best, float((difference - slope * row).max()))
    return best
