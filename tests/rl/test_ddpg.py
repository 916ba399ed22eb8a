"""The losses of DDPG against numbers worked out by hand."""

import pytest
import torch

from yannctl.rl.ddpg import critic_loss, policy_loss, value_target


def test_value_target_by_hand():
    y = value_target(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0]), torch.tensor([[10.0, 10.0]]), 0.9)
    assert y.tolist() == pytest.approx([10.0, 1.0])


def test_losses_by_hand():
    q = torch.tensor([[1.0, 4.0]])
    assert float(critic_loss(q, torch.tensor([2.0, 2.0]))) == pytest.approx(2.5)
    assert float(policy_loss(q)) == pytest.approx(-2.5)
