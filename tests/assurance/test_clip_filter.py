import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yannctl.assurance import ClipFilter
from yannctl.errors import ModelError


def random_filter(seed, rows=7, nx=3):
    rng = np.random.default_rng(seed)
    F_low, F_high = rng.normal(size=(2, rows, nx))
    return ClipFilter(F_low, rng.normal(size=rows) - 3, F_high, rng.normal(size=rows) + 3, -2.0, np.array([2.0]))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(-10, 10))
def test_it_is_the_nearest_input_of_the_interval(seed, u):
    clip = random_filter(seed)
    x = np.random.default_rng(seed + 1).normal(size=3)
    low = max(-2.0, np.max(clip.F_low @ x + clip.g_low))
    high = min(2.0, np.min(clip.F_high @ x + clip.g_high))
    found = clip(x, [u])
    if low <= high:
        np.testing.assert_allclose(clip.interval(x), [low, high], atol=1e-12)
        assert abs(found[0] - min(max(u, low), high)) <= 1e-12
    assert -2.0 <= found[0] <= 2.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_proposal_that_is_not_finite_becomes_the_middle(bad):
    clip = random_filter(3)
    x = np.zeros(3)
    assert clip(x, [bad])[0] == clip.interval(x).mean()


def test_the_layer_gives_the_same_bits_and_the_right_gradient():
    clip = random_filter(5)
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=(500, 3)), rng.uniform(-4, 4, (500, 1))
    u[::50] = np.nan
    layer = clip.torch()
    tx, tu = torch.tensor(x, requires_grad=True), torch.tensor(u, requires_grad=True)
    found = layer(tx, tu)
    np.testing.assert_array_equal(found.detach().numpy(), clip(x, u))
    found.sum().backward()
    low, high = clip.interval(x).T
    inside = (u[:, 0] > low) & (u[:, 0] < high) & (low < high)
    assert inside.any()
    assert (tu.grad.numpy()[inside, 0] == 1).all()
    assert (tu.grad.numpy()[~inside & (low < high), 0] == 0).all()
    assert np.isfinite(tx.grad.numpy()).all()


def test_batches_and_no_lines():
    clip = ClipFilter(np.zeros((0, 2)), [], np.zeros((0, 2)), [], -1, 1)
    found = clip(np.zeros((4, 5, 2)), np.full((4, 5, 1), 3.0))
    assert found.shape == (4, 5, 1)
    assert (found == 1).all()
    assert clip.torch()(torch.zeros(4, 2, dtype=torch.float64), torch.full((4, 1), 3.0)).shape == (4, 1)


def test_bad_input_is_named():
    with pytest.raises(ModelError, match="u_min"):
        ClipFilter(np.zeros((0, 2)), [], np.zeros((0, 2)), [], 1, -1)
    with pytest.raises(ModelError, match="F_high"):
        ClipFilter(np.zeros((1, 2)), [0.0], np.zeros((1, 3)), [0.0], -1, 1)
    with pytest.raises(ModelError, match="x: has shape"):
        random_filter(0)(np.zeros(2), [0.0])
    with pytest.raises(ModelError, match="u: has shape"):
        random_filter(0)(np.zeros(3), [0.0, 0.0])
