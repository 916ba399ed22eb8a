import numpy as np
import pytest
import torch

from yannctl import MpQp, solve_mpqp
from yannctl.errors import ModelError
from yannctl.yann import encode_actor, error_bound, five_layer


def test_layers_are_the_published_ones(laws):
    law = laws.integrator_law()
    actor = encode_actor(law, "five_layer")
    p, q = law.n_regions, len(law.k)
    assert np.array_equal(actor.step.weight.numpy(), -law.H)
    assert np.array_equal(actor.step.bias.numpy(), law.k + actor.row_tolerance)
    assert actor.row_tolerance.min() > 0
    assert actor.row_tolerance.max() <= 4e-12
    assert actor.indicator.weight.shape == (p, q)
    assert np.array_equal(actor.indicator.weight.sum(dim=1).numpy(), np.diff(law.row_start))
    assert np.array_equal(actor.indicator.bias.numpy(), 1.0 - np.diff(law.row_start))
    assert np.array_equal(actor.first_match.weight.numpy(), 2 * np.eye(p) - np.tril(np.ones((p, p))))
    assert actor.first_match.bias is None
    assert actor.suppressed.weight.shape == (2 * p, p + 2)
    assert np.array_equal(actor.suppressed.bias[::2].numpy(), law.g[:, 0])
    assert actor.output.weight.shape == (1, 2 * p)
    assert actor.output.bias is None


def test_m_bounds_every_law_on_the_box(law):
    actor = encode_actor(law, "five_layer")
    points = np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (2000, law.ntheta))
    values = np.einsum("roi,bi->bro", law.F, points) + law.g
    assert np.abs(values).max() < actor.M
    corners = np.array(np.meshgrid(*zip(law.theta_min, law.theta_max, strict=True))).reshape(law.ntheta, -1).T
    largest = np.abs(np.einsum("roi,bi->bro", law.F, corners) + law.g).max()
    assert np.isclose(actor.M, 1.01 * largest)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_gap_on_facets_and_corners(law, laws, dtype):
    actor = encode_actor(law, "five_layer", dtype)
    points = torch.as_tensor(laws.spread(law, 3000, 1)).to(dtype)
    wanted = law(points.numpy().astype(float))
    inside = np.isfinite(wanted).all(axis=1)
    assert np.abs(actor(points).numpy().astype(float)[inside] - wanted[inside]).max() <= actor.tolerance()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_chosen_law_passes_unrounded(law, dtype):
    """However large M is, the result has the bits of the region's law alone, also one point at a time."""
    actor, gather = (encode_actor(law, form, dtype) for form in ("five_layer", "gather"))
    points = torch.as_tensor(np.random.default_rng(2).uniform(law.theta_min, law.theta_max, (2000, law.ntheta)))
    points = points.to(dtype)
    deep = gather.law.locate(points)[1] < -1e-4  # so far inside that both choose the same region
    points = points[deep]
    assert len(points) > 200
    assert torch.equal(actor(points), gather(points))
    assert torch.equal(torch.cat([actor(point[None]) for point in points[:50]]), gather(points[:50]))


def test_large_gains_are_not_suppressed(laws):
    # |F x + g| reaches 3000 here, beyond a fixed M of 500.
    law = laws.make(
        [([[1.0], [-1.0]], [0.0, 1.0], [[0.0]], [0.0]), ([[1.0], [-1.0]], [1.0, 0.0], [[3000.0]], [0.0])], [-1.0], [1.0]
    )
    points = np.linspace(-1, 1, 101)[:, None]
    got = encode_actor(law, "five_layer")(torch.as_tensor(points)).numpy()
    assert np.allclose(got, law(points), atol=1e-9, rtol=0)


def test_lowest_index_wins_on_a_shared_facet(laws):
    law = laws.make(
        [([[1.0], [-1.0]], [0.0, 1.0], [[0.0]], [7.0]), ([[1.0], [-1.0]], [1.0, 0.0], [[0.0]], [9.0])], [-1.0], [1.0]
    )
    assert encode_actor(law, "five_layer")(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(7.0)


def test_zero_outside_all_regions(laws):
    law = laws.make([([[1.0], [-1.0]], [1.0, 1.0], [[0.0]], [5.0])], [-2.0], [2.0])
    assert encode_actor(law, "five_layer")(torch.tensor([[1.5]], dtype=torch.float64)).item() == 0.0


def test_gradient_is_the_gain(laws):
    law = laws.integrator_law()
    actor = encode_actor(law, "five_layer")
    for region in range(law.n_regions):
        # Off the centre: where u = 0 both halves of the fourth layer sit on their kink.
        corners = law.vertices(region)
        point = 0.9 * corners.mean(axis=0) + 0.1 * corners[0]
        jacobian = torch.autograd.functional.jacobian(actor, torch.as_tensor(point)).numpy()
        assert np.allclose(jacobian, law.F[region], atol=1e-12)


def test_too_many_weights_are_refused(laws, monkeypatch):
    monkeypatch.setattr(five_layer, "MAX_WEIGHTS", 10)
    with pytest.raises(ModelError, match='use form="gather"'):
        encode_actor(laws.saturation(), "five_layer")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("gain", [100.0, 1e4])
def test_beside_a_steep_facet_the_neighbour_is_not_taken(gain, dtype):
    """u = clip(gain theta, -1, 1) on [-3, 3]: a row that held 1e-9 too far would move u by 3e-9 gain."""
    law = solve_mpqp(MpQp([[1.0]], [0.0], [[-gain]], [[1.0], [-1.0]], [1.0, 1.0], [[0.0], [0.0]], [-3.0], [3.0], 1))
    theta = (1 / gain + np.array([-1, 1])[:, None] * np.geomspace(1e-15, 1e-8, 50)).reshape(-1, 1)
    actor = encode_actor(law, "five_layer", dtype)
    theta = torch.as_tensor(np.vstack([theta, -theta, np.linspace(-3, 3, 50)[:, None]])).to(dtype)
    wanted = law(theta.double().numpy())
    error = np.abs(actor(theta).double().numpy() - wanted).max()
    scale = 2.0  # |F| |x| + |g|
    assert error <= (1e-9 if dtype == torch.float64 else 8 * torch.finfo(dtype).eps * scale)
    assert error_bound(actor, law).value <= 2 * actor.tolerance()
