from dataclasses import replace

import numpy as np
import pytest

from yannctl.assurance import gradient_attack, robot_stopping_set, search_attack, target
from yannctl.assurance.gradient_attack import _slopes
from yannctl.assurance.searched_attack import Runs


def test_searches_break_the_plain_loop_and_not_the_filtered_one():
    outcome = search_attack(target("robot-stop"), 8000, seed=0)
    assert outcome.steps >= 8000
    assert outcome.violations == outcome.exits == outcome.infeasible == 0
    assert outcome.unfiltered_violated >= 0.5
    assert outcome.ok == (outcome.unfiltered_violated >= 0.9)
    assert search_attack(target("robot-stop"), 8000, seed=0) == outcome


def test_gradients_break_the_plain_loop_and_not_the_filtered_one():
    loop = target("robot-corridor")
    outcome = gradient_attack(loop, 1500, seed=0)
    assert outcome.steps >= 1500
    assert outcome.violations == outcome.exits == outcome.infeasible == 0
    assert outcome.unfiltered_violated >= 0.9
    assert outcome.ok
    assert 0 <= outcome.closest < 0.05


@pytest.mark.slow
def test_gradient_attacks_repeat_themselves():
    loop = target("robot-corridor")
    assert gradient_attack(loop, 600, seed=1) == gradient_attack(loop, 600, seed=1)


def test_the_slopes_are_those_of_the_margin():
    """Without a filter the adjoint equals differences of the least margin, wherever no share is cut and no run ends."""
    loop = target("robot-corridor")
    runs, rng = Runs(loop, False), np.random.default_rng(0)
    starts, shares = loop.starts(6, rng), rng.uniform(0.3, 0.7, (6, 36, sum(runs.sizes)))
    slopes, checked = _slopes(runs, runs.play(starts, shares)), 0
    for k, j in ((0, 0), (2, 0), (5, 1), (9, 5), (20, 0)):
        ends = []
        for sign in (-1, 1):
            moved = shares.copy()
            moved[:, k, j] += sign * 1e-5
            ends.append(runs.play(starts, moved))
        same = (ends[0].when == ends[1].when) & (slopes[:, k, j] != 0)
        difference = (ends[1].least - ends[0].least) / 2e-5
        np.testing.assert_allclose(1.5 * slopes[same, k, j], difference[same], rtol=2e-3, atol=1e-8)
        checked += int(same.sum())
    assert checked > 5


def test_gradients_break_a_filter_for_a_smaller_uncertainty():
    whole = target("robot-corridor")
    middle, half = 0.5 * (whole.p_min + whole.p_max), 0.5 * (whole.p_max - whole.p_min)
    outcome = gradient_attack(replace(whole, p_min=middle - 3 * half, p_max=middle + 3 * half), 3000, seed=0)
    assert outcome.exits > 0
    assert not outcome.ok


def test_a_filter_for_a_gentler_path_is_broken_by_searches():
    """What the set does not know about, here the sharper bends of the path, the search finds."""
    loop = target("robot-stop")
    gentle = replace(loop, safe_set=robot_stopping_set(bend=0.5))
    low, high = np.array([-0.1, -1.2, 0.0, -1.0, 0.0]), np.array([0.1, 1.2, 0.2, 1.0, 1.0])

    def starts(n, rng):
        x = rng.uniform(low, high, (50 * n + 200, 5))
        margin = gentle.safe_set.margin(x)
        return x[(margin > 0) & (margin < 0.02)][:n]

    outcome = search_attack(replace(gentle, starts=starts), 30_000, seed=1)
    assert outcome.exits > 0
    assert not outcome.ok
