"""from_cvxpy: the program against CVXPY's own solution, and the refusals."""

import cvxpy as cp
import numpy as np
import pytest

from yannctl import ModelError, from_cvxpy

A = np.array([[1.0, 0.1], [-0.3, 0.9]])
B = np.array([[0.0], [0.2]])


def solved(problem) -> float:
    value = problem.solve(solver="CLARABEL", ignore_dpp=True, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return value if isinstance(problem.objective, cp.Minimize) else -value


def agree(problem, mpqp, parameters, samples=12, seed=0):
    """Compare value and every variable at random parameters."""
    rng = np.random.default_rng(seed)
    feasible = 0
    for theta in rng.uniform(mpqp.theta_min, mpqp.theta_max, size=(samples, mpqp.n_theta)):
        start = 0
        for p in parameters:
            p.value = theta[start : start + p.size].reshape(p.shape, order="F")
            start += p.size
        expected, result = solved(problem), mpqp.solve_qp(theta)
        if np.isinf(expected):
            assert result.status == "infeasible"
            continue
        feasible += 1
        assert result.value == pytest.approx(expected, rel=1e-7, abs=1e-7)
        variables = sorted(problem.variables(), key=lambda v: v.id)
        declared = np.concatenate([np.ravel(v.value, order="F") for v in variables])
        np.testing.assert_allclose(result.z[: mpqp.n_out], declared, atol=1e-5)
    assert feasible >= samples // 3


def test_model_predictive_control_with_states():
    x, u, p = cp.Variable((2, 4), name="x"), cp.Variable((1, 3), name="u"), cp.Parameter(2, name="p")
    cost, rows = 0, [x[:, 0] == p]
    for k in range(3):
        rows += [x[:, k + 1] == A @ x[:, k] + B @ u[:, k], cp.abs(u[:, k]) <= 1, cp.norm(x[:, k + 1], "inf") <= 2]
        cost += cp.sum_squares(x[:, k + 1]) + 0.1 * cp.sum_squares(u[:, k])
    problem = cp.Problem(cp.Minimize(cost), rows)
    mpqp = from_cvxpy(problem, bounds={p: (-2, [2, 3])})
    assert mpqp.n_out == mpqp.n_z == 11
    assert mpqp.out_names[:3] == ("x[0,0]", "x[1,0]", "x[0,1]")
    assert mpqp.theta_names == ("p[0]", "p[1]")
    assert np.linalg.eigvalsh(mpqp.H)[0] > 1e-3
    assert p.value is None
    agree(problem, mpqp, [p])


def test_parameters_in_cost_and_right_hand_side():
    z, w = cp.Variable(3, name="z", bounds=[-1, 1]), cp.Variable(name="w", nonneg=True)
    p, t = cp.Parameter(3, name="p", bounds=[-2, 2]), cp.Parameter(nonneg=True, name="t")
    problem = cp.Problem(
        cp.Minimize(cp.sum_squares(z - p) + w**2 + (t + 1) * w - 2 * p @ z + 3), [cp.sum(z) + w >= t, z[0] <= 0.5 + t]
    )
    mpqp = from_cvxpy(problem, bounds={"t": (0, 1)})
    np.testing.assert_array_equal(mpqp.theta_max, [2, 2, 2, 1])
    agree(problem, mpqp, [p, t])


def test_maximise_and_matrices():
    Z, P = cp.Variable((2, 2), name="Z"), cp.Parameter((2, 2), name="P")
    problem = cp.Problem(cp.Maximize(-cp.sum_squares(Z - P) - cp.sum(Z)), [Z <= 0.3, Z >= -0.8, cp.trace(Z) == 0.1])
    mpqp = from_cvxpy(problem, bounds={P: (-np.ones((2, 2)), np.ones((2, 2)))})
    assert mpqp.theta_names == ("P[0,0]", "P[1,0]", "P[0,1]", "P[1,1]")
    agree(problem, mpqp, [P])


def test_conditions_on_the_parameter_alone_become_its_domain():
    z, p = cp.Variable(name="z"), cp.Parameter(2, name="p")
    problem = cp.Problem(cp.Minimize((z - p[0]) ** 2), [z <= 1, p[0] + p[1] <= 0.5])
    mpqp = from_cvxpy(problem, bounds={p: (-1, 1)})
    assert mpqp.theta_A.shape == (1, 2)
    assert mpqp.solve_qp([0.5, 0.5]).status == "infeasible"
    agree(problem, mpqp, [p])


def test_linear_program():
    z, p = cp.Variable(2, name="z"), cp.Parameter(name="p")
    mpqp = from_cvxpy(cp.Problem(cp.Minimize(z[0] + 2 * z[1]), [z >= p, z[0] + z[1] <= 5]), bounds={p: (0, 1)})
    assert not mpqp.H.any()
    assert mpqp.solve_qp([0.5]).value == pytest.approx(1.5, abs=1e-6)


def _refused(build, **kwargs):
    z, p = cp.Variable(2, name="z"), cp.Parameter(name="p", nonneg=True)
    return lambda: from_cvxpy(build(z, p), **({"bounds": {p: (0, 1)}} | kwargs))


REFUSALS = {
    "quadratic cost H": _refused(lambda z, p: cp.Problem(cp.Minimize(p * cp.sum_squares(z) + cp.sum(z)), [z <= 1])),
    "constraint matrix A": _refused(lambda z, p: cp.Problem(cp.Minimize(cp.sum_squares(z)), [p * z[0] + z[1] <= 1])),
    "not DPP": _refused(lambda z, p: cp.Problem(cp.Minimize(cp.sum_squares(z) + p * p * z[0]), [z <= 1])),
    "not convex": _refused(lambda z, p: cp.Problem(cp.Minimize(-cp.sum_squares(z) + p), [z <= 1])),
    "cone": _refused(lambda z, p: cp.Problem(cp.Minimize(cp.sum_squares(z)), [cp.norm(z, 2) <= 1 + p])),
    "no parameters": _refused(lambda z, p: cp.Problem(cp.Minimize(cp.sum_squares(z)), [z <= 1])),
    "lower and an upper end": _refused(lambda z, p: cp.Problem(cp.Minimize(cp.sum_squares(z - p))), bounds=None),
    "parameters alone": _refused(lambda z, p: cp.Problem(cp.Minimize(cp.sum_squares(z)), [z[0] == p, z[0] == 2 * p])),
    "contradict": _refused(lambda z, p: cp.Problem(cp.Minimize(cp.sum_squares(z - p)), [z[0] == 1, z[0] == 2])),
    "reversed": _refused(lambda z, p: cp.Problem(cp.Minimize(cp.sum_squares(z - p))), bounds={"p": (1, 0)}),
}


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text):
    with pytest.raises(ModelError, match=text) as caught:
        REFUSALS[text]()
    assert caught.value.remedy


def test_integer_variables_are_refused():
    z, p = cp.Variable(integer=True), cp.Parameter(name="p")
    with pytest.raises(ModelError, match="integer"):
        from_cvxpy(cp.Problem(cp.Minimize((z - p) ** 2)), bounds={p: (0, 1)})


def test_what_is_no_problem_and_ends_of_no_parameter_are_refused():
    z, p = cp.Variable(name="z"), cp.Parameter(name="p")
    problem = cp.Problem(cp.Minimize((z - p) ** 2))
    with pytest.raises(ModelError, match=r"expected a cvxpy\.Problem, got str"):
        from_cvxpy("problem")
    with pytest.raises(ModelError, match="'P' is no parameter of the problem; use p"):
        from_cvxpy(problem, bounds={"p": (0, 1), "P": (0, 1)})
    with pytest.raises(ModelError, match="z is no parameter"):
        from_cvxpy(problem, bounds={p: (0, 1), z: (0, 1)})
