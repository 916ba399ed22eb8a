"""Point location by search tree: the evaluation rule in every bit, everywhere."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from yannctl import FileFormatError, PwaLaw, solve_mpqp
from yannctl.pwa.evaluation import break_even
from yannctl.pwa.search_tree import Lookup
from yannctl.pwa.tree_building import build_tree

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from problems import problem

NAMES = ("P1_N5", "P1_N10", "P3_N5", "P5_n5m20t3", "H_facet", "H_units", "H_deadbeat")


@pytest.fixture(scope="module", params=NAMES)
def law(request):
    return solve_mpqp(problem(request.param))


def scanned(law):
    """Return the same law without a tree."""
    return replace(law)


def awkward_points(law, seed=0, count=400):
    """Return points anywhere, on corners, on facets to the last bit, and a hair beside them."""
    g = np.random.default_rng(seed)
    half = (law.theta_max - law.theta_min) / 2
    anywhere = g.uniform(law.theta_min - 0.1 * half, law.theta_max + 0.1 * half, (4 * count, law.ntheta))
    corners = np.concatenate(
        [law.vertices(int(i)) for i in g.choice(law.n_regions, min(20, law.n_regions), replace=False)]
    )
    inner = anywhere[scanned(law).locate(anywhere) >= 0]
    a, b = inner[g.integers(len(inner), size=count)], inner[g.integers(len(inner), size=count)]
    where = scanned(law).locate(a)
    for _ in range(70):  # bisect onto the border of the region of a
        middle = (a + b) / 2
        same = (scanned(law).locate(middle) == where)[:, None]
        a, b = np.where(same, middle, a), np.where(same, b, middle)
    beside = [a + s * half * g.standard_normal(a.shape) for s in (1e-16, 1e-12, 1e-9, 3e-9, 1e-8, 1e-7)]
    return np.concatenate([anywhere, corners, a, b, *beside, law.theta_min[None], law.theta_max[None]])


def test_tree_is_the_rule_in_every_bit(law):
    fast = law.with_tree()
    assert fast.tree is not None
    assert law.tree is None
    theta = awkward_points(law)
    np.testing.assert_array_equal(fast.locate(theta), law.locate(theta))
    np.testing.assert_array_equal(fast(theta), law(theta))
    np.testing.assert_array_equal(fast.extrapolate(theta[:200]), law.extrapolate(theta[:200]))
    np.testing.assert_array_equal(np.array([fast(t) for t in theta[::7]]), law(theta[::7]))
    assert np.isnan(law(theta)).any()


def test_tree_is_small(law):
    tree = law.with_tree().tree
    assert tree.n_nodes <= 10 * law.n_regions
    assert tree.depth <= 6 * np.log2(law.n_regions) + 8
    records = np.column_stack([tree.planes, tree.child])
    assert len(np.unique(records, axis=0)) == len(tree.planes)  # nothing is kept twice
    assert (tree.child[:, 0] != tree.child[:, 1]).all()
    assert set(np.unique(tree.child)) == set(range(1, tree.n_nodes))


@pytest.mark.parametrize("name", ["P2_N3", pytest.param("H_weak", marks=pytest.mark.slow)])
def test_four_parameters(name):
    law = solve_mpqp(problem(name))
    fast = law.with_tree()
    theta = awkward_points(law)
    np.testing.assert_array_equal(fast.locate(theta), law.locate(theta))
    np.testing.assert_array_equal(fast(theta), law(theta))


def test_few_points_are_left_to_the_rule():
    law = solve_mpqp(problem("P2_N3"))
    tree = law.with_tree().tree
    theta = np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (20_000, 4))
    at = np.zeros(len(theta), np.int64)
    for _ in range(tree.depth):
        plane = tree.planes[np.minimum(at, len(tree.planes) - 1)]
        side = (np.einsum("ij,ij->i", plane[:, :-1], theta) > plane[:, -1]).astype(int)
        at = np.where(at < len(tree.planes), tree.child[np.minimum(at, len(tree.planes) - 1), side], at)
    answer = tree.answer[at - len(tree.planes)]
    assert (answer == -3).mean() < 1e-3
    told = law.locate(theta)
    np.testing.assert_array_equal(told[answer == -1], -1)
    np.testing.assert_array_equal(law.F[told[answer >= 0]], law.F[answer[answer >= 0]])


def test_few_regions_are_compared_where_the_region_is_asked_for(law):
    regions = law.with_tree().tree.regions
    assert len(regions.members) <= 2 * regions.n_leaves
    assert set(np.unique(regions.members)) == set(range(law.n_regions))


def test_odd_inputs():
    law = solve_mpqp(problem("P1_N5")).with_tree()
    for count in range(9):  # the batch goes four at a time
        theta = np.random.default_rng(count).uniform(-6, 6, (count, 2))
        np.testing.assert_array_equal(law(theta), scanned(law)(theta))
    for bad in ([np.nan, 0.0], [0.0, np.inf], [-np.inf, np.nan], [1e300, -1e300]):
        assert np.isnan(law(np.array(bad))).all()
        assert law.locate(np.array([bad]))[0] == -1
    point = np.array([[0.5, 0.25]])
    for form in (point[0], point[0].astype(np.float32), [0.5, 0.25], np.array([0.5, 9, 0.25])[::2], point):
        np.testing.assert_array_equal(np.ravel(law(form)), law(point)[0])


def test_regions_beyond_the_box_and_overlaps():
    hand = PwaLaw(
        row_start=np.array([0, 1, 2, 4]), H=np.array([[1.0], [-1.0], [1.0], [-1.0]]),
        k=np.array([0.0, 0.0, 0.25, 0.25]), F=np.array([[[1.0]], [[2.0]], [[3.0]]]), g=np.zeros((3, 1)),
        theta_min=np.array([-1.0]), theta_max=np.array([1.0]),
    )  # fmt: skip
    theta = np.concatenate([np.linspace(-3, 3, 601), [0.125, -0.125, 1e12]])[:, None]
    fast = hand.with_tree()
    np.testing.assert_array_equal(fast.locate(theta), hand.locate(theta))
    np.testing.assert_array_equal(fast(theta), hand(theta))


def test_float32_follows_the_rule_in_float32():
    law = solve_mpqp(problem("P3_N5"))
    fast = Lookup(law, build_tree(law, "float"))
    theta = awkward_points(law).astype(np.float32)
    H, k, F, g = (a.astype(np.float32) for a in (law.H, law.k, law.F, law.g))
    rows = H[:, 0] * theta[:, :1] + H[:, 1] * theta[:, 1:] - k
    worst = np.maximum.reduceat(rows, law.row_start[:-1], axis=1)
    index = np.where(worst.min(axis=1) <= fast.tree.limits[1], worst.argmin(axis=1), -1)
    np.testing.assert_array_equal(fast.locate(theta), index)
    u = F[index, :, 0] * theta[:, :1] + F[index, :, 1] * theta[:, 1:] + g[index]
    out = fast.many(theta)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, np.where(index[:, None] < 0, np.float32(np.nan), u))


def test_trees_are_saved(tmp_path, monkeypatch):
    law = solve_mpqp(problem("P1_N5"))
    law.save(tmp_path / "plain")
    assert PwaLaw.load(tmp_path / "plain").tree is None
    fast = law.with_tree()
    fast.save(tmp_path / "tree")
    back = PwaLaw.load(tmp_path / "tree")
    np.testing.assert_array_equal(back.tree.planes, fast.tree.planes)
    np.testing.assert_array_equal(back.tree.regions.members, fast.tree.regions.members)
    theta = awkward_points(law)
    np.testing.assert_array_equal(back(theta), law(theta))
    fast.tree.child[0, 0] = 10_000
    fast.save(tmp_path / "broken")
    with pytest.raises(FileFormatError, match="tree"):
        PwaLaw.load(tmp_path / "broken")


def test_large_batches_build_the_tree(monkeypatch):
    law = solve_mpqp(problem("P1_N5"))
    assert 10_000 < break_even(law) < 1_000_000
    assert break_even(solve_mpqp(problem("P3_N5"))) < break_even(law)
    monkeypatch.setattr("yannctl.pwa.evaluation.LOAD_SECONDS", 0.0)
    theta = np.random.default_rng(0).uniform(-5, 5, (7000, 2))
    few = law(theta[:6999])
    assert law.tree is None
    np.testing.assert_array_equal(law(theta)[:6999], few)
    assert law.tree is not None
    assert law.with_status("partial", "stopped").tree is law.tree
    assert replace(law, g=law.g + 1).tree is None


def test_equal_laws_are_equal_in_every_bit():
    law = solve_mpqp(problem("P3_N5"))
    flat = np.concatenate([law.F.reshape(law.n_regions, -1), law.g], axis=1)
    assert len(np.unique(flat, axis=0)) == law.n_laws == 59
