"""The gate: its bound against the textbook, its false promotions against their promise."""

import math

import numpy as np
import pytest
from scipy import stats

from yannctl.errors import ModelError
from yannctl.rl.gate import decide, paired_lower_bound, spent_level

NONE = np.zeros(64, dtype=np.int64)


def runs_with_a_promotion(shift: float, runs: int, tests: int) -> float:
    """Share of runs in which a policy whose true mean difference is `shift` is promoted at least once."""
    rng = np.random.default_rng(0)
    promoted = 0
    for _ in range(runs):
        for k in range(1, tests + 1):
            deployed = rng.normal(-500.0, 300.0, 64)
            difference = rng.gamma(1.0, 1.0, 64) - 1.0 if k % 2 else 1.0 - rng.gamma(1.0, 1.0, 64)
            event = decide(0, k, 0.05, (deployed + shift + difference, NONE), (deployed, NONE), 10)
            if event.decision == "promoted":
                promoted += 1
                break
    return promoted / runs


def test_bound_is_the_one_sided_t_interval():
    difference = np.random.default_rng(1).gamma(1.0, 1.0, 40)  # skewed upwards: nothing to correct
    expected = stats.ttest_1samp(difference, 0.0, alternative="greater").confidence_interval(0.99).low
    assert paired_lower_bound(difference, 0.01) == pytest.approx(expected)
    assert paired_lower_bound(np.array([1.0]), 0.01) == -math.inf


def test_long_lower_tail_lowers_the_bound_by_the_edgeworth_term():
    difference = -np.random.default_rng(1).gamma(1.0, 1.0, 40)
    plain = stats.ttest_1samp(difference, 0.0, alternative="greater").confidence_interval(0.99).low
    t, error = stats.t.ppf(0.99, 39), difference.std(ddof=1) / math.sqrt(40)
    skew = ((difference - difference.mean()) ** 3).mean() / difference.std(ddof=1) ** 3
    assert skew < -0.5
    assert paired_lower_bound(difference, 0.01) == pytest.approx(
        plain + skew * (2.0 * t**2 + 1.0) / (6.0 * math.sqrt(40)) * error
    )


def test_levels_sum_to_alpha():
    total = sum(spent_level(0.05, k) for k in range(1, 100_000))
    assert total == pytest.approx(0.05, rel=1e-4)


def test_equal_policy_is_promoted_in_at_most_five_percent_of_runs():
    assert runs_with_a_promotion(0.0, runs=400, tests=6) <= 0.05


def test_worse_policy_is_never_promoted():
    assert runs_with_a_promotion(-0.3, runs=100, tests=6) == 0.0


def test_better_policy_is_promoted_with_its_numbers():
    deployed = np.random.default_rng(2).normal(-500.0, 300.0, 64)
    learning = deployed + 10.0 + np.random.default_rng(3).normal(0.0, 5.0, 64)
    event = decide(800, 3, 0.05, (learning, NONE), (deployed, NONE), 200)
    assert event.decision == "promoted"
    assert event.level == pytest.approx(0.05 * 6.0 / (math.pi**2 * 9.0))
    assert event.difference == pytest.approx((learning - deployed).mean())
    assert 0.0 < event.lower_bound < event.difference
    assert (event.gate_plant_steps, event.gate_model_steps) == (0, 2 * 64 * 200)


def test_more_violations_are_not_promoted():
    deployed, worse = np.zeros(64), NONE.copy()
    worse[3] = 1
    learning = 10.0 + np.linspace(0.0, 1.0, 64)
    assert decide(0, 1, 0.05, (learning, worse), (deployed, NONE), 10).decision == "kept"
    assert decide(0, 1, 0.05, (learning, worse), (deployed, worse), 10).decision == "promoted"


def test_nan_is_not_promoted():
    learning = np.full(64, 10.0)
    learning[0] = np.nan
    event = decide(0, 1, 0.05, (learning, NONE), (np.zeros(64), NONE), 10)
    assert event.decision == "kept"
    assert event.lower_bound == -math.inf


def test_starts_must_be_common():
    with pytest.raises(ModelError, match="one for each common start"):
        decide(0, 1, 0.05, (np.zeros(3), NONE[:3]), (np.zeros(4), NONE[:4]), 10)
