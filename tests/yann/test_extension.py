import copy

import numpy as np
import pytest
import torch
from torch import nn

from yannctl.errors import ModelError
from yannctl.linear import linearise
from yannctl.models import Pendulum
from yannctl.ocp import Ocp
from yannctl.yann import (
    Bounds,
    Features,
    ModelValidity,
    RangeSchedule,
    Saturation,
    encode_actor,
    encode_critic,
    extend,
    residual_net,
)

BOUNDS = Bounds([-5.0, -3.0], [5.0, 3.0], [-1.0], [1.0])
ANGLE = Bounds([-np.pi, -3.0], [np.pi, 3.0], [-1.0], [1.0], angles=(0,))


def states(n=500, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).uniform([-5, -3], [5, 3], (n, 2)))


@pytest.fixture(scope="module")
def actor(laws):
    return encode_actor(laws.integrator_law())


@pytest.fixture(scope="module")
def critic(laws):
    return encode_critic(laws.integrator(2, soft="l1l2"))


def train(module, steps=40):
    """Push the learned part somewhere."""
    optimiser = torch.optim.Adam(module.learned_parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = (module(states()) - 0.5).square().mean()
        loss.backward()
        optimiser.step()
    return loss.item()


@pytest.mark.parametrize("bounds", [BOUNDS, ANGLE], ids=["plain", "angle"])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_policy_starts_bitwise_at_the_law(actor, bounds, layer_norm, dtype):
    policy = extend(actor, bounds, (16, 16), seed=1, layer_norm=layer_norm, dtype=dtype)
    assert torch.equal(policy(states()), actor(states()))
    assert torch.equal(policy.change(states()), torch.zeros(500, 1, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["exact", "lqr"])
def test_critic_starts_bitwise_at_the_base(laws, kind):
    base = encode_critic(laws.integrator(2, soft="l1l2"), kind)
    u = torch.linspace(-1, 1, 500, dtype=torch.float64)[:, None]
    assert torch.equal(extend(base, BOUNDS, seed=2)(states(), u), base(states(), u))


def test_bounds_an_ulp_inside_the_law_do_not_change_it(actor):
    tight = Bounds([-5.0, -3.0], [5.0, 3.0], [np.nextafter(-1.0, 0.0)], [np.nextafter(1.0, 0.0)])
    policy = extend(actor, tight, (8,))
    assert torch.equal(policy(states()), actor(states()))


def test_learning_moves_the_policy_within_its_bounds_and_authority(actor):
    policy = extend(actor, BOUNDS, (16, 16), seed=3, authority=0.1)
    first = (policy(states()) - 0.5).square().mean().item()
    assert train(policy) < first
    assert policy(states()).abs().max() <= 1.0
    change = policy.change(states()).abs().max()
    assert 0.01 < change <= 0.1 * 2.0
    assert policy.residual(100 * states()).abs().max() <= 0.2


def test_first_gradient_reaches_the_last_layer_only(actor):
    policy = extend(actor, BOUNDS, (16, 16))
    policy(states()).square().sum().backward()
    *deep, weight, bias = policy.learned_parameters()
    assert weight.grad.abs().max() > 0
    assert bias.grad.abs().max() > 0
    assert all(parameter.grad.abs().max() == 0 for parameter in deep)


def test_names_tell_base_from_learned(actor, critic):
    for module in (extend(actor, BOUNDS), extend(critic, BOUNDS)):
        names = set(module.state_dict())
        assert {name.split(".")[0] for name in names} == {"base", "learned"}
        assert any(name.startswith("base.law.") for name in names)


def test_base_can_be_frozen_and_freed(laws):
    policy = extend(encode_actor(laws.integrator_law(), "lattice"), BOUNDS)
    policy.freeze_base(False)
    assert all(parameter.requires_grad for parameter in policy.base.parameters())
    policy.freeze_base()
    assert not any(parameter.requires_grad for parameter in policy.base.parameters())
    assert all(parameter.requires_grad for parameter in policy.learned_parameters())


def test_stages_freeze_and_free(laws, critic):
    for module in (extend(encode_actor(laws.integrator_law(), "lattice"), BOUNDS), extend(critic, BOUNDS)):
        for stage, learned, base in (("none", False, False), ("learned", True, False), ("all", True, True)):
            module.train_stage(stage)
            assert all(parameter.requires_grad == learned for parameter in module.learned_parameters())
            assert all(parameter.requires_grad == base for parameter in module.base.parameters())
    with pytest.raises(ModelError, match="stage: got 'some'"):
        module.train_stage("some")


def test_range_rises_with_what_was_accepted(actor):
    policy = extend(actor, BOUNDS, (8,), authority=0.05)
    nn.init.constant_(policy.learned[-1].bias, 20.0)  # tanh of it is 1
    schedule = RangeSchedule((0, 1, 3), (0.1, 0.25, 0.5))
    assert [schedule.authority(count) for count in range(5)] == [0.1, 0.25, 0.25, 0.5, 0.5]
    for count, changed in ((0, True), (1, True), (2, False), (3, True)):
        assert schedule.apply(policy, count) == changed
        assert policy.authority == schedule.authority(count)
        assert policy.residual(states(3)).abs().max().item() == pytest.approx(2 * policy.authority)
    with pytest.raises(ModelError, match="authority: got 2"):
        policy.authority = 2.0
    for field, arguments in (("counts", ((1, 2), (0.1, 0.2))), ("levels", ((0,), ())), ("levels", ((0,), (1.5,)))):
        with pytest.raises(ModelError, match=field):
            RangeSchedule(*arguments)


def test_validity_is_one_where_the_model_is_right_and_fades():
    plant = Pendulum()
    lin = linearise(plant)
    box = {"theta_min": plant.x_min, "theta_max": plant.x_max, "u_min": plant.u_min, "u_max": plant.u_max}
    ocp = Ocp(lin, Q=np.diag([1.0, 0.1]), R=[[0.001]], N=1, **box)
    critic = encode_critic(ocp, "lqr")

    class Zero(nn.Module):
        def forward(self, x):
            return torch.zeros(*x.shape[:-1], 1, dtype=x.dtype)

    validity = ModelValidity(plant, Zero(), critic)
    x = torch.tensor([[0.0, 0.0], [0.05, 0.0], [0.5, 0.0], [3.0, 0.0]], dtype=torch.float64)
    weight = validity(x)
    gap = plant.step(x.numpy(), np.zeros((4, 1))) - lin.step(x.numpy(), np.zeros((4, 1)))
    gap[:, 0] = (gap[:, 0] + np.pi) % (2 * np.pi) - np.pi
    wanted = np.exp(-((np.abs(gap) / ((plant.x_max - plant.x_min) / 2)).max(axis=1) ** 2) / 0.01**2)
    assert np.allclose(weight.numpy(), wanted, atol=1e-12)
    assert weight[0] == 1.0
    assert weight[3] < weight[2] < weight[1]
    extended = extend(critic, plant, (8,), weight=validity)
    assert not any(name.startswith("weight.") for name in extended.state_dict())
    u = torch.zeros(4, 1, dtype=torch.float64)
    assert torch.allclose(extended(x, u), weight * critic(x, u))
    assert validity(x[None]).shape == (1, 4)
    with pytest.raises(ModelError, match="linear model is unknown"):
        ModelValidity(plant, Zero(), nn.Linear(2, 1))


def test_seeds_are_separate_from_the_global_stream(actor):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, same, other = (extend(actor, BOUNDS, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    first = [module.learned[0].weight for module in (one, same, other)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_copies_are_independent(actor):
    policy = extend(actor, BOUNDS, (8,))
    target = copy.deepcopy(policy)
    train(policy, 3)
    assert torch.equal(target(states()), actor(states()))
    assert not torch.equal(policy(states()), actor(states()))


def test_inverting_gradients():
    v = torch.tensor([-3.0, -1.0, 0.5, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    lower, upper = torch.full_like(v, -1.0), torch.full_like(v, 1.0)
    u = Saturation.apply(v, lower, upper, True)
    assert torch.equal(u, v.detach().clamp(-1, 1))
    # Descent on -u raises u: what is left above counts; descent on +u lowers it: what is left below counts.
    (raising,) = torch.autograd.grad((-u).sum(), v, retain_graph=True)
    assert torch.allclose(raising, -torch.tensor([1.0, 1.0, 0.25, 0.0, 0.0], dtype=torch.float64))
    (lowering,) = torch.autograd.grad(u.sum(), v)
    assert torch.allclose(lowering, torch.tensor([0.0, 0.0, 0.75, 1.0, 1.0], dtype=torch.float64))


def test_one_sided_gradients():
    v = torch.tensor([-3.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    u = Saturation.apply(v, torch.full_like(v, -1.0), torch.full_like(v, 1.0), False)
    (raising,) = torch.autograd.grad((-u).sum(), v, retain_graph=True)
    (lowering,) = torch.autograd.grad(u.sum(), v)
    assert raising.tolist() == [-1.0, -1.0, 0.0]
    assert lowering.tolist() == [0.0, 1.0, 1.0]


def test_saturated_policy_can_still_learn_inwards(actor):
    policy = extend(actor, BOUNDS, (16,))
    x = torch.tensor([[-4.0, 0.0]], dtype=torch.float64)
    assert policy(x).item() == pytest.approx(1.0)
    policy(x).sum().backward()  # descent lowers u
    assert policy.learned_parameters()[-1].grad.abs().max() > 0


def test_validity_weight_scales_the_base(critic):
    u = torch.zeros(500, 1, dtype=torch.float64)
    near = extend(critic, BOUNDS, weight=lambda x: (x.abs().amax(dim=-1) < 1).double())
    valid = states().abs().amax(dim=-1) < 1
    value = near(states(), u)
    assert torch.equal(value[valid], critic(states(), u)[valid])
    assert torch.equal(value[~valid], torch.zeros(int((~valid).sum()), dtype=torch.float64))


def test_validity_weight_silences_minus_infinity(laws):
    hard = encode_critic(laws.integrator(2))
    x, u = torch.tensor([[4.9, 2.9]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    assert extend(hard, BOUNDS)(x, u).item() == -np.inf
    assert extend(hard, BOUNDS, weight=lambda x: x[..., 0] * 0)(x, u).item() == 0.0


def test_weight_module_trains_with_the_critic(critic):
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return torch.sigmoid(self.level).expand(x.shape[:-1])

    extended = extend(critic, BOUNDS, weight=Gate(), scale=10.0)
    u = torch.zeros(500, 1, dtype=torch.float64)
    assert torch.allclose(extended(states(), u), critic(states(), u) / 2)
    assert "weight.level" in extended.state_dict()


def test_learned_return_is_scaled_and_broadcast(critic):
    extended = extend(critic, BOUNDS, (8,), seed=1, scale=10.0)
    nn.init.ones_(extended.learned[-1].bias)
    x, u = states(4)[:, None, :], torch.linspace(-1, 1, 3, dtype=torch.float64)[:, None]
    assert torch.allclose(extended.learned_return(x, u), torch.full((4, 3), 10.0, dtype=torch.float64))
    assert torch.allclose(extended(x, u), critic(x, u) + 10)


def test_features():
    features = Features([-np.pi, -8.0], [np.pi, 8.0], (0,))
    assert features.size == 3
    seen = features(torch.tensor([[np.pi / 2, 4.0], [-np.pi, -8.0]]))
    wanted = torch.tensor([[0.0, 1.0, 0.5], [-1.0, 0.0, -1.0]], dtype=torch.float64)
    assert torch.allclose(seen, wanted, atol=1e-7)
    turned = features(torch.tensor([[np.pi, -8.0]]))
    assert torch.allclose(turned, seen[1:], atol=1e-6)
    assert features(torch.zeros(2, 0, 2)).shape == (2, 0, 3)


def test_features_of_a_state_with_a_period_come_again_after_it():
    features = Features([-1.0, -np.inf], [1.0, np.inf], (), periods=((1, 0.8),))
    assert features.size == 3
    seen = features(torch.tensor([[0.5, 0.2], [0.5, 1.0], [0.5, 0.4]], dtype=torch.float64))
    wanted = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5], [-1.0, 0.0, 0.5]], dtype=torch.float64)
    assert torch.allclose(seen, wanted, atol=1e-12)


def test_network_is_zero_until_trained():
    net = residual_net(3, (8, 8), 2, 0, True, torch.float32)
    assert torch.equal(net(torch.randn(10, 3, generator=torch.Generator().manual_seed(0))), torch.zeros(10, 2))


def test_branch_per_region_starts_at_the_law_and_stays_local(laws, actor):
    law = laws.integrator_law()
    policy = extend(actor, BOUNDS, (16,), seed=1, kind="per_region")
    assert torch.equal(policy(states()), actor(states()))
    region = int(law.locate(np.zeros(2)))
    x = states(4000)
    chosen = torch.as_tensor(law.locate(x.numpy()) == region)
    loss = policy(x[chosen]).sum()
    loss.backward()
    with torch.no_grad():
        for parameter in policy.learned_parameters():
            touched = parameter.grad.flatten(1).abs().amax(dim=1) > 0
            assert not touched[torch.arange(len(touched)) != region].any()
            parameter.sub_(0.1 * parameter.grad)
    change = policy.change(x).abs()[:, 0]
    inside = torch.as_tensor(law.locate(x.numpy()) >= 0)
    assert change[chosen].max() > 1e-4
    assert change[~chosen & inside].max() == 0


def test_mistakes_are_named(laws, actor, critic):
    cases = [
        ("authority", lambda: extend(actor, BOUNDS, authority=0.0)),
        ("kind", lambda: extend(actor, BOUNDS, kind="magic")),
        ("saturation", lambda: extend(actor, BOUNDS, saturation="soft")),
        ("weight", lambda: extend(actor, BOUNDS, weight=torch.abs)),
        ("hidden", lambda: extend(actor, BOUNDS, (8, 8), kind="per_region")),
        ("kind", lambda: extend(encode_actor(laws.saturation(), "lattice"), BOUNDS, (8,), kind="per_region")),
        ("x_min", lambda: Bounds([-np.inf, 0.0], [1.0, 1.0], [-1.0], [1.0])),
        ("u_min", lambda: Bounds([-1.0], [1.0], [1.0], [1.0])),
        ("angles", lambda: Features([-1.0], [1.0], (1,))),
        ("periods", lambda: Features([-1.0], [1.0], periods=((0, 0.0),))),
    ]
    for field, call in cases:
        with pytest.raises(ModelError) as caught:
            call()
        assert caught.value.field == field
