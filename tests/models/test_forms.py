"""One plant, four forms: numpy, CasADi, torch and C give the same step to 1e-10."""

import ctypes
import shutil
import subprocess

import casadi as ca
import numpy as np
import pytest
import torch

from yannctl.models import CSTR, DifferentialDrive, Pendulum, RunawayReactor
from yannctl.plant import AbstractPlant

PLANTS = [
    Pendulum(),
    Pendulum(integrator="accurate"),
    CSTR(),
    CSTR(integrator="fast"),
    RunawayReactor(),
    DifferentialDrive(),
    Pendulum().actuated(delay=1),
]
AGREEMENT = 1e-10


def samples(plant: AbstractPlant, n: int = 64) -> tuple[np.ndarray, ...]:
    """States, inputs beyond their bounds, parameters and disturbances."""
    rng = np.random.default_rng(0)
    span = 0.1 * (plant.u_max - plant.u_min)
    return (
        plant.sample_starts(n, rng),
        rng.uniform(plant.u_min - span, plant.u_max + span, (n, plant.nu)),
        rng.uniform(*plant.parameter_ranges, (n, len(plant.parameters))),
        rng.uniform(*plant.d_ranges, (n, len(plant.d))),
    )


def ranges(plant: AbstractPlant) -> np.ndarray:
    width = plant.x_max - plant.x_min
    return np.where(np.isfinite(width), width, 1.0)


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_casadi_form(plant: AbstractPlant) -> None:
    x, u, p, d = samples(plant)
    plain = plant.step_function()(x.T, u.T).full().T
    varied = plant.step_function(parameters=True, disturbances=True)(x.T, u.T, p.T, d.T).full().T
    assert (np.abs(plant.step(x, u) - plain) / ranges(plant)).max() <= AGREEMENT
    assert (np.abs(plant.step(x, u, p, d) - varied) / ranges(plant)).max() <= AGREEMENT


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_torch_form_and_its_gradient(plant: AbstractPlant) -> None:
    x, u, p, d = samples(plant)
    tensors = [torch.tensor(array) for array in (x, u, p, d)]
    assert (np.abs(plant.step_tape.torch(*tensors[:2]).numpy() - plant.step(x, u)) / ranges(plant)).max() <= AGREEMENT
    tensors[0].requires_grad_()
    tensors[1].requires_grad_()
    after = plant.varied_step_tape.torch(*tensors)
    gap = np.abs(after.detach().numpy() - plant.step(x, u, p, d)) / ranges(plant)
    assert gap.max() <= AGREEMENT
    weights = np.random.default_rng(1).normal(size=plant.nx)
    (after @ torch.tensor(weights)).sum().backward()
    function = plant.step_function(parameters=True, disturbances=True)
    s = function.sx_in()
    slopes = ca.Function("slopes", s, [ca.jacobian(ca.dot(weights, function(*s)), ca.vertcat(s[0], s[1]))])
    expected = np.array([slopes(*row).full().ravel() for row in zip(x, u, p, d, strict=True)])
    found = np.concatenate([tensors[0].grad.numpy(), tensors[1].grad.numpy()], axis=1)
    inside = (u == plant.clip(u)).all(axis=1)  # at a clip the slope is a choice
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-8, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_c_form(plant: AbstractPlant, tmp_path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "apt-get install gcc"
    source, library = tmp_path / "plant.c", tmp_path / "plant.so"
    texts = [plant.step_tape.c_source("plain"), plant.varied_step_tape.c_source("varied")]
    source.write_text("#include <math.h>\n" + "\n".join(texts))
    flags = ["-std=c99", "-O1", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(source), "-o", str(library), "-lm"], check=True)
    loaded = ctypes.CDLL(str(library))
    arrays = samples(plant)
    after, changed = plant.step(*arrays[:2]), plant.step(*arrays)
    for k in range(len(after)):
        row = [np.ascontiguousarray(array[k]) for array in arrays]
        for name, inputs, expected in (("plain", row[:2], after[k]), ("varied", row, changed[k])):
            result = np.empty(plant.nx)
            getattr(loaded, name)(*(ctypes.c_void_p(array.ctypes.data) for array in (*inputs, result)))
            assert (np.abs(result - expected) / ranges(plant)).max() <= AGREEMENT
