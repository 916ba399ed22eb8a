"""Path tracking in metres: one law for all speeds equals the online QP, and the linear error model is close."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import yannctl
from yannctl.errors import ModelError
from yannctl.models import DifferentialDrive
from yannctl.mpqp import MpQp, condense_path_tracking, path_error_model


@pytest.fixture(scope="module")
def program() -> MpQp:
    return condense_path_tracking()


@pytest.fixture(scope="module")
def law(program: MpQp) -> yannctl.PwaLaw:
    return yannctl.solve_mpqp(program)


def test_model_is_the_exact_sampling_of_the_spatial_error() -> None:
    model, ds = path_error_model(0.07), 0.07
    sampled = expm(np.array([[0.0, 1, 0, 0], [0, 0, -1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]) * ds)
    np.testing.assert_allclose(model.A[:2], sampled[:2, :3], atol=1e-15)
    np.testing.assert_allclose(model.B[:2, 0], sampled[:2, 3], atol=1e-15)
    after = model.step([0.01, 0.2, 3.0], [3.0], [-2.0])
    np.testing.assert_allclose(after, [0.01 + 0.2 * ds, 0.2, -2.0], atol=1e-15)


def test_law_equals_the_online_program_at_every_speed(program: MpQp, law: yannctl.PwaLaw) -> None:
    assert law.status == "complete"
    assert program.theta_names == ("ey", "epsi", "kappa_now", "u_last_kappa", "kappa_ahead", "slowness")
    theta = np.random.default_rng(0).uniform(program.theta_min, program.theta_max, (1000, 6))
    online = program.solve_qp_batch(theta)
    assert set(online.status) == {"optimal"}
    np.testing.assert_allclose(law(theta), online.z[:, :1], atol=1e-9)
    np.testing.assert_allclose(law.value(theta), online.value, rtol=1e-9, atol=1e-9)


def test_wheels_limit_every_move(program: MpQp) -> None:
    theta = np.random.default_rng(1).uniform(program.theta_min, program.theta_max, (300, 6))
    kappa, speed = program.solve_qp_batch(theta).z, 1 / theta[:, -1:]
    used = speed * (1 + 0.08 * np.abs(kappa))
    assert used.max() <= 0.22 + 1e-9
    assert (used > 0.22 - 1e-9).any()


def test_on_the_path_the_law_drives_the_path(law: yannctl.PwaLaw) -> None:
    for kappa in (-6.0, 0.0, 2.0):
        theta = np.array([0.0, 0.0, kappa, kappa, kappa, 1 / 0.1])
        assert law(theta)[0] == pytest.approx(kappa, abs=1e-9)


def path_rate(s: float, e: np.ndarray, speed: float, kappa: float) -> np.ndarray:
    """Nonlinear error by metre of a path of curvature 1, from the plant's rates by second."""
    state = np.array([e[0], e[1], speed, speed * kappa])
    rates = np.asarray(DifferentialDrive(bend=1.0).path_rate(state, state[2:], 1.0)).ravel()
    return rates[:2] * (1 - e[0]) / (speed * np.cos(e[1]))


def test_linear_error_is_close_on_an_arc_of_one_metre_at_any_speed() -> None:
    """Drive back to the arc from (0.05 m, 0.2 rad) with the law, in the nonlinear frame and in the model."""
    law = yannctl.solve_mpqp(condense_path_tracking(R=0.2, R_rate=0.05))
    model, gaps, ends = path_error_model(0.04), [], []
    for speed in (0.05, 0.1):
        real = linear = np.array([0.05, 0.2])
        last = np.ones(2)
        for _ in range(50):
            kappa = law(np.array([[*e, 1.0, k, 1.0, 1 / speed] for e, k in zip((real, linear), last, strict=True)]))[
                :, 0
            ]

            real = solve_ivp(path_rate, (0, 0.04), real, args=(speed, kappa[0]), rtol=1e-9, atol=1e-12).y[:, -1]
            linear = model.step([*linear, 1.0], kappa[1:], [1.0])[:2]
            gaps.append(np.abs(real - linear))
            last = kappa
        ends.append(real)
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-9)
    assert np.abs(ends).max() < 1e-3
    assert (np.max(gaps, axis=0) <= (0.0047, 0.0086)).all()


@pytest.mark.parametrize("slowness", [(4.0, 20.0), (10.0, 5.0), (5.0, np.inf)])
def test_speeds_out_of_sense_are_named(slowness: tuple[float, float]) -> None:
    with pytest.raises(ModelError, match="slowness"):
        condense_path_tracking(slowness=slowness)
    with pytest.raises(ModelError, match="spacing"):
        path_error_model(0.0)
