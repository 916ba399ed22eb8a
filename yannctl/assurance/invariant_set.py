"""Robust control invariant sets: C inside Pre(C) = {x : some u in U sends the whole inclusion into C}.

The largest one is the limit of C_0 = X, C_{k+1} = C_k and Pre(C_k) (Blanchini, "Set invariance in control", 1999).
Here each Pre maps into lambda C with lambda < 1, so the iteration ends after finitely many steps with slack left.
"""

from dataclasses import dataclass

import numpy as np
import scipy.spatial

from yannctl.errors import EmptySetError, ModelError
from yannctl.geometry import Polyhedron
from yannctl.types import Float

from .inclusion import Domain, Inclusion

_ROUNDING = 1e-7  # the set is shrunk by this share, so that rounding of its rows cannot leave the box
_SIMPLER = "a larger max_rows, a smaller contraction, fewer models or fewer states and inputs"
_GRID = 2.0**-30  # facets are rounded to it, which keeps the numbers of the exact check short


@dataclass(frozen=True, eq=False)
class InvariantSet:
    """A set {x : H x <= h}, its corners and an input for each that keeps the whole inclusion inside.

    Args:
        H: rows (rows, nx), scaled by the box.
        h: right-hand sides (rows,).
        bases: rows that meet in each corner (corners, nx), every corner once.
        vertices: the corners (corners, nx), rounded.
        inputs: an input for each corner (corners, nu).
        share: volume of the set over that of the box.
        steps: iterations that were needed.
    """

    H: Float[np.ndarray, "rows nx"]
    h: Float[np.ndarray, " rows"]
    bases: np.ndarray
    vertices: Float[np.ndarray, "corners nx"]
    inputs: Float[np.ndarray, "corners nu"]
    share: float
    steps: int


def successor_rows(
    inclusion: Inclusion, H: Float[np.ndarray, "rows nx"], h: Float[np.ndarray, " rows"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write "the whole inclusion lies in {H x <= h}" as rows in x and u, model by model.

        H A_i x + H B_i u <= h - H c_i - |H| w_i

    Args:
        inclusion: the models.
        H: rows of the target set.
        h: its right-hand sides.

    Returns:
        Coefficients of x (models * rows, nx), of u (models * rows, nu), and right-hand sides.
    """
    in_x = np.einsum("rk,mkj->mrj", H, inclusion.A).reshape(-1, inclusion.nx)
    in_u = np.einsum("rk,mkj->mrj", H, inclusion.B).reshape(-1, inclusion.nu)
    right = h - inclusion.c @ H.T - inclusion.w @ np.abs(H).T
    return in_x, in_u, right.reshape(-1)


def state_box(inclusion: Inclusion, domain: Domain) -> tuple[np.ndarray, np.ndarray]:
    """Give the box readings must stay in: the state bounds less the sensor error, and the input bounds for a delay.

    Args:
        inclusion: the models.
        domain: the declared intervals.

    Returns:
        Lower and upper ends (nx,).
    """
    low, high = domain.x_min, domain.x_max
    if inclusion.delay:
        low, high = np.concatenate([low, domain.u_min]), np.concatenate([high, domain.u_max])
    return low + inclusion.sensor, high - inclusion.sensor


def invariant_set(
    inclusion: Inclusion,
    domain: Domain,
    contraction: float = 0.999,
    max_steps: int = 300,
    max_rows: int = 400,
) -> InvariantSet:
    """Compute a robust control invariant set inside the declared box.

    Args:
        inclusion: the models.
        domain: the declared intervals; their middle must be a state that can be held.
        contraction: lambda; nearer to 1 gives a larger set after more steps.
        max_steps: iterations before giving up.
        max_rows: facets before giving up.

    Returns:
        The set with its proof.

    Raises:
        EmptySetError: no such set exists (up to lambda) in this box for these errors.
        ModelError: it was not found within `max_steps` and `max_rows`.
    """
    low, high = state_box(inclusion, domain)
    if not np.all(low < high):
        raise EmptySetError("sensor", "the sensor error eats the whole box", remedy="a better sensor or a wider box")
    if domain.u_rate.size and not inclusion.delay:
        raise ModelError("u_rate", "the models do not hold the input sent before", remedy="use with_delay")
    origin, size = 0.5 * (low + high), 0.5 * (high - low)
    models = _scaled(inclusion, origin, size)
    middle, half = 0.5 * (domain.u_min + domain.u_max), 0.5 * (domain.u_max - domain.u_min)
    identity = np.eye(len(size))
    H, h = np.vstack([identity, -identity]), np.ones(2 * len(size))
    # The sent input is the last state, in the same units: both are scaled by `half`.
    limits = _rate_rows(len(size), domain.u_rate / half if domain.u_rate.size else domain.u_rate)
    for step in range(1, max_steps + 1):
        points = _predecessor(models, H, h, contraction, middle, half, limits)
        if points is None:
            raise EmptySetError("C", f"no robust control invariant set (empty after {step} steps)")
        H_new, h_new = _hull(np.vstack([H]), h, points)
        if len(h_new) > max_rows:
            raise ModelError("max_rows", f"{len(h_new)} facets after {step} steps", remedy=_SIMPLER)
        grown = (H @ _vertices(H_new, h_new).T / h[:, None]).max()
        growth = float((H_new @ _vertices(H, h).T / h_new[:, None]).max())
        H, h = H_new, h_new
        if growth * contraction <= 1 - 0.1 * (1 - contraction) and grown <= 1 + 1e-6:
            return _finish(inclusion, domain, H, h, origin, size, step)
    raise ModelError("max_steps", f"not determined after {max_steps} steps", remedy="a smaller contraction")


def _scaled(inclusion: Inclusion, origin: np.ndarray, size: np.ndarray) -> Inclusion:
    """The same models in coordinates where the box is [-1, 1]."""
    A = inclusion.A * size / size[:, None]
    c = (inclusion.c + inclusion.A @ origin - origin) / size
    B = inclusion.B / size[:, None]
    return Inclusion(A, B, c, inclusion.w / size, inclusion.periods, {}, inclusion.sensor, inclusion.delay)


def _rate_rows(nx: int, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write |u - v| <= rate as rows in (x, u); v are the last states."""
    nu = rate.size
    change = np.hstack([np.zeros((nu, nx - nu)), -np.eye(nu), np.eye(nu)])
    return np.vstack([change, -change]), np.concatenate([rate, rate])


def _predecessor(
    models: Inclusion,
    H: np.ndarray,
    h: np.ndarray,
    contraction: float,
    middle: np.ndarray,
    half: np.ndarray,
    limits: tuple[np.ndarray, np.ndarray],
) -> np.ndarray | None:
    """Corners, projected on x, of the pairs (x, u), x in C = {H x <= h}, with every successor in lambda C."""
    in_x, in_u, right = successor_rows(models, H, contraction * h)
    nu = models.nu
    rows = [np.hstack([in_x, in_u * half])]
    rows.append(np.hstack([H, np.zeros((len(H), nu))]))
    rows.append(np.hstack([np.zeros((2 * nu, models.nx)), np.vstack([np.eye(nu), -np.eye(nu)])]))
    b = np.concatenate([right - in_u @ middle, h, np.ones(2 * nu)])
    if limits[1].size:
        rows.append(limits[0])
        b = np.append(b, limits[1])
    pairs = Polyhedron(np.vstack(rows), b)
    centre, radius = pairs.chebyshev()
    if not radius > 1e-7:
        return None
    return pairs.corners(centre)[:, : models.nx]


def _hull(H: np.ndarray, h: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Facets of the hull of points, rounded to a grid; facets that nearly agree are merged outward."""
    if points.shape[1] == 1:
        return np.array([[1.0], [-1.0]]), np.array([points.max(), -points.min()])
    equations = scipy.spatial.ConvexHull(points, qhull_options="QJ Pp").equations
    rows = np.round(equations[:, :-1] / _GRID) * _GRID
    _, first = np.unique(np.round(rows, 6), axis=0, return_index=True)
    rows = rows[np.sort(first)]
    bounds = (rows @ points.T).max(axis=1)
    reduced = Polyhedron(rows, bounds).reduced(1e-7)
    return reduced.A, reduced.b


def _vertices(H: np.ndarray, h: np.ndarray) -> np.ndarray:
    return Polyhedron(H, h).vertices()


def _finish(
    inclusion: Inclusion,
    domain: Domain,
    H: np.ndarray,
    h: np.ndarray,
    origin: np.ndarray,
    size: np.ndarray,
    steps: int,
) -> InvariantSet:
    """Back to physical units, in general position, with the corners' bases and inputs."""
    identity = np.eye(len(size))
    boxed = Polyhedron(np.vstack([identity, -identity, H]), np.concatenate([np.ones(2 * len(size)), h])).reduced(1e-8)
    H, h = boxed.A, boxed.b
    share = _volume(_vertices(H, h)) / 2.0 ** len(size)
    h = h * (1 - _ROUNDING)
    H, h = H / size, h + H @ (origin / size)
    # A tiny shift of each facet makes every corner simple: exactly nx facets meet there.
    if len(size) > 2:
        h = h - np.random.default_rng(0).uniform(0.0, 1e-7, len(h)) * np.linalg.norm(H * size, axis=1)
    reduced = Polyhedron(H, h)
    vertices = reduced.vertices()
    gaps = (h - vertices @ H.T) / np.linalg.norm(H * size, axis=1)
    bases = np.sort(np.argsort(gaps, axis=1)[:, : len(size)], axis=1)
    inputs = np.array([_corner_input(inclusion, domain, H, h, v) for v in vertices])
    return InvariantSet(H, h, bases, vertices, inputs, share, steps)


def _corner_input(inclusion: Inclusion, domain: Domain, H: np.ndarray, h: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The input that leaves most room: the centre of all that are allowed at the corner."""
    middle, half = 0.5 * (domain.u_min + domain.u_max), 0.5 * (domain.u_max - domain.u_min)
    nearest = np.ones(2 * len(half))
    if domain.u_rate.size:
        # Within the input bounds and within reach of the input sent before, a little less for rounding.
        reach, sent = domain.u_rate * (1 - _ROUNDING), v[-len(half) :]
        nearest = np.concatenate([
            np.minimum(1.0, (sent + reach - middle) / half), np.minimum(1.0, (middle - sent + reach) / half)
        ])  # fmt: skip
    in_x, in_u, right = successor_rows(inclusion, H, h)
    slack = right - in_x @ v - in_u @ middle
    identity = np.eye(len(half))
    rows = np.vstack([in_u * half, identity, -identity])
    # Rows of different length are compared by their own slack, not by distance in u.
    widths = np.concatenate([np.ones(len(slack)), np.full(2 * len(half), 1e-3)])
    lp_rows = np.hstack([rows, widths[:, None]])
    lp_rows = np.vstack([lp_rows, np.append(np.zeros(len(half)), 1.0)])
    from yannctl.solvers.lp import solve_lp

    found = solve_lp(np.append(np.zeros(len(half)), 1.0), lp_rows, np.concatenate([slack, nearest, [1.0]]))
    n = len(half)
    return np.clip(found.x[:-1], np.maximum(-1.0, -nearest[n:]), np.minimum(1.0, nearest[:n])) * half + middle


def _volume(points: np.ndarray) -> float:
    if points.shape[1] == 1:
        return float(np.ptp(points))
    return float(scipy.spatial.ConvexHull(points, qhull_options="QJ").volume)
