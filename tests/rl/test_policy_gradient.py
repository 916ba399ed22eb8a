"""The written-out gradient of every policy's loss against automatic differentiation of the loss itself."""

from typing import Any

import pytest
import torch

from yannctl import rl
from yannctl.rl import ddpg, dsact
from yannctl.rl.clamp import inward_clamp
from yannctl.rl.cloning import Cloning, add_cloning
from yannctl.rl.construction import assemble
from yannctl.rl.networks import Actor, Critic, heads_of
from yannctl.rl.replay import Batch
from yannctl.rl.stacked_networks import stack_actors
from yannctl.rl.stochastic import ClampedGaussian, TanhGaussian, gaussian_log_density
from yannctl.rl.trained import Noise
from yannctl.yann.residual import residual_net

BATCH, FEATURES, INPUTS = 9, 3, 2


def prior(x, a, weight):
    return weight * (1.0 - (a - 0.3 * x[..., :INPUTS]).square().sum(-1))


def made(algorithm, policy, lead, with_prior):
    """A learner of random weights, whose actions reach beyond the box here and there, and a batch."""
    seeds = lead[0] if lead else 1
    generator = torch.Generator().manual_seed(4)
    n_critics, n_out = {"dsact": (2, 2), "td3": (2, 1), "ddpg": (1, 1)}[algorithm]
    actors = [
        Actor(residual_net(FEATURES, (16, 8), INPUTS, seed, False, torch.float32), 0.5, 0.4) for seed in range(seeds)
    ]
    actor = stack_actors(actors) if lead else actors[0]
    critic = Critic(FEATURES, INPUTS, 16, n_critics * seeds, n_out, generator)
    noise = Noise(*(torch.Generator().manual_seed(seed) for seed in range(seeds)))
    learner = assemble(algorithm, actor, critic, policy, rl.TrainingSettings(), noise, prior if with_prior else None)
    for value in (learner.actor.weights.value, learner.critic.weights.value):
        value.add_(torch.randn(value.shape, generator=generator), alpha=0.5)

    def drawn(*shape):
        return torch.randn((*lead, BATCH, *shape), generator=generator)

    phi, a, base, weight = drawn(FEATURES), drawn(INPUTS), 0.6 * drawn(INPUTS), drawn().abs()
    batch = Batch(phi, phi, a, a, base, drawn(), drawn(), phi, phi, base, weight, weight)
    return learner, batch, drawn(INPUTS)


def loss_of(learner, batch, eps, cloning):
    """The loss from its definition; the actor's weights keep the graph."""
    actor, nu = learner.actor.network, INPUTS
    heads = heads_of(actor.forward_pass(batch.phi).out, batch.phi)
    f, log_std = heads[..., :nu], heads[..., nu:].clamp(-20.0, 0.5)
    if not isinstance(learner, dsact.Dsact):
        a = inward_clamp(batch.base + actor.reach * torch.tanh(f))
    elif isinstance(learner.policy, ClampedGaussian):
        a = inward_clamp(batch.base + actor.reach * torch.tanh(f) + log_std.exp() * eps)
    else:
        a = torch.tanh(f + log_std.exp() * eps)
    q = learner.critic.network(batch.phi, a)[..., 0]
    if learner.prior is not None:
        q = q + learner.prior(batch.x, a, batch.weight)
    if not isinstance(learner, dsact.Dsact):
        return add_cloning(ddpg.policy_loss(q), q[0], a, batch.a, cloning)
    log_prob = gaussian_log_density(eps, log_std)
    if isinstance(learner.policy, TanhGaussian):
        log_prob = log_prob - torch.log(1.0 - a * a + 1e-6).sum(-1) - learner.policy.log_half
    loss = dsact.policy_loss(q, log_prob, learner.log_alpha.exp())
    return add_cloning(loss, torch.minimum(*q), a, batch.a, cloning)


@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize("cloning", [None, Cloning(2.5)])
@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize(
    ("algorithm", "policy"),
    [
        ("dsact", ClampedGaussian()),
        ("dsact", TanhGaussian(torch.tensor([2.0, 0.5]))),
        ("td3", ClampedGaussian()),
        ("ddpg", ClampedGaussian()),
    ],
    ids=["dsact", "dsact-tanh", "td3", "ddpg"],
)
def test_policy_gradient_is_that_of_the_loss(algorithm, policy, with_prior, cloning, lead):
    learner, batch, eps = made(algorithm, policy, lead, with_prior)
    rest: tuple[Any, ...] = (eps, cloning) if algorithm == "dsact" else (cloning,)
    gradient, shown, *_ = learner._policy_terms(batch, *rest)
    learner.actor.network.requires_grad_(True)
    learner.actor.network.settle()  # its views of the weights get a graph
    loss = loss_of(learner, batch, eps, cloning)
    expected = torch.autograd.grad(loss, list(learner.actor.network.parameters()), allow_unused=True)
    assert float(shown) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert any(part is not None and float(part.abs().max()) > 1e-3 for part in expected)
    for mine, reference in zip(gradient, expected, strict=True):
        if reference is None:  # the head of the deviation has no part in a deterministic policy
            assert not bool(mine.any())
            continue
        assert torch.allclose(
            mine.reshape(reference.shape), reference, rtol=1e-4, atol=1e-5 * float(reference.abs().max())
        )
