import json

import numpy as np
import pytest
import torch
from torch import nn

from yannctl.yann import Bounds, encode_actor, extend, verify
from yannctl.yann.verification import verification_points


@pytest.mark.parametrize("form", ["gather", "five_layer", "lattice"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_form_passes(law, form, dtype):
    result = verify(encode_actor(law, form, dtype), law, 5000, 2000)
    assert result.ok, result.message
    assert result.n_points > 1000
    if form == "gather" and dtype == torch.float64:
        assert result.max_error == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_one_wrong_weight_is_caught(laws, seed):
    law = laws.integrator_law()
    rng = np.random.default_rng(seed)
    areas = [np.ptp(law.vertices(i), axis=0).prod() for i in range(law.n_regions)]
    region = int(np.argsort(areas)[0]) if seed == 0 else int(rng.integers(law.n_regions))  # the tiniest first
    actor = encode_actor(law)
    if seed % 2:
        actor.law.g[region, 0] += 1e-6
    else:
        actor.law.F[region, 0, int(rng.integers(2))] += 1e-6
    result = verify(actor, law, n_random=0, n_facet=0)
    assert not result.ok
    assert result.region == region
    assert law.locate(np.array(result.where)) == region


def test_a_wrong_weight_in_a_microscopic_region(laws):
    # 1e-7 wide, between two ordinary regions: random points alone never meet it.
    w = 1e-7
    law = laws.make(
        [
            ([[1.0], [-1.0]], [0.3, 1.0], [[1.0]], [0.0]),
            ([[1.0], [-1.0]], [0.3 + w, -0.3], [[2.0]], [-0.3]),
            ([[1.0], [-1.0]], [1.0, -0.3 - w], [[1.0]], [w]),
        ],
        [-1.0],
        [1.0],
    )
    actor = encode_actor(law)
    actor.law.F[1, 0, 0] += 1e-3
    result = verify(actor, law, 1000, 100)
    assert not result.ok
    assert result.region == 1


def test_a_wrong_facet_is_caught(laws):
    law = laws.integrator_law()
    actor = encode_actor(law)
    state = actor.state_dict()
    region = int(law.locate(np.zeros(2)))
    state["law.k"][law.row_start[region]] += 0.2
    actor.load_state_dict(state)
    assert not verify(actor, law, 20_000, 2000).ok


def test_missing_values_are_errors(laws):
    class Hole(nn.Module):
        def forward(self, x):
            return torch.where(x > 2.9, torch.nan, 2 * x).clamp(-1, 1)

    result = verify(Hole(), laws.saturation(), 5000, 100)
    assert not result.ok
    assert result.max_error == np.inf
    assert result.where[0] > 2.9


def test_a_foreign_module_and_an_untrained_extension_pass(laws):
    class Clip(nn.Module):
        def forward(self, x):
            return (2 * x).clamp(-1, 1)

    law = laws.saturation()
    assert verify(Clip(), law, 5000, 100).ok

    box = Bounds(law.theta_min, law.theta_max, -np.ones(1), np.ones(1))
    assert verify(extend(encode_actor(law), box), law, 5000, 100).ok


def test_points_lie_on_corners_and_facets_and_inside(law):
    points = verification_points(law, 100, 100, np.random.default_rng(0))
    violation = np.maximum.reduceat(points @ law.H.T - law.k, law.row_start[:-1], axis=1)
    nearest = violation.min(axis=1)
    on_facet = np.abs(points @ law.H.T - law.k).min(axis=1) < 1e-9
    assert on_facet.sum() >= 2 * law.n_regions
    assert (nearest[~on_facet] < -1e-9).sum() >= law.n_regions
    assert set(violation[(violation < -1e-12).any(axis=1)].argmin(axis=1)) == set(range(law.n_regions))


def test_tolerance_can_be_given_and_the_result_is_json(laws):
    law = laws.saturation()
    actor = encode_actor(law)
    actor.law.g[1] += 1e-6
    result = verify(actor, law, 100, 10, tolerance=1e-5)
    assert result.ok
    assert result.tolerance == 1e-5
    assert result.max_error == pytest.approx(1e-6, rel=1e-6)
    text = json.loads(json.dumps(result.to_json()))
    assert text["where"] == list(result.where)
    assert text["ok"] is True


@pytest.mark.parametrize(("dtype", "holds"), [(torch.float64, False), (torch.float32, None)])
def test_a_large_bound_shows_a_wrong_weight_only_where_rounding_cannot_be_why(laws, monkeypatch, dtype, holds):
    monkeypatch.setattr("yannctl.yann.verification.BOUND_MARGIN", 1e-3)
    law = laws.integrator_law()
    result = verify(encode_actor(law, "gather", dtype), law, 1000, 100)
    assert result.bound_holds is holds
    assert result.ok is (holds is None)
    assert ("over whole regions: proved" in result.message) is (holds is False)
    if holds is None:
        assert f"in region {result.bound_region} where region" in result.bound_message
