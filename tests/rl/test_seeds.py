"""Stacked seeds: each learns what it would have learned alone."""

import dataclasses

import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.rl import train, train_seeds
from yannctl.rl.run import Run
from yannctl.rl.seeds import Stack
from yannctl.rl.task import another

SEEDS = (3, 8, 11)


@pytest.mark.parametrize("algorithm", ["dsact", "td3", "ddpg"])
def test_each_seed_learns_what_it_would_have_learned_alone(env, law, small, algorithm):
    stack = Stack([Run(law, None, another(env), algorithm, seed, small) for seed in SEEDS])
    alone = [Run(law, None, another(env), algorithm, seed, small) for seed in SEEDS]
    for _ in range(40):
        stack.step()
        for run in alone:
            run.step()
    stack.give()
    for mine, reference in zip(stack.runs, alone, strict=True):
        assert mine.learner.updates == reference.learner.updates == 42
        for name, tensor in mine.learner.tensors().items():
            assert torch.allclose(tensor, reference.learner.tensors()[name], rtol=1e-3, atol=2e-4), name
        assert np.allclose(mine.replay.table[:40], reference.replay.table[:40], atol=1e-3)


@pytest.mark.parametrize("algorithm", ["dsact", "td3"])
def test_seed_that_breaks_is_rolled_back_alone(env, law, small, algorithm):
    stack = Stack([Run(law, None, another(env), algorithm, seed, small) for seed in SEEDS])
    for _ in range(30):
        stack.step()
    stack.give()
    before = stack.runs[0].snapshot()
    stack.learner.critic.weights.value.data[stack.critic_places[1][5]] = float("nan")
    stack.heal()
    stack.give()
    assert stack.learner.finite()
    assert [run.count.rollbacks for run in stack.runs] == [0, 1, 0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in stack.runs[0].learner.tensors().items())
    good = stack.runs[1].good
    assert all(
        torch.equal(tensor, good[name]) for name, tensor in stack.runs[1].learner.tensors().items() if tensor.dim()
    )


def test_results_are_those_of_single_runs(env, law, small):
    settings = dataclasses.replace(small, environments=2)
    together = train_seeds(law, env, SEEDS, steps=50, settings=settings)
    alone = [train(law, None, another(env), steps=50, seed=seed, settings=settings) for seed in SEEDS]
    for first, second in zip(together, alone, strict=True):
        a, b = ([row["learning_return"] for row in result.history] for result in (first, second))
        assert len(a) == 2
        assert a == pytest.approx(b, rel=1e-2)
    with pytest.raises(ModelError, match="two different"):
        train_seeds(law, env, [1, 1])
