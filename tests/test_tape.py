"""The tape against CasADi's own evaluation, its derivatives, and gcc."""

import ctypes
import shutil
import subprocess

import casadi as ca
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yannctl.errors import ModelError
from yannctl.tape import ExpressionTape, Op

x, y = ca.SX.sym("x"), ca.SX.sym("y")

# One expression an operation, each finite on (-0.9, 0.9)^2 without 0.
OPERATIONS = {
    Op.ADD: x + y,
    Op.SUB: x - y,
    Op.MUL: x * y,
    Op.DIV: x / y,
    Op.NEG: -x,
    Op.SQ: x**2,
    Op.TWICE: 2 * x,
    Op.INV: 1 / x,
    Op.FABS: ca.fabs(x),
    Op.SIGN: ca.sign(x),
    Op.FLOOR: ca.floor(5 * x),
    Op.CEIL: ca.ceil(5 * x),
    Op.FMIN: ca.fmin(x, y),
    Op.FMAX: ca.fmax(x, y),
    Op.IF_ELSE_ZERO: ca.if_else(x < y, x, 3 * y),
    Op.NOT: ca.logic_not(x > y),
    Op.LT: x < y,
    Op.LE: x <= y,
    Op.EQ: ca.sign(x) == ca.sign(y),
    Op.NE: ca.sign(x) != ca.sign(y),
    Op.AND: ca.logic_and(x > 0, y > 0),
    Op.OR: ca.logic_or(x > 0, y > 0),
    Op.FMOD: ca.fmod(10 * x, y),
    Op.ATAN2: ca.atan2(x, y),
    Op.POW: ca.fabs(x) ** y + (x + 2) ** 1.7,
    Op.HYPOT: ca.hypot(x, y),
    Op.COPYSIGN: ca.copysign(x, y),
    Op.SQRT: ca.sqrt(x + 1),
    Op.EXP: ca.exp(x),
    Op.LOG: ca.log(x + 1),
    Op.EXPM1: ca.expm1(x),
    Op.LOG1P: ca.log1p(x),
    Op.SIN: ca.sin(x),
    Op.COS: ca.cos(x),
    Op.TAN: ca.tan(x),
    Op.ASIN: ca.asin(x),
    Op.ACOS: ca.acos(x),
    Op.ATAN: ca.atan(x),
    Op.SINH: ca.sinh(x),
    Op.COSH: ca.cosh(x),
    Op.TANH: ca.tanh(x),
    Op.ASINH: ca.asinh(x),
    Op.ACOSH: ca.acosh(x + 2),
    Op.ATANH: ca.atanh(x),
    Op.ERF: ca.erf(x),
}


def samples(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.05, 0.9, (2, n, 1)) * rng.choice([-1.0, 1.0], (2, n, 1))
    return values[0], values[1]


def by_casadi(function: ca.Function, *inputs: np.ndarray) -> np.ndarray:
    return np.array([np.asarray(function(*row)).ravel() for row in zip(*inputs, strict=True)])


def column(value: ca.SX) -> ca.Function:
    return ca.Function("f", [x, y], [value], ["x", "y"], ["z"])


def everything() -> ca.Function:
    return column(ca.vertcat(*OPERATIONS.values()))


def test_every_operation_is_covered() -> None:
    assert set(OPERATIONS) == set(Op) - {Op.LOAD, Op.STORE}
    for op, expression in OPERATIONS.items():
        assert op in ExpressionTape.from_function(column(expression)).program[:, 0]


@pytest.mark.parametrize("n", [1, 127, 128, 129, 300])
def test_numpy_equals_casadi(n: int) -> None:
    a, b = samples(n)
    function = everything()
    np.testing.assert_allclose(
        ExpressionTape.from_function(function).evaluate(a, b), by_casadi(function, a, b), rtol=1e-14, atol=1e-15
    )


def test_special_values_equal_casadi() -> None:
    values = np.array([0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan])
    a, b = (grid.reshape(-1, 1) for grid in np.meshgrid(values, values))
    exact = [OPERATIONS[op] for op in Op if op in OPERATIONS and op < Op.POW]
    function = column(ca.vertcat(*exact, 1 / x, ca.sqrt(x), ca.log(x)))
    np.testing.assert_array_equal(ExpressionTape.from_function(function).evaluate(a, b), by_casadi(function, a, b))


@st.composite
def expressions(draw: st.DrawFn) -> ca.SX:
    """Random expressions of up to 30 operations; no division, so that every value stays moderate."""
    unary = [ca.sin, ca.cos, ca.tanh, ca.fabs, ca.floor, ca.sign, lambda v: -v, lambda v: v**2 / (1 + v**2), ca.atan]
    binary = [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: ca.tanh(a * b), ca.fmin, ca.fmax]
    pool = [x, y, ca.SX(draw(st.floats(-3, 3)))]
    for _ in range(draw(st.integers(1, 30))):
        a, b = (pool[draw(st.integers(0, len(pool) - 1))] for _ in range(2))
        if draw(st.booleans()):
            pool.append(draw(st.sampled_from(unary))(a))
        else:
            pool.append(draw(st.sampled_from(binary))(a, b))
    return ca.vertcat(*pool[-5:])


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(expressions())
def test_random_expressions_equal_casadi(expression: ca.SX) -> None:
    a, b = samples(40, 1)
    function = column(expression)
    tape = ExpressionTape.from_function(function)
    expected = by_casadi(function, a, b)
    np.testing.assert_allclose(tape.evaluate(a, b), expected, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(tape.torch(torch.tensor(a), torch.tensor(b)), expected, rtol=1e-12, atol=1e-12)


def test_torch_equals_numpy() -> None:
    a, b = samples(200)
    tape = ExpressionTape.from_function(everything())
    np.testing.assert_allclose(
        tape.torch(torch.tensor(a), torch.tensor(b)), tape.evaluate(a, b), rtol=1e-12, atol=1e-14
    )


def test_torch_gradient_equals_casadi_jacobian() -> None:
    a, b = samples(20)
    function = everything()
    jacobian = ca.Function("j", [x, y], [ca.jacobian(function(x, y), ca.vertcat(x, y))])
    expected = np.array([jacobian(p, q).full() for p, q in zip(a, b, strict=True)])
    tape = ExpressionTape.from_function(function)
    tensors = [torch.tensor(value, requires_grad=True) for value in (a, b)]
    result = tape.torch(*tensors)
    for k in range(result.shape[1]):
        found = torch.autograd.grad(result[:, k].sum(), tensors, retain_graph=True, allow_unused=True)
        for i, gradient in enumerate(found):
            got = np.zeros(20) if gradient is None else gradient.numpy()[:, 0]
            np.testing.assert_allclose(got, expected[:, k, i], rtol=1e-11, atol=1e-12)


def test_torch_keeps_the_dtype() -> None:
    tape = ExpressionTape.from_function(everything())
    assert tape.torch(torch.ones(3, 1), torch.ones(1)).dtype == torch.float32


def test_batches_broadcast_and_matrices_keep_their_shape() -> None:
    A, v = ca.SX.sym("A", 2, 3), ca.SX.sym("v", 3)
    tape = ExpressionTape.from_function(ca.Function("f", [A, v], [A @ v, A.T, ca.dot(v, v), ca.SX(2, 2)]))
    rng = np.random.default_rng(0)
    matrices, vectors = rng.normal(size=(4, 1, 2, 3)), rng.normal(size=(5, 3))
    product, transposed, square, zero = tape.evaluate(matrices, vectors)
    np.testing.assert_allclose(product, np.einsum("...ij,...j->...i", matrices, vectors), rtol=1e-14)
    assert transposed.shape == (4, 5, 3, 2)
    np.testing.assert_array_equal(transposed[:, 0], matrices[:, 0].swapaxes(1, 2))
    np.testing.assert_allclose(square[..., 0], np.broadcast_to((vectors**2).sum(1), (4, 5)), rtol=1e-14)
    assert not zero.any()
    for mine, theirs in zip(
        tape.torch(torch.tensor(matrices), torch.tensor(vectors)), (product, transposed), strict=False
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-14)


def test_an_empty_batch_gives_an_empty_result() -> None:
    assert ExpressionTape.from_function(everything()).evaluate(np.zeros((0, 1)), 1.0 + np.zeros(1)).shape == (
        0,
        len(OPERATIONS),
    )


def test_mx_functions_expand() -> None:
    v = ca.MX.sym("v", 2)
    tape = ExpressionTape.from_function(ca.Function("f", [v], [ca.sin(v)]))
    np.testing.assert_allclose(tape.evaluate([[0.1, 0.2]]), np.sin([[0.1, 0.2]]), rtol=1e-15)


def test_common_subexpressions_are_computed_once() -> None:
    tape = ExpressionTape.from_function(column(ca.vertcat(ca.sin(x + y), ca.sin(x + y) + 1)))
    assert (tape.program[:, 0] == Op.SIN).sum() == 1


def test_unknown_operations_are_named() -> None:
    with pytest.raises(ModelError, match="OP_ERFINV"):
        ExpressionTape.from_function(column(ca.erfinv(x)))


def test_functions_that_do_not_expand_are_refused() -> None:
    z = ca.MX.sym("z")
    solver = ca.integrator("opaque", "cvodes", {"x": z, "ode": -z}, 0, 1)
    with pytest.raises(ModelError, match="SX"):
        ExpressionTape.from_function(solver)
    table = ca.interpolant("table", "bspline", [[0.0, 1.0, 2.0, 3.0, 4.0]], [0.0, 1.0, 4.0, 9.0, 16.0])
    with pytest.raises(ModelError, match="SX"):
        ExpressionTape.from_function(ca.Function("looked_up", [z], [table(z)]))


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        (([1.0],), "inputs"),
        (([1.0, 2.0], [1.0]), "x"),
        ((np.float64(1.0), [1.0]), "x"),
        ((np.ones((2, 1)), np.ones((3, 1))), "x, y"),
    ],
)
def test_wrong_inputs_are_named(inputs: tuple, field: str) -> None:
    with pytest.raises(ModelError) as caught:
        ExpressionTape.from_function(everything()).evaluate(*inputs)
    assert caught.value.field == field


def compiled(text: str, folder, kind) -> ctypes.CDLL:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    source, library = folder / "f.c", folder / "f.so"
    source.write_text("#include <math.h>\n" + text)
    options = ["-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, str(source), "-o", str(library), "-lm"], check=True, capture_output=True)
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize(
    ("precision", "dtype", "tolerance"), [("double", np.float64, 1e-15), ("single", np.float32, 2e-5)]
)
def test_c_text_equals_the_tape(tmp_path, precision: str, dtype: type, tolerance: float) -> None:
    chosen = [
        value for op, value in OPERATIONS.items() if precision == "double" or op not in {Op.FMOD, Op.FLOOR, Op.CEIL}
    ]
    tape = ExpressionTape.from_function(column(ca.vertcat(*chosen, x - 2.5, ca.fmax(x, -0.25), 1e30 * x)))
    library = compiled(tape.c_source("f", precision), tmp_path, dtype)
    a, b = samples(50, 2)
    expected = tape.evaluate(a, b)
    result = np.empty(expected.shape, dtype)
    for row, p, q in zip(result, a.astype(dtype), b.astype(dtype), strict=True):
        library.f(*(ctypes.c_void_p(array.ctypes.data) for array in (p, q, row)))
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def test_c_constants_keep_their_value_and_kind(tmp_path) -> None:
    tape = ExpressionTape.from_function(column(ca.vertcat(x + 1e300, y * ca.inf, x - (-3))))
    library = compiled(tape.c_source("f"), tmp_path, np.float64)
    p, q, row = np.array([1.5]), np.array([-1.0]), np.empty(3)
    library.f(*(ctypes.c_void_p(array.ctypes.data) for array in (p, q, row)))
    np.testing.assert_array_equal(row, [1e300, -np.inf, 4.5])


def test_c_names_are_checked() -> None:
    with pytest.raises(ModelError, match="identifier"):
        ExpressionTape.from_function(everything()).c_source("2f")
