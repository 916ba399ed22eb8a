"""Polyhedra and the maximal output admissible set against brute force."""

import itertools

import numpy as np
import pytest
import scipy.spatial
from hypothesis import given, settings
from hypothesis import strategies as st

from yannctl import EmptySetError, ModelError
from yannctl.geometry import Polyhedron, maximal_admissible_set


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_where_qhull_fails_fewer_and_then_moved_rows_are_tried(failures, monkeypatch):
    real, left = scipy.spatial.HalfspaceIntersection, [failures]

    def fails(*args, **options):
        if left[0]:
            left[0] -= 1
            raise scipy.spatial.QhullError("wide merge")
        return real(*args, **options)

    monkeypatch.setattr(scipy.spatial, "HalfspaceIntersection", fails)
    box = Polyhedron(np.vstack([np.eye(3), -np.eye(3), np.eye(3)]), np.append(np.ones(6), 2 * np.ones(3)))
    if failures == 3:
        with pytest.raises(ModelError, match="vertices of 9 rows in 3 dimensions are not found"):
            box.corners(np.zeros(3))
        return
    found = np.unique(np.round(box.corners(np.zeros(3)), 6) + 0.0, axis=0)
    np.testing.assert_array_equal(found, np.array(list(itertools.product([-1.0, 1.0], repeat=3))))


def brute_force_vertices(A, b):
    n, found = A.shape[1], []
    for rows in itertools.combinations(range(len(A)), n):
        if abs(np.linalg.det(A[list(rows)])) > 1e-9:
            x = np.linalg.solve(A[list(rows)], b[list(rows)])
            if np.all(A @ x <= b + 1e-9) and not any(np.allclose(x, y, atol=1e-8) for y in found):
                found.append(x)
    return np.array(found)


@given(n=st.integers(1, 3), extra=st.integers(0, 6), seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_random_polytopes(n, extra, seed):
    rng = np.random.default_rng(seed)
    box = Polyhedron.box(-np.ones(n), 1 + rng.uniform(size=n))
    cuts = Polyhedron(rng.normal(size=(extra, n)), rng.uniform(0.1, 2, size=extra))
    whole = box.intersect(cuts)
    expected, vertices = brute_force_vertices(whole.A, whole.b), whole.vertices()
    assert len(vertices) == len(expected)
    gaps = np.abs(vertices[:, None] - expected[None]).max(-1)
    assert gaps.min(axis=0).max() < 1e-8
    small = whole.reduced()
    assert len(small.b) <= len(whole.b)
    # The same set: equal support in random directions, and every row that stayed is needed.
    directions = rng.normal(size=(8, n))
    np.testing.assert_allclose(small.support(directions), (vertices @ directions.T).max(axis=0), atol=1e-8)
    for i in range(len(small.b)):
        others = Polyhedron(np.delete(small.A, i, axis=0), np.delete(small.b, i))
        assert others.support(small.A[i]) > small.b[i] + 1e-10
    centre, radius = whole.chebyshev()
    gap = (whole.b - whole.A @ centre) / np.linalg.norm(whole.A, axis=1)
    assert gap.min() == pytest.approx(radius, abs=1e-8)
    assert whole.contains(vertices, 1e-8).all()
    assert not whole.contains(2.5 * np.ones(n))


@pytest.mark.parametrize(("seed", "extra"), [(0, 3), (257, 3), (291, 6), (333, 6), (384, 6)])
def test_an_unbounded_direction_is_not_called_that_of_an_empty_set(seed, extra):
    """HiGHS calls some of these programs infeasible: the direction of a row of a polytope, that row left out."""
    rng = np.random.default_rng(seed)
    box = Polyhedron.box(-np.ones(3), 1 + rng.uniform(size=3))
    small = box.intersect(Polyhedron(rng.normal(size=(extra, 3)), rng.uniform(0.1, 2, size=extra))).reduced()
    for i in range(len(small.b)):
        others = Polyhedron(np.delete(small.A, i, axis=0), np.delete(small.b, i))
        # The origin is inside, so the direction is unbounded if it rises along a ray; this program is bounded.
        ray = scipy.optimize.linprog(-small.A[i], others.A, np.zeros(len(others.b)), bounds=[(-1.0, 1.0)] * 3)
        assert (others.support(small.A[i]) == np.inf) == (-ray.fun > 1e-9)
        assert others.support(small.A[i]) > small.b[i]


def test_duplicate_rows_leave_one():
    square = Polyhedron.box([-1, -1], [1, 1])
    assert len(square.intersect(square).reduced().b) == 4
    assert square.intersect(Polyhedron([[2.0, 0.0]], [2.0])).irredundant_rows() != []
    assert len(square.intersect(Polyhedron([[2.0, 0.0]], [2.0])).reduced().b) == 4


def test_empty_sets_come_with_a_proof():
    empty = Polyhedron([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]], [-1.0, 0.0, 0.5])
    assert empty.is_empty()
    y = empty.infeasibility_proof()
    np.testing.assert_allclose(empty.A.T @ y, 0, atol=1e-12)
    assert empty.b @ y < 0
    assert Polyhedron.box([0], [1]).infeasibility_proof() is None
    with pytest.raises(EmptySetError):
        empty.reduced()
    with pytest.raises(EmptySetError):
        empty.vertices()
    with pytest.raises(EmptySetError):
        Polyhedron([[0.0, 0.0]], [-1.0])


def test_unbounded_sets():
    half = Polyhedron([[1.0, 0.0]], [1.0])
    assert not half.is_bounded()
    assert half.support([[1.0, 0.0], [0.0, 1.0]]).tolist() == [1.0, np.inf]
    with pytest.raises(ModelError, match="unbounded"):
        half.vertices()
    assert Polyhedron.box([-np.inf, 0], [np.inf, 1]).A.shape == (2, 2)


@pytest.mark.parametrize(("A", "b", "field"), [([1.0], [1.0], "A"), ([[1.0]], [1.0, 2.0], "b"), ([["x"]], [1.0], "A")])
def test_bad_rows(A, b, field):
    with pytest.raises(ModelError) as caught:
        Polyhedron(A, b)
    assert caught.value.field == field


@given(n=st.integers(1, 3), radius=st.floats(0.1, 0.95), seed=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_admissible_set_is_invariant_and_maximal(n, radius, seed):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, n))
    A *= radius / np.abs(np.linalg.eigvals(A)).max()
    admissible = Polyhedron.box(-rng.uniform(0.5, 2, n), rng.uniform(0.5, 2, n))
    found = maximal_admissible_set(A, admissible)
    x = found.vertices()
    assert found.contains(x @ A.T, 1e-7).all()
    assert admissible.contains(x, 1e-8).all()
    points = rng.uniform(-2, 2, size=(300, n))
    never_leaves, state = np.ones(len(points), dtype=bool), points
    for _ in range(200):
        never_leaves &= admissible.contains(state, 0.0)
        state = state @ A.T
    inside = found.contains(points, 1e-7)
    assert np.all(inside[never_leaves])
    assert np.all(never_leaves[found.contains(points, -1e-7)])


def test_admissible_set_refusals():
    box = Polyhedron.box([-1.0], [1.0])
    with pytest.raises(ModelError, match="spectral radius"):
        maximal_admissible_set(np.array([[1.0]]), box)
    with pytest.raises(EmptySetError, match="origin"):
        maximal_admissible_set(np.array([[0.5]]), Polyhedron.box([0.5], [1.0]))
    rotation = 0.9999 * np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    with pytest.raises(ModelError, match="not determined after 5 steps"):
        maximal_admissible_set(rotation, Polyhedron.box([-1, -1], [1, 1]), max_steps=5)
