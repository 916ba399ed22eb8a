"""What the scenarios say of their plants: the coolable set, the stopping set, the linear models."""

import numpy as np

from yannctl.models import CSTR, DifferentialDrive
from yannctl.scenarios.reactor import CoolableSet, coolable, guard
from yannctl.scenarios.robot import can_stop, linear_model


def test_the_border_of_the_coolable_set_is_where_cooling_just_suffices():
    plant = CSTR()
    safe = CoolableSet.of(plant, 0.1)
    worst = plant.perturbed({"k0": 1.1 * plant.k0, "UA": 0.9 * plant.UA})
    CA = np.linspace(0.3, 1.0, 15)
    border = np.interp(CA, safe.CA, safe.T)
    for shift, kept in ((-0.05, True), (0.3, False)):
        x, hottest = np.column_stack([CA, border + shift]), np.full(15, -np.inf)
        for _ in range(60):
            x = worst.step_tape.evaluate(x, np.full((15, 1), plant.Tc_min))
            hottest = np.maximum(hottest, x[:, 1])
        # Between two samples the peak may hide by a little.
        assert ((hottest <= plant.T_max) if kept else (hottest > plant.T_max - 1e-3)).all()
    assert safe.contains(np.array([[0.1, 364.9], [0.5, 353.9], [0.5, 354.1]])).tolist() == [True, True, False]


def test_the_guard_keeps_the_worst_reactor_cool_and_hardly_acts():
    plant = CSTR()
    keep, safe = guard(plant, 0.1), coolable(plant, 0.1)
    worst = plant.perturbed({"k0": 1.1 * plant.k0, "UA": 0.9 * plant.UA})
    rng = np.random.default_rng(0)
    x = rng.uniform([0.2, 310.0], [1.0, 365.0], (200, 2))
    x = x[safe.contains(x)]
    for k in range(40):
        wanted = np.full((len(x), 1), 320.0) if k % 2 else rng.uniform(280, 320, (len(x), 1))
        u = keep(x, wanted)
        same = safe.contains(worst.step_tape.evaluate(x, wanted))
        np.testing.assert_array_equal(u[same], wanted[same])
        assert (u <= wanted).all()
        x = worst.step_tape.evaluate(x, u)
        assert x[:, 1].max() <= plant.T_max + 2e-3  # the set is numerical


def test_a_robot_that_can_stop_stays_in_the_corridor():
    plant = DifferentialDrive()
    rng = np.random.default_rng(0)
    x = rng.uniform(plant.start_min, plant.start_max, (4000, 5))
    x[:, 3] = rng.uniform(-1, 1, 4000)
    kept = can_stop(plant, x)
    assert 0.6 < kept.mean() < 0.97
    x = x[kept]
    p = np.column_stack(
        [rng.choice([0.1, 0.2], len(x)), rng.choice([0.9, 1.0], len(x)), rng.choice([0.9, 1.05], len(x))]
    )
    d = np.zeros((len(x), len(plant.d)))
    for _ in range(20):
        x = plant.varied_step_tape.evaluate(x, np.zeros((len(x), 2)), p, d)
        assert np.abs(x[:, 0]).max() <= 0.1


def test_the_robots_linear_model_predicts_small_moves():
    plant = DifferentialDrive(bend=0.5)
    lin = linear_model(plant)
    x, u = np.array([0.002, -0.01, 0.21, 0.05, 0.2]), np.array([0.2, 0.1])
    after = lin.step(x[:4], u, [plant.curvature(x[4])])
    np.testing.assert_allclose(after, plant.step(x, u)[:4], atol=2e-3)
