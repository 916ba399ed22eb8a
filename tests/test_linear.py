"""Linearisation against finite differences and python-control; the model's border checks."""

import casadi as ca
import control
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import yannctl
from yannctl import LinearModel
from yannctl.errors import ModelError
from yannctl.linear import discretise, linearise
from yannctl.models import Pendulum

POINTS = [([0.0, 0.0], [0.0]), ([1.0, -2.0], [0.7]), ([np.pi, 0.0], [2.0]), ([-np.pi, 3.0], [-2.0])]


def differences(function, x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """Central differences of a smooth function (nx,) -> (n,)."""
    return np.stack([(function(x + h * e) - function(x - h * e)) / (2 * h) for e in np.eye(x.size)], axis=1)


@pytest.mark.parametrize(("x", "u"), POINTS)
@pytest.mark.parametrize("integrator", ["gymnasium", "accurate"])
def test_step_jacobian_equals_finite_differences(x: list, u: list, integrator: str) -> None:
    plant = Pendulum(integrator=integrator)
    smooth = plant.step_function(bounded=False)
    lin = linearise(plant, x, u, method="step")
    x_op, u_op = np.array(x), np.array(u)
    np.testing.assert_allclose(lin.A, differences(lambda v: smooth(v, u_op).full().ravel(), x_op), atol=1e-8)
    np.testing.assert_allclose(lin.B, differences(lambda v: smooth(x_op, v).full().ravel(), u_op), atol=1e-8)
    np.testing.assert_allclose(lin.step(x, u), smooth(x, u).full().ravel(), atol=1e-14)


@pytest.mark.parametrize(("x", "u"), POINTS)
def test_zoh_is_the_exact_solution_of_the_affine_system(x: list, u: list) -> None:
    plant = Pendulum()
    x_op, u_op = np.array(x), np.array(u)
    rate = plant.rate(x_op, u_op)
    slope = differences(lambda v: plant.rate(v, u_op), x_op)
    gain = differences(lambda v: plant.rate(x_op, v), u_op)
    x0, held = x_op + np.array([0.3, -0.2]), u_op + 0.4
    exact = solve_ivp(
        lambda _, v: rate + slope @ (v - x_op) + gain @ (held - u_op), (0, plant.dt), x0, rtol=1e-12, atol=1e-12
    ).y[:, -1]
    np.testing.assert_allclose(linearise(plant, x, u, method="zoh").step(x0, held), exact, atol=1e-8)


def test_zoh_equals_control_c2d() -> None:
    Ac, Bc = np.array([[0.0, 1.0], [15.0, 0.0]]), np.array([[0.0], [3.0]])
    sampled = control.c2d(control.ss(Ac, Bc, np.eye(2), np.zeros((2, 1))), 0.05)
    lin = yannctl.linearise(Pendulum(), method="zoh")
    np.testing.assert_allclose(lin.A, sampled.A, atol=1e-14)
    np.testing.assert_allclose(lin.B, sampled.B, atol=1e-14)
    np.testing.assert_allclose(lin.A, [[1.0188, 0.0503], [0.7547, 1.0188]], atol=5e-5)
    np.testing.assert_allclose(lin.B, [[0.0038], [0.1509]], atol=5e-5)
    np.testing.assert_array_equal(lin.c, 0)


def test_singular_systems_are_sampled_exactly() -> None:
    A, B, c = discretise(np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0], [1.0]]), np.array([0.0, 2.0]), 0.5)
    np.testing.assert_allclose(A, [[1, 0.5], [0, 1]], atol=1e-15)
    np.testing.assert_allclose(B[:, 0], [0.125, 0.5], atol=1e-15)
    np.testing.assert_allclose(c, [0.25, 1.0], atol=1e-15)


def pendulum_function(symbols: type, extra: bool = False) -> ca.Function:
    """dx/dt of the pendulum written by hand, without or with a measured torque d."""
    x, u, d = symbols.sym("x", 2), symbols.sym("u"), symbols.sym("d")
    rate = ca.vertcat(x[1], 15.0 * ca.sin(x[0]) + 3.0 * (u + d))
    return ca.Function("f", [x, u, d], [rate]) if extra else ca.Function("f", [x, u], [ca.substitute(rate, d, 0)])


@pytest.mark.parametrize("symbols", [ca.SX, ca.MX])
def test_a_casadi_function_gives_the_plants_model(symbols: type) -> None:
    names = {"x_names": ("theta", "theta_dot"), "u_names": ("torque",)}
    by_plant = linearise(Pendulum(), [0.4, 0.1], [0.2], method="zoh")
    lin = linearise(pendulum_function(symbols), [0.4, 0.1], [0.2], method="zoh", dt=0.05, **names)
    for name in ("A", "B", "c", "x_op", "u_op"):
        np.testing.assert_allclose(getattr(lin, name), getattr(by_plant, name), atol=1e-13)
    assert (lin.x_names, lin.u_names, lin.dt, lin.nd) == (by_plant.x_names, by_plant.u_names, 0.05, 0)
    step = Pendulum().step_function(bounded=False)
    np.testing.assert_allclose(
        linearise(step, [0.4, 0.1], [0.2], dt=0.05).A, linearise(Pendulum(), [0.4, 0.1], [0.2]).A, atol=1e-15
    )


@pytest.mark.parametrize("method", ["step", "zoh"])
def test_a_third_argument_is_a_disturbance(method: str) -> None:
    function = pendulum_function(ca.MX, extra=True)
    lin = linearise(function, [0.4, 0.1], [0.2], method=method, dt=0.05, d=[0.3], d_names=("push",))
    np.testing.assert_allclose(lin.E, lin.B, atol=1e-15)
    assert (lin.d_names, lin.d_op.tolist()) == (("push",), [0.3])
    together = linearise(pendulum_function(ca.SX), [0.4, 0.1], [0.5], method=method, dt=0.05)
    x, u, d = [0.5, -0.2], np.array([0.1]), np.array([0.7])
    np.testing.assert_allclose(lin.step(x, u, d), together.step(x, u + d), atol=1e-14)


X, U = ca.SX.sym("x", 2), ca.SX.sym("u")
BAD_FUNCTIONS = [
    (pendulum_function(ca.SX), {}, "dt: a CasADi function"),
    (pendulum_function(ca.SX), {"dt": 0.0}, "dt: is 0.0"),
    (pendulum_function(ca.SX), {"dt": 0.1, "x": None}, "x: a CasADi function declares no equilibrium; give x="),
    (pendulum_function(ca.SX), {"dt": 0.1, "x": [0.0]}, "x: shape"),
    (pendulum_function(ca.SX), {"dt": 0.1, "d": [1.0]}, "d: shape"),
    (ca.Function("f", [X], [X]), {"dt": 0.1}, "plant: f has 1 arguments"),
    (ca.Function("f", [X, U], [U]), {"dt": 0.1}, "plant: f gives"),
    (lambda x, u: x, {"dt": 0.1}, "plant: is a function, expected a plant or a casadi"),
    (Pendulum(), {"dt": 0.1}, "dt: belongs to a CasADi function"),
]


@pytest.mark.parametrize(("function", "options", "text"), BAD_FUNCTIONS)
def test_unusable_functions_are_named(function: object, options: dict, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        linearise(function, **({"x": [0.0, 0.0], "u": [0.0]} | options))


def test_outputs_and_names_of_a_state_space_come_along() -> None:
    options = {"states": ["angle", "speed"], "inputs": ["volt"], "outputs": ["encoder"]}
    system = control.ss([[0.0, 1.0], [15.0, 0.0]], [[0.0], [3.0]], [[2.0, 0.0]], [[0.0]], **options)
    for lin in (LinearModel.from_control(system, dt=0.05), LinearModel.from_control(control.c2d(system, 0.05))):
        np.testing.assert_array_equal(lin.C, [[2.0, 0.0]])
        np.testing.assert_allclose(lin.A, control.c2d(system, 0.05).A, atol=1e-14)
    lin = LinearModel.from_control(system, dt=0.05)
    assert (lin.x_names, lin.u_names, lin.y_names) == (("angle", "speed"), ("volt",), ("encoder",))
    direct = control.ss([[0.5]], [[1.0]], [[1.0]], [[1.0]], 0.1)
    assert LinearModel.from_control(direct).ny == 0


def test_upright_step_model_and_names() -> None:
    lin = linearise(Pendulum())
    np.testing.assert_allclose(lin.A, [[1.0375, 0.05], [0.75, 1.0]], atol=1e-15)
    np.testing.assert_allclose(lin.B, [[0.0075], [0.15]], atol=1e-15)
    assert (lin.x_names, lin.u_names, lin.dt, lin.nx, lin.nu) == (("theta", "theta_dot"), ("torque",), 0.05, 2, 1)


def test_batched_step_follows_the_formula() -> None:
    rng = np.random.default_rng(0)
    A, B, c, x_op, u_op = (rng.normal(size=s) for s in ((3, 3), (3, 2), 3, 3, 2))
    lin = LinearModel(A, B, c, 0.1, x_op, u_op)
    x, u = rng.normal(size=(4, 5, 3)), rng.normal(size=(5, 2))
    expected = x_op + np.einsum("ij,...j->...i", A, x - x_op) + np.einsum("ij,...j->...i", B, u - u_op) + c
    np.testing.assert_allclose(lin.step(x, u), expected, atol=1e-14)


def test_control_round_trip() -> None:
    lin = linearise(Pendulum(), [0.4, 0.0], [0.0])
    system = lin.to_control()
    assert isinstance(system, control.StateSpace)
    back = LinearModel.from_control(system, x_op=lin.x_op, u_op=lin.u_op)
    for name in ("A", "B", "x_op", "u_op"):
        np.testing.assert_array_equal(getattr(back, name), getattr(lin, name))
    assert (back.dt, back.x_names, back.u_names) == (lin.dt, lin.x_names, lin.u_names)
    np.testing.assert_array_equal(back.c, 0)


def test_continuous_systems_need_a_period() -> None:
    system = control.ss([[0.0, 1.0], [15.0, 0.0]], [[0.0], [3.0]], np.eye(2), np.zeros((2, 1)))
    with pytest.raises(ModelError, match=r"continuous; give dt="):
        LinearModel.from_control(system)
    np.testing.assert_allclose(LinearModel.from_control(system, dt=0.05).A, control.c2d(system, 0.05).A, atol=1e-14)


def test_other_systems_are_refused_with_a_remedy() -> None:
    unspecified = control.ss([[0.5]], [[1.0]], [[1.0]], [[0.0]], True)
    with pytest.raises(ModelError, match="give dt="):
        LinearModel.from_control(unspecified)
    assert LinearModel.from_control(unspecified, dt=2.0).dt == 2.0
    with pytest.raises(ModelError, match=r"control\.ss"):
        LinearModel.from_control(control.tf([1], [1, 1]))
    with pytest.raises(ModelError, match="sampled at"):
        LinearModel.from_control(control.ss([[0.5]], [[1.0]], [[1.0]], [[0.0]], 0.1), dt=0.2)


def test_defaults_and_immutability() -> None:
    lin = LinearModel([[0.5]], [[1.0]])
    np.testing.assert_array_equal(np.concatenate([lin.c, lin.x_op, lin.u_op]), 0)
    assert (lin.x_names, lin.u_names) == (("x1",), ("u1",))
    with pytest.raises(AttributeError):
        lin.dt = 2.0
    with pytest.raises(ValueError, match="read-only"):
        lin.A[0, 0] = 1.0


def test_the_callers_arrays_are_copied() -> None:
    A = np.eye(1)
    lin = LinearModel(A, [[1.0]])
    A[0, 0] = 7.0
    assert lin.A[0, 0] == 1.0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"A": [[np.nan]]}, r"A\[0, 0\]: is nan"),
        ({"A": [[1.0, 2.0]]}, r"A: shape \(1, 2\)"),
        ({"B": [[1.0], [np.inf]], "A": np.eye(2)}, r"B\[1, 0\]: is inf"),
        ({"B": [1.0]}, r"B: shape \(1,\)"),
        ({"c": [1.0, 2.0]}, r"c: shape \(2,\)"),
        ({"x_op": [np.nan]}, r"x_op\[0\]: is nan"),
        ({"u_op": [[0.0]]}, r"u_op: shape"),
        ({"dt": 0.0}, "dt: is 0.0"),
        ({"dt": float("nan")}, "dt: is nan"),
        ({"x_names": ("a", "b")}, "x_names"),
        ({"u_names": ("a", "a"), "B": [[1.0, 1.0]]}, "u_names"),
    ],
)
def test_bad_models_are_named(options: dict, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        LinearModel(**{"A": [[1.0]], "B": [[1.0]]} | options)


@pytest.mark.parametrize(
    ("x", "u", "text"),
    [([np.nan, 0.0], None, r"x\[0\]: is nan"), ([0.0], None, r"x: shape"), (None, [0.0, 0.0], r"u: shape")],
)
def test_bad_operating_points_are_named(x: list | None, u: list | None, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        linearise(Pendulum(), x, u)
