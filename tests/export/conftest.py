import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import yannctl


def benchmark_problem(name):
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "problems.py"
    spec = importlib.util.spec_from_file_location("benchmark_problems", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.problem(name)


@pytest.fixture(scope="session")
def integrator_law():
    """P1_N10: two parameters, 43 regions."""
    return yannctl.solve_mpqp(benchmark_problem("P1_N10"))


@pytest.fixture(scope="session")
def reactor_law():
    """P3_N5: two parameters, two outputs, 211 regions."""
    return yannctl.solve_mpqp(benchmark_problem("P3_N5"))


@pytest.fixture
def lines():
    """A filter of one input with lines that cross outside the middle."""
    return SimpleNamespace(
        F_low=np.array([[0.3, 0.2], [-0.1, 0.5]]),
        g_low=np.array([-1.2, -0.9]),
        F_high=np.array([[0.3, 0.2], [-0.1, 0.5], [-0.2, -0.4]]),
        g_high=np.array([1.1, 0.8, 1.6]),
        u_min=-1.0,
        u_max=np.array([1.0]),
    )
