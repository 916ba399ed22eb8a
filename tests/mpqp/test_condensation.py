"""condense against an independent sparse formulation (Clarabel), the LQR, the Bellman identity and KKT."""

from dataclasses import replace

import clarabel
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from yannctl import LinearModel, ModelError, MpQp, Ocp, condense

A = np.array([[1.02, 0.05], [0.4, 0.95]])
B = np.array([[0.004, 0.01], [0.15, 0.0]])


def sparse_solution(ocp, x0, rho=0.0):
    """Solve over (x_1 … x_N, u_0 … u_{N−1}, e_1 … e_N) with the dynamics as equalities, written out step by step."""
    N, nx, nu, lin, gamma = ocp.N, ocp.nx, ocp.nu, ocp.lin, ocp.gamma
    soft = ocp.soft is not None
    n = N * (nx + nu + nx)
    P, q, constant = np.zeros((n, n)), np.zeros(n), 0.0
    x_at = lambda k: slice((k - 1) * nx, k * nx)  # noqa: E731
    u_at = lambda k: slice(N * nx + k * nu, N * nx + (k + 1) * nu)  # noqa: E731
    e_at = lambda k: slice(N * (nx + nu) + (k - 1) * nx, N * (nx + nu) + k * nx)  # noqa: E731
    d0 = x0 - ocp.x_ref
    constant += d0 @ ocp.Q @ d0
    equal, inequal = [], []
    for k in range(N):
        w = gamma**k
        P[u_at(k), u_at(k)] = 2 * w * ocp.R
        q[u_at(k)] = -2 * w * ocp.R @ ocp.u_ref
        constant += w * ocp.u_ref @ ocp.R @ ocp.u_ref
        row = np.zeros((nx, n))
        row[:, x_at(k + 1)] = -np.eye(nx)
        row[:, u_at(k)] = lin.B
        right = -(lin.x_op - lin.A @ lin.x_op - lin.B @ lin.u_op + lin.c)
        if k:
            row[:, x_at(k)] = lin.A
        else:
            right = right - lin.A @ x0
        equal.append((row, right))
        W = ocp.P if k + 1 == N else ocp.Q
        w *= gamma
        P[x_at(k + 1), x_at(k + 1)] = 2 * w * W
        q[x_at(k + 1)] = -2 * w * W @ ocp.x_ref
        constant += w * ocp.x_ref @ W @ ocp.x_ref
        P[e_at(k + 1), e_at(k + 1)] = 2 * w * ocp.soft_quadratic * np.eye(nx)
        q[e_at(k + 1)] = w * rho
        for at, sign, bound in (
            (u_at(k), 1, ocp.u_max), (u_at(k), -1, -ocp.u_min),
            (x_at(k + 1), 1, ocp.x_max), (x_at(k + 1), -1, -ocp.x_min), (e_at(k + 1), -1, np.zeros(nx)),
        ):  # fmt: skip
            row = np.zeros((len(bound), n))
            row[:, at] = sign * np.eye(len(bound))
            if soft and at == x_at(k + 1):
                row[:, e_at(k + 1)] = -np.eye(nx)
            inequal.append((row[np.isfinite(bound)], bound[np.isfinite(bound)]))
    if ocp.terminal_set is not None:
        row = np.zeros((len(ocp.terminal_set.b), n))
        row[:, x_at(N)] = ocp.terminal_set.A
        inequal.append((row, ocp.terminal_set.b))
    rows = np.vstack([r for r, _ in equal + inequal])
    right = np.concatenate([b for _, b in equal + inequal])
    options = clarabel.DefaultSettings()
    options.verbose = False
    options.tol_gap_abs = options.tol_gap_rel = options.tol_feas = 1e-11
    cones = [clarabel.ZeroConeT(N * nx), clarabel.NonnegativeConeT(len(right) - N * nx)]
    solution = clarabel.DefaultSolver(sp.csc_matrix(np.triu(P)), q, sp.csc_matrix(rows), right, cones, options).solve()
    if "Infeasible" in str(solution.status):
        return np.inf, None
    return solution.obj_val + constant, np.array(solution.x)[u_at(0)]


CASES = {
    "plain": {},
    "discounted": {"gamma": 0.9},
    "no terminal": {"terminal": None},
    "set": {"terminal": "set", "theta_min": [-0.4, -1.0], "theta_max": [0.4, 1.0]},
    "reference": {"x_ref": [0.4, -0.3], "u_ref": [0.1, -0.2], "gamma": 0.95},
    "one-sided": {"x_min": [-np.inf, -0.8], "x_max": [np.inf, np.inf], "theta_min": -2, "theta_max": 2},
    "no state bounds": {"x_min": None, "x_max": None, "theta_min": [-2, -2], "theta_max": [2, 2]},
    "soft": {"soft": "l1l2", "soft_weight": 7.0},
    "soft one-sided": {
        "soft": "l1l2", "soft_weight": 7.0, "gamma": 0.9, "x_max": [np.inf, 0.7], "x_min": -np.inf,
        "theta_min": -2, "theta_max": 2,
    },
}  # fmt: skip


def make(operating=True, **changes) -> Ocp:
    lin = (
        LinearModel(A=A, B=B, c=[0.01, -0.02], x_op=[0.2, -0.1], u_op=[0.05, 0.1])
        if operating
        else LinearModel(A=A, B=B)
    )
    arguments = {"Q": [1.0, 0.1], "R": [0.05, 0.1], "N": 5, "x_min": [-1.5, -1.2], "x_max": [1.5, 1.2],
                 "u_min": [-2, -1], "u_max": [1.5, 1.0], "theta_min": [-1.5, -3], "theta_max": [1.5, 3]}  # fmt: skip
    return Ocp(lin, **(arguments | changes))


@pytest.mark.parametrize("name", CASES)
def test_value_and_first_input_equal_the_sparse_formulation(name):
    ocp = make(operating=CASES[name].get("terminal") != "set", **CASES[name])
    mpqp = condense(ocp)
    rng = np.random.default_rng(1)
    theta = rng.uniform(mpqp.theta_min, mpqp.theta_max, size=(40, 2))
    result = mpqp.solve_qp_batch(theta)
    feasible = 0
    for x0, value, z in zip(theta, result.value, result.z, strict=True):
        expected, u0 = sparse_solution(ocp, x0, rho=ocp.soft_weight or 0.0)
        if u0 is None:
            assert value == np.inf
            continue
        feasible += 1
        assert value == pytest.approx(expected, rel=1e-7, abs=1e-7)
        np.testing.assert_allclose(z[: ocp.nu], u0, atol=1e-6)
        assert mpqp.value_of(z, x0) == pytest.approx(value, rel=1e-10, abs=1e-10)
    assert feasible >= 10


@pytest.mark.parametrize("name", CASES)
def test_kkt_residuals(name):
    mpqp = condense(make(operating=CASES[name].get("terminal") != "set", **CASES[name]))
    theta = np.random.default_rng(2).uniform(mpqp.theta_min, mpqp.theta_max, size=(60, 2))
    result = mpqp.solve_qp_batch(theta)
    good = result.status == "optimal"
    assert good.sum() >= 15
    z, lam, t = result.z[good], result.multipliers[good], theta[good]
    slack = mpqp.b + t @ mpqp.B.T - z @ mpqp.A.T
    stationarity = z @ mpqp.H + mpqp.f + t @ mpqp.F.T + lam @ mpqp.A
    assert slack.min() > -1e-9
    assert lam.min() >= 0
    np.testing.assert_allclose(stationarity, 0, atol=1e-8)
    np.testing.assert_allclose(slack * lam, 0, atol=1e-8)


@pytest.mark.parametrize("gamma", [1.0, 0.95])
def test_unconstrained_zone_is_the_lqr(gamma):
    ocp = make(operating=False, gamma=gamma, N=8)
    theta = 0.02 * np.random.default_rng(0).normal(size=(20, 2))
    result = condense(ocp).solve_qp_batch(theta)
    np.testing.assert_allclose(result.z[:, :2], -theta @ ocp.K.T, atol=1e-10)
    np.testing.assert_allclose(result.value, ((theta @ ocp.P) * theta).sum(-1), rtol=1e-9)


@pytest.mark.parametrize("changes", [{}, {"gamma": 0.9}, {"soft": "l1l2", "soft_weight": 20.0, "gamma": 0.95}])
def test_bellman_identity(changes):
    """V_N(x) = min_u l(x, u) + γ [penalty(x⁺) + V_{N−1}(x⁺)]: equal at the law, not below it elsewhere."""
    ocp = make(**changes)
    longer, shorter = condense(ocp), condense(replace(ocp, N=ocp.N - 1))
    rng = np.random.default_rng(3)

    def q_value(x, u):
        x1 = ocp.successor(x, u)
        if ocp.soft is None and np.any((x1 > ocp.x_max + 1e-9) | (x1 < ocp.x_min - 1e-9)):
            return np.inf
        penalty = 0.0 if ocp.soft is None else ocp.bound_penalty(x1, longer.soft_weight)
        return float(ocp.stage_cost(x, u) + ocp.gamma * (penalty + shorter.solve_qp(x1).value))

    checked = 0
    for x in rng.uniform(ocp.theta_min, ocp.theta_max, size=(30, 2)):
        result = longer.solve_qp(x)
        if result.status != "optimal":
            continue
        checked += 1
        assert q_value(x, result.z[:2]) == pytest.approx(result.value, rel=1e-8, abs=1e-9)
        for u in rng.uniform(ocp.u_min, ocp.u_max, size=(5, 2)):
            assert q_value(x, u) >= result.value - 1e-8
    assert checked >= 10


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_computed_soft_weight_is_exact_and_tight(gamma):
    hard_ocp = make(N=3, gamma=gamma, x_min=[-0.6, -1.0], x_max=[0.6, 1.0])
    soft = condense(replace(hard_ocp, soft="l1l2"))
    hard = condense(hard_ocp)
    theta = np.random.default_rng(4).uniform(hard.theta_min, hard.theta_max, size=(400, 2))
    strict, relaxed = hard.solve_qp_batch(theta), soft.solve_qp_batch(theta)
    feasible = strict.status == "optimal"
    assert 50 < feasible.sum() < 400
    assert np.all(relaxed.status == "optimal")
    np.testing.assert_allclose(relaxed.z[feasible, :2], strict.z[feasible, :2], atol=1e-7)
    np.testing.assert_allclose(relaxed.value[feasible], strict.value[feasible], rtol=1e-7, atol=1e-9)
    # A fifth below the bound the penalty is not exact any more, at the vertex that set it.
    weak = condense(replace(hard_ocp, soft="l1l2", soft_weight=0.8 * soft.soft_weight / 1.05, soft_quadratic=1e-6))
    theta = np.vstack([solve(hard).vertices(i) for i in range(solve(hard).n_regions)])
    centre = (hard.theta_min + hard.theta_max) / 2
    theta = centre + (1 - 1e-7) * (theta - centre)
    strict, relaxed = hard.solve_qp_batch(theta), weak.solve_qp_batch(theta)
    feasible = strict.status == "optimal"
    assert np.abs(relaxed.z[feasible, :2] - strict.z[feasible, :2]).max() > 1e-4


_LAWS: dict[int, object] = {}


def solve(mpqp):
    from yannctl import solve_mpqp

    if id(mpqp) not in _LAWS:
        _LAWS[id(mpqp)] = solve_mpqp(mpqp)
    return _LAWS[id(mpqp)]


def test_soft_weight_of_an_infeasible_problem_asks_for_one():
    # Theta is far outside what the input can bring back into the bounds in one step.
    ocp = make(operating=False, N=2, soft="l1l2", theta_min=[50, 50], theta_max=[60, 60])
    with pytest.raises(ModelError, match="soft_weight=") as caught:
        condense(ocp)
    assert caught.value.field == "soft_weight"
    assert condense(replace(ocp, soft_weight=3.0)).soft_weight == 3.0


def test_soft_weight_without_active_state_bounds_is_positive():
    ocp = make(operating=False, N=2, soft="l1l2", x_min=-100, x_max=100, theta_min=-0.1, theta_max=0.1)
    assert condense(ocp).soft_weight > 0


def test_rows_that_no_decision_enters_restrict_theta():
    lin = LinearModel(A=[[1.0, 1.0], [0.0, 1.0]], B=[[0.0], [1.0]])
    mpqp = condense(Ocp(lin, 1.0, 1.0, 3, x_min=-5, x_max=5, u_min=-1, u_max=1))
    assert mpqp.A.any(axis=1).all()
    np.testing.assert_array_equal(mpqp.theta_A, [[1, 1], [-1, -1]])
    assert mpqp.solve_qp([4.0, 2.0]).status == "infeasible"
    assert mpqp.solve_qp([1.0, 0.5]).status == "optimal"


def test_theta_must_be_finite_and_can_be_given():
    ocp = make(x_max=[np.inf, 1], theta_max=None)
    with pytest.raises(ModelError) as caught:
        condense(ocp)
    assert (caught.value.field, caught.value.index) == ("theta_max", 0)
    np.testing.assert_array_equal(condense(ocp, theta_max=[1, 2]).theta_max, [1, 2])


def test_names_and_layout():
    lin = LinearModel(A=A, B=B, x_names=("angle", "rate"), u_names=("torque", "thrust"))
    mpqp = condense(Ocp(lin, 1.0, 1.0, 3, x_min=-1, x_max=1, u_min=-1, u_max=1, soft="l1l2", soft_weight=2.0))
    assert isinstance(mpqp, MpQp)
    assert (mpqp.theta_names, mpqp.out_names, mpqp.n_out) == (("angle", "rate"), ("torque", "thrust"), 2)
    assert (mpqp.n_z, mpqp.n_rows) == (6 + 6, 12 + 12 + 6)


@given(nx=st.integers(1, 4), nu=st.integers(1, 3), N=st.integers(1, 6), soft=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_shapes_and_positive_definite_hessian(nx, nu, N, soft, seed):
    rng = np.random.default_rng(seed)
    lin = LinearModel(A=rng.normal(size=(nx, nx)), B=rng.normal(size=(nx, nu)))
    ocp = Ocp(lin, 1.0, 1.0, N, x_min=-1, x_max=1, u_min=-1, u_max=1, soft="l1l2" if soft else None, soft_weight=1.0)
    mpqp = condense(ocp)
    nz = N * (nu + (nx if soft else 0))
    assert (mpqp.n_z, mpqp.n_theta, mpqp.n_out) == (nz, nx, nu)
    assert np.linalg.eigvalsh(mpqp.H)[0] > 0
    assert np.linalg.eigvalsh(np.block([[mpqp.Y, mpqp.F.T], [mpqp.F, mpqp.H]]))[0] > -1e-8
