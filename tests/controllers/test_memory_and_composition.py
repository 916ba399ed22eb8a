"""PID, Kalman filter, offset-free MPC and the wrappers, against their formulas and against the loop they close."""

import numpy as np
import pytest

import yannctl
from yannctl.controllers import (
    AbstractController,
    Filtered,
    KalmanFilter,
    Limited,
    Lqr,
    OffsetFreeMpc,
    OnlineMpc,
    Pid,
    Preview,
    PreviewMpc,
    RateLimited,
    check_controller,
)
from yannctl.errors import ModelError
from yannctl.models import Pendulum

PLANT = Pendulum()
LIN = yannctl.linearise(PLANT)
BOX = {"theta_min": [-9.0, -9.0], "theta_max": [9.0, 9.0]}
STEADY = yannctl.LinearModel([[0.9, 0.1], [0.0, 0.7]], [[0.0], [0.3]], dt=0.1)  # stable, y = x1


def simulate(controller, steps, push=0.0, start=(0.0, 0.0), lin=STEADY):
    """Close the loop with a constant push on the input; the trajectory of the states."""
    x = np.array([start, start], float)
    for _ in range(steps):
        x = lin.step(x, controller(x) + push)
    return x


def test_pid_removes_the_offset_of_a_constant_push():
    settings = {"C": [[1.0, 0.0]], "dt": 0.1, "kp": 1.5, "x_ref": [1.0, 0.0]}
    proportional = simulate(Pid(**settings), 400, push=0.3)
    integral = simulate(Pid(**settings, ki=1.5, kd=0.05), 400, push=0.3)
    assert abs(proportional[0, 0] - 1.0) > 0.05
    np.testing.assert_allclose(integral[:, 0], 1.0, atol=1e-6)


def test_pid_does_not_wind_up():
    settings = {
        "C": [[1.0, 0.0]],
        "dt": 0.1,
        "kp": 2.0,
        "ki": 2.0,
        "x_ref": [1.0, 0.0],
        "u_min": [-1.2],
        "u_max": [1.2],
    }
    highest = {}
    for name, tracking in (("back-calculation", None), ("none", 1e9)):
        pid, x, seen = Pid(**settings, tracking_time=tracking), np.array([-6.0, 0.0]), []
        for _ in range(300):
            x = STEADY.step(x, pid(x))
            seen.append(x[0])
        highest[name] = max(seen)
    assert highest["back-calculation"] < 1.08
    assert highest["none"] > highest["back-calculation"] + 0.1


def test_pid_takes_over_without_a_bump():
    pid = Pid([[1.0, 0.0]], 0.1, kp=2.0, ki=1.0, kd=0.1, x_ref=[1.0, 0.0])
    pid.take_over([[0.3, 0.0], [0.7, 0.1]], [[0.4], [-0.2]])
    np.testing.assert_allclose(pid([[0.3, 0.0], [0.7, 0.1]]), [[0.4], [-0.2]], rtol=0, atol=1e-15)


def test_pid_first_call_and_derivative_follow_the_formula():
    pid = Pid([[1.0, 0.0]], 0.1, kp=2.0, ki=0.5, kd=0.3, filter_time=0.1)
    np.testing.assert_allclose(pid([1.0, 0.0]), [-2.0])
    slope = 0.5 * (1.2 - 1.0) / 0.1
    np.testing.assert_allclose(pid([1.2, 0.0]), [-2.4 - 0.1 * 0.5 * 1.0 - 0.3 * slope])


def test_kalman_filter_finds_states_and_disturbance():
    lin = STEADY.with_outputs(("x1",)).with_input_disturbance()
    kalman = KalmanFilter(lin, W=[1e-4, 1e-4, 1e-2], V=[1e-4])
    x, u = np.array([1.0, -1.0]), np.zeros(1)
    for k in range(200):
        kalman.update(x[:1], u)
        u = np.array([np.sin(0.1 * k)])
        x = STEADY.step(x, u + 0.3)
    np.testing.assert_allclose(kalman.update(x[:1], u), [*x, 0.3], atol=1e-9)


def test_kalman_gain_is_that_of_a_long_recursion():
    lin = STEADY.with_outputs(("x1",))
    kalman = KalmanFilter(lin, W=[1e-2, 2e-2], V=[1e-1])
    P = np.eye(2)
    for _ in range(500):
        gain = P @ lin.C.T / (lin.C @ P @ lin.C.T + 0.1)
        P = lin.A @ (P - gain @ lin.C @ P) @ lin.A.T + kalman.W
    np.testing.assert_allclose(kalman.L, gain, rtol=1e-10)


def test_kalman_filter_refuses_what_it_cannot_know():
    with pytest.raises(ModelError, match="no outputs"):
        KalmanFilter(STEADY, [1.0, 1.0], [1.0])
    two = STEADY.with_outputs(("x1",)).with_input_disturbance().with_output_disturbance()
    with pytest.raises(ModelError, match="cannot be told"):
        KalmanFilter(two, np.ones(4), [1.0])
    kalman = KalmanFilter(STEADY.with_outputs(("x1",)), [1.0, 1.0], [1.0])
    kalman.update([[0.0], [0.0]])
    with pytest.raises(ModelError, match="3 states after 2"):
        kalman.update([[0.0], [0.0], [0.0]], [[0.0]] * 3)


def offset_free(measured=("x1",)):
    lin = STEADY.with_outputs(("x1",)).with_input_disturbance()
    limits = {
        "theta_min": [-9.0] * 2,
        "theta_max": [9.0] * 2,
        "u_min": [-3.0],
        "u_max": [3.0],
        "d_min": [-1.0],
        "d_max": [1.0],
        "ref_min": [-2.0],
        "ref_max": [2.0],
    }
    ocp = yannctl.Ocp(lin, Q=[1.0, 0.0], R=[0.1], N=10, track="y", **limits)
    estimator = KalmanFilter(lin.with_outputs(measured), W=[1e-6, 1e-6, 1e-2], V=[1e-4] * len(measured))
    return OffsetFreeMpc(ocp, estimator, y_ref=[1.0])


@pytest.mark.parametrize("measured", [("x1",), ("x1", "x2")])
def test_offset_free_mpc_is(measured):
    plain = OnlineMpc(yannctl.Ocp(STEADY, Q=[1.0, 0.0], R=[0.1], N=10, x_ref=[1.0, 1.0], u_ref=[1.0], **BOX))
    assert abs(simulate(plain, 300, push=0.3)[0, 0] - 1.0) > 0.05
    np.testing.assert_allclose(simulate(offset_free(measured), 300, push=0.3)[:, 0], 1.0, atol=1e-6)


def test_offset_free_mpc_does_not_look_at_what_is_not_measured():
    controller = offset_free()
    u = controller([0.5, np.nan])
    controller.reset()
    np.testing.assert_array_equal(u, controller([0.5, 7.0]))


def test_what_was_applied_reaches_the_estimator():
    limited = Limited(offset_free(), [-1.3], [1.3])
    np.testing.assert_allclose(simulate(limited, 300, push=0.2)[:, 0], 1.0, atol=1e-6)
    cheated = offset_free()
    x = np.zeros((2, 2))
    for _ in range(300):
        x = STEADY.step(x, np.clip(cheated(x), -0.5, 0.5))
        cheated.applied(np.clip(cheated._u, -0.5, 0.5))
    np.testing.assert_allclose(cheated.last_estimate[..., 2], 0.0, atol=1e-9)


def test_wrappers_do_what_they_say():
    law = Lqr([[1.0, 0.0]])
    limited = Limited(law, [-1.0], [2.0])
    np.testing.assert_array_equal(limited([[-5.0, 0.0], [0.5, 0.0]]), [[2.0], [-0.5]])
    np.testing.assert_array_equal(limited.last_limited, [True, False])
    slow = RateLimited(law, [-0.5], [0.25], u_start=[0.0])
    np.testing.assert_allclose([slow([-1.0, 0.0])[0], slow([-1.0, 0.0])[0], slow([9.0, 0.0])[0]], [0.25, 0.5, 0.0])
    slow.applied([2.0])
    np.testing.assert_allclose(slow([9.0, 0.0]), [1.5])
    filtered = Filtered(law, lambda x, u: np.where(x[:, :1] > 1, -3.0, u))
    np.testing.assert_array_equal(filtered([[2.0, 0.0], [0.5, 0.0]]), [[-3.0], [-0.5]])
    np.testing.assert_array_equal(filtered.last_changed, [True, False])
    with pytest.raises(ModelError, match="filter"):
        Filtered(law, lambda x, u: u[0])(np.zeros((2, 2)))
    with pytest.raises(ModelError, match="forbids to hold"):
        RateLimited(law, [0.1], [0.2])
    with pytest.raises(ModelError, match="u_min"):
        Limited(law, [1.0], [0.0])


def constant_preview(d=0.0):
    def preview(x):
        n = len(x)
        return Preview(np.full((n, 6, 1), d), np.zeros((n, 6, 2)), np.zeros((n, 6, 1)))

    return preview


def test_preview_mpc_without_news_is_the_online_mpc():
    lin = yannctl.LinearModel(LIN.A, LIN.B, dt=LIN.dt, E=LIN.B)
    bounds = {"u_min": [-2.0], "u_max": [2.0]}
    weights = {"Q": np.diag([1.0, 0.1]), "R": np.array([[0.001]])}
    x = np.random.default_rng(0).uniform([-0.5, -2.0], [0.5, 2.0], (100, 2))
    ahead = PreviewMpc(lin, **weights, N=6, preview=constant_preview(), **bounds)
    np.testing.assert_allclose(ahead(x), OnlineMpc(yannctl.Ocp(LIN, **weights, N=6, **bounds, **BOX))(x), atol=1e-7)
    np.testing.assert_allclose(
        PreviewMpc(lin, **weights, N=6, preview=constant_preview(0.5))([[0.01, 0.0]]),
        ahead([[0.01, 0.0]]) - 0.5,
        atol=0.05,
    )


def test_preview_mpc_against_a_program_written_out():
    import cvxpy as cp

    rng = np.random.default_rng(3)
    lin = yannctl.LinearModel(
        LIN.A, np.hstack([LIN.B, LIN.A[:, :1]]), dt=0.05, E=[[0.0], [0.4]], x_op=[0.1, 0.0], c=[0.0, 0.01]
    )
    d, x_ref, u_ref = rng.normal(size=(6, 1)), 0.3 * rng.normal(size=(6, 2)), 0.1 * rng.normal(size=(6, 2))
    rows = (np.array([[1.0, 0.5], [1.0, -0.5]]), np.array([0.4, 0.4]))
    ahead = PreviewMpc(
        lin, [1.0, 0.1], [0.01, 0.02], 6, lambda x: Preview(d[None], x_ref[None], u_ref[None]),
        x_min=[-np.inf, -0.5], x_max=[0.6, 0.5], u_min=[-2, -2], u_max=[2, 2], input_rows=rows, P=[3.0, 0.3], rho=5.0,
        soft_quadratic=2.0,
    )  # fmt: skip
    x, u, e = cp.Variable((7, 2)), cp.Variable((6, 2)), cp.Variable((6, 3), nonneg=True)
    cost, x0 = 0, np.array([0.5, 0.4])
    limits = [x[0] == x0, u >= -2, u <= 2]
    for k in range(6):
        limits += [x[k + 1] == lin.x_op + lin.A @ (x[k] - lin.x_op) + lin.B @ u[k] + lin.E @ d[k] + lin.c]
        limits += [
            rows[0] @ u[k] <= rows[1],
            x[k + 1, 0] <= 0.6 + e[k, 0],
        ]
        limits += [x[k + 1, 1] <= 0.5 + e[k, 1], x[k + 1, 1] >= -0.5 - e[k, 2]]
        weight = np.diag([3.0, 0.3]) if k == 5 else np.diag([1.0, 0.1])
        cost += cp.quad_form(x[k + 1] - x_ref[k], weight) + cp.quad_form(u[k] - u_ref[k], np.diag([0.01, 0.02]))
        cost += 5 * cp.sum(e[k]) + 2 * cp.sum_squares(e[k])
    cp.Problem(cp.Minimize(cost), limits).solve(solver=cp.CLARABEL)
    np.testing.assert_allclose(ahead(x0), u.value[0], atol=1e-6)


def test_all_keep_the_contract():
    lqr = Lqr(*[yannctl.Ocp(LIN, Q=[1.0, 0.1], R=[0.001], N=5).K], u_min=PLANT.u_min, u_max=PLANT.u_max)
    pid = Pid([[1.0, 0.0]], PLANT.dt, kp=20.0, ki=1.0, kd=3.0, u_min=PLANT.u_min, u_max=PLANT.u_max)
    lin = yannctl.LinearModel(LIN.A, LIN.B, dt=LIN.dt, E=LIN.B)
    bounds = {"u_min": PLANT.u_min, "u_max": PLANT.u_max}
    ahead = PreviewMpc(lin, [1.0, 0.1], [0.001], 6, constant_preview(), **bounds)
    controllers: list[AbstractController] = [
        pid,
        ahead,
        Limited(lqr, -1.0, 1.0),
        RateLimited(lqr, -1.0, 1.0, u_start=[0.0]),
    ]
    for controller in (*controllers, Filtered(lqr, lambda x, u: u)):
        check_controller(controller, PLANT)
