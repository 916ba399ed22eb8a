"""tanh, GELU, cosine and sine without a mathematics library, against those that have one."""

import numpy as np
import pytest
from scipy.special import erf

from yannctl.export.activations import activation, quarter_turns


@pytest.mark.parametrize(("precision", "dtype"), [("double", np.float64), ("float", np.float32)])
def test_accuracy(precision, dtype):
    eps = float(np.finfo(dtype).eps)
    x = np.concatenate([np.linspace(-30, 30, 100_001), np.geomspace(1e-30, 1, 2000)]).astype(dtype)
    exact = x.astype(np.float64)
    tanh = activation("tanh", precision)(x)
    np.testing.assert_allclose(tanh, np.tanh(exact), rtol=4 * eps)
    assert np.abs(tanh).max() == 1.0
    gelu = activation("gelu", precision)(x)
    np.testing.assert_allclose(gelu, 0.5 * exact * (1 + erf(exact / np.sqrt(2))), rtol=2 * eps, atol=8 * eps)
    np.testing.assert_array_equal(activation("relu", precision)(x), np.maximum(x, 0))
    angle = np.linspace(-1000, 1000, 100_001).astype(dtype)
    cosine, sine = quarter_turns(precision)(angle)
    np.testing.assert_allclose(cosine, np.cos(angle.astype(np.float64)), atol=2 * eps)
    np.testing.assert_allclose(sine, np.sin(angle.astype(np.float64)), atol=2 * eps)


@pytest.mark.parametrize("precision", ["double", "float"])
def test_special_values(precision):
    dtype = np.float64 if precision == "double" else np.float32
    x = np.array([0.0, -0.0, np.nan, np.inf, -np.inf], dtype)
    np.testing.assert_array_equal(activation("tanh", precision)(x), [0, 0, np.nan, 1, -1])
    np.testing.assert_array_equal(activation("relu", precision)(x), [0, 0, np.nan, np.inf, 0])
    assert np.isnan(quarter_turns(precision)(np.array([1001.0, np.nan, np.inf], dtype))[0]).all()


def test_odd_and_monotone():
    x = np.linspace(0, 20, 200_001)
    tanh = activation("tanh", "double")(x)
    np.testing.assert_array_equal(activation("tanh", "double")(-x), -tanh)
    assert np.diff(tanh).min() > -3e-16
