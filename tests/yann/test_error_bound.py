import numpy as np
import pytest
import torch

from yannctl.yann import encode_actor, error_bound, verify

FORMS = ["gather", "five_layer", "lattice"]


def largest_sampled(actor, law, n=4000):
    """Largest error at random points of every region, corners included."""
    rng, worst = np.random.default_rng(0), 0.0
    dtype = next(t.dtype for t in (*actor.buffers(), *actor.parameters()) if t.is_floating_point())
    for region in range(law.n_regions):
        corners = law.vertices(region)
        weights = np.vstack(
            [rng.dirichlet(np.full(len(corners), 0.3), max(4, n // law.n_regions)), np.eye(len(corners))]
        )
        points = torch.as_tensor(weights @ corners).to(dtype).double().numpy()
        points = points[law.locate(points) >= 0]
        if len(points):
            with torch.no_grad():
                got = actor(torch.as_tensor(points).to(dtype)).double().numpy()
            worst = max(worst, float(np.abs(got - law(points)).max()))
    return worst


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bound_is_above_every_sample_and_not_far(law, form, dtype):
    actor = encode_actor(law, form, dtype)
    bound = error_bound(actor, law)
    assert largest_sampled(actor, law) <= bound.value
    assert "proved" in bound.message
    if dtype == torch.float64 or form == "lattice":
        assert bound.decides
        assert bound.value <= 4 * actor.tolerance()


def plant(actor, form, law, region, size):
    """Add `size` to the offset of a region's law (of a law of the lattice) and say the largest error to expect."""
    with torch.no_grad():
        if form == "gather":
            actor.law.g[region] += size
        elif form == "five_layer":
            rows = slice(2 * region * law.n_out, 2 * (region + 1) * law.n_out)
            actor.suppressed.bias[rows] += size * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(law.n_out)
        else:
            for part in actor.outputs:
                part.g[region % len(part.g)] += size


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("region", [0, 5, 11])
def test_bound_finds_one_wrong_offset(laws, form, region):
    law = laws.integrator_law()
    actor = encode_actor(law, form)
    plant(actor, form, law, region, 1e-5)
    bound = error_bound(actor, law)
    assert bound.decides
    assert 1e-5 * (1 - 1e-6) <= bound.value <= 1.1e-5
    found = verify(actor, law, 1000, 100)
    assert not found.ok
    assert found.bound == bound.value


@pytest.mark.parametrize("form", FORMS)
def test_bound_finds_one_wrong_gain_and_its_size(laws, form):
    """An error of 1e-6 in one gain of one region is largest at that region's farthest corner."""
    law = laws.integrator_law()
    region = 7
    actor = encode_actor(law, form)
    with torch.no_grad():
        if form == "gather":
            actor.law.F[region, 0, 0] += 1e-6
        elif form == "five_layer":
            actor.suppressed.weight[2 * region, law.n_regions] += 1e-6
            actor.suppressed.weight[2 * region + 1, law.n_regions] -= 1e-6
        else:
            actor.outputs[0].F[0, 0] += 1e-6
    reach = np.abs(law.vertices(region)[:, 0]).max() if form != "lattice" else 5.0
    bound = error_bound(actor, law)
    assert bound.value <= 1e-6 * 5.0 * 1.01 + 4e-11
    if form != "lattice":
        assert bound.value == pytest.approx(1e-6 * reach, rel=1e-3)
    assert not verify(actor, law, 1000, 100).ok


def test_bound_finds_one_wrong_facet(laws):
    law = laws.integrator_law()
    actor = encode_actor(law)
    row = law.row_start[int(law.locate(np.zeros(2)))]
    state = actor.state_dict()
    state["law.k"][row] += 0.01
    actor.load_state_dict(state)
    bound = error_bound(actor, law)
    assert bound.value > 1e-3
    assert largest_sampled(actor, law, 40_000) <= bound.value


@pytest.mark.parametrize("layer", ["indicator", "first_match", "suppressed", "output"])
def test_a_wrong_zero_or_one_is_named(laws, layer):
    law = laws.saturation()
    actor = encode_actor(law, "five_layer")
    with torch.no_grad():
        getattr(actor, layer).weight[0, 1] += 1.0
    bound = error_bound(actor, law)
    assert bound.value == np.inf
    assert bound.decides
    assert f"{layer} weight[0, 1]" in bound.message
    assert not verify(actor, law, 100, 10).ok


def test_a_suppression_that_leaks_is_counted(laws):
    law = laws.saturation()
    actor = encode_actor(law, "five_layer")
    with torch.no_grad():  # M too small: the other regions' laws are not switched off
        actor.suppressed.weight[:, : law.n_regions] *= 0.5
    bound = error_bound(actor, law)
    assert bound.value >= largest_sampled(actor, law) > 0.1
    assert not verify(actor, law, 100, 10).ok


def test_a_region_without_indicator_is_found(laws):
    law = laws.saturation()
    actor = encode_actor(law, "five_layer")
    with torch.no_grad():
        actor.step.bias[0] -= 1e-3
    assert "may hold in no indicator" in error_bound(actor, law).message


def test_other_modules_have_no_bound(laws):
    assert error_bound(torch.nn.Linear(1, 1), laws.saturation()) is None
    assert verify(encode_actor(laws.saturation()), laws.saturation(), 100, 10, prove=False).bound is None
