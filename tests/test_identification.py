"""Models from data: exact where the data are, honest errors where they are noisy, refusals where they say nothing."""

import numpy as np
import pytest

import yannctl
from yannctl import LinearModel
from yannctl.controllers import Lqr
from yannctl.errors import ModelError
from yannctl.models import Pendulum

TRUE = LinearModel([[0.9, 0.2], [-0.1, 0.8]], [[0.0], [0.5]], [0.01, 0.0], dt=0.1, x_op=[1.0, 0.0], u_op=[0.3])


def record(n, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    u, x = 0.3 + rng.normal(size=(n, 1)), np.empty((n + 1, 2))
    x[0] = TRUE.x_op
    for k in range(n):
        x[k + 1] = TRUE.step(x[k], u[k]) + noise * rng.normal(size=2)
    return x, u


def test_exact_data_give_the_exact_model():
    found = LinearModel.identify(record(60), dt=0.1, x_op=[1.0, 0.0], u_op=[0.3])
    for name in ("A", "B", "c"):
        np.testing.assert_allclose(getattr(found.model, name), getattr(TRUE, name), atol=1e-12)
    assert found.residual_std.max() < 1e-12
    assert found.certified is False
    assert "NOT certified" in str(found)
    x, u = np.array([1.4, -0.3]), np.array([0.9])
    np.testing.assert_allclose(LinearModel.identify(record(60), dt=0.1).model.step(x, u), TRUE.step(x, u), atol=1e-12)


def test_standard_errors_cover_the_truth_as_often_as_they_should():
    inside = []
    for seed in range(150):
        found = LinearModel.identify(record(200, 0.1, seed), dt=0.1)
        inside.append(np.abs(found.model.A - TRUE.A) <= 1.96 * found.A_error)
        inside.append(np.tile(np.abs(found.model.B - TRUE.B) <= 1.96 * found.B_error, (1, 2)))
    assert 0.92 <= np.mean(inside) <= 0.98
    assert np.abs(found.correlation).max() < 0.25
    np.testing.assert_allclose(found.residual_std, 0.1, rtol=0.25)
    np.testing.assert_allclose(found.validation_fit, found.fit, atol=0.2)


def test_a_rollout_of_the_pendulum_is_a_log():
    plant = Pendulum()
    K = yannctl.Ocp(yannctl.linearise(plant), Q=[1.0, 0.1], R=[0.001], N=5).K
    law, rng = Lqr(K), np.random.default_rng(0)
    run = plant.rollout(lambda x: law(x) + 0.5 * rng.normal(size=(len(x), 1)), rng.uniform(-0.05, 0.05, (4, 2)), 60)
    found = LinearModel.identify(run, dt=plant.dt, x_names=plant.x_names, u_names=plant.u_names)
    exact = yannctl.linearise(plant)
    np.testing.assert_allclose(found.model.A, exact.A, atol=0.05)
    np.testing.assert_allclose(found.model.B, exact.B, atol=0.02)
    assert found.validation_fit.min() > 0.8


def test_gaps_and_the_last_lone_state_are_left_out():
    x, u = record(80)
    x[20] = np.nan
    for states in (x, x[:-1]):
        found = LinearModel.identify([(states, u), record(30, seed=4)], dt=0.1, aside=0.0)
        np.testing.assert_allclose(found.model.A, TRUE.A, atol=1e-12)
        assert np.isnan(found.validation_fit).all()


def test_data_that_say_nothing_are_refused():
    x, u = record(60)
    with pytest.raises(ModelError, match="u1 hardly moves"):
        LinearModel.identify((x, np.ones_like(u)), dt=0.1)
    with pytest.raises(ModelError, match="move only together"):
        LinearModel.identify((x, x[:-1] @ np.array([[1.0], [2.0]])), dt=0.1)
    with pytest.raises(ModelError, match="transitions for 4 unknowns"):
        LinearModel.identify((x[:6], u[:5]), dt=0.1)
    with pytest.raises(ModelError, match="log"):
        LinearModel.identify((x, u[:-3]), dt=0.1)
    with pytest.raises(ModelError, match="aside"):
        LinearModel.identify((x, u), dt=0.1, aside=1.0)
