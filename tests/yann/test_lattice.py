import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.yann import encode_actor, lattice, lattice_terms, verify
from yannctl.yann.lattice import LatticeLaws


def test_lattice_equals_the_law(law):
    actor = encode_actor(law, "lattice")
    result = verify(actor, law, 20_000, 5000)
    assert result.ok, result.message
    assert actor.certified


@pytest.mark.parametrize("seed", range(8))
def test_zigzags(laws, seed):
    rng = np.random.default_rng(seed)
    knots = np.sort(rng.uniform(-1, 1, 12))[:, None]
    heights = rng.normal(size=(12, 1))
    law = laws.interpolation(knots, heights)
    actor = encode_actor(law, "lattice")
    x = np.linspace(knots[0, 0], knots[-1, 0], 3001)
    got = actor(torch.as_tensor(x[:, None])).detach().numpy()[:, 0]
    assert np.allclose(got, np.interp(x, knots[:, 0], heights[:, 0]), atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_random_surfaces(laws, seed):
    rng = np.random.default_rng(seed)
    law = laws.interpolation(rng.uniform(-1, 1, (20, 2)), rng.normal(size=(20, 1)))
    actor = encode_actor(law, "lattice")  # some of these have laws that cross inside a region and need splitting
    assert actor.certified
    result = verify(actor, law, 5000, 2000)
    assert result.ok, result.message


def test_few_weights_for_a_saturated_law(laws):
    actor = encode_actor(laws.saturation(), "lattice")
    assert actor.n_weights == 6  # three laws of one gain and one offset
    assert actor.n_terms <= 3


def test_trained_weights_keep_it_continuous(laws):
    law = laws.integrator_law()
    actor = encode_actor(law, "lattice")
    actor.law.requires_grad_(True)
    with torch.no_grad():
        for weight in actor.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, dtype=weight.dtype, generator=torch.Generator().manual_seed(0)))
    line = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:, None]
    points = torch.as_tensor(law.theta_min) * (1 - line) + torch.as_tensor(law.theta_max) * line
    u = actor(points).detach()
    steepest = float(torch.cat([part.F.detach() for part in actor.law]).abs().sum(dim=1).max())
    assert (u[1:] - u[:-1]).abs().max() <= steepest * (points[1] - points[0]).abs().max() * 1.001
    actor(points[::100]).sum().backward()
    assert all(weight.grad is not None for weight in actor.parameters())


def test_weights_are_frozen_at_first(laws):
    assert not any(weight.requires_grad for weight in encode_actor(laws.saturation(), "lattice").parameters())


def test_a_jump_is_refused(laws):
    law = laws.make(
        [([[1.0], [-1.0]], [0.0, 1.0], [[0.0]], [0.0]), ([[1.0], [-1.0]], [1.0, 0.0], [[0.0]], [1.0])], [-1.0], [1.0]
    )
    with pytest.raises(ModelError, match=r"jumps by 1 between regions 0 and 1.*use form=\"gather\""):
        encode_actor(law, "lattice")


def test_too_many_splits_are_refused(laws, monkeypatch):
    monkeypatch.setattr(lattice_terms, "MAX_PIECES", 3)
    rng = np.random.default_rng(0)
    law = laws.interpolation(rng.uniform(-1, 1, (20, 2)), rng.normal(size=(20, 1)))
    with pytest.raises(ModelError, match="no lattice found"):
        encode_actor(law, "lattice")


def test_a_large_batch_is_evaluated_in_parts(laws, monkeypatch):
    law = laws.integrator_law(2, 2)
    actor = encode_actor(law, "lattice")
    points = torch.as_tensor(laws.spread(law, 2000, 0))
    whole = actor(points)
    sizes = []
    picked = LatticeLaws._picked
    monkeypatch.setattr(lattice, "PICKED", 1000)
    monkeypatch.setattr(LatticeLaws, "_picked", lambda self, part: sizes.append(len(part)) or picked(self, part))
    assert torch.equal(actor(points), whole)
    assert max(sizes) * max(part.terms.numel() for part in actor.outputs) <= 2000
    assert sum(sizes) == 2 * len(points)
