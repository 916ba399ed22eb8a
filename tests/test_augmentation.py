"""Disturbance models and integrators: the augmented matrices, and no steady-state error on a mismatched plant."""

import control
import numpy as np
import pytest

from yannctl import LinearModel, ModelError, Ocp, condense, solve_mpqp
from yannctl.linear.augmentation import with_outputs

A = np.array([[0.9, 0.1], [0.0, 0.8]])
B = np.array([[0.0], [0.3]])
LIN = LinearModel(A, B, c=[0.02, -0.01], dt=0.5, x_op=[1.0, 2.0], u_op=[0.4], x_names=("level", "flow"))
MODEL = LIN.with_outputs(("level",))
PLANT_A, PLANT_B = A * [[1.03, 0.9], [1.0, 0.97]], 1.2 * B
PUSH = np.array([0.03, -0.05])  # constant, known to no model


def plant(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return LIN.x_op + PLANT_A @ (x - LIN.x_op) + PLANT_B @ (u - LIN.u_op) + PUSH


def test_outputs_by_state_name_and_by_matrix() -> None:
    np.testing.assert_array_equal(MODEL.C, [[1.0, 0.0]])
    assert (MODEL.y_names, MODEL.ny, MODEL.nd) == (("level",), 1, 0)
    both = LIN.with_outputs([[1.0, 2.0], [0.0, 1.0]], ("sum", "flow"))
    np.testing.assert_allclose(both.output([[1.0, 1.0], [2.0, 0.0]]), [[3.0, 1.0], [2.0, 0.0]])
    assert with_outputs(LIN, np.eye(2)).y_names == ("y1", "y2")
    with pytest.raises(ModelError, match="no state is called 'depth'") as caught:
        LIN.with_outputs(("depth",))
    assert (caught.value.field, caught.value.index) == ("C", 0)
    for augment in (LIN.with_output_disturbance, LIN.with_integrator):
        with pytest.raises(ModelError, match="no outputs"):
            augment()


def test_step_and_output_with_disturbances() -> None:
    lin = LinearModel(A, B, E=[[0.1], [0.2]], d_op=[3.0], C=[[1.0, 1.0]], C_d=[[2.0]])
    x, u, d = np.array([1.0, 2.0]), np.array([0.5]), np.array([4.0])
    np.testing.assert_allclose(lin.step(x, u, d), A @ x + B @ u + [0.1, 0.2])
    np.testing.assert_allclose(lin.step(x, u), lin.step(x, u, lin.d_op))
    np.testing.assert_allclose(lin.output(x, d), [1 + 2 + 2 * 1])
    assert lin.d_names == ("d1",)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"E": [[1.0]]}, r"E: shape \(1, 1\), expected \(2, any\)"),
        ({"E": np.eye(2), "d_op": [0.0]}, r"d_op: shape"),
        ({"d_names": ("d",)}, "d_names"),
        ({"C": [1.0, 0.0]}, r"C: shape \(2,\)"),
        ({"C": [[np.nan, 0.0]]}, r"C\[0, 0\]: is nan"),
        ({"C": np.eye(2), "C_d": [[1.0]]}, r"C_d: shape \(1, 1\), expected \(2, 0\)"),
    ],
)
def test_bad_channels_are_named(options: dict, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        LinearModel(A, B, **options)


def test_disturbance_states_predict_the_same() -> None:
    lin = MODEL.with_output_disturbance().with_input_disturbance()
    assert lin.d_names == ("p_level", "p_u1")
    wide = lin.with_disturbance_states()
    assert wide.x_names == ("level", "flow", "p_level", "p_u1")
    x, u, d = np.array([1.3, 0.7]), np.array([-0.2]), np.array([0.5, -0.6])
    both = np.concatenate([x, d])
    np.testing.assert_allclose(wide.step(both, u), [*lin.step(x, u, d), *d])
    np.testing.assert_allclose(wide.output(both), lin.output(x, d))
    np.testing.assert_allclose(lin.step(x, u, d), MODEL.step(x, u + d[1:]))


def test_integrator_sums_the_error() -> None:
    lin = MODEL.with_integrator()
    assert (lin.x_names, lin.d_names) == (("level", "flow", "integral_level"), ("y_ref_level",))
    x, u, r = np.array([1.3, 0.7, 0.2]), np.array([-0.2]), np.array([0.9])
    np.testing.assert_allclose(lin.step(x, u, r), [*MODEL.step(x[:2], u), 0.2 + 0.5 * (1.3 - 0.9)])
    np.testing.assert_allclose(lin.step(lin.x_op, lin.u_op)[2], 0.0, atol=1e-15)


def observer_gain(model: LinearModel) -> np.ndarray:
    """Steady gain of the Kalman predictor of the model with disturbance states, by python-control."""
    wide = model.with_disturbance_states()
    n = wide.nx
    gain, _, _ = control.dlqe(wide.A, np.eye(n), wide.C, np.eye(n), 0.1 * np.eye(wide.ny))
    return np.asarray(gain)


@pytest.mark.parametrize("kind", ["output", "input"])
def test_no_offset_with_a_disturbance_model(kind: str) -> None:
    model = MODEL.with_output_disturbance() if kind == "output" else MODEL.with_input_disturbance()
    ocp = Ocp(
        model, Q=[1.0, 0.1], R=0.1, N=4, u_min=-1, u_max=2, theta_min=[0, 0], theta_max=[3, 4],
        track="y", ref_min=0.5, ref_max=2.0, d_min=-2.0, d_max=2.0,
    )  # fmt: skip
    law = solve_mpqp(condense(ocp))
    wide, gain = model.with_disturbance_states(), observer_gain(model)
    x, guess = np.array([1.0, 2.0]), np.array([1.0, 2.0, 0.0])
    for ref in (1.4, 0.8):
        for _ in range(200):
            u = law(ocp.theta(guess[:2], d=guess[2:], ref=[ref]))
            guess = wide.step(guess, u) + gain @ (MODEL.C @ x - wide.C @ guess)
            x = plant(x, u)
        assert np.all((u > -1) & (u < 2))
        np.testing.assert_allclose(x[0], ref, atol=1e-8)
    nominal = ocp.theta(x, d=np.zeros(1), ref=[0.8])  # without the estimate there is an offset
    assert abs(law(nominal) - u).max() > 1e-2


def test_no_offset_with_an_integrator() -> None:
    ocp = Ocp(
        MODEL.with_integrator(), Q=[1.0, 0.1, 0.5], R=0.1, N=3, u_min=-1, u_max=2,
        theta_min=[0, 0, -5], theta_max=[3, 4, 5], d_min=0.5, d_max=2.0,
    )  # fmt: skip
    law = solve_mpqp(condense(ocp))
    x = np.array([1.0, 2.0, 0.0])
    for ref in (1.4, 0.8):
        for _ in range(200):
            u = law(ocp.theta(x, d=[ref]))
            x = np.array([*plant(x[:2], u), x[2] + 0.5 * (x[0] - ref)])
        np.testing.assert_allclose(x[0], ref, atol=1e-8)
