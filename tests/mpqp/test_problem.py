"""MpQp: refusals name field and index; the online solution against Clarabel."""

import dataclasses

import clarabel
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from yannctl import EmptySetError, ModelError, MpQp, condense

NAN, INF = float("nan"), float("inf")


def make(**changes) -> MpQp:
    arguments = {
        "H": [[2.0, 0.0], [0.0, 1.0]], "f": [0.0, 1.0], "F": [[1.0], [0.0]],
        "A": [[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]], "b": [1.0, 1.0, 2.0], "B": [[0.0], [0.0], [1.0]],
        "theta_min": [-3.0], "theta_max": [3.0], "n_out": 1,
    }  # fmt: skip
    return MpQp(**(arguments | changes))


BAD = [
    ({"H": [[1.0, 0.5], [0.0, 1.0]]}, "H", (0, 1)),
    ({"H": [[1.0, 2.0], [2.0, 1.0]]}, "H", None),
    ({"H": [1.0, -1.0]}, "H", (1, 1)),
    ({"H": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]}, "H", None),
    ({"H": [[NAN, 0.0], [0.0, 1.0]]}, "H", (0, 0)),
    ({"f": [0.0, INF]}, "f", 1),
    ({"f": [0.0, 1.0, 2.0]}, "f", None),
    ({"F": [[1.0, 0.0]]}, "F", None),
    ({"F": 1.0}, "F", None),
    ({"A": [[1.0], [-1.0], [0.0]]}, "A", None),
    ({"A": [[1.0, 0.0], [-1.0, 0.0], [NAN, -1.0]]}, "A", (2, 0)),
    ({"b": [1.0, 1.0]}, "A", None),
    ({"b": [1.0, INF, 1.0]}, "b", 1),
    ({"B": [[0.0], [0.0]]}, "B", None),
    ({"theta_min": [3.0]}, "theta_min", 0),
    ({"theta_max": [INF]}, "theta_max", 0),
    ({"theta_max": [1.0, 2.0]}, "theta_max", None),
    ({"n_out": 0}, "n_out", None),
    ({"n_out": 3}, "n_out", None),
    ({"n_out": 1.0}, "n_out", None),
    ({"Y": [[1.0, 2.0]]}, "Y", None),
    ({"y": [1.0, 2.0]}, "y", None),
    ({"y0": NAN}, "y0", None),
    ({"theta_names": ["a", "b"]}, "theta_names", None),
    ({"theta_names": "a"}, "theta_names", None),
    ({"n_out": 2, "out_names": ["a", "a"]}, "out_names", 1),
    ({"n_out": 2, "out_names": ["a", 3]}, "out_names", 1),
    ({"theta_A": [[1.0]]}, "theta_b", None),
    ({"theta_A": [[1.0], [-1.0]], "theta_b": [0.0, -1.0]}, "theta_b", None),
]


@pytest.mark.parametrize(("changes", "field", "index"), BAD)
def test_bad_input_is_refused_with_field_and_index(changes, field, index):
    with pytest.raises(ModelError) as caught:
        make(**changes)
    assert caught.value.field == field
    assert caught.value.index in {index, 0 if field == "y0" else index}
    assert caught.value.remedy


def test_an_empty_domain_has_its_own_error():
    with pytest.raises(EmptySetError):
        make(theta_min=[4.0])


def test_defaults_and_sugar():
    mpqp = make(Y=0, f=0, F=0, B=0)
    assert (mpqp.theta_names, mpqp.out_names, mpqp.y0) == (("theta0",), ("z0",), 0.0)
    assert (mpqp.n_z, mpqp.n_theta, mpqp.n_rows) == (2, 1, 3)
    assert mpqp.F.shape == (2, 1)
    assert make(H=[2.0, 1.0]).H.tolist() == [[2.0, 0.0], [0.0, 1.0]]


def test_tiny_asymmetry_is_averaged_and_singular_h_is_allowed():
    H = make(H=[[2.0, 1e-12], [0.0, 1.0]]).H
    np.testing.assert_array_equal(H, H.T)
    assert make(H=[[1.0, 1.0], [1.0, 1.0]]).n_z == 2


def test_no_rows_at_all():
    mpqp = make(A=[], b=[], B=[])
    result = mpqp.solve_qp([1.0])
    np.testing.assert_allclose(result.z, [-0.5, -1.0], atol=1e-14)
    assert result.multipliers.shape == (0,)


def test_arrays_are_copied_and_frozen():
    H = np.eye(2)
    mpqp = make(H=H)
    H[0, 0] = 7.0
    assert mpqp.H[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        mpqp.H[0, 0] = 5.0
    assert dataclasses.replace(mpqp, y0=3.0).y0 == 3.0


def test_outcomes_are_statuses():
    infeasible = make(A=[[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]], b=[-1.0, 0.5, 2.0]).solve_qp([0.0])
    assert (infeasible.status, infeasible.value) == ("infeasible", INF)
    unbounded = make(H=[2.0, 0.0], f=[0.0, -1.0]).solve_qp([0.0])
    assert (unbounded.status, unbounded.value) == ("unbounded", -INF)
    assert np.isnan(unbounded.z).all()


@pytest.mark.parametrize("theta", [[1.0, 2.0], [NAN], "x"])
def test_bad_parameters(theta):
    with pytest.raises(ModelError):
        make().solve_qp(theta)
    with pytest.raises(ModelError):
        make().solve_qp_batch([[[1.0]]])


@given(nz=st.integers(1, 6), m=st.integers(0, 12), ntheta=st.integers(1, 4), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_online_solution_against_clarabel(nz, m, ntheta, seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(nz, nz))
    scales = 10.0 ** rng.uniform(-3, 3, size=m)
    mpqp = MpQp(
        root @ root.T + 0.1 * np.eye(nz), 3 * rng.normal(size=nz), rng.normal(size=(nz, ntheta)),
        scales[:, None] * rng.normal(size=(m, nz)), scales * rng.uniform(-0.1, 1, size=m),
        scales[:, None] * rng.normal(size=(m, ntheta)) * 0.3, -np.ones(ntheta), np.ones(ntheta), nz,
        Y=np.eye(ntheta), y=rng.normal(size=ntheta), y0=2.0,
    )  # fmt: skip
    theta = rng.uniform(-1, 1, size=(3, ntheta))
    batch = mpqp.solve_qp_batch(theta)
    options = clarabel.DefaultSettings()
    options.verbose = False
    for i, parameter in enumerate(theta):
        one = mpqp.solve_qp(parameter)
        assert one.status == batch.status[i]
        q, right = mpqp.f + mpqp.F @ parameter, (mpqp.b + mpqp.B @ parameter) / scales
        A = sp.csc_matrix(mpqp.A / scales[:, None])
        solver = clarabel.DefaultSolver(
            sp.csc_matrix(np.triu(mpqp.H)), q, A, right, [clarabel.NonnegativeConeT(m)] if m else [], options
        )
        solution = solver.solve()
        if one.status == "infeasible":
            assert "Infeasible" in str(solution.status)
            continue
        assert one.status == "optimal"
        np.testing.assert_array_equal(one.z, batch.z[i])
        np.testing.assert_allclose(one.z, solution.x, atol=1e-4)
        constant = parameter @ mpqp.Y @ parameter / 2 + mpqp.y @ parameter + 2.0
        assert one.value == pytest.approx(solution.obj_val + constant, abs=1e-5)
        residual = mpqp.H @ one.z + q + mpqp.A.T @ one.multipliers
        assert np.abs(residual).max() <= 1e-8 * (1 + np.abs(q).max())
        assert float(mpqp.value_of(one.z, parameter)) == pytest.approx(one.value, rel=1e-12, abs=1e-10)


def test_condense_refuses_what_is_no_ocp():
    with pytest.raises(ModelError, match=r"ocp: expected an Ocp, got MpQp; it is condensed already"):
        condense(make())
    with pytest.raises(ModelError, match=r"ocp: expected an Ocp, got NoneType; state the problem"):
        condense(None)
