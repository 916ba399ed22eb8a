"""The compiled linear program for largest balls, against HiGHS, on regions that are thin, degenerate and many-sided."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog

from yannctl import Settings
from yannctl.mpqp.presolve import presolve
from yannctl.pwa.closure import repair
from yannctl.pwa.exploration import Exploration
from yannctl.pwa.regions import ball

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from problems import problem


def radii_by_set(name, settings):
    """Chebyshev radius of each region found, by its active set."""
    exploration = Exploration(presolve(problem(name)), settings)
    exploration.find_start()
    exploration.run()
    repair(exploration)
    store = exploration.store
    rows = [slice(*store.row_start[i : i + 2]) for i in range(exploration.n_regions)]
    return {store.sets[store.region_set[i]].tobytes(): ball(store.H[s], store.k[s])[1] for i, s in enumerate(rows)}


@pytest.mark.parametrize("seed", range(6))
def test_radius_of_slabs_with_many_redundant_rows(seed):
    """A slab fixes the radius; the rest of the centre is then a pure tie, where dual steps can cycle."""
    g = np.random.default_rng(seed)
    n = int(g.integers(3, 8))
    normals = g.standard_normal((40, n))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    width = 10.0 ** -g.uniform(2, 7)
    H = np.vstack([normals, normals[0] + 1e-6 * normals[1], -normals[0]])
    H /= np.linalg.norm(H, axis=1)[:, None]
    k = np.concatenate([g.uniform(0.1, 0.5, 40), [width, width]])
    bounds = [(-2, 2)] * n + [(None, None)]
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    rows = np.hstack([H, np.ones((len(H), 1))])
    exact = linprog(np.append(np.zeros(n), -1.0), rows, k, bounds=bounds, method="highs", options=tight)
    centre, radius = ball(H, k)
    assert radius == pytest.approx(exact.x[-1], rel=1e-6, abs=2e-9)
    assert (H @ centre + radius <= k + 1e-11).all()


@pytest.mark.slow
def test_two_ways_of_cutting_find_the_same_regions():
    """Every region of radius > 1e-8 is found by double description and by linear programs, at finer thresholds too."""
    coarse = radii_by_set("P4_nx6_N3", Settings())
    finer = radii_by_set("P4_nx6_N3", Settings(radius_tolerance=1e-10, step=1e-9))
    by_balls = radii_by_set("P4_nx6_N3", Settings(vertex_parameters=1))
    assert np.isfinite(list(coarse.values())).all()
    large = {key for key, radius in coarse.items() if radius > 1e-8}
    assert len(large) == 9459
    assert large == {key for key, radius in finer.items() if radius > 1e-8}
    assert large == {key for key, radius in by_balls.items() if radius > 1e-8}
