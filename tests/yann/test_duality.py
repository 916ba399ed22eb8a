import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from yannctl import condense, solve_mpqp
from yannctl.errors import ModelError
from yannctl.yann import encode_critic, value_bounds

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from problems import problem


def inside(law, n, seed=0):
    theta = np.random.default_rng(seed).uniform(law.theta_min, law.theta_max, (n, law.ntheta))
    return theta[law.locate(theta) >= 0]


@pytest.mark.parametrize("name", ["P1_N5", "P2_N3", "P3_N5", "P5_n3m10t4", "H_facet", "H_licq", "H_twice", "H_long"])
def test_value_lies_between_its_bounds(name):
    law = solve_mpqp(problem(name))
    theta = inside(law, 500)
    found, value = value_bounds(law, theta), law.value(theta)
    size = np.maximum(np.abs(value), 1e-6 * np.abs(value).max())
    assert np.all(found.lower <= value + 1e-8 * size)
    assert np.all(value <= found.upper + 1e-8 * size)
    assert np.all(found.upper - found.lower <= 1e-7 * size)
    assert np.all(np.abs(found.identity - value) <= 1e-7 * size)


@pytest.mark.parametrize("options", [{}, {"soft": "l1l2", "gamma": 0.9}], ids=str)
def test_critic_lies_between_the_bounds_of_its_successor(laws, options):
    """-Q = -(l + gamma V(x+)): the bounds of V at x+ bound the critic, and its slope is B'dV."""
    ocp = laws.integrator(4, **options)
    critic = encode_critic(ocp)
    law = solve_mpqp(
        condense(laws.integrator(3, **(options | ({"soft_weight": critic.law.linear.item()} if options else {}))))
    )
    x = inside(law, 400, 1) * 0.6
    u = np.random.default_rng(2).uniform(-1, 1, (len(x), 1))
    after = ocp.successor(x, u)
    keep = (law.locate(after) >= 0) & np.all((after <= ocp.x_max) & (after >= ocp.x_min), axis=1)
    x, u, after = x[keep], u[keep], after[keep]
    bounds = value_bounds(law, after)
    point = torch.as_tensor(u).requires_grad_()
    got = critic(torch.as_tensor(x), point)
    (slope,) = torch.autograd.grad(got.sum(), point)
    cost = ocp.stage_cost(x, u)
    low, high = cost + ocp.gamma * bounds.lower, cost + ocp.gamma * bounds.upper
    q = -got.detach().numpy()
    assert len(q) > 100
    assert np.all((low <= q * (1 + 1e-8)) & (q <= high * (1 + 1e-8)))
    assert np.allclose(-slope.numpy(), 0.2 * u + ocp.gamma * bounds.gradient @ ocp.lin.B, rtol=1e-6, atol=1e-7)


def test_any_multipliers_bound_from_below(laws):
    """Bounds of another region's multipliers are worse, never wrong; outside they say nothing."""
    law = laws.integrator_law()
    found = value_bounds(law, np.array([[0.0, 0.0], [50.0, 50.0]]))
    assert found.lower[0] == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(found.lower[1])
    assert np.isnan(found.upper[1])
    with pytest.raises(ModelError, match="law: carries no program"):
        value_bounds(laws.saturation(), [[0.0]])
