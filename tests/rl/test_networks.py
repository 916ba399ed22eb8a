"""Flat weights, Adam, the batched critics and the clamp against their plain forms."""

import pytest
import torch

from yannctl.rl.networks import Actor, Adam, Critic, FlatWeights, inward_clamp
from yannctl.yann.extension import residual_net


def test_adam_is_torchs_adam():
    start = torch.randn(50, generator=torch.Generator().manual_seed(1))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    adam, reference = Adam(ours, 1e-2), torch.optim.Adam([theirs], lr=1e-2)
    for _ in range(20):
        for weights in (ours, theirs):
            weights.grad = 2.0 * weights.detach() + 1.0
        adam.step()
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_flat_weights_are_the_modules_own():
    module = torch.nn.Linear(3, 2)
    flat = FlatWeights(module)
    module(torch.ones(1, 3)).sum().backward()
    assert flat.value.grad.tolist() == [1.0] * 8
    flat.value.data.zero_()
    assert module(torch.ones(1, 3)).tolist() == [[0.0, 0.0]]


def test_follow_is_a_polyak_step():
    one, two = FlatWeights(torch.nn.Linear(1, 1)), FlatWeights(torch.nn.Linear(1, 1))
    one.value.data.fill_(1.0)
    two.value.data.fill_(2.0)
    one.follow(two, 0.1)
    assert one.value.tolist() == pytest.approx([1.1, 1.1])


def test_batched_critics_are_independent_networks():
    generator = torch.Generator().manual_seed(0)
    critic = Critic(3, 1, 16, 2, 2, generator)
    phi, a = torch.randn(5, 3, generator=generator), torch.randn(5, 1, generator=generator)
    out = critic(phi, a)
    for i in range(2):
        hidden = torch.cat((phi, a), -1)
        for layer, (weight, bias) in enumerate(zip(critic.weights, critic.biases, strict=True)):
            hidden = hidden @ weight[i] + bias[i]
            if layer < 2:
                hidden = torch.nn.functional.gelu(torch.nn.functional.layer_norm(hidden, (16,)))
        assert torch.allclose(out[i], hidden, atol=1e-5)


def test_clamp_lets_only_inward_gradients_through():
    v = torch.tensor([-2.0, -2.0, 0.5, 0.5, 2.0, 2.0], requires_grad=True)
    # Descent on +a lowers a, on -a raises it.
    (inward_clamp(v) * torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])).sum().backward()
    assert inward_clamp(v).tolist() == [-1.0, -1.0, 0.5, 0.5, 1.0, 1.0]
    assert v.grad.tolist() == [0.0, -1.0, 1.0, -1.0, 1.0, 0.0]


def test_actor_mean_starts_bitwise_at_the_base():
    actor = Actor(residual_net(3, (16, 16), 1, 0, False, torch.float32), 1.0, 0.1)
    phi, base = torch.randn(100, 3), torch.rand(100, 1) * 2.0 - 1.0
    mean, log_std = actor.distribution(phi, base)
    assert torch.equal(mean, base)
    assert torch.equal(actor.mean(phi, base), base)
    assert log_std.exp().detach().numpy() == pytest.approx(0.1)
