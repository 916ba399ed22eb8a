"""Reference, rate, blocks, disturbances and offset-free models against an independent sparse formulation (CVXPY)."""

from dataclasses import replace
from functools import cache
from itertools import accumulate

import control
import cvxpy as cp
import numpy as np
import pytest

from yannctl import LinearModel, ModelError, Ocp, condense, solve_mpqp

A = np.array([[1.02, 0.05], [0.4, 0.95]])
B = np.array([[0.004, 0.01], [0.15, 0.0]])
E = np.array([[0.02], [0.1]])
S = np.array([[0.3, 0.05], [0.05, 0.2]])
OPERATING = {"c": [0.01, -0.02], "x_op": [0.2, -0.1], "u_op": [0.05, 0.1]}
NAMES = {"x_names": ("angle", "rate"), "u_names": ("torque", "thrust")}
DISTURBED = LinearModel(A, B, **OPERATING, **NAMES, E=E, d_op=[0.3], d_names=("wind",))
OUTPUTS = DISTURBED.with_outputs(("angle",)).with_output_disturbance()
D_BOUNDS = {"d_min": -1.0, "d_max": 1.0}


def make(lin=None, **changes) -> Ocp:
    arguments = {"Q": [1.0, 0.1], "R": [0.05, 0.1], "N": 5, "x_min": [-1.5, -1.2], "x_max": [1.5, 1.2],
                 "u_min": [-2, -1], "u_max": [1.5, 1.0], "theta_min": [-1.2, -2], "theta_max": [1.2, 2]}  # fmt: skip
    return Ocp(LinearModel(A, B, **OPERATING, **NAMES) if lin is None else lin, **(arguments | changes))


def target(ocp, d, ref):
    """Reference of the cost: for outputs, the nearest steady state, by CVXPY."""
    if ocp.track == "x":
        return ref, ocp.u_ref
    if ocp.track is None:
        return ocp.x_ref, ocp.u_ref
    x, u = cp.Variable(ocp.nx), cp.Variable(ocp.nu)
    lin = ocp.lin
    after = lin.x_op + lin.A @ (x - lin.x_op) + lin.B @ (u - lin.u_op) + lin.E @ (d - lin.d_op) + lin.c
    cost = cp.quad_form(x - ocp.x_ref, ocp.Q) + cp.quad_form(u - ocp.u_ref, ocp.R)
    cp.Problem(cp.Minimize(cost), [after == x, lin.C @ x + lin.C_d @ (d - lin.d_op) == ref]).solve(
        "CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12
    )
    return x.value, u.value


def sparse_solution(ocp, theta, rho=0.0):
    """Write everything out step by step, states and all inputs as variables; give the value and the first input."""
    N, nx, nu, lin, g = ocp.N, ocp.nx, ocp.nu, ocp.lin, ocp.gamma
    rate = ocp.R_rate is not None or ocp.du_min is not None
    parts = np.split(theta, np.cumsum([nx, nu if rate else 0, lin.nd]))
    x0, u_last, d, ref = parts
    x_s, u_s = target(ocp, d, ref)
    x, u, e = cp.Variable((N + 1, nx)), cp.Variable((N, nu)), cp.Variable((N + 1, nx), nonneg=True)
    rows, cost = [x[0] == x0], 0.0
    starts = {0, *accumulate(ocp.blocks)} if ocp.blocks else set(range(N))
    for k in range(N):
        push = lin.E @ (d - lin.d_op) if lin.nd else 0.0
        rows.append(x[k + 1] == lin.x_op + lin.A @ (x[k] - lin.x_op) + lin.B @ (u[k] - lin.u_op) + push + lin.c)
        rows += between(ocp.u_min, u[k], ocp.u_max)
        relax = e[k + 1] if ocp.soft else np.zeros(nx)
        rows += between(ocp.x_min, x[k + 1] + relax, np.full(nx, np.inf))
        rows += between(np.full(nx, -np.inf), x[k + 1] - relax, ocp.x_max)
        cost += g**k * (cp.quad_form(x[k] - x_s, ocp.Q) + cp.quad_form(u[k] - u_s, ocp.R))
        if ocp.soft:
            cost += g ** (k + 1) * (rho * cp.sum(relax) + ocp.soft_quadratic * cp.sum_squares(relax))
        if k not in starts:
            rows.append(u[k] == u[k - 1])
        if rate:
            du = u[k] - (u[k - 1] if k else u_last)
            cost += 0 if ocp.R_rate is None else g**k * cp.quad_form(du, ocp.R_rate)
            rows += [] if ocp.du_min is None else between(ocp.du_min, du, ocp.du_max)
    if ocp.terminal is not None and ocp.R_rate is not None:
        P = rate_cost_to_go(ocp)
        cost += g**N * cp.quad_form(cp.hstack([x[N] - x_s, u[N - 1] - u_s]), cp.psd_wrap(P))
    elif ocp.terminal is not None:
        cost += g**N * cp.quad_form(x[N] - x_s, ocp.P)
    if ocp.terminal_set is not None:
        rows.append(ocp.terminal_set.A @ x[N] <= ocp.terminal_set.b)
    problem = cp.Problem(cp.Minimize(cost), rows)
    value = problem.solve("CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return value, u.value[0] if u.value is not None else None


def between(low, value, high) -> list:
    """Rows for the finite bounds only."""
    below, above = np.flatnonzero(np.isfinite(low)), np.flatnonzero(np.isfinite(high))
    return [value[below] >= low[below]] * bool(below.size) + [value[above] <= high[above]] * bool(above.size)


@cache
def rate_cost_to_go(ocp):
    """Value iteration of the LQR with rate on (dx, du_last), without the substitution of the product."""
    nx, nu, g = ocp.nx, ocp.nu, ocp.gamma
    A_a = np.block([[ocp.lin.A, np.zeros((nx, nu))], [np.zeros((nu, nx + nu))]])
    B_a = np.vstack([ocp.lin.B, np.eye(nu)])
    Q_a = np.block([[ocp.Q, np.zeros((nx, nu))], [np.zeros((nu, nx)), ocp.R_rate]])
    N_a = np.vstack([np.zeros((nx, nu)), -ocp.R_rate])
    P = np.zeros((nx + nu, nx + nu))
    for _ in range(3000):
        cross = N_a + g * A_a.T @ P @ B_a
        P = Q_a + g * A_a.T @ P @ A_a - cross @ np.linalg.solve(ocp.R + ocp.R_rate + g * B_a.T @ P @ B_a, cross.T)
        P = (P + P.T) / 2
    return P


CASES = {
    "track x": make(track="x", ref_min=[-0.8, -0.5], ref_max=[0.8, 0.5]),
    "track y": make(OUTPUTS, track="y", ref_min=-0.5, ref_max=0.5, d_min=-0.3, d_max=0.3, gamma=0.95),
    "rate": make(R_rate=S, gamma=0.9),
    "rate without terminal": make(R_rate=0.2, terminal=None),
    "rate bounds": make(du_min=[-0.3, -np.inf], du_max=0.4),
    "blocks": make(N=7, blocks=[1, 2, 4], gamma=0.95),
    "blocks and set": make(
        LinearModel(A, B), N=6, blocks=[1, 5], terminal="set", theta_min=[-0.1, -0.3], theta_max=[0.1, 0.3]
    ),
    "disturbance": make(DISTURBED, **D_BOUNDS, x_ref=[0.4, -0.3], u_ref=[0.1, -0.2]),
    "all": make(
        OUTPUTS, N=6, blocks=[1, 1, 4], track="y", ref_min=-0.5, ref_max=0.5, d_min=-0.3, d_max=0.3, R_rate=S,
        du_min=-0.8, du_max=0.9, gamma=0.95, soft="l1l2", soft_weight=7.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_value_and_first_input_equal_the_sparse_formulation(name):
    ocp = CASES[name]
    mpqp = condense(ocp)
    theta = np.random.default_rng(1).uniform(mpqp.theta_min, mpqp.theta_max, size=(6, mpqp.n_theta))
    result = mpqp.solve_qp_batch(theta)
    feasible = 0
    for t, value, z in zip(theta, result.value, result.z, strict=True):
        expected, u0 = sparse_solution(ocp, t, ocp.soft_weight or 0.0)
        if u0 is None:
            assert value == np.inf
            continue
        feasible += 1
        assert value == pytest.approx(expected, rel=1e-6, abs=1e-7)
        np.testing.assert_allclose(z[: ocp.nu], u0, atol=2e-5)
    assert feasible >= 2


def test_names_ends_and_order():
    ocp = CASES["all"]
    mpqp = condense(ocp)
    assert mpqp.theta_names == (
        "angle", "rate", "u_last_torque", "u_last_thrust", "wind", "p_angle", "y_ref_angle"
    )  # fmt: skip
    np.testing.assert_array_equal(mpqp.theta_min, [-1.2, -2, -2, -1, -0.3, -0.3, -0.5])
    np.testing.assert_array_equal(mpqp.theta_max, [1.2, 2, 1.5, 1.0, 0.3, 0.3, 0.5])
    theta = ocp.theta([[1, 2], [3, 4]], u_last=[5, 6], d=[7, 8], ref=[9])
    np.testing.assert_array_equal(theta, [[1, 2, 5, 6, 7, 8, 9], [3, 4, 5, 6, 7, 8, 9]])
    assert condense(CASES["track x"]).theta_names == ("angle", "rate", "x_ref_angle", "x_ref_rate")
    assert (make().plain, CASES["blocks"].plain, ocp.plain) == (True, False, False)
    assert make().parameters.names == condense(make()).theta_names == ("angle", "rate")


def test_blocks_have_one_input_each_and_no_repeated_rows():
    mpqp = condense(make(N=10, blocks=[1, 1, 2, 6], x_min=None, x_max=None))
    assert (mpqp.n_z, mpqp.n_rows) == (8, 16)
    ones = condense(make(blocks=[1] * 5))
    for name in ("H", "F", "f", "A", "b", "B", "Y", "y"):
        np.testing.assert_array_equal(getattr(ones, name), getattr(condense(make()), name))


@pytest.mark.parametrize("gamma", [1.0, 0.95])
def test_unconstrained_zone_is_the_lqr_with_rate(gamma):
    ocp = make(LinearModel(A, B), R_rate=S, gamma=gamma, x_min=-9, x_max=9, u_min=-50, u_max=50)
    P, K = ocp.rate_terminal
    np.testing.assert_allclose(P, rate_cost_to_go(ocp), rtol=1e-8, atol=1e-10)
    theta = 0.1 * np.random.default_rng(0).normal(size=(20, 4))
    result = condense(ocp).solve_qp_batch(theta)
    np.testing.assert_allclose(result.z[:, :2], -theta @ K.T, atol=1e-9)
    np.testing.assert_allclose(result.value, ((theta @ P) * theta).sum(-1), rtol=1e-8)


def test_explicit_law_of_a_problem_with_parameters():
    ocp = make(N=2, du_min=-0.4, du_max=0.4, R_rate=0.1, track="x", ref_min=-0.5, ref_max=0.5, x_min=None, x_max=None)
    mpqp = condense(ocp)
    law = solve_mpqp(mpqp)
    assert law.status == "complete"
    theta = np.random.default_rng(5).uniform(mpqp.theta_min, mpqp.theta_max, size=(300, mpqp.n_theta))
    result = mpqp.solve_qp_batch(theta)
    good = result.status == "optimal"
    assert good.sum() > 100
    np.testing.assert_allclose(law(theta[good]), result.z[good, :2], atol=1e-8)


EXPLICIT = {name: ocp for name, ocp in CASES.items() if name != "all"} | {
    "soft": make(N=3, soft="l1l2", soft_weight=5.0),
    "terminal set": make(LinearModel(A, B), N=3, terminal="set", theta_min=[-0.3, -0.5], theta_max=[0.3, 0.5]),
    "state space": make(LinearModel.from_control(control.ss(A, B, np.eye(2), np.zeros((2, 2)), 0.1)), N=3),
}


@pytest.mark.parametrize("name", EXPLICIT)
def test_explicit_law_and_cost_of_every_way_in(name):
    mpqp = condense(EXPLICIT[name])
    law = solve_mpqp(mpqp)
    assert law.status == "complete"
    theta = np.random.default_rng(2).uniform(mpqp.theta_min, mpqp.theta_max, size=(60, mpqp.n_theta))
    result = mpqp.solve_qp_batch(theta)
    good = result.status == "optimal"
    assert good.sum() > 20
    np.testing.assert_array_equal(law.locate(theta) >= 0, good)
    np.testing.assert_allclose(law(theta[good]), result.z[good, : law.n_out], atol=1e-9)
    np.testing.assert_allclose(law.value(theta[good]), result.value[good], atol=1e-8)


def test_soft_weight_is_computed_with_parameters():
    ocp = make(DISTURBED, N=2, d_min=0.2, d_max=0.4, soft="l1l2", theta_min=-0.5, theta_max=0.5, x_min=-0.5, x_max=0.5)
    soft, hard = condense(ocp), condense(replace(ocp, soft=None))
    theta = np.random.default_rng(4).uniform(hard.theta_min, hard.theta_max, size=(200, 3))
    strict, relaxed = hard.solve_qp_batch(theta), soft.solve_qp_batch(theta)
    good = strict.status == "optimal"
    assert good.sum() > 50
    np.testing.assert_allclose(relaxed.z[good, :2], strict.z[good, :2], atol=1e-7)


REFUSALS = {
    "blocks adding up": ({"blocks": [1, 2]}, "blocks", None),
    "block length": ({"blocks": [5, 0]}, "blocks", 1),
    "block type": ({"blocks": 5}, "blocks", None),
    "rate bound": ({"du_min": 0.1, "du_max": 1.0}, "du_min", 0),
    "rate bounds reversed": ({"du_min": [-1, 0], "du_max": [1, 0]}, "du_min", 1),
    "rate weight": ({"R_rate": -1.0}, "R_rate", (0, 0)),
    "rate without input bounds": ({"R_rate": 1.0, "u_max": [np.inf, 1.0]}, "u_max", 0),
    "track": ({"track": "z"}, "track", None),
    "no outputs": ({"track": "y", "ref_min": 0, "ref_max": 1}, "track", None),
    "reference end": ({"track": "x", "x_max": [np.inf, 1]}, "ref_max", 0),
    "reference untracked": ({"ref_min": 0.0}, "ref_min", None),
    "output reference end": (
        {"lin": LinearModel(A, B).with_outputs("x1"), "track": "y", "ref_max": 1}, "ref_min", None,
    ),
    "too many outputs": (
        {"lin": LinearModel(A, [[0.0], [0.15]]).with_outputs(np.eye(2)), "R": 1.0, "u_min": -1, "u_max": 1,
         "track": "y", "ref_min": -1, "ref_max": 1}, "track", None,
    ),
    "disturbance end": ({"lin": DISTURBED, "d_min": -1.0}, "d_max", None),
    "no disturbance": ({"d_max": 1.0}, "d_max", None),
    "set and rate": ({"terminal": "set", "R_rate": 1.0}, "terminal", None),
    "set and disturbance": ({"terminal": "set", "lin": DISTURBED, **D_BOUNDS}, "terminal", None),
    "set and reference": ({"terminal": "set", "track": "x"}, "terminal", None),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_name_field_index_and_remedy(name):
    changes, field, index = REFUSALS[name]
    with pytest.raises(ModelError) as caught:
        make(**changes)
    assert (caught.value.field, caught.value.index) == (field, index)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("parts", "field"),
    [({}, "u_last"), ({"u_last": [0.0]}, "u_last"), ({"u_last": [0, 0], "d": [0]}, "d"), ({"x": [1.0]}, "x")],
)
def test_theta_refuses_missing_and_surplus_parts(parts, field):
    with pytest.raises(ModelError) as caught:
        make(R_rate=1.0).theta(**({"x": [0.0, 0.0]} | parts))
    assert caught.value.field == field
