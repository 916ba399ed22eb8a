from dataclasses import replace

import numpy as np

from yannctl.assurance import robot_stopping_set, search_attack, target


def test_searches_break_the_plain_loop_and_not_the_filtered_one():
    outcome = search_attack(target("robot-stop"), 8000, seed=0)
    assert outcome.steps >= 8000
    assert outcome.violations == outcome.exits == outcome.infeasible == 0
    assert outcome.unfiltered_violated >= 0.5
    assert outcome.ok == (outcome.unfiltered_violated >= 0.9)
    assert search_attack(target("robot-stop"), 8000, seed=0) == outcome


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
