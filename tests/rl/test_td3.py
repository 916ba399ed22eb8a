"""The losses of TD3 against numbers worked out by hand."""

import pytest
import torch

from yannctl.rl.ddpg import critic_gradient, critic_loss, policy_loss
from yannctl.rl.td3 import smoothed_action, value_target


def test_target_action_is_clipped_twice():
    mean, noise = torch.tensor([[0.0], [0.9], [-0.2]]), torch.tensor([[1.0], [1.0], [9.0]])
    assert smoothed_action(mean, noise, 0.2, 0.5)[:, 0].tolist() == pytest.approx([0.2, 1.0, 0.3])


def test_value_target_takes_the_lower_critic():
    q = torch.tensor([[10.0, 20.0, 30.0], [11.0, 19.0, 31.0]])
    y = value_target(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 0.0]), q, 0.9)
    assert y.tolist() == pytest.approx([10.0, 18.1, 1.0])


def test_losses_by_hand():
    q = torch.tensor([[1.0, 4.0], [2.0, 0.0]])
    assert float(critic_loss(q, torch.tensor([2.0, 2.0]))) == pytest.approx(2.5 + 2.0)
    assert float(policy_loss(q)) == pytest.approx(-2.5)


def test_critic_gradient_is_that_of_the_loss():
    q = torch.tensor([[1.0, 4.0], [2.0, 0.0]], requires_grad=True)
    y = torch.tensor([2.0, 3.0])
    (expected,) = torch.autograd.grad(critic_loss(q, y), q)
    assert torch.allclose(critic_gradient(q.detach(), y), expected, rtol=1e-6)
