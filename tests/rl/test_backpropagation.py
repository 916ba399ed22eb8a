"""The written-out gradient of the perceptrons against automatic differentiation and finite differences."""

import itertools

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from yannctl.rl.backpropagation import backward_pass, forward_pass, input_gradient
from yannctl.rl.networks import Actor, Critic
from yannctl.rl.run import Run
from yannctl.rl.stacked_networks import stack_actors
from yannctl.yann.residual import residual_net


def plain(seen, weights, biases, norm):
    """The same networks, a layer a line, for automatic differentiation."""
    h = seen
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        h = h @ weight + bias
        if k < len(weights) - 1:
            h = functional.gelu(functional.layer_norm(h, h.shape[-1:]) if norm else h)
    return h


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("hidden", [(), (5,), (7, 6), (4, 5, 6)])
def test_gradient_is_that_of_automatic_differentiation(norm, hidden):
    generator = torch.Generator().manual_seed(len(hidden))

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    sizes = (3, *hidden, 2)
    weights = [drawn(2, n, m).requires_grad_() for n, m in itertools.pairwise(sizes)]
    biases = [drawn(2, 1, m).requires_grad_() for m in sizes[1:]]
    seen, grad = drawn(2, 11, 3), drawn(2, 2, 11)
    out = plain(seen, weights, biases, norm)
    expected = torch.autograd.grad(out, [*weights, *biases], grad.transpose(1, 2))
    with torch.no_grad():
        passed = forward_pass(seen, weights, biases, norm)
        found = backward_pass(passed, grad)
    assert torch.allclose(passed.out.transpose(1, 2), out, rtol=1e-12, atol=1e-12)
    for mine, reference in zip(found, expected, strict=True):
        assert mine.shape == reference.shape
        assert float((mine - reference).abs().max()) <= 1e-10 * (1.0 + float(reference.abs().max()))


@pytest.mark.parametrize("norm", [False, True])
def test_gradient_of_the_input_is_that_of_automatic_differentiation(norm):
    generator = torch.Generator().manual_seed(5)
    sizes = ((2, 4, 6), (2, 6, 5), (2, 5, 2), (2, 1, 6), (2, 1, 5), (2, 1, 2))
    parameters = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in sizes]
    seen = torch.randn((2, 7, 4), generator=generator, dtype=torch.float64, requires_grad=True)
    grad = torch.randn((2, 2, 7), generator=generator, dtype=torch.float64)
    out = plain(seen, parameters[:3], parameters[3:], norm)
    (expected,) = torch.autograd.grad(out, seen, grad.transpose(1, 2))
    with torch.no_grad():
        found = input_gradient(forward_pass(seen, parameters[:3], parameters[3:], norm), grad)
    assert float((found - expected).abs().max()) <= 1e-10 * (1.0 + float(expected.abs().max()))


@pytest.mark.parametrize("lead", [(), (3,)])
def test_networks_gradients_in_single_precision(lead):
    """Of critics and actor as the learners use them, also with stacked seeds, in the order of their parameters."""
    seeds = lead[0] if lead else 1
    critic = Critic(3, 1, 16, 2 * seeds, 2, torch.Generator().manual_seed(1))
    actors = [Actor(residual_net(3, (16, 8), 1, seed, False, torch.float32), 1.0, 0.3) for seed in range(seeds)]
    actor = stack_actors(actors) if lead else actors[0]
    phi, a, grad = torch.randn(*lead, 9, 3), torch.randn(*lead, 9, 1), torch.randn(2, *lead, 2, 9)
    for network, seen, of_out in ((critic, (phi, a), grad), (actor, (phi,), grad[0])):
        network.requires_grad_(True)
        passed = network.forward_pass(*seen)
        expected = torch.autograd.grad(passed.out, list(network.parameters()), of_out.reshape(passed.out.shape))
        with torch.no_grad():
            found = network.gradient(network.forward_pass(*seen), of_out.reshape(passed.out.shape))
        for mine, reference in zip(found, expected, strict=True):
            assert torch.allclose(mine, reference, rtol=1e-5, atol=1e-6 * float(reference.abs().max()))


class NothingReadBack(TorchDispatchMode):
    """Fails where a number of a network is read, which would make a processor wait for its accelerator."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        read = func is torch.ops.aten._local_scalar_dense.default
        assert not (read and args[0].is_floating_point()), "a number was read back"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("algorithm", ["dsact", "td3", "ddpg"])
def test_an_update_reads_nothing_back(env, law, small, algorithm):
    run = Run(law, None, env, algorithm, 0, small)
    while run.count.step < 20:
        run.advance(run.warmup())
    batches = list(run.replay.drawing(8).batches(4, 1.0, run.generator))
    with NothingReadBack():
        for batch in batches:
            run.learner.update(batch)
    assert run.learner.updates == 4
