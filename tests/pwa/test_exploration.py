"""The explicit solver against known region counts, an online QP, and programs solved by hand."""

import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

from yannctl import ModelError, MpQp, Settings, solve_mpqp

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from problems import REGIONS, problem

QUICK = ["P1_N5", "P1_N10", "P2_N3", "P3_N5", "P5_n3m10t4", "P5_n5m20t3", *[n for n in REGIONS if n.startswith("H_")]]
SLOW = ["P1_N20", "P2_N5", "P3_N10", "P4_nx4_N3", "P5_n5m20t6"]


def against_qp(law, mpqp, count, seed=0):
    """Holes, largest error relative to the output range and largest relative error of the value, at random points."""
    points = np.random.default_rng(seed).uniform(mpqp.theta_min, mpqp.theta_max, (count, mpqp.n_theta))
    exact = mpqp.solve_qp_batch(points)
    feasible = np.array([status == "optimal" for status in exact.status])
    u, value = law(points), law.value(points)
    held = ~np.isnan(u).any(axis=1)
    both = feasible & held
    reference = exact.z[both][:, : law.n_out]
    error = np.abs(u[both] - reference) / np.ptp(reference, axis=0)
    gap = np.abs(value[both] - exact.value[both]) / (1 + np.abs(exact.value[both]))
    return int((feasible != held).sum()), float(error.max()), float(gap.max())


def check_problem(name, count):
    mpqp = problem(name)
    law = solve_mpqp(mpqp)
    assert law.status == "complete"
    assert REGIONS[name] in {None, law.n_regions}
    holes, error, gap = against_qp(law, mpqp, count)
    assert holes == 0
    assert error <= 1e-8
    assert gap <= 1e-8


@pytest.mark.parametrize("name", QUICK)
def test_counts_and_law(name):
    check_problem(name, 200)
    assert solve_mpqp(problem(name)).audit().n_open == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_counts_and_law_of_large_problems(name):
    check_problem(name, 10_000)


def test_saturation_by_hand():
    """min z^2/2 - theta z, |z| <= 1: z = clip(theta), V = -theta^2/2 inside."""
    law = solve_mpqp(MpQp([[1]], 0, [[-1]], [[1], [-1]], [1, 1], 0, [-3], [3], 1))
    theta = np.linspace(-3, 3, 61)[:, None]
    assert law.n_regions == 3
    np.testing.assert_allclose(law(theta), np.clip(theta, -1, 1), atol=1e-15)
    inside = np.abs(theta[:, 0]) < 1
    np.testing.assert_allclose(law.value(theta)[inside], -(theta[inside, 0] ** 2) / 2, atol=1e-15)
    np.testing.assert_allclose(law.multipliers([2.5]), [1.5, 0.0], atol=1e-12)
    assert sorted(law.active) == [(), (0,), (1,)]


def test_value_has_the_terms_of_the_program():
    """V = z'Hz/2 + (f + F theta)'z + theta'Y theta/2 + y'theta + y0 at the minimiser, off-centre parameters too."""
    base = problem("P1_N5")
    mpqp = MpQp(
        base.H, base.f + 0.3, base.F, base.A, base.b, base.B, [-2, -1], [4, 2], 1, Y=[[2, 1], [1, 3]], y=[1, 2], y0=7
    )
    law = solve_mpqp(mpqp)
    holes, error, gap = against_qp(law, mpqp, 200)
    assert (holes, error < 1e-9, gap < 1e-9) == (0, True, True)


@pytest.mark.parametrize("name", ["P2_N3", "H_twice", "P5_n3m10t4"])
def test_multipliers_satisfy_kkt(name):
    """H z + f + F theta + A'lam = 0, lam >= 0, lam'(b + B theta - A z) = 0."""
    mpqp = problem(name)
    full = MpQp(mpqp.H, mpqp.f, mpqp.F, mpqp.A, mpqp.b, mpqp.B, mpqp.theta_min, mpqp.theta_max, len(mpqp.f))
    law = solve_mpqp(full)
    theta = np.random.default_rng(2).uniform(mpqp.theta_min, mpqp.theta_max, (100, law.ntheta))
    theta = theta[law.locate(theta) >= 0]
    z, lam = law(theta), law.multipliers(theta)
    gradient = z @ full.H + full.f + theta @ full.F.T + lam @ full.A
    slack = full.b + theta @ full.B.T - z @ full.A.T
    scale = 1 + np.abs(z @ full.H).max()
    assert np.abs(gradient).max() < 1e-9 * scale
    assert lam.min() >= 0
    assert slack.min() > -1e-9 * scale
    assert np.abs(lam * slack).max() < 1e-8 * scale


def test_equality_rows_are_eliminated():
    """min |z|^2/2 with z0 + z1 = theta, z0 <= 1: z0 = min(theta/2, 1); the multiplier goes to one side of the pair."""
    A, B = [[1, 1], [-1, -1], [1, 0]], [[1], [-1], [0]]
    law = solve_mpqp(MpQp(np.eye(2), 0, np.zeros((2, 1)), A, [0, 0, 1], B, [-4], [4], 2))
    theta = np.linspace(-4, 4, 33)[:, None]
    z0 = np.minimum(theta / 2, 1)
    np.testing.assert_allclose(law(theta), np.hstack([z0, theta - z0]), atol=1e-13)
    np.testing.assert_allclose(law.multipliers([-2.0]), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(law.multipliers([1.0]), [0, 0.5, 0], atol=1e-12)
    assert law.audit().n_open == 0


def test_without_rows_there_is_one_region():
    law = solve_mpqp(MpQp([[2]], 1, [[4]], np.zeros((0, 1)), [], np.zeros((0, 1)), [-1], [1], 1))
    assert law.n_regions == 1
    np.testing.assert_allclose(law([0.5]), [-1.5], atol=1e-15)
    assert law.multipliers([0.5]).shape == (0,)


def test_rows_without_variables_bound_the_parameters():
    A, b, B = [[1], [0], [0]], [5, 1, 3], [[0], [-1], [0]]  # 0 <= 1 - theta, 0 <= 3
    law = solve_mpqp(MpQp([[1]], 0, [[-1]], A, b, B, [-2], [2], 1))
    assert law.status == "complete"
    np.testing.assert_array_equal(law.locate([[0.9], [1.1]]) >= 0, [True, False])
    empty = solve_mpqp(MpQp([[1]], 0, [[-1]], A, [5, 1, -3], B, [-2], [2], 1))
    assert (empty.status, empty.n_regions) == ("infeasible", 0)


def test_polyhedral_parameter_set():
    base = problem("P1_N5")
    mpqp = MpQp(
        base.H, base.f, base.F, base.A, base.b, base.B, base.theta_min, base.theta_max, 1,
        theta_A=[[1, 1], [0, 0]], theta_b=[0.5, 1],
    )  # fmt: skip
    law = solve_mpqp(mpqp)
    assert law.locate([1.0, 0.0]) == -1
    assert law.locate([0.0, 0.4]) >= 0
    assert law.audit().n_open == 0


def test_infeasible_unbounded_and_flat_programs_have_a_status():
    one = np.ones(1)
    gap = solve_mpqp(MpQp([[1]], 0, [[1]], [[1], [-1]], [-2, 1], 0, -one, one, 1))
    assert gap.status == "infeasible"
    assert "widen" in gap.message or "contradict" in gap.message
    assert np.isnan(gap([0.0])).all()
    free = solve_mpqp(MpQp([[0]], 1, [[0]], [[1]], [1], 0, -one, one, 1))
    assert free.status == "unbounded"
    assert "bound z" in free.message
    flat = solve_mpqp(MpQp([[1]], 0, [[1]], [[1], [-1]], [0, 0], [[1], [-1.0000001]], [0], [1], 1))
    assert flat.status == "infeasible"


def test_linear_program_is_solved_by_the_regularised_path():
    """min z0 + z1 with z >= theta, z0 >= 0: the law max(theta, 0), theta."""
    A, B = [[-1, 0], [0, -1], [-1, 0]], [[-1], [-1], [0]]
    law = solve_mpqp(MpQp(np.zeros((2, 2)), 1, np.zeros((2, 1)), A, [0, 0, 0], B, [-2], [2], 2))
    theta = np.linspace(-2, 2, 21)[:, None]
    np.testing.assert_allclose(law(theta), np.hstack([np.maximum(theta, 0), theta]), atol=1e-6)
    assert law.status == "complete"
    assert "was added to it along flat directions" in law.message


def test_limits_return_a_usable_partial_law():
    mpqp = problem("P2_N3")
    law = solve_mpqp(mpqp, Settings(max_regions=40))
    assert law.status == "partial"
    assert "max_regions" in law.message
    assert law.n_regions == 40
    assert solve_mpqp(mpqp, Settings(max_regions=285)).status == "complete"
    points = np.random.default_rng(0).uniform(mpqp.theta_min, mpqp.theta_max, (500, 4))
    held = law.locate(points) >= 0
    exact = mpqp.solve_qp_batch(points[held])
    np.testing.assert_allclose(law(points[held]), exact.z[:, :1], atol=1e-7)
    assert law.audit().n_open > 0
    assert solve_mpqp(mpqp, Settings(max_seconds=1e-9)).status == "partial"
    assert "max_bytes" in solve_mpqp(mpqp, Settings(max_bytes=1000)).message


def test_interruption_returns_what_was_found(monkeypatch):
    from yannctl.pwa import exploration

    calls = []

    def interrupt(self):
        calls.append(self)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(exploration.Exploration, "_limited", interrupt)
    law = solve_mpqp(problem("P2_N3"))
    assert law.status == "partial"
    assert "Ctrl-C" in law.message
    assert law.n_regions > 1


def test_linear_programs_find_the_same_regions_as_double_description():
    for name in ("P1_N5", "P5_n3m10t4", "H_facet"):
        assert solve_mpqp(problem(name), Settings(vertex_parameters=1)).n_regions == REGIONS[name]


def test_mistakes_raise():
    mpqp = problem("P1_N5")
    with pytest.raises(ModelError, match="n_jobs"):
        solve_mpqp(mpqp, n_jobs=0)
    with pytest.raises(ModelError, match="max_regions"):
        Settings(max_regions=0)


def test_the_answer_is_deterministic():
    first, second = (solve_mpqp(problem("H_twins")) for _ in range(2))
    np.testing.assert_array_equal(first.H, second.H)
    np.testing.assert_array_equal(first.F, second.F)


@pytest.mark.parametrize("name", ["H_twins", "P2_N5"])
def test_the_answer_does_not_depend_on_the_number_of_workers(name, monkeypatch):
    from yannctl.pwa import lookahead

    monkeypatch.setattr(lookahead, "REGIONS", 100)
    monkeypatch.setattr(lookahead, "LEAST", 20)
    mpqp = problem(name)
    with joblib.parallel_config(backend="threading"):
        laws = [solve_mpqp(mpqp, n_jobs=n_jobs) for n_jobs in (1, 2, 3)]
    for law in laws[1:]:
        assert law.active == laws[0].active
        for array in ("row_start", "H", "k", "F", "g", "P", "p", "c"):
            np.testing.assert_array_equal(getattr(law, array), getattr(laws[0], array))


def test_processes_give_the_same_law():
    mpqp = problem("P5_n5m20t3")
    first, second = solve_mpqp(mpqp), solve_mpqp(mpqp, n_jobs=2)
    np.testing.assert_array_equal(first.H, second.H)
    np.testing.assert_array_equal(first.F, second.F)


def test_progress_goes_to_stderr_only(capfd):
    law = solve_mpqp(problem("P1_N5"), progress=True)
    assert law.n_regions == 31
    assert capfd.readouterr().out == ""


def test_the_package_loads_without_its_compiler():
    import subprocess

    code = (
        "import sys, yannctl; from yannctl.pwa import PwaLaw, Settings;"
        "assert not {'numba', 'torch', 'casadi', 'matplotlib'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
