"""Every algorithm comes within two percent of the optimum of a one-state plant and of a double integrator."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "linear_quadratic.py"


@pytest.fixture(scope="module")
def linear():
    spec = importlib.util.spec_from_file_location("linear_quadratic", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_optimum_is_that_of_a_search_over_inputs(linear):
    """The recursion's return from one start, against the least squares problem of all inputs at once."""
    for plant in linear.PLANTS:
        start, n = plant.start_max, plant.episode_steps
        powers = [np.linalg.matrix_power(plant.A, k) for k in range(n)]
        free = np.concatenate([power @ start for power in powers])
        forced = np.block(
            [[powers[k - 1 - j] @ plant.B if j < k else np.zeros_like(plant.B) for j in range(n)] for k in range(n)]
        )
        root_q, root_r = np.kron(np.eye(n), np.sqrt(plant.Q)), np.kron(np.eye(n), np.sqrt(plant.R))
        stacked, wanted = np.vstack([root_q @ forced, root_r]), np.concatenate([-root_q @ free, np.zeros(n)])
        u, *_ = np.linalg.lstsq(stacked, wanted, rcond=None)
        best = -float(np.sum((stacked @ u - wanted) ** 2))
        assert linear.optimal_returns(plant, start[None])[0] == pytest.approx(best, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ddpg", "td3", "dsact"])
@pytest.mark.parametrize("place", [0, 1])
def test_learner_comes_within_two_percent_of_the_optimum(linear, algorithm, place):
    part = linear.learned_against_optimum(linear.PLANTS[place], algorithm)
    assert -1e-9 <= part["above"] <= 0.02
