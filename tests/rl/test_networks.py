"""Flat weights, Adam, the batched critics and the clamp against their plain forms."""

import pytest
import torch

from yannctl.rl.clamp import inward_clamp
from yannctl.rl.ddpg import Ddpg, DdpgSettings
from yannctl.rl.descent import Adam, FlatWeights
from yannctl.rl.networks import Actor, AutomaticGradient, Critic
from yannctl.rl.replay import Batch
from yannctl.rl.trained import Noise
from yannctl.yann.extension import residual_net


def test_adam_is_torchs_adam():
    start = torch.randn(50, generator=torch.Generator().manual_seed(1))
    ours, theirs = start.clone(), torch.nn.Parameter(start.clone())
    adam, reference = Adam(ours, 1e-2), torch.optim.Adam([theirs], lr=1e-2)
    for _ in range(20):
        theirs.grad = 2.0 * theirs.detach() + 1.0
        adam.step(2.0 * ours + 1.0)
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_flat_weights_are_the_modules_own():
    module = torch.nn.Linear(3, 2)
    flat = FlatWeights(module)
    assert flat.value.tolist() == [*module.weight.flatten().tolist(), *module.bias.tolist()]
    flat.value.zero_()
    assert module(torch.ones(1, 3)).tolist() == [[0.0, 0.0]]


def test_follow_is_a_polyak_step():
    one, two = FlatWeights(torch.nn.Linear(1, 1)), FlatWeights(torch.nn.Linear(1, 1))
    one.value.fill_(1.0)
    two.value.fill_(2.0)
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
    f, log_std = actor.raw_distribution(actor(phi))
    assert not bool(f.any())
    assert torch.equal(actor.mean(phi, base), base)
    assert log_std.exp().detach().numpy() == pytest.approx(0.1)


class Line(AutomaticGradient):
    """One linear layer as policy and, beside it, one as critic: another architecture than the package's."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.layer = torch.nn.Linear(n_in, n_out)

    def forward(self, *inputs):
        out = self.layer(torch.cat(inputs, -1))
        return out if len(inputs) == 1 else out[None]


def test_other_architectures_learn_by_automatic_differentiation():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    learner = Ddpg(Line(2, 1), Line(3, 1), DdpgSettings(delay=1, critic_rate=1e-2), 0.9, Noise(generator))
    x, a = torch.rand((64, 2), generator=generator), torch.rand((64, 1), generator=generator)
    none = torch.zeros(64)
    batch = Batch(x, x, a, a, 0.0 * a, 3.0 * a[:, 0], none, x, x, 0.0 * a, none, none)
    before = learner.actor.network.mean(x, 0.0 * a).mean()
    for _ in range(300):
        learner.update(batch)
    assert learner.critic.network.layer.weight[0, 2] > 1.0  # the reward rises with the action
    assert learner.actor.network.mean(x, 0.0 * a).mean() > before + 0.2
