"""NMPC against the explicit law where the plant is linear, and against its own promises where it is not."""

from dataclasses import dataclass

import numpy as np
import pytest

import yannctl
from yannctl.controllers import Lqr, Nmpc, OnlineMpc, check_controller
from yannctl.errors import ModelError
from yannctl.models import Pendulum

PLANT = Pendulum()


@dataclass(frozen=True)
class Straight(Pendulum):
    """The pendulum's linearisation as a plant."""

    angles = ()

    def step_map(self, x, u):
        import casadi as ca

        lin = yannctl.linearise(PLANT)
        return ca.mtimes(ca.DM(lin.A), x) + ca.mtimes(ca.DM(lin.B), u)


def make(plant=PLANT, **changes):
    ocp = yannctl.Ocp(yannctl.linearise(PLANT), Q=[1.0, 0.1], R=[0.001], N=10, u_min=[-2.0], u_max=[2.0],
                      theta_min=[-1.0, -2.0], theta_max=[1.0, 2.0])  # fmt: skip
    settings = {"N": 10, "terminal": lambda x: x.T @ ocp.P @ x, "guesses": (Lqr.of(ocp),)}
    return Nmpc(plant, **{**settings, **changes}), ocp


def test_of_a_linear_plant_it_is_the_linear_mpc():
    nmpc, ocp = make(Straight())
    x = np.random.default_rng(0).uniform([-0.3, -1.0], [0.3, 1.0], (12, 2))
    np.testing.assert_allclose(nmpc(x), OnlineMpc(ocp)(x), atol=2e-5)
    assert all(plan.solved for plan in nmpc.last_plans)


def test_soft_limits_are_exact_and_the_slack_is_reported():
    nmpc, ocp = make(Straight(), x_min=[-np.inf, -0.5], x_max=[np.inf, 0.5])
    hard = OnlineMpc(yannctl.Ocp(ocp.lin, Q=[1.0, 0.1], R=[0.001], N=10, x_min=[-np.inf, -0.5], x_max=[np.inf, 0.5],
                                 u_min=[-2.0], u_max=[2.0], theta_min=[-1, -1], theta_max=[1, 1]))  # fmt: skip
    x = np.array([[0.2, 0.3], [0.05, -0.45], [0.1, 0.4]])
    np.testing.assert_allclose(nmpc(x), hard(x), atol=2e-4)
    assert nmpc.last_slack.max() < 1e-6
    nmpc.reset()
    nmpc([[0.35, 1.5]])
    assert nmpc.last_slack[0] > 0.01


def test_input_rows_hold():
    nmpc, _ = make(input_rows=(np.array([[1.0]]), np.array([0.3])))
    assert nmpc([-0.2, 0.0])[0] == pytest.approx(0.3, abs=1e-5)


def test_a_shifted_plan_is_a_warm_start():
    nmpc, _ = make(N=30)
    x, iterations = np.array([0.25, 0.3]), []
    for _ in range(25):
        u = nmpc(x)
        iterations.append(nmpc.last_plans[0].iterations)
        x = PLANT.step(x, u)
    assert np.median(iterations[1:]) < iterations[0]
    assert np.abs(x).max() < 0.1


def test_the_best_of_several_guesses_wins():
    far = np.array([[2.8, 0.0]])
    swing = [lambda x, s=s: s * np.sign(x[:, 1:] + 1e-9) * 2.0 for s in (1, -1)]
    found = [make(N=60, guesses=guesses)[0] for guesses in ((swing[0],), (swing[1],), tuple(swing))]
    for nmpc in found:
        nmpc(far)
    costs = [nmpc.last_plans[0].cost for nmpc in found]
    assert costs[2] <= min(costs[:2]) * (1 + 1e-9)


def test_open_parameters_are_those_of_each_state():
    opened, _ = make(N=8, open_parameters=True)
    x = np.array([[0.2, 0.1], [0.2, 0.1]])
    p = np.array([[1.1, 0.9, 0.05, 0.0], [1.0, 1.0, 0.0, 0.15]])
    opened.set_parameters(p)
    u = opened(x)
    heavy, _ = make(PLANT.perturbed(p[0, :3]), N=8)
    pushed, _ = make(Pendulum(push=0.15), N=8)
    np.testing.assert_allclose(u, [heavy(x[0]), pushed(x[1])], atol=1e-5)
    with pytest.raises(ModelError, match="open_parameters"):
        heavy.set_parameters(p)
    with pytest.raises(ModelError, match=r"expected \(\.\.\., 4\)"):
        opened.set_parameters(p[:, :3])


def test_runge_kutta_steps_predict_as_the_plant_does():
    own, fast = make(Pendulum(integrator="accurate"), N=8)[0], make(Pendulum(integrator="accurate"), N=8, substeps=4)[0]
    np.testing.assert_allclose(own([0.2, 0.1]), fast([0.2, 0.1]), atol=1e-4)


def test_contract_and_mistakes():
    nmpc, _ = make(N=5)
    check_controller(nmpc, PLANT, n=3)
    nmpc(np.zeros((3, 2)))
    with pytest.raises(ModelError, match="2 states after 3"):
        nmpc(np.zeros((2, 2)))
    nmpc.reset()
    assert np.isnan(nmpc([np.nan, 0.0])).all()
    with pytest.raises(ModelError, match="N: got 0"):
        make(N=0)
