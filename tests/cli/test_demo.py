"""The demo's own arithmetic, and that its checks see planted faults."""

from dataclasses import replace

import numpy as np
import pytest

from yannctl import MpQp, solve_mpqp
from yannctl.cli import figures
from yannctl.cli.checks import compare_with_qp
from yannctl.cli.intervals import mean_interval
from yannctl.cli.pendulum_learning import returns_of, trace_of
from yannctl.models import Pendulum


@pytest.fixture(scope="module")
def law():
    """u = clip(theta, -1, 1) on [-3, 3]: min u²/2 − theta u, |u| <= 1."""
    return solve_mpqp(MpQp([[1.0]], [0.0], [[-1.0]], [[1.0], [-1.0]], [1.0, 1.0], [[0.0], [0.0]], [-3.0], [3.0], 1))


def test_comparison_with_the_qp_passes_the_right_law(law):
    found = compare_with_qp(law, 2000, seed=0)
    assert found.coverage == 1.0
    assert found.n_feasible == 2000
    assert found.max_error < 1e-12


def test_comparison_with_the_qp_sees_a_wrong_gain(law):
    gains = law.F.copy()
    gains[np.abs(gains[:, 0, 0]).argmax()] *= 1.001
    assert compare_with_qp(replace(law, F=gains), 500, seed=0).max_error > 1e-4


def test_comparison_with_the_qp_sees_a_missing_region(law):
    rows = slice(law.row_start[1], law.row_start[-1])
    rest = replace(
        law,
        row_start=law.row_start[1:] - law.row_start[1],
        H=law.H[rows],
        k=law.k[rows],
        F=law.F[1:],
        g=law.g[1:],
        P=law.P[1:],
        p=law.p[1:],
        c=law.c[1:],
        active=law.active[1:],
    )
    found = compare_with_qp(rest, 2000, seed=0, qp_points=10)
    assert 0.5 < found.coverage < 0.8
    assert found.n_feasible == 2000


def test_interval_of_a_mean_holds_it_95_times_in_100():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        _, low, high = mean_interval(rng.normal(0.3, 2.0, 100))
        hits += low <= 0.3 <= high
    assert 925 <= hits <= 970


def test_returns_are_the_sum_of_rewards_along_the_trace():
    plant = Pendulum()
    start = np.array([[2.0, 0.5]])

    def policy(x: np.ndarray) -> np.ndarray:
        return -x[:, :1]

    trace = trace_of(plant, policy, start[0], plant.episode_steps)
    by_hand = plant.rewards(trace.x[:-1], trace.u).sum()
    assert returns_of(plant, policy, start)[0] == pytest.approx(by_hand, rel=1e-12)
    assert trace.time[-1] == pytest.approx(10.0)


def test_a_trajectory_is_broken_where_its_angle_wraps():
    x = np.array([[3.0, 1.0], [3.1, 1.0], [-3.1, 1.0], [-3.0, 1.0]])
    broken = figures.broken_at_jumps(x, [0])
    assert len(broken) == 5
    assert np.isnan(broken[2]).all()
    np.testing.assert_array_equal(np.delete(broken, 2, axis=0), x)
