"""Uncertain fields, disturbances and references: functions with them as arguments equal plants with them as fields."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

from yannctl.errors import ModelError
from yannctl.models import CSTR, DifferentialDrive, Pendulum
from yannctl.plant import AbstractPlant, Range

PLANTS = [CSTR(integrator="fast"), DifferentialDrive(), Pendulum(integrator="accurate")]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: type(p).__name__)
def test_arguments_equal_fields(plant: AbstractPlant) -> None:
    rng = np.random.default_rng(0)
    x, u = plant.sample_starts(5, rng), rng.uniform(plant.u_min, plant.u_max, (5, plant.nu))
    p, d = (rng.uniform(low, high, (5, len(low))) for low, high in (plant.parameter_ranges, plant.d_ranges))
    whole = plant.step(x, u, p, d)
    varied = plant.step_function(parameters=True, disturbances=True)
    assert varied.name_in() == ["x", "u", "p", "d"]
    for k in range(5):
        changes = dict(zip((*plant.parameter_names, *plant.d_names), [*p[k], *d[k]], strict=True))
        other = dataclasses.replace(plant, **changes)
        np.testing.assert_allclose(whole[k], other.step(x[k], u[k]), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(np.asarray(varied(x[k], u[k], p[k], d[k])).ravel(), whole[k], rtol=1e-13)
        specimen = plant.perturbed(p[k])
        np.testing.assert_allclose(specimen.step(x[k], u[k]), plant.step(x[k], u[k], p=p[k]), rtol=1e-13, atol=1e-15)
        rate = plant.rate_function(parameters=True)(x[k], u[k], p[k])
        np.testing.assert_allclose(np.asarray(rate).ravel(), specimen.rate(x[k], u[k]), rtol=1e-13, atol=1e-13)


def test_a_specimen_keeps_the_data_sheet() -> None:
    plant = CSTR()
    other = plant.perturbed({"k0": 8e10})
    assert (other.k0, other.UA) == (8e10, plant.UA)
    assert other.nominal is plant
    assert other.uncertain == plant.uncertain
    np.testing.assert_array_equal(other.x_equilibrium, plant.x_equilibrium)
    np.testing.assert_array_equal(other.nominal.parameters, [7.2e10, 5e4])
    assert other.perturbed(seed=0).nominal is plant
    x, u = [0.5, 350.0], [300.0]
    expected = other.step(x, u)
    assert not np.allclose(expected, plant.step(x, u), atol=1e-3)
    for twin in (pickle.loads(pickle.dumps(other)), copy.deepcopy(other)):
        np.testing.assert_array_equal(twin.step(x, u), expected)
        np.testing.assert_array_equal(twin.rewards(x, u), plant.rewards(x, u))


def test_draws_are_reproducible_and_inside() -> None:
    plant = CSTR()
    low, high = plant.parameter_ranges
    drawn = np.array([plant.perturbed(seed=k).parameters for k in range(50)])
    assert ((drawn >= low) & (drawn <= high)).all()
    assert np.unique(drawn[:, 0]).size == 50
    np.testing.assert_array_equal(plant.perturbed(seed=7).parameters, drawn[7])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "give the parameters or a seed"),
        ({"p": [7e10, 5e4], "seed": 1}, "give the parameters or a seed"),
        ({"p": {"k": 1.0}}, r"does not know \['k'\]"),
        ({"p": [7e10]}, r"shape \(1,\), expected \(2,\) for k0, UA"),
        ({"p": {"UA": np.nan}}, r"p\[1\]: UA is nan"),
    ],
)
def test_bad_parameters_are_named(arguments: dict, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        CSTR().perturbed(**arguments)


def test_bad_ranges_and_batches_are_named() -> None:
    with pytest.raises(ModelError, match="Range"):
        Range(2.0, 1.0)
    plant = CSTR()
    with pytest.raises(ModelError, match=r"d\[1\]: Tf is inf"):
        plant.step([0.5, 350.0], [300.0], d=[1.0, np.inf, 100.0])
    with pytest.raises(ModelError, match=r"p: shape \(3,\), expected"):
        plant.step([0.5, 350.0], [300.0], p=[1.0, 2.0, 3.0])
