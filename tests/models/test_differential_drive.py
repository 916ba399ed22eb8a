"""The wheeled robot: its wheels' diamond, its path frame against the plane, and its stage cost."""

import casadi as ca
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from yannctl.errors import ModelError
from yannctl.models import DifferentialDrive
from yannctl.plant import check_plant


@pytest.mark.parametrize(
    "plant",
    [DifferentialDrive(), DifferentialDrive(bend=0.0, vc_min=-0.22), DifferentialDrive().perturbed(seed=1)],
    ids=["curved", "straight", "perturbed"],
)
def test_keeps_the_contract(plant: DifferentialDrive) -> None:
    assert check_plant(plant) is None


def test_wheels_are_clipped_one_by_one() -> None:
    plant, rng = DifferentialDrive(vc_min=-0.22), np.random.default_rng(0)
    command = rng.uniform(-2, 2, (2000, 2)) * plant.u_max
    applied = plant.clip(command)
    speed = np.clip(command[:, 0], -0.22, 0.22)
    wheels = np.stack([speed + 0.08 * command[:, 1], speed - 0.08 * command[:, 1]], axis=1)
    clipped = np.clip(wheels, -0.22, 0.22)
    np.testing.assert_allclose(applied[:, 0], clipped.mean(1), atol=1e-15)
    np.testing.assert_allclose(applied[:, 1], (clipped[:, 0] - clipped[:, 1]) / 0.16, atol=1e-13)
    G, h = plant.input_rows
    assert (applied @ G.T <= h + 1e-15).all()
    inside = (command @ G.T <= h).all(1)
    assert inside.any()
    np.testing.assert_array_equal(applied[inside], command[inside])


def test_forward_robots_never_go_back() -> None:
    plant = DifferentialDrive()
    command = np.random.default_rng(0).uniform(-1, 1, (2000, 2)) * (0.5, 6.0)
    assert (plant.clip(command)[:, 0] >= 0).all()


def test_path_frame_is_the_plane_seen_from_the_path() -> None:
    """Drive in the plane by hand and compare position and heading after two seconds."""
    plant = DifferentialDrive(speed_gain=0.95, turn_gain=0.9, bend=3.0)
    x = np.array([0.03, 0.3, 0.1, 0.2, 0.1])
    u = np.array([0.15, -0.4])

    def curve(s: float) -> np.ndarray:
        def heading(t: float, y: np.ndarray) -> list:
            return [np.cos(y[2]), np.sin(y[2]), plant.curvature(t)]

        return solve_ivp(heading, (0, s), np.zeros(3), rtol=1e-11, atol=1e-12).y[:, -1]

    def place(x: np.ndarray) -> np.ndarray:
        px, py, heading = curve(x[4])
        return np.array([px - x[0] * np.sin(heading), py + x[0] * np.cos(heading), heading + x[1]])

    def planar(t: float, y: np.ndarray) -> list:
        v, omega = u + (x[2:4] - u) * np.exp(-t / plant.lag)
        return [0.95 * v * np.cos(y[2]), 0.95 * v * np.sin(y[2]), 0.9 * omega]

    expected = solve_ivp(planar, (0, 2.0), place(x), rtol=1e-11, atol=1e-12).y[:, -1]
    after = x
    for _ in range(20):
        after = plant.step(after, u)
    np.testing.assert_allclose(place(after), expected, atol=1e-6)


@pytest.mark.parametrize(("integrator", "limit"), [("accurate", 1e-8), ("fast", 1e-6)])
def test_error_of_a_period_against_cvodes(integrator: str, limit: float) -> None:
    """In shares of the range; 1 m for the distance travelled."""
    plant, rng = DifferentialDrive(integrator=integrator), np.random.default_rng(0)
    X, U = plant.sample_starts(200, rng), plant.clip(rng.uniform(plant.u_min, plant.u_max, (200, 2)))
    x, u = ca.SX.sym("x", 5), ca.SX.sym("u", 2)
    tight = {"abstol": 1e-12, "reltol": 1e-12, "max_num_steps": 100_000}
    oracle = ca.integrator("oracle", "cvodes", {"x": x, "p": u, "ode": plant.rhs(x, u)}, 0, plant.dt, tight)
    expected = oracle(x0=X.T, p=U.T)["xf"].full().T
    assert (np.abs(plant.step(X, U) - expected) / (0.2, 2 * np.pi, 0.44, 5.5, 1.0)).max() <= limit


def test_stage_cost_by_hand() -> None:
    plant = DifferentialDrive()
    x, u = np.array([0.02, -0.3, 0.15, 0.4, 0.2]), np.array([0.1, 0.5])
    kappa = 6 * np.tanh(3 * np.sin(2 * np.pi * 0.2))
    cost = 400 * 0.02**2 + 2 * 0.3**2 + 20 * 0.07**2 + 1e-3 * 0.12**2 + 0.05 * (0.5 - 0.22 * kappa) ** 2
    assert plant.rewards(x, u) == pytest.approx(-cost, rel=1e-12)


def test_one_period_beyond_the_corridor_is_still_on_the_chart() -> None:
    plant, rng = DifferentialDrive(bend=8.0), np.random.default_rng(0)
    x = rng.uniform([-0.1, -np.pi, 0.2, -2.75, 0.0], [0.1, np.pi, 0.22, 2.75, 1.0], (5000, 5))
    after = plant.step(x, np.tile([0.22, 0.0], (5000, 1)))
    assert plant.trip(after).any()
    assert np.abs(after[:, 0]).max() < 1 / 8


def test_leaving_the_corridor_trips() -> None:
    plant = DifferentialDrive()
    np.testing.assert_array_equal(plant.trip([[0.1, 3, 0.2, 0, 9], [-0.101, 0, 0, 0, 0]]), [False, True])


@pytest.mark.parametrize("arguments", [{"bend": 10.0}, {"vc_min": 0.22}, {"v_ref": 0.3}, {"lag": 0.0}])
def test_parameters_out_of_sense_are_named(arguments: dict) -> None:
    with pytest.raises(ModelError) as caught:
        DifferentialDrive(**arguments)
    assert caught.value.field == next(iter(arguments))


def test_picture_shows_the_robot_in_its_corridor() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    DifferentialDrive().draw(axes, np.array([0.05, 0.1, 0.2, 0.0, 0.3]))
    assert len(axes.lines) == 5
