"""The generated Structured Text, run by an interpreter, gives its test vectors and the Python reference bit by bit."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from yannctl.errors import ModelError
from yannctl.export.structured_text import number, write_st


def interpreter(text):
    spec = importlib.util.spec_from_file_location("interpreter", Path(__file__).with_name("structured_text.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Block(text)


@pytest.mark.parametrize(("precision", "dtype"), [("double", np.float64), ("float", np.float32)])
def test_vectors_hold(integrator_law, reactor_law, tmp_path, precision, dtype):
    for law, count in ((integrator_law, 60), (reactor_law.merged(), 10)):
        written = write_st(law, tmp_path, precision=precision)
        block = interpreter(written.files[0].read_text())
        lines = written.files[1].read_text().splitlines()[1:]
        assert len(lines) == written.n_vectors
        statuses = set()
        for line in lines[:count]:
            *values, wanted_status = line.split(",")
            theta, wanted = np.array(values[: law.ntheta], dtype), np.array(values[law.ntheta :], dtype)
            u, status = block(theta)
            np.testing.assert_array_equal(np.array(u, dtype), wanted)
            assert status == int(wanted_status)
            statuses.add(status)
        assert {0, 1} <= statuses or count < 60


def test_bad_inputs_give_the_safe_value(integrator_law, tmp_path):
    written = write_st(integrator_law, tmp_path)
    block = interpreter(written.files[0].read_text())
    for theta in ([np.nan, 0.0], [0.0, np.inf], [-np.inf, 0.0]):
        u, status = block(np.array(theta))
        assert status == 2
        np.testing.assert_array_equal(u, written.reference.safe_output)


def test_it_says_that_no_plc_has_run_it(integrator_law, tmp_path):
    text = write_st(integrator_law, tmp_path).files[0].read_text()
    assert "NOT verified on a PLC" in text
    assert "FUNCTION_BLOCK FB_controller" in text
    with pytest.raises(ModelError, match="partial"):
        write_st(integrator_law.with_status("partial", "budget"), tmp_path)


def test_literals_read_back_to_the_same_bits():
    values = np.random.default_rng(0).standard_normal(2000) * 10.0 ** np.random.default_rng(1).integers(-30, 30, 2000)
    for dtype in (np.float64, np.float32):
        for value in values.astype(dtype):
            text = number(value)
            assert "." in text
            assert dtype(text) == value
