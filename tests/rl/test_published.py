"""The published recipe: its sizes are the printed ones, its start is the law's network bit for bit, and it runs."""

import gymnasium
import numpy as np
import pytest
import torch

import yannctl
from yannctl import rl
from yannctl.errors import ModelError
from yannctl.models import Pendulum
from yannctl.rl.construction import make_policy_network
from yannctl.rl.descent import FlatWeights
from yannctl.rl.published import PublishedActor, PublishedCritic
from yannctl.rl.run import Run
from yannctl.rl.settings import profile
from yannctl.rl.task import task_of
from yannctl.yann import encode_actor, encode_critic
from yannctl.yann.published import PublishedAdditions


@pytest.fixture(scope="module")
def published():
    """The clipped pendulum with the weights that its printed counts need: 7 regions, 32 rows."""
    plant = Pendulum()
    ocp = yannctl.Ocp(
        yannctl.linearise(plant, method="zoh"), Q=[1.0, 0.1], R=[0.001], N=2, gamma=0.99, u_min=[-2.0], u_max=[2.0],
        x_min=[-2.0, -8.0], x_max=[2.0, 8.0],
    )  # fmt: skip
    return ocp, yannctl.solve_mpqp(yannctl.condense(ocp))


def count(module):
    return sum(part.numel() for part in module.parameters())


def test_sizes_are_the_printed_ones(published):
    _, law = published
    assert (law.n_regions, len(law.H)) == (7, 32)
    assert count(PublishedAdditions(7, 2, 16, 1, seed=0)) == 12_880
    assert count(PublishedAdditions(7, 4, 8, 1, seed=0)) == 3416


def test_start_is_the_five_layer_network_bit_for_bit_and_the_law_to_its_tolerance(published):
    _, law = published
    env = gymnasium.make("yannctl/Pendulum-v0")
    policy = make_policy_network(encode_actor(law), task_of(env), 5, profile("published"))
    network = encode_actor(law, form="five_layer")
    theta = np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (5000, 2))
    inside = theta[law.locate(theta) >= 0]
    x = torch.from_numpy(inside)
    assert torch.equal(policy(x), network(x))
    assert torch.equal(policy(x[0]), network(x[0]))
    assert np.abs(policy(x).numpy() - law(inside)).max() <= network.tolerance()
    # In single precision the learner's mean is its base, bit for bit; the features name the region.
    run = Run(encode_actor(law), encode_critic(published[0], kind="lqr"), env, "ddpg", 5, profile("published"))
    single = run.learner.actor.network
    phi, base = policy.features(x).float(), (network(x) / 2.0).float()
    assert torch.equal(single.mean(phi, base), base)
    np.testing.assert_array_equal(phi[:, 2:].argmax(1).numpy(), law.locate(inside))
    assert (phi[:, 2:].sum(1) == 1).all()


def test_untied_pairs_would_not_start_at_zero():
    """What the text proves needs equal outgoing weights: with free ones the start is not the law."""
    made = PublishedAdditions(7, 2, 16, 1, seed=0)
    seen, chosen = torch.rand(50, 2, dtype=torch.float64), torch.eye(7, dtype=torch.float64)[torch.arange(50) % 7]
    assert (made(seen, chosen) == 0).all()
    with torch.no_grad():
        made.from_minus.weight.copy_(made.from_minus.weight.flip(1))
    assert (made(seen, chosen) != 0).all()


def test_every_weight_of_actor_and_critic_is_trained_and_the_critic_starts_at_the_lqr_value():
    generator = torch.Generator().manual_seed(0)
    critic = PublishedCritic(2, 1, 8, generator)
    phi, a = torch.rand(20, 9, generator=generator), torch.rand(20, 1, generator=generator)
    assert (critic(phi, a) == 0).all()
    # D holds every coefficient of a quadratic in (x, u): a given one is found by least squares on its entries.
    z = torch.cat([phi[:, :2], a, torch.ones(20, 1)], 1)
    with torch.no_grad():
        critic.form.copy_(torch.arange(16.0).view(4, 4))
    wanted = torch.einsum("bi,ij,bj->b", z, critic.form, z)
    np.testing.assert_allclose(critic(phi, a)[0].detach(), wanted.detach(), rtol=1e-5)
    actor = PublishedActor(PublishedAdditions(7, 2, 4, 1, 0, torch.float32), 2)
    FlatWeights(actor)
    gradient = torch.autograd.grad(actor.mean(phi, a).square().sum(), list(actor.parameters()), allow_unused=True)
    assert all(part is not None for part in gradient)
    assert gradient[-1].abs().sum() > 0


def test_it_runs_without_noise_and_repeats_itself(published):
    ocp, law = published
    env = gymnasium.make("yannctl/Pendulum-v0")
    few = {"gate_every": 60, "gate_starts": 4, "screen_starts": 2, "tensorboard": False}
    settings = profile("published").changed(few)
    runs = [
        rl.train(encode_actor(law), encode_critic(ocp, kind="lqr"), env, "ddpg", steps=120, seed=1, settings=settings)
        for _ in range(2)
    ]
    first, second = (torch.cat([part.reshape(-1) for part in run.learning.learned.parameters()]) for run in runs)
    assert torch.equal(first, second)
    start = make_policy_network(encode_actor(law), task_of(env), 1, settings)
    assert not torch.equal(first, torch.cat([part.reshape(-1) for part in start.learned.parameters()]))
    assert [event.step for event in runs[0].gate_events] == [120]  # at 60 the batch was not yet there

    run = Run(encode_actor(law), encode_critic(ocp, kind="lqr"), env, "ddpg", 1, settings)
    proposed = run.explore()
    assert torch.equal(proposed, run.view[2])  # the law itself: no exploration


def test_what_it_needs_is_said(published):
    ocp, law = published
    env = gymnasium.make("yannctl/Pendulum-v0")
    for actor, critic, algorithm, text in (
        (None, None, "ddpg", "needs an explicit law"),
        (encode_actor(law), None, "ddpg", "without a critic"),
        (encode_actor(law), encode_critic(ocp, kind="lqr"), "td3", "got td3"),
    ):
        with pytest.raises(ModelError, match=text):
            Run(actor, critic, env, algorithm, 0, profile("published"))
