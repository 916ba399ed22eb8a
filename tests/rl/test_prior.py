"""The exact critic under the learned ones: its value, and the weight that trusts it only where its model is right."""

import numpy as np
import pytest
import torch

import yannctl
from yannctl.errors import ModelError
from yannctl.models import Pendulum
from yannctl.rl.prior import ExactPrior
from yannctl.yann import encode_critic


class Square(torch.nn.Module):
    """-(x^2 + u^2), and -inf beyond |x| = 1."""

    def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, 0].abs() > 1.0, -torch.inf, -(x[:, 0] ** 2) - u[:, 0] ** 2)


class Zero(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*x.shape[:-1], 1, dtype=torch.float64)


def test_value_is_scaled_weighted_and_finite(env, law):
    prior = ExactPrior(Square(), env.plant, law, "everywhere")
    prior.scale = 2.0
    x, a = torch.tensor([[0.5], [0.5], [1.5]]), torch.tensor([[1.0], [0.0], [0.0]])  # a = 1 is u = 3
    assert prior(x, a, torch.tensor([1.0, 0.5, 1.0])).tolist() == pytest.approx([-18.5, -0.25, 0.0])
    assert prior.weight(x).tolist() == [1.0, 1.0, 1.0]


def test_weight_falls_with_the_residual_of_the_linear_model():
    plant = Pendulum()
    lin = yannctl.linearise(plant)
    ocp = yannctl.Ocp(lin, Q=np.diag([1.0, 0.1]), R=[[0.001]], N=2, gamma=0.99)
    prior = ExactPrior(encode_critic(ocp, kind="lqr"), plant, Zero(), "validity")
    theta = np.array([0.0, 0.5, 1.0, 2.0])
    # The step of a free pendulum at rest is linear in sin(theta), so theta - sin(theta) is all the model misses.
    gap = 15.0 * 0.05 * (theta - np.sin(theta))
    residual = np.maximum(gap / 8.0, 0.05 * gap / np.pi)
    x = torch.from_numpy(np.stack([theta, 0.0 * theta], axis=-1))
    assert prior.weight(x).numpy() == pytest.approx(np.exp(-((residual / 0.01) ** 2)), abs=1e-9)


def test_validity_needs_a_known_model(env, law):
    with pytest.raises(ModelError, match="linear model is unknown"):
        ExactPrior(Square(), env.plant, law, "validity")
