"""The LP and QP adaptors against SciPy and hand-made cases."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from yannctl.solvers import LinearProgram, QuadraticProgram, farkas_vector, solve_lp, solve_qp, solve_riccati


@given(n=st.integers(1, 5), m=st.integers(1, 12), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_lp_against_scipy_with_duality(n, m, seed):
    rng = np.random.default_rng(seed)
    A, b, c = rng.normal(size=(m, n)), rng.uniform(-0.3, 1, size=m), rng.normal(size=n)
    result = solve_lp(c, A, b)
    expected = scipy.optimize.linprog(-c, A_ub=A, b_ub=b, bounds=(None, None))
    assert result.status == {0: "optimal", 2: "infeasible", 3: "unbounded"}[expected.status]
    if result.status == "optimal":
        assert result.value == pytest.approx(-expected.fun, abs=1e-8)
        np.testing.assert_allclose(A.T @ result.multipliers, c, atol=1e-7)
        assert result.multipliers @ b == pytest.approx(result.value, abs=1e-7)
    proof = farkas_vector(A, b)
    assert (proof is not None) == (result.status == "infeasible")
    if proof is not None:
        assert proof.min() >= 0
        np.testing.assert_allclose(A.T @ proof, 0, atol=1e-8)
        assert b @ proof < 0


def test_lp_rows_can_be_moved_and_objectives_changed():
    program = LinearProgram(np.vstack([np.eye(2), -np.eye(2)]), np.ones(4))
    assert program.maximise(np.array([1.0, 1.0])).value == pytest.approx(2)
    program.set_bound(0, 3.0)
    assert program.maximise(np.array([1.0, 1.0])).value == pytest.approx(4)
    program.set_bound(0, np.inf)
    unbounded = program.maximise(np.array([1.0, 0.0]))
    assert (unbounded.status, unbounded.value) == ("unbounded", np.inf)
    assert program.maximise(np.array([0.0, -1e9])).value == pytest.approx(1e9)


def test_qp_batches_do_not_depend_on_their_order():
    rng = np.random.default_rng(0)
    H, A = np.diag([1.0, 2.0, 3.0]), rng.normal(size=(9, 3))
    costs = 4 * rng.normal(size=(20, 3))
    program = QuadraticProgram(H, A)
    for f in costs:
        program.solve(f, np.ones(9))
    for f in costs[::-1]:
        again, fresh = program.solve(f, np.ones(9)), solve_qp(H, f, A, np.ones(9))
        np.testing.assert_array_equal(again.z, fresh.z)


def test_qp_recovers_after_an_infeasible_right_hand_side():
    program = QuadraticProgram(np.eye(1), np.array([[1.0], [-1.0]]))
    assert program.solve(np.zeros(1), np.array([-1.0, -1.0])).status == "infeasible"
    result = program.solve(np.array([-5.0]), np.array([1.0, 1.0]))
    assert (result.status, result.value) == ("optimal", pytest.approx(-4.5))
    np.testing.assert_allclose(result.multipliers, [4.0, 0.0])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_qp_multipliers_belong_to_the_rows_as_given(scale):
    result = solve_qp(np.eye(2), np.array([-3.0, 0.0]), scale * np.array([[1.0, 0.0]]), scale * np.ones(1))
    np.testing.assert_allclose(result.z, [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(scale * result.multipliers, [2.0], rtol=1e-9)


def test_singular_hessian():
    A, b = np.array([[0.0, 1.0], [1.0, 1.0]]), np.ones(2)
    result = solve_qp(np.diag([1.0, 0.0]), np.array([1.0, -1.0]), A, b)
    np.testing.assert_allclose(result.z, [-1.0, 1.0], atol=1e-6)
    assert solve_qp(np.diag([1.0, 0.0]), np.array([1.0, 1.0]), A, b).status == "unbounded"


def test_scalar_riccati_in_closed_form():
    # a = b = q = r = 1: P = (1 + sqrt 5) / 2, the golden ratio.
    one = np.eye(1)
    P, K = solve_riccati(one, one, one, one)
    assert P[0, 0] == pytest.approx((1 + 5**0.5) / 2, rel=1e-14)
    assert K[0, 0] == pytest.approx(2 / (1 + 5**0.5), rel=1e-14)
