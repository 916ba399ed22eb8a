"""Presolve: the reduced program has the solution of the original, and rows that say nothing are gone."""

import numpy as np
import pytest

from yannctl import MpQp
from yannctl.errors import ModelError
from yannctl.mpqp.hessian import inverse_root
from yannctl.mpqp.presolve import presolve
from yannctl.pwa.online import OnlineQp


def random_program(seed):
    """A program with a repeated row, a weaker copy, a row without a decision and sometimes an equality."""
    generator = np.random.default_rng(seed)
    nz, m, ntheta = int(generator.integers(2, 6)), int(generator.integers(4, 12)), int(generator.integers(1, 4))
    A, B = generator.normal(size=(m, nz)), 0.3 * generator.normal(size=(m, ntheta))
    A[generator.random((m, nz)) < 0.3] = 0.0
    A[np.arange(m), generator.integers(nz, size=m)] += 2.0
    b = generator.uniform(1.0, 3.0, m)
    b[2] *= 1 - seed % 2  # an equality through the point z = 0, theta = 0, where the other rows have room
    factor = generator.uniform(0.1, 10.0)
    A = np.vstack([A, factor * A[0], A[1], np.zeros(nz)])
    B = np.vstack([B, factor * B[0], B[1], np.full(ntheta, 0.3)])
    b = np.concatenate([b, [factor * b[0], b[1] + 0.5, 10.0]])
    if seed % 2:
        A, B, b = np.vstack([A, -A[2]]), np.vstack([B, -B[2]]), np.append(b, -b[2])
    root = generator.normal(size=(nz + 1, nz))
    return MpQp(
        H=root.T @ root, f=generator.normal(size=nz), F=generator.normal(size=(nz, ntheta)), A=A, b=b, B=B,
        theta_min=-np.ones(ntheta), theta_max=2 * np.ones(ntheta), n_out=1,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_the_reduced_program_has_the_same_solution(seed):
    program = random_program(seed)
    reduced = presolve(program)
    assert len(reduced.rows) <= program.n_rows - (5 if seed % 2 else 3)
    assert len(reduced.equalities) == seed % 2
    np.testing.assert_allclose(np.linalg.norm(reduced.M, axis=1), 1.0, atol=1e-14)
    assert np.abs(reduced.D).max() == pytest.approx(1.0)
    online = OnlineQp(reduced, 1e-9)
    feasible = 0
    for scaled in np.random.default_rng(seed).uniform(-1, 1, (20, program.n_theta)):
        exact = program.solve_qp(reduced.centre + reduced.half_range * scaled)
        lam = online.solve(scaled)
        assert (lam is None) == (exact.status != "optimal")
        if lam is None:
            continue
        feasible += 1
        z = reduced.Zv @ (-reduced.M.T @ lam) + reduced.Zt @ np.append(scaled, 1.0)
        np.testing.assert_allclose(z, exact.z, atol=1e-6 * (1 + np.abs(exact.z).max()))
    assert feasible > 3


def test_rows_that_contradict_each_other_everywhere_are_named():
    A, b = np.array([[1.0, 0.0], [0.0, 1.0], [-2.0, 0.0]]), np.array([1.0, 1.0, -4.0])
    box = {"theta_min": [-1.0], "theta_max": [1.0]}
    reduced = presolve(
        MpQp(H=np.eye(2), f=0.0 * b[:2], F=np.ones((2, 1)), A=A, b=b, B=np.zeros((3, 1)), **box, n_out=1)
    )
    assert "rows 0 and 2 of A contradict each other" in reduced.problem


def test_rows_that_bounds_keep_inactive_are_dropped():
    A = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [1.0, 1.0], [1.0, -1.0]])
    b = np.array([1.0, 1.0, 1.0, 1.0, 1.5, 2.5])
    box = {"theta_min": [-1.0], "theta_max": [1.0]}
    reduced = presolve(
        MpQp(H=np.eye(2), f=np.zeros(2), F=np.ones((2, 1)), A=A, b=b, B=np.zeros((6, 1)), **box, n_out=1)
    )
    assert reduced.rows.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_the_inverse_root_squares_to_the_inverse(n):
    generator = np.random.default_rng(n)
    root = generator.normal(size=(n + 3, n)) * np.geomspace(1e-4, 1e4, n)  # what scaling the variables cures
    H = root.T @ root
    inverse = inverse_root(H, 1e13)
    assert inverse is not None
    np.testing.assert_allclose(inverse.T @ H @ inverse, np.eye(n), atol=1e-10)


def test_a_singular_hessian_has_no_inverse_root_and_an_indefinite_one_is_refused():
    assert inverse_root(np.array([[1.0, 1.0], [1.0, 1.0]]), 1e13) is None
    assert inverse_root(np.array([[1.0, 1.0], [1.0, 1.0 + 1e-15]]), 1e13) is None
    assert inverse_root(np.diag([1.0, 0.0]), 1e13) is None
    with pytest.raises(ModelError, match="H"):
        inverse_root(np.array([[1.0, 2.0], [2.0, 1.0]]), 1e13)
