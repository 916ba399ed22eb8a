"""from_cvxpy on varied DPP problems: the explicit law against CVXPY's own solution, variable by variable."""

import cvxpy as cp
import numpy as np
import pytest

from yannctl import ModelError, from_cvxpy, solve_mpqp

A = np.array([[1.0, 0.1], [-0.3, 0.9]])
B = np.array([[0.0], [0.2]])
Q = np.array([[2.0, 0.3], [0.3, 1.0]])


def tracking():
    """Several parameters, equalities, a quadratic form around a parameter, the rate against the last input."""
    x, u = cp.Variable((2, 3), name="x"), cp.Variable((1, 2), name="u")
    x0, r, last = cp.Parameter(2, name="x0"), cp.Parameter(2, name="r"), cp.Parameter(1, name="u_last")
    cost, rows = 0, [x[:, 0] == x0]
    for k in range(2):
        rows += [x[:, k + 1] == A @ x[:, k] + B @ u[:, k], cp.abs(u[:, k]) <= 1]
        rows.append(cp.abs(u[:, k] - (u[:, k - 1] if k else last)) <= 0.5)
        cost += cp.quad_form(x[:, k + 1] - r, Q) + 0.1 * cp.sum_squares(u[:, k])
    return cp.Problem(cp.Minimize(cost), rows), {x0: (-1, 1), r: (-0.5, 0.5), last: (-1, 1)}


def maximised_form():
    z, p = cp.Variable(2, name="z"), cp.Parameter(2, name="p")
    cost = -2 * cp.quad_form(cp.hstack([z[0] - p[0], z[1]]), cp.psd_wrap(Q)) + p[1] * z[0] - cp.sum_squares(z - p)
    return cp.Problem(cp.Maximize(cost), [z <= 0.7]), {p: (-1, 1)}


def vector_rows():
    """A matrix inequality, a 1-norm ball and a parameter that moves the rows."""
    z, p = cp.Variable(2, name="z"), cp.Parameter(2, name="p")
    rows = [np.array([[1, 2], [3, 1], [-1, 1]]) @ z <= [1, 1, 0.5] + np.array([[1, 0], [0, 1], [1, 1]]) @ p]
    return cp.Problem(cp.Minimize(cp.sum_squares(z - p)), [*rows, cp.norm(z, 1) <= 2]), {p: (-1, 1)}


def order_of_names():
    """Declared b before a, q before p: θ and z follow the declaration, not the alphabet."""
    b, a = cp.Variable(name="b"), cp.Variable(2, name="a")
    q, p = cp.Parameter(name="q"), cp.Parameter(name="p")
    rows = [a[0] + b <= q, cp.max(a) <= 0.8, cp.pos(b) <= 0.5]
    return cp.Problem(cp.Minimize(cp.sum_squares(a - p) + (b - q) ** 2), rows), {q: (-1, 1), p: (-0.9, 1)}


def one_norm_cost():
    z, p = cp.Variable(2, name="z"), cp.Parameter(2, name="p")
    cost = cp.sum_squares(z) + cp.norm1(z - p)
    return cp.Problem(cp.Minimize(cost), [cp.sum(z) <= 0.6]), {p: (-1, 1)}


def infinity_norm_program():
    """A linear program: H = 0."""
    z, p = cp.Variable(2, name="z"), cp.Parameter(2, name="p")
    return cp.Problem(cp.Minimize(cp.norm_inf(z - p) + 0.1 * cp.sum(z)), [z >= -1, z <= 1]), {p: (-2, 2)}


def linear_direction():
    z, p = cp.Variable(2, name="z"), cp.Parameter(name="p")
    rows = [z[1] >= z[0] - 0.2, z[1] >= -1, z <= 3]
    return cp.Problem(cp.Minimize((z[0] - p) ** 2 + z[1]), rows), {p: (-2, 2)}


def largest_entry_of_a_matrix():
    Z, P = cp.Variable((2, 2), name="Z"), cp.Parameter((2, 2), name="P")
    return cp.Problem(cp.Minimize(cp.sum_squares(Z - P) + cp.max(Z)), [cp.sum(Z, axis=0) == 0.1]), {P: (-1, 1)}


def regression_with_one_norm():
    x, y = cp.Variable(3, name="x"), cp.Parameter(2, name="y")
    M = np.array([[1.0, 0.2, 0], [0.1, -1, 0.4], [0.3, 0, 0.8], [0.5, 0.5, 0.5]])
    N = np.array([[1.0, 0], [0, 1], [1, 1], [-1, 0.5]])
    return cp.Problem(cp.Minimize(cp.sum_squares(M @ x - N @ y) + 0.3 * cp.norm1(x))), {y: (-1, 1)}


def huber_cost():
    x, p = cp.Variable(2, name="x"), cp.Parameter(2, name="p")
    cost = cp.sum(cp.huber(x - p, 0.5)) + 0.1 * cp.sum_squares(x)
    return cp.Problem(cp.Minimize(cost), [cp.abs(x) <= 1]), {p: (-2, 2)}


def portfolio():
    w, r = cp.Variable(3, name="w", nonneg=True), cp.Parameter(3, name="r")
    S = np.array([[0.3, 0.1, 0], [0.1, 0.4, 0.05], [0, 0.05, 0.2]])
    return cp.Problem(cp.Maximize(r @ w - cp.quad_form(w, S)), [cp.sum(w) == 1]), {r: (-0.5, 0.5)}


def transport():
    """A linear program with demands as parameters."""
    X, d = cp.Variable((2, 2), name="X", nonneg=True), cp.Parameter(2, name="d")
    cost = cp.sum(cp.multiply(np.array([[1, 3.0], [2.0, 1.5]]), X))
    return cp.Problem(cp.Minimize(cost), [cp.sum(X, axis=0) == d, cp.sum(X, axis=1) <= 2]), {d: (0.1, 1.5)}


def total_variation():
    x, y = cp.Variable(4, name="x"), cp.Parameter(4, name="y")
    return cp.Problem(cp.Minimize(cp.sum_squares(x - y) + 0.4 * cp.tv(x))), {y: (-1, 1)}


def weight_of_a_norm():
    x, g = cp.Variable(2, name="x"), cp.Parameter(name="g", nonneg=True)
    return cp.Problem(cp.Minimize(cp.sum_squares(x - np.array([1, 0.3])) + g * cp.norm1(x))), {g: (0, 2)}


def repeated_equality():
    x, p = cp.Variable(2, name="x"), cp.Parameter(name="p")
    rows = [x[0] + x[1] == p, 2 * x[0] + 2 * x[1] == 2 * p, x >= 0]
    return cp.Problem(cp.Minimize(cp.sum_squares(x - 1)), rows), {p: (0, 3)}


def several_kinds_of_parameters():
    x, last = cp.Variable((2, 4), name="x"), cp.Parameter(1, name="last")
    u, x0, ref = cp.Variable((1, 3), name="u"), cp.Parameter(2, name="x0"), cp.Parameter(name="ref")
    cost, rows = 0, [x[:, 0] == x0]
    for k in range(3):
        rate = u[:, k] - (u[:, k - 1] if k else last)
        rows += [x[0, k + 1] == x[0, k] + 0.1 * x[1, k], x[1, k + 1] == x[1, k] + 0.1 * u[0, k]]
        rows += [cp.abs(u[:, k]) <= 1, cp.abs(rate) <= 0.5]
        cost += cp.sum_squares(x[0, k + 1] - ref) + 0.05 * cp.sum_squares(u[:, k]) + 0.1 * cp.sum_squares(rate)
    return cp.Problem(cp.Minimize(cost), rows), {x0: (-1, 1), last: (-1, 1), ref: (-0.5, 0.5)}


DEFINITE = (
    tracking, maximised_form, vector_rows, order_of_names, portfolio, repeated_equality, several_kinds_of_parameters,
)  # fmt: skip
SINGULAR = (
    one_norm_cost, infinity_norm_program, linear_direction, largest_entry_of_a_matrix, regression_with_one_norm,
    huber_cost, transport, total_variation, weight_of_a_norm,
)  # fmt: skip


@pytest.mark.parametrize("build", DEFINITE + SINGULAR)
def test_explicit_law_is_the_solution_of_cvxpy(build):
    problem, bounds = build()
    mpqp = from_cvxpy(problem, bounds=bounds)
    law = solve_mpqp(mpqp)
    assert law.status == "complete"
    assert ("H is singular" in law.message) == (build in SINGULAR)
    parameters = sorted(problem.parameters(), key=lambda p: p.id)
    variables = sorted(problem.variables(), key=lambda v: v.id)
    sign, inside = (1 if isinstance(problem.objective, cp.Minimize) else -1), 0
    for theta in np.random.default_rng(0).uniform(mpqp.theta_min, mpqp.theta_max, size=(12, mpqp.n_theta)):
        for p, part in zip(parameters, np.split(theta, np.cumsum([p.size for p in parameters])[:-1]), strict=True):
            p.value = part.reshape(p.shape, order="F")
        options = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
        value = problem.solve("CLARABEL", ignore_dpp=True, **options)
        if not np.isfinite(value):
            assert law.locate(theta) == -1
            continue
        inside += 1
        declared = np.concatenate([np.ravel(v.value, order="F") for v in variables])
        np.testing.assert_allclose(law(theta), declared, atol=1e-5)
        assert law.value(theta) == pytest.approx(sign * value, abs=1e-6)
    assert inside >= 5


def test_names_follow_the_declaration():
    problem, bounds = order_of_names()
    mpqp = from_cvxpy(problem, bounds=bounds)
    assert (mpqp.theta_names, mpqp.out_names) == (("q", "p"), ("b", "a[0]", "a[1]"))


def test_flat_directions_are_reported_with_the_perturbation():
    z, w, p = cp.Variable(name="z"), cp.Variable(name="w"), cp.Parameter(name="p")
    problem = cp.Problem(cp.Minimize((z - p) ** 2), [z + w <= 1, w >= -1, w <= 1])
    law = solve_mpqp(from_cvxpy(problem, bounds={p: (-2, 2)}))
    assert "H is singular" in law.message
    np.testing.assert_allclose(law(np.array([0.5]))[0], 0.5, atol=1e-6)


def test_a_form_around_a_product_of_parameters_is_refused():
    z, p = cp.Variable(2, name="z"), cp.Parameter(2, name="p")
    problem = cp.Problem(cp.Minimize(cp.quad_form(z - cp.multiply(p, p), Q)), [z <= 1])
    with pytest.raises(ModelError, match="not DPP"):
        from_cvxpy(problem, bounds={p: (0, 1)})
