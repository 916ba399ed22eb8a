"""The losses of DSAC-T against numbers worked out by hand, and the learned sigma against the true one."""

import math

import pytest
import torch

from yannctl.rl.dsact import critic_gradient, policy_loss, temperature_gradient, value_targets
from yannctl.rl.stochastic import gaussian_entropy, gaussian_log_density


def test_log_density_is_the_gaussians():
    noise, log_std = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, log_std.exp())
    expected = normal.log_prob(log_std.exp() * noise).sum(-1)
    assert torch.allclose(gaussian_log_density(noise, log_std), expected, rtol=1e-12)


def test_target_entropy_is_the_documented_deviation():
    assert gaussian_entropy(0.3) == pytest.approx(float(torch.distributions.Normal(0.0, 0.3).entropy()))
    assert gaussian_entropy(0.089) == pytest.approx(-1.0, abs=5e-3)  # the paper's -1 an input


def test_value_targets_by_hand():
    reward, live = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 0.0])
    q = torch.tensor([[10.0, 20.0, 30.0], [11.0, 19.0, 31.0]])
    sigma = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    log_prob, noise = torch.tensor([2.0, -2.0, 1.0]), torch.tensor([0.5, -9.0, 1.0])
    y_q, y_z = value_targets(reward, live, q, sigma, log_prob, noise, torch.tensor(0.25), 0.9)
    # 1 + 0.9 (10 - 0.5), 2 + 0.9 (19 + 0.5), 3: terminal, nothing follows
    assert torch.allclose(y_q, torch.tensor([9.55, 19.55, 3.0]))
    # + 0.9 * 1 * 0.5, + 0.9 * 5 * (-3): the noise is clipped and the sigma is that of the lower critic
    assert torch.allclose(y_z, torch.tensor([10.0, 6.05, 3.0]))


def test_critic_gradient_by_hand():
    q, sigma = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [2.0]])
    m = torch.tensor([0.2, 1.0])
    of_q, of_sigma = critic_gradient(q, sigma, torch.tensor([3.0]), torch.tensor([4.0]), m)
    # critic 1: omega 0.04 + 0.1, delta = clip(3, 0.6); critic 2: omega 1 + 0.1, delta = clip(2, 3)
    expected_q = [-0.14 * 2.0 / 0.35, -1.1 * 1.0 / 4.1]
    expected_sigma = [-0.14 * (0.36 - 0.25) / 0.225, -1.1 * (4.0 - 4.0) / 8.1]
    assert of_q[:, 0].tolist() == pytest.approx(expected_q, rel=1e-6)
    assert of_sigma[:, 0].tolist() == pytest.approx(expected_sigma, rel=1e-6)


def test_policy_loss_by_hand():
    q, log_prob = torch.tensor([[1.0, 5.0], [2.0, 3.0]]), torch.tensor([0.5, 1.5])
    assert float(policy_loss(q, log_prob, torch.tensor(2.0))) == pytest.approx((1.0 - 1.0 + 3.0 - 3.0) / 2.0)


@pytest.mark.parametrize(("log_prob", "sign"), [(3.0, -1.0), (-3.0, 1.0)])
def test_temperature_rises_while_the_policy_is_too_certain(log_prob, sign):
    gradient = float(temperature_gradient(torch.full((4,), log_prob), -1.0))
    assert gradient == pytest.approx(-(log_prob - 1.0))
    assert math.copysign(1.0, gradient) == sign


def test_sigma_of_a_constant_target_is_learned_within_three_percent():
    true_sigma = torch.tensor([0.5, 2.0, 10.0])  # one critic for each
    generator = torch.Generator().manual_seed(3)
    weights = torch.zeros(2, 3, 1, requires_grad=True)  # Q and the raw sigma
    optimiser = torch.optim.Adam([weights], lr=0.05)
    mean, total = torch.zeros(3), torch.zeros(3)
    for step in range(1500):
        q, sigma = weights[0].expand(3, 256), torch.nn.functional.softplus(weights[1]).expand(3, 256)
        mean.lerp_(sigma.detach().mean(-1), 0.02 if step else 1.0)
        y_z = 5.0 + true_sigma[:, None] * torch.randn((3, 256), generator=generator)
        gradients = critic_gradient(q.detach(), sigma.detach(), torch.full((256,), 5.0), y_z, mean)
        optimiser.zero_grad()
        torch.autograd.backward((q, sigma), gradients)
        optimiser.step()
        if step >= 1000:
            total += sigma.detach().mean(-1) / 500
    assert (total / true_sigma).tolist() == pytest.approx([1.0] * 3, rel=0.03)
    assert weights[0].detach().flatten().tolist() == pytest.approx([5.0] * 3, abs=0.05)
