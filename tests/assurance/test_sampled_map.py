import casadi as ca
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from yannctl.assurance.sampled_map import DiscreteMap, Flow, enclose_in_pieces
from yannctl.errors import ModelError


def pendulum_rate():
    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("p", 2)
    return ca.Function("rate", [x, u, p], [ca.vertcat(x[1], 15 * p[0] * ca.sin(x[0]) + 3 / p[1] * u)])


def reactor_rate():
    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("p", 2)
    k = 7.2e10 * p[0] * ca.exp(-8750 / x[1]) * x[0]
    return ca.Function(
        "rate", [x, u, p], [ca.vertcat(1 - x[0] - k, 350 - x[1] + 209.205 * k + 2.092 * p[1] * (u - x[1]))]
    )


PENDULUM = Flow(pendulum_rate(), 0.05, [0.25, 1.0])
REACTOR = Flow(reactor_rate(), 0.1, [0.1, 10.0], order=3, substeps=5)


def integrate(flow, z):
    x, rest = z[: flow.nx], z[flow.nx :]
    rate = lambda _, state: np.array(flow.rate(state, *np.split(rest, [flow.nu]))).ravel()  # noqa: E731
    solution = scipy.integrate.solve_ivp(rate, (0, flow.dt), x, method="DOP853", rtol=1e-12, atol=1e-13, max_step=0.02)
    return solution.y


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0, 1), st.sampled_from([PENDULUM, REACTOR]))
def test_trajectories_stay_inside(seed, size, flow):
    rng = np.random.default_rng(seed)
    if flow is PENDULUM:
        centre, half = np.array([0.3, -0.5, 0.5, 1, 1]), np.array([0.3, 1.0, 2.0, 0.02, 0.05])
    else:
        centre, half = np.array([0.6, 345, 300, 1, 1]), np.array([0.03, 2.0, 20.0, 0.1, 0.1])
    centre = centre + rng.uniform(-1, 1, 5) * half
    low, high = centre - size * half, centre + size * half
    found = flow.enclose(low, high)
    for _ in range(3):
        z = rng.uniform(low, high)
        path = integrate(flow, z)
        slack = 1e-9 * (1 + np.abs(path))
        assert np.all(path[:, -1] >= found.image[0] - slack[:, -1])
        assert np.all(path[:, -1] <= found.image[1] + slack[:, -1])
        assert np.all(path >= found.tube[0][:, None] - slack)
        assert np.all(path <= found.tube[1][:, None] + slack)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_differences_lie_in_jacobian_times_difference(seed):
    rng = np.random.default_rng(seed)
    low, high = np.array([-0.2, -1, -2, 0.99, 0.97]), np.array([0.2, 1, 2, 1.01, 1.03])
    found = PENDULUM.enclose(low, high)
    z = rng.uniform(low, high)
    difference = z - 0.5 * (low + high)
    terms = np.stack([found.jacobian[0] * difference, found.jacobian[1] * difference])
    image = integrate(PENDULUM, z)[:, -1]
    assert np.all(image >= found.centre[0] + terms.min(axis=0).sum(axis=1) - 1e-9)
    assert np.all(image <= found.centre[1] + terms.max(axis=0).sum(axis=1) + 1e-9)


def test_linear_flow_is_the_matrix_exponential():
    A, B = np.array([[0.0, 1.0], [-2.0, -0.3]]), np.array([[0.0], [1.0]])
    x, u = ca.SX.sym("x", 2), ca.SX.sym("u")
    flow = Flow(ca.Function("rate", [x, u], [ca.mtimes(A, x) + ca.mtimes(B, u)]), 0.1, [1.0, 1.0], order=8)
    exact = scipy.linalg.expm(0.1 * np.block([[A, B], [np.zeros((1, 3))]]))[:2]
    found = flow.enclose([-1, -1, -1], [1, 1, 1])
    assert np.all(found.jacobian[0] <= exact + 1e-15)
    assert np.all(found.jacobian[1] >= exact - 1e-15)
    assert np.max(found.jacobian[1] - found.jacobian[0]) < 1e-9
    np.testing.assert_allclose(found.image[1], np.abs(exact).sum(axis=1), atol=1e-9)


def test_pieces_tighten_and_nest():
    low, high = np.array([-0.5, -1, -2, 0.9, 0.9]), np.array([0.5, 1, 2, 1.1, 1.1])
    whole, pieces = PENDULUM.enclose(low, high), enclose_in_pieces(PENDULUM, low, high, [8, 2, 2, 2, 2])
    assert np.all(pieces.jacobian[0] >= whole.jacobian[0])
    assert np.all(pieces.jacobian[1] <= whole.jacobian[1])
    assert np.ptp(pieces.image[:, 1]) < np.ptp(whole.image[:, 1])


def test_a_set_that_escapes_is_the_whole_line():
    x, u = ca.SX.sym("x"), ca.SX.sym("u")
    flow = Flow(ca.Function("rate", [x, u], [x**2 + u]), 3.0, [1.0])
    found = flow.enclose([1.0, 0.0], [1.0, 0.0])  # 1 / (1 - t) ends at t = 1
    assert np.isneginf(found.image[0]).all()
    assert np.isposinf(found.image[1]).all()


def test_a_discrete_map_is_bounded_as_it_is():
    x, u = ca.SX.sym("x", 2), ca.SX.sym("u")
    step = DiscreteMap(ca.Function("step", [x, u], [ca.vertcat(x[0] + 0.05 * x[1], ca.fmin(x[1] + u, 8))]))
    found = step.enclose([0, 7, 0], [0.1, 7.9, 0.5])
    np.testing.assert_allclose(found.image[:, 1], [7, 8], atol=1e-12)
    inside, clipped = step.enclose([0, 1, 0], [0.1, 2, 0.5]), step.enclose([0, 8, 1], [0.1, 9, 2])
    np.testing.assert_allclose(inside.jacobian[:, 1], [[0, 1, 1], [0, 1, 1]], atol=1e-12)
    np.testing.assert_allclose(clipped.jacobian[:, 1], np.zeros((2, 3)), atol=1e-12)


def test_bad_input_is_named():
    with pytest.raises(ModelError, match="dt"):
        Flow(pendulum_rate(), 0.0, [1, 1])
    with pytest.raises(ModelError, match="scale"):
        Flow(pendulum_rate(), 0.1, [1, -1])
    x = ca.SX.sym("x", 2)
    with pytest.raises(ModelError, match="inputs"):
        DiscreteMap(ca.Function("f", [x], [x]))
