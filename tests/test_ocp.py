"""Ocp: every refusal names its field and index; P, K and the terminal set against independent computations."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yannctl import EmptySetError, LinearModel, ModelError, NotStabilisableError, Ocp

A = np.array([[1.02, 0.05], [0.4, 0.95]])
B = np.array([[0.004], [0.15]])
NAN, INF = float("nan"), float("inf")


def make(**changes) -> Ocp:
    arguments = {
        "lin": LinearModel(A=A, B=B),
        "Q": [1.0, 0.1],
        "R": 0.01,
        "N": 4,
        "x_min": [-2, -8],
        "x_max": [2, 8],
        "u_min": -3.0,
        "u_max": 3.0,
    }
    return Ocp(**(arguments | changes))


BAD = [
    ({"lin": (A, B)}, "lin", None),
    ({"Q": [[1.0, NAN], [0.0, 1.0]]}, "Q", (0, 1)),
    ({"Q": [1.0, INF]}, "Q", 1),
    ({"Q": [1.0, 2.0, 3.0]}, "Q", None),
    ({"Q": [[1.0, 2.0], [3.0]]}, "Q", None),
    ({"Q": "heavy"}, "Q", None),
    ({"Q": {"a": 1}}, "Q", None),
    ({"Q": None}, "Q", None),
    ({"Q": [[1.0, 0.5], [0.0, 1.0]]}, "Q", (0, 1)),
    ({"Q": [1.0, -1e-3]}, "Q", (1, 1)),
    ({"Q": [1.0, -1e-14]}, "Q", (1, 1)),
    ({"Q": [[1.0, 2.0], [2.0, 1.0]]}, "Q", None),
    ({"Q": np.array([1.0, 1j])}, "Q", None),
    ({"R": 0.0}, "R", (0, 0)),
    ({"R": -1.0}, "R", (0, 0)),
    ({"R": [1.0, 1.0]}, "R", None),
    ({"R": NAN}, "R", None),
    ({"N": 0}, "N", None),
    ({"N": 2.5}, "N", None),
    ({"N": True}, "N", None),
    ({"gamma": 0.0}, "gamma", None),
    ({"gamma": 1.01}, "gamma", None),
    ({"gamma": "0.9"}, "gamma", None),
    ({"gamma": [0.9, 0.9]}, "gamma", None),
    ({"x_min": [-2, 9]}, "x_min", 1),
    ({"x_min": [-2, NAN]}, "x_min", 1),
    ({"x_max": [2, 8, 9]}, "x_max", None),
    ({"x_min": [INF, -8], "x_max": [INF, 8]}, "x_min", 0),
    ({"u_min": 3.0}, "u_min", 0),
    ({"u_min": 4.0, "u_max": -4.0}, "u_min", 0),
    ({"soft": "l2"}, "soft", None),
    ({"soft": True}, "soft", None),
    ({"terminal": "cost"}, "terminal", None),
    ({"x_ref": [0.0, INF]}, "x_ref", 1),
    ({"u_ref": 5.0}, "u_ref", 0),
    ({"theta_min": [-1, -INF], "theta_max": [1, 1]}, "theta_min", 1),
    ({"theta_min": [1, -1], "theta_max": [-1, 1]}, "theta_min", 0),
    ({"theta_max": [1, 1, 1]}, "theta_max", None),
    ({"soft_quadratic": 0.0}, "soft_quadratic", None),
    ({"soft_weight": -1.0}, "soft_weight", None),
    ({"terminal": "set", "x_ref": [0.5, 0.0]}, "x_ref", 0),
    ({"terminal": "set", "x_max": [0.0, 8]}, "x_ref", 0),
    ({"lin": LinearModel(A=np.diag([1.2, 0.5]), B=[[0.0], [1.0]])}, "B", None),
]


@pytest.mark.parametrize(("changes", "field", "index"), BAD)
def test_bad_input_is_refused_with_field_and_index(changes, field, index):
    with pytest.raises(ModelError) as caught:
        make(**changes)
    assert (caught.value.field, caught.value.index) == (field, index)
    assert caught.value.remedy
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize("changes", [{"x_min": [3, -8]}, {"u_min": 3.0}, {"theta_min": [2, -8]}])
def test_empty_sets_have_their_own_error(changes):
    with pytest.raises(EmptySetError):
        make(**changes)


def test_eigenvalue_is_named():
    with pytest.raises(ModelError, match=r"smallest eigenvalue -1"):
        make(Q=[[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(NotStabilisableError, match=r"eigenvalue 1\.2 .* states in it: 0"):
        make(lin=LinearModel(A=np.diag([1.2, 0.5]), B=[[0.0], [1.0]]))


@given(
    modulus=st.floats(0.99, 1.01),
    angle=st.sampled_from([0.0, np.pi, 0.7]),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
@settings(max_examples=40, deadline=None)
def test_planted_unreachable_modes(modulus, angle, seed, scale):
    """A2: refused from 1 − 1e-8 on, whatever the basis and the units; accepted below."""
    if abs(modulus - 1) < 1e-7:
        return
    rng = np.random.default_rng(seed)
    block = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * modulus
    hidden = block if 0 < angle < 3 else np.array([[modulus * np.cos(angle)]])
    n, k = 3, len(hidden)
    full = np.block([[rng.normal(size=(n, n)), rng.normal(size=(n, k))], [np.zeros((k, n)), hidden]])
    T = np.linalg.qr(rng.normal(size=(n + k, n + k)))[0] * scale ** rng.choice([0, 0.5, 1], size=(n + k, 1))
    gain = np.vstack([rng.normal(size=(n, 2)), np.zeros((k, 2))])
    lin = LinearModel(A=T @ full @ np.linalg.inv(T), B=T @ gain)
    Q = (np.linalg.inv(T).T @ np.linalg.inv(T)) if scale == 1.0 else np.diag(1.0 / np.diag(T @ T.T))
    if modulus > 1:
        with pytest.raises(NotStabilisableError):
            Ocp(lin, Q, 1.0, 2)
    elif scale == 1.0:
        assert Ocp(lin, Q, 1.0, 2).K.shape == (2, n + k)


def test_stabilisability_is_asked_of_the_discounted_pair():
    lin = LinearModel(A=np.diag([1.0, 0.5]), B=[[0.0], [1.0]])
    with pytest.raises(NotStabilisableError):
        Ocp(lin, 1.0, 1.0, 3)
    P = Ocp(lin, 1.0, 1.0, 3, gamma=0.9).P
    assert P[0, 0] == pytest.approx(1 / (1 - 0.9), rel=1e-12)


def test_multiple_eigenvalues_are_resolved():
    rng = np.random.default_rng(0)
    T = rng.normal(size=(3, 3))
    jordan = np.array([[1.0, 1, 0], [0, 1, 1], [0, 0, 1]])
    inverse = np.linalg.inv(T)
    make_lin = lambda b: LinearModel(A=T @ jordan @ inverse, B=T @ b)  # noqa: E731
    assert Ocp(make_lin(np.array([[0], [0], [1.0]])), 1.0, 1.0, 2).K.shape == (1, 3)
    with pytest.raises(NotStabilisableError):
        Ocp(make_lin(np.array([[0], [1.0], [0]])), 1.0, 1.0, 2)


def test_unweighted_mode_on_the_circle_is_refused():
    with pytest.raises(ModelError, match="without weight") as caught:
        Ocp(LinearModel(A=[[1.0]], B=[[1.0]]), 0.0, 1.0, 3)
    assert caught.value.field == "Q"


@pytest.mark.parametrize("gamma", [1.0, 0.97, 0.5])
def test_terminal_weight_is_the_fixed_point(gamma):
    ocp = make(gamma=gamma)
    P = np.zeros((2, 2))
    for _ in range(5000):  # value iteration, an independent route to the same fixed point
        K = np.linalg.solve(ocp.R + gamma * B.T @ P @ B, gamma * B.T @ P @ A)
        P = ocp.Q + gamma * A.T @ P @ A - gamma * A.T @ P @ B @ K
    np.testing.assert_allclose(ocp.P, P, rtol=1e-10)
    np.testing.assert_allclose(ocp.K, K, rtol=1e-9)


def test_bad_units_do_not_hurt_the_riccati_equation():
    T = np.diag([1e5, 1e-4])
    inverse = np.linalg.inv(T)
    lin = LinearModel(A=T @ A @ inverse, B=T @ B * 1e3)
    scaled = Ocp(lin, inverse @ np.diag([1.0, 0.1]) @ inverse, 0.01e6, 4)
    np.testing.assert_allclose(T @ scaled.P @ T, make().P, rtol=1e-8)


def test_scalars_vectors_and_matrices_mean_the_same():
    a, b = make(Q=2.0, R=3.0, x_min=-1.0, x_max=1.0), make(Q=2 * np.eye(2), R=[[3.0]], x_min=[-1, -1], x_max=[1, 1])
    np.testing.assert_array_equal(a.Q, b.Q)
    np.testing.assert_array_equal(a.x_min, b.x_min)
    np.testing.assert_array_equal(a.theta_max, [1, 1])
    np.testing.assert_array_equal(a.P, b.P)


def test_replace_and_immutability():
    ocp = make()
    longer = dataclasses.replace(ocp, N=7, gamma=0.9)
    assert (longer.N, longer.gamma) == (7, 0.9)
    assert not np.allclose(longer.P, ocp.P)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ocp.N = 3
    with pytest.raises(ValueError, match="read-only"):
        ocp.Q[0, 0] = 5.0


def test_an_end_that_nobody_gave_follows_the_bounds():
    moved = dataclasses.replace(dataclasses.replace(make(), N=5), x_min=[-1, -4])
    np.testing.assert_array_equal(moved.theta_min, [-1, -4])
    np.testing.assert_array_equal(moved.theta_max, [2, 8])
    given = dataclasses.replace(make(theta_min=[-2, -8]), x_min=[-1, -4])
    np.testing.assert_array_equal(given.theta_min, [-2, -8])
    # What is computed from a followed end is a number of its own.
    shifted = make().theta_min - 0.5
    assert type(shifted) is np.ndarray
    np.testing.assert_array_equal(dataclasses.replace(make(), theta_min=shifted, x_min=[-1, -1]).theta_min, shifted)


def test_costs_and_penalty_by_hand():
    lin = LinearModel(A=A, B=B, x_op=[1.0, 2.0], u_op=[0.5])
    ocp = make(lin=lin, x_max=[2, INF], theta_max=[2, 8], soft_quadratic=4.0)
    assert ocp.stage_cost([2.0, 4.0], [1.5]) == pytest.approx(1.0 + 0.1 * 4 + 0.01)
    x = np.array([[0.0, 0.0], [2.5, 100.0], [-3.0, -9.0]])
    np.testing.assert_allclose(ocp.bound_penalty(x, 10.0), [0, 5 + 1, 20 + 8])
    np.testing.assert_allclose(ocp.terminal_cost(lin.x_op), 0.0)
    np.testing.assert_allclose(ocp.successor(lin.x_op, lin.u_op), lin.x_op)
    np.testing.assert_allclose(ocp.drift, 0.0)
    assert list(ocp.bounded_states) == [0, 1]


def test_no_terminal_ingredients():
    ocp = make(terminal=None)
    assert not ocp.P.any()
    assert ocp.K.any()
    assert ocp.terminal_set is None


@pytest.mark.parametrize("gamma", [1.0, 0.95])
def test_terminal_set_is_invariant_admissible_and_maximal(gamma):
    lin = LinearModel(A=A, B=B, x_op=[0.3, 0.1], u_op=[0.2])
    ocp = make(lin=lin, terminal="set", gamma=gamma)
    terminal = ocp.terminal_set
    x = terminal.vertices()
    for _ in range(300):
        u = ocp.u_ref - (x - ocp.x_ref) @ ocp.K.T
        assert np.all(u >= ocp.u_min - 1e-7)
        assert np.all(u <= ocp.u_max + 1e-7)
        assert np.all(x >= ocp.x_min - 1e-7)
        assert np.all(x <= ocp.x_max + 1e-7)
        assert terminal.contains(x, 1e-7).all()
        x = ocp.successor(x, u)
    # Just outside each vertex some constraint is broken sooner or later.
    outside = ocp.x_ref + 1.001 * (terminal.vertices() - ocp.x_ref)
    broken = np.zeros(len(outside), dtype=bool)
    for _ in range(300):
        u = ocp.u_ref - (outside - ocp.x_ref) @ ocp.K.T
        broken |= np.any((u < ocp.u_min) | (u > ocp.u_max), axis=1)
        broken |= np.any((outside < ocp.x_min) | (outside > ocp.x_max), axis=1)
        outside = ocp.successor(outside, u)
    assert broken.all()


@given(nx=st.integers(1, 5), nu=st.integers(1, 3), gamma=st.floats(0.5, 1.0), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_shapes(nx, nu, gamma, seed):
    rng = np.random.default_rng(seed)
    lin = LinearModel(A=rng.normal(size=(nx, nx)) / nx, B=rng.normal(size=(nx, nu)))
    ocp = Ocp(lin, 1.0, 1.0, 3, gamma=gamma)
    assert (ocp.P.shape, ocp.K.shape, ocp.x_min.shape, ocp.u_ref.shape) == ((nx, nx), (nu, nx), (nx,), (nu,))
    assert ocp.stage_cost(np.zeros((4, 2, nx)), np.ones((4, 2, nu))).shape == (4, 2)
    assert np.linalg.eigvalsh(ocp.P)[0] > 0


def test_import_is_light():
    heavy = "cvxpy control casadi torch numba matplotlib"
    code = f"import sys, yannctl.ocp, yannctl.mpqp; sys.exit(any(m in sys.modules for m in '{heavy}'.split()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
