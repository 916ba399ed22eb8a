"""Tasks to learn: the environment is the scenario's truth, the law is its linear row, the judge is the comparison's."""

import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.scenarios.learning import LearningTask, learning_task
from yannctl.scenarios.scenario import draw_world


@pytest.fixture(scope="module")
def reactor() -> LearningTask:
    return learning_task("cstr-setpoint")


@pytest.fixture(scope="module")
def robot() -> LearningTask:
    return learning_task("robot-kappa6")


def test_environment_of_a_fixed_mismatch_is_the_true_plant_and_knows_only_the_nominal_one(reactor):
    env = reactor.environment()
    nominal = dict(zip(reactor.nominal.parameter_names, reactor.nominal.parameters, strict=True))
    true = dict(zip(env.plant.parameter_names, env.plant.parameters, strict=True))
    assert true["k0"] == pytest.approx(1.08 * nominal["k0"])
    assert true["UA"] == pytest.approx(0.92 * nominal["UA"])
    assert env.plant.nominal is reactor.nominal
    world = draw_world(reactor.scenario, 1, 5)
    x, _ = env.reset(seed=0, options={"x": world.x0[0]})
    u = np.array([300.0])
    after, reward, *_ = env.step(u)
    applied = reactor.safety_filter(x, u)
    expected = reactor.nominal.varied_step_tape.evaluate(x[None], applied[None], world.p, world.d[:, 0])[0]
    assert np.allclose(after, expected, rtol=1e-12)
    assert reward == pytest.approx(float(reactor.nominal.rewards(x, applied)), rel=1e-12)


def test_starts_of_the_environment_are_those_of_the_scenario(reactor):
    env = reactor.environment()
    starts = np.array([env.reset(seed=seed)[0] for seed in range(30)])
    assert reactor.safety_filter.safe_set.contains(starts).all()


def test_environment_without_filter_applies_what_is_asked_for(reactor):
    env = reactor.environment(filtered=False)
    env.reset(seed=1, options={"x": np.array([0.9, 340.0])})
    *_, info = env.step(np.array([320.0]))
    assert info["u_applied"] == info["u_proposed"]
    assert not info["filter_active"]


def test_robot_meets_another_specimen_in_each_episode(robot):
    env = robot.environment()
    after = []
    for seed in range(3):
        env.reset(seed=seed, options={"x": np.array([0.0, 0.0, 0.1, 0.0, 0.0])})
        after.append(env.step(np.array([0.2, 0.1]))[0])
    assert len({float(x[2]) for x in after}) == 3


@pytest.mark.parametrize("name", ["pendulum-swingup", "robot-kappa6"])
def test_law_is_the_linear_row(name):
    task = learning_task(name)
    controller = task.scenario.rows["linear"](task.scenario, task.test_world)
    x = task.test_world.x0[:40]
    with torch.no_grad():
        u = task.law()(torch.from_numpy(x)).numpy()
    span = task.nominal.u_max - task.nominal.u_min
    assert (np.abs(u - controller(x)) <= 1e-7 * span).all()


def test_teacher_plans_on_the_plant_as_it_is_known_with_the_parameters_it_is_told(robot):
    teacher = robot.teacher()
    assert teacher.plant is robot.nominal
    x = robot.test_world.x0[:2]
    known = np.tile(robot.nominal.parameters, (2, 1))

    def law(x: np.ndarray) -> np.ndarray:
        return np.tile([0.05, 0.0], (len(x), 1))

    u = teacher(x, law, known)
    assert u.shape == (2, teacher.keep, 2)
    np.testing.assert_array_equal(u, teacher(x, law, known))
    assert np.abs(u - teacher(x, law, known * [2.0, 0.9, 1.0])).max() > 0.01
    assert learning_task("pendulum-upright").teacher() is None  # linear MPC is the optimum there


def test_judge_puts_the_filter_behind_every_policy_and_counts_what_it_does(reactor):
    hot = torch.nn.Linear(2, 1).double()
    with torch.no_grad():
        hot.weight.zero_()
        hot.bias.fill_(320.0)
    with_filter, without = reactor.evaluate(hot), reactor.evaluate(hot, filtered=False)
    assert with_filter.violations.sum() == 0
    assert with_filter.interventions > 0.1
    assert without.violations.sum() > 0
    assert without.worst > 1.0
    assert without.interventions == 0.0
    assert with_filter.mean < without.mean


def test_rivals_stand_behind_the_same_filter(robot):
    rivals = robot.rivals()
    assert {"linear", "tuned", "offset-free", "preview"} <= set(rivals)
    assert all(type(make()).__name__ == "Guarded" for make in rivals.values())
    assert next(iter(robot.bounds())) == "nmpc"


def test_unknown_task_is_refused():
    with pytest.raises(ModelError, match="choose from"):
        learning_task("cart")


def test_disturbed_variant_is_refused():
    with pytest.raises(ModelError, match="cannot be learned on"):
        learning_task("robot-kappa6", "noisy").environment()


def test_published_pendulum_has_the_regions_and_rows_that_follow_from_the_published_counts():
    task = learning_task("pendulum-clipped")
    law = task.law().law
    assert (law.n_regions, len(law.k)) == (7, 32)


def test_published_reactor_has_the_regions_and_rows_that_follow_from_the_published_counts():
    law = learning_task("runaway-published").law().law
    assert (law.n_regions, len(law.k)) == (7, 56)
