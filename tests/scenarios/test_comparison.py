"""The machinery of comparisons: common random numbers, figures by hand, and the rows of every scenario."""

from dataclasses import replace

import numpy as np
import pytest

from yannctl.controllers import AbstractController
from yannctl.errors import FileFormatError, ModelError
from yannctl.scenarios import NAMES, compare, draw_world, make_scenario, simulate, summarise, variants
from yannctl.scenarios.comparison import bootstrap_gap, settling_times
from yannctl.scenarios.simulation import Runs
from yannctl.scenarios.tuning import tune, tuned_rows, write_tuned
from yannctl.scenarios.weights import read_tuned

EVERY = [(name, variant) for name in NAMES for variant in variants(name)]


class Constant(AbstractController):
    """u = value."""

    def __init__(self, plant, value):
        self.nx, self.nu, self.value = plant.nx, plant.nu, np.broadcast_to(value, (plant.nu,))

    def __call__(self, x, reference=None):
        return np.broadcast_to(self.value, (len(x), self.nu)).astype(float)

    def reset(self):
        """Nothing."""


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_every_scenario_draws_the_same_world_twice(name, variant):
    scenario = make_scenario(name, variant)
    one, two, other = (draw_world(scenario, 5, seed) for seed in (3, 3, 4))
    for part in ("x0", "p", "d", "noise"):
        np.testing.assert_array_equal(getattr(one, part), getattr(two, part))
    assert not np.array_equal(one.x0, other.x0)
    np.testing.assert_array_equal(draw_world(scenario, 5, 3).x0, one.x0)
    assert scenario.excess(one.x0).max() == 0
    assert scenario.best in scenario.rows
    low, high = scenario.condition.factors.get("k0", (1.0, 1.0))
    if "k0" in scenario.plant.parameter_names:
        factor = one.p[:, 0] / scenario.plant.parameters[0]
        assert (factor >= low - 1e-12).all()
        assert (factor <= high + 1e-12).all()


def test_disturbances_and_noise_are_what_the_condition_says():
    world = draw_world(make_scenario("cstr-setpoint", "disturbed"), 20, 0)
    assert (np.abs(np.diff(world.d, axis=1)) > 0).any(axis=2).sum(axis=1).max() == 1
    assert not world.noise.any()
    noisy = make_scenario("cstr-setpoint", "noisy")
    noise = draw_world(noisy, 200, 0).noise
    np.testing.assert_allclose(noise.std(axis=(0, 1)), noisy.plant.x_noise, rtol=0.05)


def test_simulation_is_the_plant_and_its_reward():
    scenario = make_scenario("cstr-setpoint", "perturbed")
    world = draw_world(scenario, 3, 0)
    runs = simulate(scenario, world, Constant(scenario.plant, 290.0))
    for i in range(3):
        true = scenario.plant.perturbed(world.p[i])
        x = world.x0[i]
        for k in range(scenario.steps):
            np.testing.assert_allclose(runs.x[i, k], x, rtol=1e-9)
            assert runs.cost[i, k] == pytest.approx(-float(scenario.plant.rewards(runs.x[i, k], [290.0])))
            x = true.step_tape.evaluate(x, np.array([290.0]))
    assert (runs.clipped, runs.missing) == (0.0, 0.0)


def test_inputs_out_of_bounds_and_missing_are_counted():
    scenario = replace(make_scenario("pendulum-upright"), steps=4)
    world = draw_world(scenario, 2, 0)
    far = simulate(scenario, world, Constant(scenario.plant, 9.0))
    assert far.clipped == 1.0
    np.testing.assert_array_equal(far.u, 2.0)
    gone = simulate(scenario, world, Constant(scenario.plant, np.nan))
    assert gone.missing == 1.0
    np.testing.assert_array_equal(gone.u, 0.0)


def test_figures_by_hand():
    scenario = make_scenario("cstr-setpoint")
    world = draw_world(scenario, 2, 0)
    x = np.tile(scenario.x_ref, (2, scenario.steps + 1, 1))
    x[0, :3, 1] += 5.0
    x[1, 7, 1] = 367.5
    x[1, -1, 0] = 0.3
    np.testing.assert_allclose(settling_times(scenario, x), [3 * scenario.plant.dt, np.inf])
    u = np.full((2, scenario.steps, 1), 300.0)
    u[0, 5:] = 310.0
    cost = np.full((2, scenario.steps), 0.25)
    best = Runs(x, u, cost, 0.0, 0.0, 0.0)
    dear = Runs(x, u, cost * np.array([[2.0], [4.0]]), 0.0, 0.0, 0.0)
    cheap = Runs(x[:1].repeat(2, axis=0), u, cost * 0.9, 0.0, 0.0, 0.0)
    table = {row.name: row for row in summarise(scenario, world, {"nmpc": best, "dear": dear, "cheap": cheap}).rows}
    assert table["dear"].gap == pytest.approx(2.0)
    assert table["dear"].gap_median == pytest.approx(2.0)
    assert (table["dear"].violating, table["dear"].worst) == (1, pytest.approx(2.5))
    assert table["dear"].movement == pytest.approx((10 / 40 + 0) / 2)
    assert table["dear"].settles == 0.5
    assert (table["nmpc"].gap, table["nmpc"].gap_low, table["nmpc"].gap_high) == (0.0, 0.0, 0.0)
    assert summarise(scenario, world, {"nmpc": best, "cheap": cheap}).beaten == ("cheap",)
    assert not summarise(scenario, world, {"nmpc": best, "cheap": cheap}).ok
    assert summarise(scenario, world, {"nmpc": best, "dear": dear}).ok


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        best = rng.uniform(1, 3, 60)
        low, high = bootstrap_gap(best * rng.lognormal(0.1, 0.4, 60), best, seed, resamples=400)
        hits += low <= np.exp(0.1 + 0.08) - 1 <= high
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize(("name", "n"), [("cstr-setpoint", 3), ("robot-kappa6", 2), ("pendulum-upright", 3)])
def test_rows_run_and_nmpc_is_not_beaten(name, n, monkeypatch):
    monkeypatch.setattr("yannctl.scenarios.reactor.NODES", 41)
    comparison = compare(replace(make_scenario(name), steps=15), n, seed=1)
    assert comparison.ok
    rows = {row.name: row for row in comparison.rows}
    assert set(rows) >= {"linear", "nmpc"}
    assert rows["nmpc"].violating == 0
    assert rows["nmpc"].details["solved"] > 0.9


def test_a_choice_of_rows_keeps_the_best():
    scenario = make_scenario("cstr-setpoint")
    assert list(scenario.choose(("linear",))) == ["linear", "nmpc"]
    with pytest.raises(ModelError, match="has no 'magic'"):
        scenario.choose(("magic",))
    with pytest.raises(ModelError, match="none is called"):
        make_scenario("reactor")
    with pytest.raises(ModelError, match="choose from nominal"):
        make_scenario("cstr-setpoint", "sunny")


def test_tuning_lowers_the_cost_and_is_kept(tmp_path):
    scenario = make_scenario("robot-kappa6")
    found = tune(scenario, trials=12, n=6, seed=5)
    again = tune(scenario, trials=12, n=6, seed=5)
    assert found.cost < found.plain_cost
    assert found == again
    path = tmp_path / "tuned.json"
    write_tuned(found, path)
    assert read_tuned("robot-kappa6", "nominal", path) == found.weights
    assert read_tuned("robot-kappa6", "noisy", path) is None
    rows = tuned_rows("robot-kappa6", "nominal", scenario.tunable, path)
    assert list(rows) == ["tuned", "filtered-tuned"]
    behind = tune(scenario, trials=3, n=4, seed=5, row="filtered-tuned")
    write_tuned(behind, path)
    assert read_tuned("robot-kappa6", "nominal", path, "filtered-tuned") == behind.weights
    assert read_tuned("robot-kappa6", "nominal", path) == found.weights
    # Weights of a related row are tried first: the search ends no worse.
    related = tune(scenario, trials=1, n=6, seed=5, row="tuned-preview", known=[found.weights])
    assert related.cost <= tune(scenario, trials=1, n=6, seed=5, row="tuned-preview").cost
    assert related.weights.factors
    with pytest.raises(ModelError, match="nothing to tune in 'linear'"):
        tune(scenario, trials=1, n=2, row="linear")
    path.write_text("[1]")
    with pytest.raises(FileFormatError, match="tuned weights"):
        read_tuned("robot-kappa6", "nominal", path)
