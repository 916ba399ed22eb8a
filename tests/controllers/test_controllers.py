"""Controllers against each other, against their formulas, and against the contract."""

import subprocess
import sys

import numpy as np
import pytest

import yannctl
from yannctl.controllers import ExplicitMpc, Lqr, NetworkController, OnlineMpc, check_controller
from yannctl.controllers.base import AbstractController
from yannctl.errors import ModelError
from yannctl.models import Pendulum


@pytest.fixture(scope="module")
def plant():
    return Pendulum()


def make_ocp(plant, **changes):
    lin = yannctl.linearise(plant)
    settings = {
        "Q": np.diag([1.0, 0.1]), "R": [[0.001]], "N": 4, "u_min": [-2.0], "u_max": [2.0],
        "theta_min": [-1.0, -4.0], "theta_max": [1.0, 4.0],
    }  # fmt: skip
    return yannctl.Ocp(lin, **{**settings, **changes})


@pytest.fixture(scope="module")
def ocp(plant):
    return make_ocp(plant)


@pytest.fixture(scope="module")
def law(ocp):
    return yannctl.solve_mpqp(yannctl.condense(ocp))


@pytest.fixture(scope="module")
def states():
    return np.random.default_rng(0).uniform([-1.0, -4.0], [1.0, 4.0], (400, 2))


def test_explicit_equals_online(ocp, law, states):
    online = OnlineMpc(ocp)
    np.testing.assert_allclose(ExplicitMpc(law)(states), online(states), rtol=0, atol=1e-8)
    np.testing.assert_array_equal(online.last_status, 1)
    assert 0.1 < np.mean(np.abs(online(states)) < 1.999) < 0.9


def test_warm_start_changes_nothing(ocp, states):
    online, cold = OnlineMpc(ocp), OnlineMpc(ocp)
    for x in states[:60]:
        cold.reset()
        np.testing.assert_allclose(online(x), cold(x), rtol=0, atol=1e-9)


def test_soft_bounds_agree_too(plant):
    soft = make_ocp(plant, x_min=[-1.0, -1.5], x_max=[1.0, 1.5], soft="l1l2", N=3)
    law = yannctl.solve_mpqp(yannctl.condense(soft))
    x = np.random.default_rng(1).uniform([-1.0, -4.0], [1.0, 4.0], (200, 2))
    np.testing.assert_allclose(ExplicitMpc(law)(x), OnlineMpc(soft)(x), rtol=0, atol=1e-7)


def test_infeasible_states_are_marked_or_answered(plant):
    hard = make_ocp(plant, x_min=[-0.3, -0.5], x_max=[0.3, 0.5], theta_min=[-1.0, -4.0], theta_max=[1.0, 4.0])
    x = np.array([[0.0, 0.0], [0.9, 3.9], [np.nan, 0.0]])
    online = OnlineMpc(hard)
    u = online(x)
    np.testing.assert_array_equal(np.isnan(u[:, 0]), [False, True, True])
    np.testing.assert_array_equal(online.last_status, [1, -1, -1])
    lqr = Lqr.of(hard)
    answered = OnlineMpc(hard, fallback=lqr)(x[:2])
    np.testing.assert_array_equal(answered[1], lqr(x[1]))
    np.testing.assert_allclose(answered[0], u[0], atol=1e-12)


def test_near_the_reference_everything_is_the_lqr(ocp, law):
    x = np.random.default_rng(2).uniform(-0.01, 0.01, (50, 2))
    wanted = -x @ ocp.K.T
    np.testing.assert_array_equal(Lqr.of(ocp)(x), np.clip(wanted, -2, 2))
    np.testing.assert_allclose(OnlineMpc(ocp)(x), wanted, atol=1e-9)
    np.testing.assert_allclose(ExplicitMpc(law)(x), wanted, atol=1e-9)


def test_lqr_saturates_and_follows_a_reference():
    law = Lqr([[1.0, 2.0]], x_ref=[1.0, 0.0], u_ref=[0.5], u_min=[-1.0], u_max=[2.0])
    np.testing.assert_allclose(law([1.1, -0.1]), [0.5 - 0.1 + 0.2])
    np.testing.assert_array_equal(law([[9.0, 0.0], [-9.0, 0.0]]), [[-1.0], [2.0]])
    np.testing.assert_allclose(law([1.0, 0.0], reference=[0.75, 0.0]), [0.25])
    np.testing.assert_allclose(law(np.ones((3, 2)), reference=np.ones((3, 2))), np.full((3, 1), 0.5))


def test_explicit_outside_its_domain(law):
    far = np.array([[3.0, 9.0], [-5.0, 0.0]])
    assert np.isnan(ExplicitMpc(law, outside="nan")(far)).all()
    nearest = ExplicitMpc(law, u_min=[-1.0], u_max=[1.0])(far)
    np.testing.assert_array_equal(nearest, np.clip(law.extrapolate(far), -1, 1))
    inside = np.array([[0.9, 0.0]])
    np.testing.assert_array_equal(ExplicitMpc(law, u_min=[-1.0], u_max=[1.0])(inside), law(inside))


def test_network_controller():
    import torch

    linear = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        linear.weight[:] = torch.tensor([[2.0, -1.0]])
    law = NetworkController(linear, 2, 1, u_max=[3.0])
    np.testing.assert_allclose(law([[1.0, 0.5], [9.0, 0.0]]), [[1.5], [3.0]])
    assert law(np.zeros((4, 3, 2))).shape == (4, 3, 1)
    single = NetworkController(torch.nn.Linear(2, 1), 2, 1)
    assert single(np.zeros(2)).dtype == np.float64
    with pytest.raises(ModelError, match="module"):
        NetworkController(torch.nn.Linear(2, 3), 2, 1)


def test_all_keep_the_contract(plant, ocp, law):
    check_controller(Lqr.of(ocp), plant)
    check_controller(ExplicitMpc(law, u_min=plant.u_min, u_max=plant.u_max), plant)
    check_controller(OnlineMpc(ocp), plant)


class Planted(AbstractController):
    """u = 0 with one thing wrong."""

    def __init__(self, fault, nx=2):
        self.nx, self.nu, self.fault, self.calls = nx, 1, fault, 0

    def __call__(self, x, reference=None):
        x = np.asarray(x, float)
        if self.fault != "accepts any length" and x.shape[-1] != 2:
            raise ModelError("x", "length")
        self.calls += 1
        u = np.zeros((*x.shape[:-1], 1))
        if self.fault == "changes":
            x += 1
        if self.fault == "nan":
            u[..., 0] = np.nan
        if self.fault == "outside":
            u += 3
        if self.fault == "batch" and x.ndim == 1:
            u += 1
        if self.fault == "shape":
            u = u[..., 0]
        return u

    def reset(self):
        self.calls = 0


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("changes", "changes the states"),
        ("nan", "gives .nan"),
        ("outside", "outside the input bounds"),
        ("batch", "in a batch"),
        ("shape", "expected a float64 array"),
        ("accepts any length", "accepts a state of length 3"),
    ],
)
def test_contract_check_finds(plant, fault, text):
    with pytest.raises(Exception, match="Planted|shape" if fault == "shape" else text):
        check_controller(Planted(fault), plant)


def test_contract_check_compares_sizes(plant):
    check_controller(Planted("none"), plant)
    with pytest.raises(ModelError, match="nx, nu"):
        check_controller(Planted("none", nx=3), plant)


def test_mistakes_are_named(ocp, law):
    for law_like in (OnlineMpc(ocp), ExplicitMpc(law)):
        with pytest.raises(ModelError, match="reference"):
            law_like(np.zeros(2), reference=np.zeros(2))
        with pytest.raises(ModelError, match=r"expected \(\.\.\., 2\)"):
            law_like(np.zeros(3))
    with pytest.raises(ModelError, match="u_min"):
        Lqr([[1.0]], u_min=[1.0], u_max=[0.0])
    with pytest.raises(ModelError, match="fallback"):
        OnlineMpc(ocp, fallback=Lqr([[1.0]]))


def test_importing_the_folders_loads_nothing_heavy():
    code = (
        "import sys, yannctl.hil, yannctl.export, yannctl.controllers;"
        "print(sorted({'torch', 'casadi', 'numba', 'daqp', 'matplotlib', 'cvxpy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
