"""Laws for the tests of this folder: by hand, by interpolation, and of a double integrator."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial import Delaunay

from yannctl.linear import LinearModel
from yannctl.mpqp import condense
from yannctl.ocp import Ocp
from yannctl.pwa import PwaLaw, solve_mpqp


def make_law(pieces, theta_min, theta_max):
    """Law from (H, k, F, g) a region, rows in any length."""
    theta_min, theta_max = np.asarray(theta_min, float), np.asarray(theta_max, float)
    half = (theta_max - theta_min) / 2
    rows, offsets, start = [], [], [0]
    for normals, bounds, _, _ in pieces:
        H, k = np.atleast_2d(np.asarray(normals, float)), np.asarray(bounds, float)
        length = np.linalg.norm(H * half, axis=1)
        rows.append(H / length[:, None])
        offsets.append(k / length)
        start.append(start[-1] + len(k))
    return PwaLaw(
        row_start=np.array(start),
        H=np.vstack(rows),
        k=np.concatenate(offsets),
        F=np.array([np.atleast_2d(F) for _, _, F, _ in pieces], float),
        g=np.array([np.atleast_1d(g) for _, _, _, g in pieces], float),
        theta_min=theta_min,
        theta_max=theta_max,
    )


def saturation_law(gain=2.0):
    """u = clip(gain x, -1, 1) on [-3, 3]."""
    edge = 1 / gain
    return make_law(
        [
            ([[1.0], [-1.0]], [edge, edge], [[gain]], [0.0]),
            ([[1.0], [-1.0]], [3.0, -edge], [[0.0]], [1.0]),
            ([[1.0], [-1.0]], [-edge, 3.0], [[0.0]], [-1.0]),
        ],
        [-3.0],
        [3.0],
    )


def interpolation_law(points, values):
    """Continuous law that interpolates values (n, n_out) at points (n, dim); a zigzag in one dimension."""
    points, values = np.asarray(points, float), np.asarray(values, float)
    n = points.shape[1]
    if n == 1:
        order = np.argsort(points[:, 0])
        simplices = np.column_stack([order[:-1], order[1:]])
    else:
        simplices = Delaunay(points).simplices
    pieces = []
    for simplex in simplices:
        corners = points[simplex]
        inverse = np.linalg.inv(np.column_stack([corners, np.ones(n + 1)]))  # barycentric coordinates are rows of it
        weights = inverse @ values[simplex]
        # barycentric_j(x) = inverse[:n, j].x + inverse[n, j] >= 0
        pieces.append((-inverse[:n].T, inverse[n], weights[:n].T, weights[n]))
    return make_law(pieces, points.min(axis=0), points.max(axis=0))


def integrator(N=4, nu=1, **options):
    """Problem of a double integrator; nu=2 gives each state its own input."""
    B = np.array([[0.5], [1.0]]) if nu == 1 else np.array([[0.6, 0.1], [0.0, 1.0]])
    lin = LinearModel(np.array([[1.0, 1.0], [0.0, 1.0]]), B)
    settings = {"x_min": [-5.0, -3.0], "x_max": [5.0, 3.0], "u_min": -np.ones(nu), "u_max": np.ones(nu)}
    return Ocp(lin, Q=np.eye(2), R=0.1 * np.eye(nu), N=N, **(settings | options))


@cache
def integrator_law(N=4, nu=1):
    return solve_mpqp(condense(integrator(N, nu)))


def spread(law, n, seed):
    """Random points of the box, every corner, and random points on every facet."""
    rng = np.random.default_rng(seed)
    parts = [rng.uniform(law.theta_min, law.theta_max, (n, law.ntheta))]
    for index in range(law.n_regions):
        corners = law.vertices(index)
        rows = slice(law.row_start[index], law.row_start[index + 1])
        parts.append(corners)
        for row, offset in zip(law.H[rows], law.k[rows], strict=True):
            on = corners[np.abs(corners @ row - offset) < 1e-9]
            if len(on):
                weights = rng.dirichlet(np.ones(len(on)), 3)
                parts.append(weights @ on)
    return np.vstack(parts)


@pytest.fixture(scope="session")
def laws():
    """The makers above, for tests that cannot import them."""
    return SimpleNamespace(
        make=make_law,
        saturation=saturation_law,
        interpolation=interpolation_law,
        integrator=integrator,
        integrator_law=integrator_law,
        spread=spread,
    )


@pytest.fixture(scope="session", params=["saturation", "integrator", "two inputs", "interpolation", "three states"])
def law(request):
    """Laws of one to three parameters and one or two outputs."""
    rng = np.random.default_rng(3)
    makers = {
        "saturation": saturation_law,
        "integrator": integrator_law,
        "two inputs": lambda: integrator_law(2, 2),
        "interpolation": lambda: interpolation_law(rng.uniform(-1, 1, (14, 2)), rng.normal(size=(14, 2))),
        "three states": lambda: interpolation_law(rng.uniform(-1, 1, (9, 3)), rng.normal(size=(9, 1))),
    }
    return makers[request.param]()
