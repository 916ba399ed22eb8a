"""Refinement by the gradient of the return: against differences, against a known optimum, and never for the worse."""

import numpy as np
import torch

from yannctl.models import CSTR, DifferentialDrive
from yannctl.rl.belief import Belief
from yannctl.rl.environment import PlantEnvironment
from yannctl.rl.evaluation import evaluate
from yannctl.rl.identification import Estimate
from yannctl.rl.networks import CentreLaw
from yannctl.rl.refinement import SmoothLaw, SmoothStep, _return, refine
from yannctl.rl.task import task_of
from yannctl.yann.extension import ExtendedActor

from .conftest import Gain, Geared


def made(plant, law=None, seed=0):
    base = CentreLaw(plant.u_min, plant.u_max) if law is None else law
    policy = ExtendedActor(base, plant, (8,), seed, 1.0, dtype=torch.float64)
    policy.requires_grad_(False)
    return policy, task_of(PlantEnvironment(plant))


def seen(policy, x):
    phi = policy.features(torch.from_numpy(x)).float()
    half = (policy.u_max - policy.u_min) / 2.0
    return phi, ((policy.base(torch.from_numpy(x)) - (policy.u_max + policy.u_min) / 2.0) / half).float()


def test_step_is_the_plants_with_its_derivatives():
    for plant in (CSTR(), DifferentialDrive()):
        rng = np.random.default_rng(0)
        middle, half = (plant.u_min + plant.u_max) / 2.0, (plant.u_max - plant.u_min) / 2.0
        x, u = plant.sample_starts(5, rng), middle + half * rng.uniform(-0.3, 0.3, (5, plant.nu))
        p = np.tile(plant.parameters, (5, 1))
        states, inputs = (torch.from_numpy(each).requires_grad_() for each in (x, u))
        after, reward = SmoothStep(plant)(states, inputs, torch.ones(5, 1).double(), p)
        np.testing.assert_array_equal(after.detach().numpy(), plant.step(x, u))
        np.testing.assert_array_equal(reward.detach().numpy(), plant.rewards(x, u))
        slopes = torch.autograd.grad(after[:, 0].sum() + reward.sum(), [states, inputs])
        expected = torch.autograd.grad(
            plant.step_tape.torch(states, inputs)[:, 0].sum() + plant.reward_tape.torch(states, inputs).sum(),
            [states, inputs],
        )
        for got, wanted in zip(slopes, expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-8)


def test_gradient_of_the_return_is_that_of_differences():
    plant = Geared()
    policy, task = made(plant)
    torch.manual_seed(0)
    for parameter in policy.learned.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    start, p = plant.sample_starts(6, 1), np.full((6, 1), 0.8)
    law = SmoothLaw(policy, *seen(policy, start), torch.Generator())
    policy.learned.requires_grad_(True)
    weights = list(policy.learned.parameters())
    slopes = torch.autograd.grad(_return(policy, law, SmoothStep(plant), task, start, p), weights)
    policy.learned.requires_grad_(False)

    def value() -> float:
        return float(evaluate(policy, plant, start, 20, p).returns.mean())

    for weight, slope in zip(weights, slopes, strict=True):
        place, h = (0,) * weight.dim(), 1e-5
        weight[place] += h
        above = value()
        weight[place] -= 2.0 * h
        below = value()
        weight[place] += h
        assert abs((above - below) / (2.0 * h) - float(slope[place])) < 1e-5 * (1.0 + abs(float(slope[place])))


def test_deadbeat_is_found_on_the_fitted_plant():
    plant = Geared()
    policy, task = made(plant, Gain(0.2))
    belief = Belief(plant, Estimate(np.array([0.8]), np.array([[1e-8]]), 50, np.ones(1)))
    starts = plant.sample_starts(200, 3)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    done = refine(policy, task, belief, seen(policy, starts), rng, generator, 60, 32, 2e-2)
    value = [
        evaluate(each, plant, starts, 20, np.full((200, 1), 0.8)).returns.mean()
        for each in (Gain(0.2), policy, Gain(1.0 / 0.8))
    ]
    assert done.kept
    assert done.after > done.before
    assert value[1] > value[2] - 0.02 * (value[2] - value[0])
    assert done.steps == 20 * (60 * 32 + 2 * 256)


def test_worse_policy_is_not_kept():
    plant = Geared()
    policy, task = made(plant, Gain(1.25))
    before = {name: tensor.clone() for name, tensor in policy.learned.state_dict().items()}
    belief = Belief(plant, Estimate(np.array([0.8]), np.array([[1e-8]]), 50, np.ones(1)))
    phi = seen(policy, plant.sample_starts(50, 3))
    done = refine(policy, task, belief, phi, np.random.default_rng(0), torch.Generator(), 1, 4, 50.0)
    assert not done.kept
    for name, tensor in policy.learned.state_dict().items():
        assert torch.equal(tensor, before[name])
