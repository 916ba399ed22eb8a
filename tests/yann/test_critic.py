from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are

from yannctl.errors import ModelError
from yannctl.linear import LinearModel
from yannctl.mpqp import condense
from yannctl.ocp import Ocp
from yannctl.pwa import solve_mpqp
from yannctl.yann import encode_critic, parts, verify_critic
from yannctl.yann.explanation import constraint_names


def hot_reactor(**options):
    """Stable two-state model around 350 K with an offset reference and drift."""
    lin = LinearModel(
        np.array([[0.9, -0.002], [1.5, 0.95]]),
        np.array([[0.0], [0.08]]),
        c=np.array([0.001, -0.02]),
        x_op=np.array([0.5, 350.0]),
        u_op=np.array([300.0]),
    )
    settings = {
        "Q": np.diag([1.0, 0.01]),
        "R": np.array([[0.001]]),
        "N": 3,
        "x_min": [0.2, 340.0],
        "x_max": [0.8, 360.0],
        "u_min": [280.0],
        "u_max": [320.0],
        "x_ref": [0.51, 351.0],
        "u_ref": [301.0],
    }
    return Ocp(lin, **(settings | options))


PROBLEMS = {
    "hard": {},
    "soft": {"soft": "l1l2"},
    "discounted": {"gamma": 0.9},
    "soft and discounted": {"soft": "l1l2", "gamma": 0.9},
    "no terminal cost": {"terminal": None},
    "terminal set": {"terminal": "set"},
    "soft and terminal set": {"terminal": "set", "soft": "l1l2"},
    "one step": {"N": 1},
    "one soft step": {"N": 1, "soft": "l1l2"},
    "one step into the terminal set": {"N": 1, "terminal": "set"},
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_critic_is_the_online_problem_with_its_first_input_fixed(laws, name):
    ocp = laws.integrator(**({"N": 3} | PROBLEMS[name]))
    result = verify_critic(encode_critic(ocp), ocp, 300)
    assert result.ok, result
    assert result.n_points > 20


@pytest.mark.parametrize("options", [{}, {"soft": "l1l2", "gamma": 0.95}, {"N": 1}], ids=str)
def test_far_from_zero(options):
    ocp = hot_reactor(**options)
    result = verify_critic(encode_critic(ocp), ocp, 300)
    assert result.ok, result
    assert result.n_points > 100


def test_two_inputs(laws):
    ocp = laws.integrator(2, 2)
    result = verify_critic(encode_critic(ocp), ocp, 300)
    assert result.ok, result


@pytest.mark.parametrize("options", [{}, {"soft": "l1l2"}, {"gamma": 0.9}], ids=str)
def test_the_best_input_is_the_law_and_its_return_the_value(laws, options):
    ocp = laws.integrator(3, **options)
    critic = encode_critic(ocp)
    law = solve_mpqp(condense(ocp))
    x = np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (60, 2))
    x = x[law.locate(x) >= 0]
    states = torch.as_tensor(x)
    low, high = torch.full((len(x),), -1.0, dtype=torch.float64), torch.full((len(x),), 1.0, dtype=torch.float64)
    best = low
    for _ in range(9):  # dense search, then refinement around the best
        grid = low[:, None] + (high - low)[:, None] * torch.linspace(0, 1, 41, dtype=torch.float64)
        values = critic(states[:, None, :], grid[:, :, None])
        best = grid.gather(1, values.argmax(dim=1, keepdim=True))[:, 0]
        step = (high - low) / 20
        low, high = (best - step).clamp(min=-1), (best + step).clamp(max=1)
    u = law(x)[:, 0]
    assert np.abs(best.numpy() - u).max() < 1e-6
    at_law = critic(states, torch.as_tensor(law(x)))
    finite = np.isfinite(at_law.numpy())
    assert finite.mean() > 0.8  # on the edge of feasibility a rounding error decides
    assert np.allclose(-at_law.numpy()[finite], law.value(x)[finite], rtol=1e-7)


def test_slope_at_the_law_points_outwards_or_vanishes(laws):
    ocp = laws.integrator(3, soft="l1l2")
    critic, law = encode_critic(ocp), solve_mpqp(condense(ocp))
    x = np.random.default_rng(1).uniform(law.theta_min, law.theta_max, (400, 2))
    u = torch.as_tensor(law(x)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(torch.as_tensor(x), u).sum(), u)
    u, slope = u.detach().numpy()[:, 0], slope.numpy()[:, 0]
    size = 1e-6 * np.abs(law.value(x))
    free = np.abs(u) < 1 - 1e-9
    # A slack makes a kink in u at the law: one-sided slopes of both signs, so only points without one must vanish.
    calm = free & (np.abs(x @ np.array([1.0, 1.0])) < 3)
    assert calm.sum() > 30
    assert np.all(np.abs(slope[calm]) <= size[calm] + 1e-8)
    assert np.all(slope[u >= 1] >= -size[u >= 1])
    assert np.all(slope[u <= -1] <= size[u <= -1])


@pytest.mark.parametrize("options", [{}, {"soft": "l1l2", "gamma": 0.9}], ids=str)
def test_gradient_by_finite_differences(laws, options):
    ocp = laws.integrator(3, **options)
    critic = encode_critic(ocp)
    rng = np.random.default_rng(2)
    x = torch.as_tensor(rng.uniform(-1.5, 1.5, (300, 2))).requires_grad_()
    u = torch.as_tensor(rng.uniform(-1, 1, (300, 1))).requires_grad_()
    value = critic(x, u)
    slopes = torch.autograd.grad(value.sum(), (x, u))
    with torch.no_grad():
        for point, slope in zip((x, u), slopes, strict=True):
            for column in range(point.shape[1]):
                shift = torch.zeros_like(point)
                shift[:, column] = 1e-6
                pair = [critic(x + s, u) if point is x else critic(x, u + s) for s in (shift, -shift)]
                error = ((pair[0] - pair[1]) / 2e-6 - slope[:, column]).abs() / (1 + slope[:, column].abs())
                error = error[torch.isfinite(pair[0]) & torch.isfinite(pair[1]) & torch.isfinite(value)]
                assert len(error) > 200
                assert error.quantile(0.9) < 1e-6
                assert error.max() < 1e-4  # pairs that straddle two pieces


def test_no_temporal_difference_inside_the_invariant_set(laws):
    ocp = laws.integrator(6)
    critic, law = encode_critic(ocp), solve_mpqp(condense(ocp))
    x = np.random.default_rng(3).uniform([-1.0, -0.5], [1.0, 0.5], (500, 2))
    u = np.random.default_rng(4).uniform(-0.3, 0.3, (500, 1))
    after = ocp.successor(x, u)
    target = -ocp.stage_cost(x, u) + critic(torch.as_tensor(after), torch.as_tensor(law(after))).numpy()
    residual = target - critic(torch.as_tensor(x), torch.as_tensor(u)).numpy()
    assert np.abs(residual).max() <= 1e-6


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_lqr_critic_is_the_closed_form(laws, gamma):
    ocp = laws.integrator(3, gamma=gamma)
    critic = encode_critic(ocp, "lqr")
    A, B = ocp.lin.A, ocp.lin.B
    P = solve_discrete_are(np.sqrt(gamma) * A, np.sqrt(gamma) * B, np.eye(2), np.array([[0.1]]))
    rng = np.random.default_rng(5)
    x, u = rng.normal(size=(50, 2)), rng.normal(size=(50, 1))
    after = x @ A.T + u @ B.T
    wanted = (x**2).sum(axis=1) + 0.1 * (u**2).sum(axis=1) + gamma * ((after @ P) * after).sum(axis=1)
    assert np.allclose(-critic(torch.as_tensor(x), torch.as_tensor(u)).numpy(), wanted, rtol=1e-10)
    small = 0.05 * x
    exact = encode_critic(laws.integrator(6, gamma=gamma))
    v = -small @ ocp.K.T
    got = exact(torch.as_tensor(small), torch.as_tensor(v)).numpy()
    assert np.allclose(got, critic(torch.as_tensor(small), torch.as_tensor(v)).numpy(), rtol=1e-9)


def test_infeasible_is_minus_infinity_unless_soft(laws):
    x, u = torch.tensor([4.9, 2.9], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    assert encode_critic(laws.integrator(2))(x, u).item() == -np.inf
    soft = encode_critic(laws.integrator(2, soft="l1l2"))
    assert np.isfinite(soft(x, u).item())
    assert np.isfinite(soft(10 * x, u).item())  # beyond the box the nearest piece goes on


def test_penalty_of_the_first_successor(laws):
    ocp = laws.integrator(1, soft="l1l2", soft_weight=7.0, soft_quadratic=3.0, gamma=0.9)
    x, u = np.array([4.5, 2.0]), np.array([0.5])
    after = ocp.lin.A @ x + ocp.lin.B @ u
    excess = np.maximum(after - [5.0, 3.0], 0)
    wanted = x @ x + 0.1 * u @ u + 0.9 * ((7 * excess + 3 * excess**2).sum() + after @ ocp.P @ after)
    assert -encode_critic(ocp)(torch.as_tensor(x), torch.as_tensor(u)).item() == pytest.approx(wanted, rel=1e-12)


def test_shapes_broadcast_and_parts_agree(laws, monkeypatch):
    critic = encode_critic(laws.integrator(3, soft="l1l2"))
    rng = np.random.default_rng(6)
    x, u = torch.as_tensor(rng.uniform(-2, 2, (4, 1, 2))), torch.as_tensor(rng.uniform(-1, 1, (5, 1)))
    value = critic(x, u)
    assert value.shape == (4, 5)
    assert critic(x[0, 0], u[0]).shape == ()
    assert critic(x[0, 0], u[0]).item() == pytest.approx(value[0, 0].item(), rel=1e-13)
    monkeypatch.setattr(parts, "CHUNK_ELEMENTS", 1)
    assert torch.equal(critic(x, u), value)


def test_float32_follows(laws):
    ocp = laws.integrator(3, soft="l1l2")
    rng = np.random.default_rng(7)
    x, u = torch.as_tensor(rng.uniform(-2, 2, (200, 2))), torch.as_tensor(rng.uniform(-1, 1, (200, 1)))
    exact, short = encode_critic(ocp)(x, u), encode_critic(ocp, dtype=torch.float32)(x, u)
    assert short.dtype == torch.float32
    assert ((short - exact).abs() / exact.abs()).max() < 1e-4


def test_state_dict_names_start_with_law(laws):
    for kind in ("exact", "lqr"):
        names = encode_critic(laws.integrator(2), kind).state_dict()
        assert all(name.startswith("law.") for name in names)


def test_mistakes_are_named(laws):
    with pytest.raises(ModelError, match="kind: got 'deep'"):
        encode_critic(laws.integrator(2), "deep")
    ocp = laws.integrator(2, soft="l1l2", soft_weight=1.0)
    endless = replace(ocp, u_max=[np.inf])
    with pytest.raises(ModelError, match=r"ocp\.u_max.*needs it finite"):
        encode_critic(endless)


def test_verification_catches_a_wrong_critic(laws):
    ocp = laws.integrator(3)
    critic = encode_critic(ocp)
    region = int(critic.source.law.locate(np.array([0.3, -0.2])))
    critic.law.after.g[region] += 1e-3
    result = verify_critic(critic, ocp, 500)
    assert not result.ok
    assert result.max_error == pytest.approx(1e-3, rel=1e-6)


def with_parameters(name, **more):
    """Double integrators whose law depends on more than the state, or whose moves are blocked."""
    channels = {
        "disturbance": {"E": [[0.3], [0.1]], "d_op": [0.2]},
        "disturbed output": {"E": [[0.3], [0.1]], "C": [[1.0, 0.0]], "x_op": [1.0, 0.0], "u_op": [0.1]},
        "output": {"C": [[1.0, 0.0]]},
    }
    options = {
        "rate": {"R_rate": [[0.5]]},
        "rate without terminal": {"R_rate": [[0.5]], "terminal": None},
        "bounded rate": {"du_min": [-0.5], "du_max": [0.4]},
        "soft rate": {"R_rate": [[0.5]], "soft": "l1l2", "du_min": [-1.0], "du_max": [1.0]},
        "reference": {"track": "x"},
        "output": {"track": "y", "ref_min": [-2.0], "ref_max": [2.0]},
        "disturbance": {"d_min": [-0.3], "d_max": [0.5]},
        "disturbed output": {
            "track": "y", "ref_min": [-1.0], "ref_max": [2.0], "d_min": [-0.1], "d_max": [0.2], "R_rate": [[0.2]],
        },
        "blocks": {"blocks": (2, 1), "N": 3},
        "soft blocks": {"blocks": (2, 1), "N": 3, "soft": "l1l2", "gamma": 0.9},
        "blocks and rate": {"blocks": (1, 2), "N": 3, "R_rate": [[0.5]], "gamma": 0.9},
        "one block": {"blocks": (2,), "N": 2, "R_rate": [[0.5]]},
    }  # fmt: skip
    lin = LinearModel([[1.0, 1.0], [0.0, 1.0]], [[0.5], [1.0]], dt=1.0, **channels.get(name, {}))
    bounds = {"x_min": [-5.0, -4.0], "x_max": [5.0, 4.0], "u_min": [-1.0], "u_max": [1.0]}
    return Ocp(lin, Q=np.eye(2), R=[[0.1]], **({"N": 2} | bounds | options[name] | more))


PARAMETERS = (
    "rate", "rate without terminal", "bounded rate", "soft rate", "reference", "output", "disturbance",
    "disturbed output", "blocks", "soft blocks", "blocks and rate", "one block",
)  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_critics_of_laws_with_more_parameters(name):
    ocp = with_parameters(name)
    critic = encode_critic(ocp)
    result = verify_critic(critic, ocp, 200)
    assert result.ok, result
    assert result.n_points > 30


@pytest.mark.parametrize("name", ["rate", "reference", "disturbed output", "blocks", "soft blocks"])
def test_their_value_at_the_law_is_the_law_s_value(name):
    """The condensed program, which the critic's recursion shares no code with, gives the same optimum."""
    ocp = with_parameters(name)
    critic, law = encode_critic(ocp), solve_mpqp(condense(ocp))
    theta = np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (300, law.ntheta))
    theta = theta[law.locate(theta) >= 0]
    assert len(theta) > 50
    u = torch.as_tensor(law(theta))
    best = -critic(torch.as_tensor(theta), u).numpy()
    finite = np.isfinite(best)
    assert finite.mean() > 0.8
    assert np.allclose(best[finite], law.value(theta)[finite], rtol=1e-7, atol=1e-9)
    for step in (-0.05, 0.05):
        other = (u + step).clamp(-1, 1)
        assert np.all(-critic(torch.as_tensor(theta), other).numpy() >= best - 1e-9)


def test_parameters_are_named_where_they_are_not_supported():
    with pytest.raises(ModelError, match="ocp: the closed form needs"):
        encode_critic(with_parameters("reference"), "lqr")
    with pytest.raises(ModelError, match="ocp: rows are named"):
        constraint_names(with_parameters("reference"))
    critic = encode_critic(with_parameters("rate"))
    with pytest.raises(ModelError, match=r"x: got shape \(2,\), expected \(\.\.\., 3\)"):
        critic(torch.zeros(2), torch.zeros(1))
