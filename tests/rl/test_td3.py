"""The losses of TD3 against numbers worked out by hand."""

import pytest
import torch

from yannctl.rl.td3 import critic_loss, policy_loss, smoothed_action, value_target


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
