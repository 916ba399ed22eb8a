"""A law handed to other programs."""

import sys
from pathlib import Path

import casadi as ca
import numpy as np
import pytest

from yannctl import ModelError, solve_mpqp

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from problems import problem


@pytest.mark.parametrize("name", ["P1_N5", "P3_N5"])
def test_casadi_follows_the_rule(name):
    law = solve_mpqp(problem(name))
    function = law.to_casadi("controller")
    assert function.name() == "controller"
    theta = np.random.default_rng(0).uniform(1.2 * law.theta_min, 1.2 * law.theta_max, (500, law.ntheta))
    u = np.array(function(theta.T)).T
    # CasADi may multiply by 1 or add 0 differently, never more than the last bit
    np.testing.assert_allclose(u, law.extrapolate(theta), rtol=1e-14, atol=1e-14)
    inside = theta[law.locate(theta) >= 0][0]
    x = ca.MX.sym("x", law.ntheta)
    gradient = ca.Function("gradient", [x], [ca.jacobian(function(x), x)])
    np.testing.assert_allclose(np.array(gradient(inside)), law.F[int(law.locate(inside))], rtol=1e-12)


def test_casadi_needs_a_region():
    from dataclasses import replace

    law = solve_mpqp(problem("P1_N5"))
    empty = replace(
        law, row_start=np.zeros(1, dtype=np.int64), H=law.H[:0], k=law.k[:0], F=law.F[:0], g=law.g[:0], P=None, p=None,
        c=None, active=(),
    )  # fmt: skip
    with pytest.raises(ModelError, match="region"):
        empty.to_casadi()


def test_torch_gives_the_same_bits():
    import torch

    law = solve_mpqp(problem("P1_N5"))
    theta = np.random.default_rng(0).uniform(1.2 * law.theta_min, 1.2 * law.theta_max, (500, law.ntheta))
    u = law.to_torch()(torch.as_tensor(theta)).detach().numpy()
    np.testing.assert_array_equal(u, law.extrapolate(theta))
    with pytest.raises(ModelError, match="form"):
        law.to_torch("round")
