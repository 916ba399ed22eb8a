"""Both algorithms find the exact optimum of a linear-quadratic problem in a few hundred steps."""

import subprocess
import sys

import numpy as np
import pytest

from yannctl.rl import DdpgSettings, DsactSettings, TrainingSettings, evaluate, train
from yannctl.rl.model_settings import ModelSettings

RECIPE = TrainingSettings(
    width=32,
    batch=64,
    warmup_steps=100,
    gate_every=50,
    gate_starts=64,
    model=ModelSettings(use="off"),
    dsact=DsactSettings(actor_rate=2e-3, critic_rate=2e-3),
    ddpg=DdpgSettings(actor_rate=2e-3, critic_rate=2e-3, std=0.3),
)


@pytest.mark.parametrize(("algorithm", "within"), [("dsact", 1.05), ("ddpg", 1.1)])
def test_learned_return_is_the_riccati_one(env, law, optimal_return, algorithm, within):
    result = train(law, None, env, algorithm, steps=300, seed=0, settings=RECIPE)
    steps, starts = env.plant.episode_steps, np.linspace(-1.0, 1.0, 41)[:, None]
    best = optimal_return(starts, steps).mean()
    first, learned = (evaluate(policy, env.plant, starts, steps).returns.mean() for policy in (law, result.deployed))
    assert first < 2.5 * best  # the law leaves much to learn (returns are negative)
    assert within * best <= learned <= best + 1e-9
    assert sum(row["promoted"] for row in result.history) >= 1


def test_evaluate_sums_rewards_and_counts_violations(env, law):
    starts = np.array([[1.0], [-1.9], [2.5]])
    result = evaluate(law, env.plant, starts, 3)
    x, total, outside = starts[:, 0], 0.0, 0
    for _ in range(3):
        u = np.clip(-0.3 * x, -3.0, 3.0)
        total = total - (x**2 + 0.1 * u**2)
        x = x + 0.4 * u
        outside = outside + (np.abs(x) > 2.0)
    assert result.returns == pytest.approx(total)
    assert result.violations.tolist() == outside.tolist()
    assert result.violations.tolist() == [0, 0, 1]


def test_importing_the_package_loads_no_torch():
    code = "import sys, yannctl.rl; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
