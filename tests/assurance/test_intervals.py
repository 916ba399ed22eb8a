import casadi as ca
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yannctl.assurance.intervals import BoundedMap, IntervalTape, split_boxes
from yannctl.errors import ModelError

ONE = {
    "sin": ca.sin, "cos": ca.cos, "tan": ca.tan, "exp": ca.exp, "tanh": ca.tanh, "sinh": ca.sinh, "cosh": ca.cosh,
    "sq": lambda a: a**2, "cube": lambda a: a**3,
    "inverse square": lambda a: (a + 9) ** -2, "root": lambda a: ca.sqrt(a + 9),
    "log": lambda a: ca.log(a + 9), "abs": ca.fabs, "floor": ca.floor, "ceil": ca.ceil, "sign": ca.sign, "erf": ca.erf,
    "asin": lambda a: ca.asin(a / 9), "acos": lambda a: ca.acos(a / 9), "atan": ca.atan, "asinh": ca.asinh,
    "acosh": lambda a: ca.acosh(a + 9), "atanh": lambda a: ca.atanh(a / 9), "expm1": ca.expm1,
    "log1p": lambda a: ca.log1p(a + 8),
    "not": ca.logic_not,
}  # fmt: skip
TWO = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "fmin": ca.fmin, "fmax": ca.fmax, "fmod": ca.fmod, "hypot": ca.hypot, "atan2": ca.atan2, "copysign": ca.copysign,
    "pow": lambda a, b: (a + 9) ** b, "lt": ca.lt, "le": ca.le, "eq": ca.eq, "ne": ca.ne,
    "if": lambda a, b: ca.if_else(a < 0, b, 2 * a), "and": ca.logic_and, "or": ca.logic_or,
}  # fmt: skip
END = st.floats(-8, 8) | st.integers(-8, 8).map(float)


def bounds_hold(function, ends, rng, n=200):
    tape = IntervalTape.from_function(function)
    low, high = np.min(ends, axis=0), np.max(ends, axis=0)
    points = np.vstack(
        [rng.uniform(low, high, (n, len(low))), low, high, np.where(rng.random(len(low)) < 0.5, low, high)]
    )
    with np.errstate(all="ignore"):
        values = tape.tape.evaluate(points)
    lower, upper = tape.bound(low, high)
    known = np.isfinite(values)
    assert np.all((values >= lower) | ~known)
    assert np.all((values <= upper) | ~known)


@pytest.mark.parametrize("name", ONE)
@settings(deadline=None, max_examples=40)
@given(a=END, b=END, seed=st.integers(0, 99))
def test_operations_of_one(name, a, b, seed):
    x = ca.SX.sym("x")
    bounds_hold(ca.Function("f", [x], [ONE[name](x)]), [[a], [b]], np.random.default_rng(seed))


@pytest.mark.parametrize("name", TWO)
@settings(deadline=None, max_examples=40)
@given(ends=st.tuples(END, END, END, END), seed=st.integers(0, 99))
def test_operations_of_two(name, ends, seed):
    x = ca.SX.sym("x", 2)
    bounds_hold(ca.Function("f", [x], [TWO[name](x[0], x[1])]), [ends[:2], ends[2:]], np.random.default_rng(seed))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_random_expressions(data):
    x = ca.SX.sym("x", 3)
    terms = ca.vertsplit(x)
    for _ in range(data.draw(st.integers(1, 8))):
        name = data.draw(st.sampled_from(["sin", "tanh", "sq", "cube", "root", "add", "mul", "fmin", "div", "if"]))
        a, b = (terms[data.draw(st.integers(0, len(terms) - 1))] for _ in range(2))
        terms.append(ONE[name](a) if name in ONE else TWO[name](a, b))
    ends = [[data.draw(st.floats(-2, 2)) for _ in range(3)] for _ in range(2)]
    bounds_hold(ca.Function("f", [x], [terms[-1]]), ends, np.random.default_rng(0))


@settings(deadline=None, max_examples=40)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(1e-6, 1.0))
def test_mean_value_form_holds_and_is_tight_on_small_boxes(a, b, width):
    x = ca.SX.sym("x", 2)
    f = ca.Function("f", [x], [ca.vertcat(ca.sin(x[0]) * x[1] - x[0], ca.exp(x[0] - x[1]) - ca.exp(x[0]))])
    bounded = BoundedMap(f)
    low, high = np.array([a, b]), np.array([a, b]) + width
    lower, upper = bounded.bound(low, high)
    values = bounded.value.tape.evaluate(np.random.default_rng(0).uniform(low, high, (400, 2)))
    assert np.all((values >= lower) & (values <= upper))
    if width < 1e-3:
        spread = np.ptp(values, axis=0)
        curvature = 10 * np.exp(a + 1 + abs(b)) * width**2
        assert np.all(upper - lower <= 1.5 * spread + curvature + 1e-9)


def test_point_boxes_are_a_few_units_wide():
    x = ca.SX.sym("x")
    f = ca.Function("f", [x], [ca.sin(x) * ca.exp(x) / (1 + x**2)])
    low, high = IntervalTape.from_function(f).bound([0.7], [0.7])
    assert 0 < high[0] - low[0] < 1e-14


def test_jumps_have_no_mean_value_form():
    x = ca.SX.sym("x")
    with pytest.raises(ModelError, match="floor"):
        BoundedMap(ca.Function("f", [x], [ca.floor(x)]))


def test_pieces_cover_the_box():
    low, high = split_boxes(np.array([[0.0, -1.0]]), np.array([[1.0, 1.0]]), [3, 2])
    assert len(low) == 6
    assert np.isclose(np.prod(high - low, axis=1).sum(), 2.0)
    assert low.min() == -1
    assert high.max() == 1


def test_ends_in_the_wrong_order_are_named():
    x = ca.SX.sym("x")
    tape = IntervalTape.from_function(ca.Function("f", [x], [x]))
    with pytest.raises(ModelError, match=r"low\[0\]"):
        tape.bound([1.0], [0.0])
