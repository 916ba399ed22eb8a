"""What the scenarios say of their plants: the rows behind the certified filters, the linear models."""

import numpy as np
import pytest

from yannctl.models import DifferentialDrive
from yannctl.scenarios import draw_world, make_scenario, simulate
from yannctl.scenarios.guarded import behind
from yannctl.scenarios.robot import linear_model


@pytest.mark.parametrize(
    ("name", "variant", "rows"),
    [("cstr-setpoint", "mismatch-qc", ("linear", "offset-free", "tuned")), ("cstr-setpoint", "wide", ("linear",)),
     ("cstr-setpoint", "fast", ("linear", "offset-free")), ("cstr-startup", "perturbed", ("linear",))],
)  # fmt: skip
def test_filtered_rows_never_pass_the_limit_where_the_plain_ones_do(name, variant, rows):
    scenario = make_scenario(name, variant)
    world = draw_world(scenario, 6, 0)
    for plain in rows:
        if plain not in scenario.rows:
            continue
        over = scenario.excess(simulate(scenario, world, scenario.rows[plain](scenario, world)).x).max(axis=1)
        guarded = scenario.rows[behind(plain)](scenario, world)
        run = simulate(scenario, world, guarded)
        assert scenario.excess(run.x).max() == 0
        assert np.isfinite(run.x).all()
        figures = guarded.figures()
        assert figures["filter_outside"] == 0
        if plain == "linear":
            assert np.count_nonzero(over) >= 1
            assert 0 < figures["filter_changed"] < 0.9


def test_filtered_rows_are_the_plain_ones_where_the_filter_need_not_act():
    scenario = make_scenario("cstr-setpoint")
    world = draw_world(scenario, 20, 0)
    plain = simulate(scenario, world, scenario.rows["linear"](scenario, world))
    behind = simulate(scenario, world, scenario.rows["filtered"](scenario, world))
    same = (plain.u == behind.u).all(axis=(1, 2))
    assert same.any()
    assert not same.all()
    np.testing.assert_array_equal(plain.x[same], behind.x[same])
    assert (scenario.excess(plain.x[same]).max(axis=1) == 0).all()


def test_no_filtered_row_is_better_than_the_best_one_behind_the_filter(monkeypatch):
    monkeypatch.setattr("yannctl.scenarios.reactor.NODES", 61)
    scenario = make_scenario("cstr-setpoint", "mismatch")
    world = draw_world(scenario, 20, 0)
    best = scenario.rows["filtered-best"](scenario, world)
    run = simulate(scenario, world, best)
    cost = run.cost.sum(axis=1)
    assert scenario.excess(run.x).max() == 0
    assert best.figures()["filter_outside"] == 0
    # What the grid promised is what the loop on the true plant then costs.
    assert -best.inner.value(world.x0).mean() == pytest.approx(cost.mean(), rel=0.06)
    for name in ("filtered", "filtered-offset-free"):
        other = simulate(scenario, world, scenario.rows[name](scenario, world)).cost.sum(axis=1)
        assert other.mean() > 1.02 * cost.mean()


@pytest.mark.parametrize("name", ["robot-kappa6", "pendulum-upright"])
def test_filtered_rows_of_the_others_keep_their_limits_and_get_on(name):
    scenario = make_scenario(name)
    world = draw_world(scenario, 20, 0)
    run = simulate(scenario, world, scenario.rows["filtered"](scenario, world))
    assert scenario.excess(run.x).max() == 0
    if name == "robot-kappa6":
        assert (run.x[:, -1, 4] - run.x[:, 0, 4]).min() > 0.5  # [m] along the path: a robot that stands is safe too
    else:
        assert np.abs(run.x[:, -1]).max() < 0.02


def test_a_temperature_controller_explodes_and_never_behind_the_filter():
    scenario = make_scenario("runaway-restart", "perturbed")
    world = draw_world(scenario, 16, 0)
    runs = {
        name: simulate(scenario, world, scenario.rows[name](scenario, world))
        for name in ("temperature-pi", "filtered-temperature-pi", "filtered")
    }
    lost = scenario.excess(runs["temperature-pi"].x).max(axis=1)
    assert np.count_nonzero(lost > 100) >= 2
    for name in ("filtered-temperature-pi", "filtered"):
        assert scenario.excess(runs[name].x).max() == 0
        assert scenario.plant.T_max - 3 > np.median(runs[name].x[:, :, 3].max(axis=1)) > 440
    settled = np.abs(runs["filtered"].x[:, -1, 3] - scenario.plant.set_point) < 2
    assert settled.mean() > 0.5


@pytest.mark.parametrize(
    ("name", "variant"),
    [("cstr-setpoint", "disturbed"), ("cstr-setpoint", "noisy"), ("robot-kappa6", "noisy"),
     ("pendulum-upright", "perturbed"), ("pendulum-swingup", "nominal")],
)  # fmt: skip
def test_what_no_proof_covers_has_no_filtered_row(name, variant):
    assert not [row for row in make_scenario(name, variant).rows if row.startswith("filtered")]


def test_the_robots_linear_model_predicts_small_moves():
    plant = DifferentialDrive(bend=0.5)
    lin = linear_model(plant)
    x, u = np.array([0.002, -0.01, 0.21, 0.05, 0.2]), np.array([0.2, 0.1])
    after = lin.step(x[:4], u, [plant.curvature(x[4])])
    np.testing.assert_allclose(after, plant.step(x, u)[:4], atol=2e-3)
