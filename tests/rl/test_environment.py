"""The environment: Gymnasium's own checker, its Pendulum-v1, and the constraint report."""

import importlib
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import yannctl  # its import registers the environments
from yannctl.errors import ModelError
from yannctl.models import CSTR, DifferentialDrive, Pendulum, RunawayReactor
from yannctl.plant import AbstractPlant
from yannctl.rl.environment import PlantEnvironment
from yannctl.rl.simulation import Variation
from yannctl.rl.task import task_of
from yannctl.rl.vector_environment import PlantVectorEnvironment


@pytest.fixture
def env() -> PlantEnvironment:
    return PlantEnvironment(Pendulum())


# The checker recommends actions in [-1, 1]; ours are physical by contract, as are those of Gymnasium's own Pendulum.
@pytest.mark.filterwarnings("ignore:.*we recommend using a symmetric and normalized space.*:UserWarning")
@pytest.mark.parametrize(
    ("plant", "settings"),
    [
        ("Pendulum", {"integrator": "gymnasium"}),
        ("Pendulum", {"integrator": "accurate", "randomise": True, "disturb": True, "noise": 1.0}),
        ("CSTR", {"randomise": True, "disturb": True, "noise": 1.0, "schedule": "random"}),
        ("RunawayReactor", {"schedule": ((0, 450.0), (20, 460.0))}),
        ("DifferentialDrive", {"noise": 2.0}),
    ],
)
def test_gymnasiums_checker_is_content(plant: str, settings: dict) -> None:
    env = gymnasium.make(f"yannctl/{plant}-v0", render_mode="rgb_array", **settings)
    assert check_env(env.unwrapped) is None


def test_an_episode_equals_gymnasiums(env: PlantEnvironment) -> None:
    theirs = gymnasium.make("Pendulum-v1").unwrapped
    theirs.reset(seed=11)
    x, _ = env.reset(seed=11)
    np.testing.assert_array_equal(x, theirs.state)
    actions = np.random.default_rng(0).uniform(-3, 3, (200, 1))
    for action in actions:
        x, reward, terminated, _, _ = env.step(action)
        expected = theirs.step(action)[1]
        assert reward == pytest.approx(expected, abs=1e-9)
        assert not terminated
    np.testing.assert_allclose(np.exp(1j * x[0]), np.exp(1j * theirs.state[0]), atol=1e-9)
    assert x[1] == pytest.approx(theirs.state[1], abs=1e-9)


def test_episode_is_truncated_at_its_length(env: PlantEnvironment) -> None:
    env.reset(seed=0)
    ends = [env.step(np.zeros(1))[2:4] for _ in range(200)]
    assert ends == [(False, False)] * 199 + [(False, True)]
    env.reset()
    assert env.step(np.zeros(1))[3] is False


def test_clipping_is_reported(env: PlantEnvironment) -> None:
    env.reset(seed=0)
    info = env.step(np.array([5.0]))[4]
    assert info["clipped"] is True
    np.testing.assert_array_equal(info["u_applied"], [2.0])
    info = env.step(np.array([-1.5]))[4]
    assert info["clipped"] is False
    np.testing.assert_array_equal(info["u_applied"], [-1.5])


def test_violations_are_reported() -> None:
    env = PlantEnvironment(Pendulum(integrator="accurate"))
    _, info = env.reset(options={"x": [1.5, 7.9]})
    assert info["cost"] == 0.0
    assert info["constraint_margin"] == pytest.approx(0.1 / 8)
    x, _, _, _, info = env.step(np.array([2.0]))
    assert x[1] > 8.0
    assert info["cost"] == 1.0
    assert info["constraint_margin"] == pytest.approx((8 - x[1]) / 8)
    assert env.observation_space.contains(x)


def test_a_speed_at_its_clip_is_no_violation(env: PlantEnvironment) -> None:
    env.reset(options={"x": [1.5, 8.0]})
    x, *_, info = env.step(np.array([2.0]))
    assert x[1] == 8.0
    assert info["cost"] == 0.0


def test_starts_are_wrapped(env: PlantEnvironment) -> None:
    x, _ = env.reset(options={"x": [np.pi + 0.1, 0.0]})
    assert x[0] == pytest.approx(-np.pi + 0.1)


class _Exploding(Pendulum):
    def step_map(self, x, u):
        return x / (0 * x[1])


def test_a_diverged_simulation_terminates() -> None:
    env = PlantEnvironment(_Exploding())
    start, _ = env.reset(options={"x": [1.0, 1.0]})
    x, reward, terminated, truncated, info = env.step(np.zeros(1))
    np.testing.assert_array_equal(x, start)
    assert np.isfinite(reward)
    assert (terminated, truncated, info["cost"]) == (True, False, 1.0)


@pytest.mark.parametrize("action", [np.array([np.nan]), np.array([np.inf]), np.zeros(2), np.zeros((1, 1))])
def test_bad_actions_are_named(env: PlantEnvironment, action: np.ndarray) -> None:
    env.reset(seed=0)
    with pytest.raises(ModelError, match="action"):
        env.step(action)


def test_misuse_is_named(env: PlantEnvironment) -> None:
    with pytest.raises(ModelError, match="reset"):
        env.step(np.zeros(1))
    with pytest.raises(ModelError, match="options"):
        env.reset(options={"state": 1})
    with pytest.raises(ModelError, match="options"):
        env.reset(options={"x": [np.nan, 0.0]})


def test_observations_are_copies(env: PlantEnvironment) -> None:
    x, _ = env.reset(seed=0)
    before = x.copy()
    x[:] = 9.0
    np.testing.assert_array_equal(env.state, before)


def test_picture_shows_the_state() -> None:
    env = PlantEnvironment(Pendulum(), render_mode="rgb_array")
    env.reset(options={"x": [0.0, 0.0]})
    up = env.render()
    env.reset(options={"x": [np.pi, 0.0]})
    down = env.render()
    assert up.shape == (400, 400, 3)
    assert up.dtype == np.uint8
    red = [(image[..., 0].astype(int) - image[..., 1] > 100).sum(axis=1) for image in (up, down)]
    rows = np.arange(400)
    assert (rows * red[0]).sum() / red[0].sum() < 200 < (rows * red[1]).sum() / red[1].sum()
    env.close()
    env.close()
    assert PlantEnvironment(Pendulum()).render() is None


def test_vectorised_environments_are_reproducible() -> None:
    envs = [gymnasium.make_vec("yannctl/Pendulum-v0", num_envs=3, vectorization_mode="sync") for _ in range(2)]
    first, second = (env.reset(seed=4)[0] for env in envs)
    np.testing.assert_array_equal(first, second)
    actions = np.array([[0.1], [0.2], [-0.3]])
    x, rewards, *_ = envs[0].step(actions)
    plant = Pendulum()
    np.testing.assert_array_equal(x, plant.step(first, actions))
    np.testing.assert_array_equal(rewards, plant.rewards(first, actions))
    for env in envs:
        env.close()


def test_registration_can_be_repeated() -> None:
    importlib.reload(yannctl)
    assert isinstance(gymnasium.make("yannctl/Pendulum-v0").unwrapped, PlantEnvironment)


def test_import_is_light() -> None:
    code = (
        "import sys, yannctl.rl.environment, yannctl.plant, yannctl.linear;"
        "print([m for m in ('torch', 'casadi', 'numba', 'matplotlib', 'control') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"


PLANTS = [Pendulum(), CSTR(integrator="fast"), RunawayReactor(), DifferentialDrive()]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: type(p).__name__)
def test_vector_form_equals_single_ones(plant: AbstractPlant) -> None:
    starts = plant.sample_starts(4, 0)
    many, ones = PlantVectorEnvironment(plant, 4), [PlantEnvironment(plant) for _ in range(4)]
    first, info = many.reset(seed=0, options={"x": starts})
    for k, env in enumerate(ones):
        x, own = env.reset(options={"x": starts[k]})
        np.testing.assert_array_equal(x, first[k])
        assert own["constraint_margin"] == info["constraint_margin"][k]
    rng, live = np.random.default_rng(1), np.ones(4, dtype=bool)
    for _ in range(30):
        u = rng.uniform(plant.u_min - 0.2, plant.u_max + 0.2, (4, plant.nu))
        x, reward, terminated, truncated, info = many.step(u)
        for k in np.flatnonzero(live):
            own = ones[k].step(u[k])
            np.testing.assert_array_equal(own[0], x[k])
            assert own[1:4] == (reward[k], terminated[k], truncated[k])
            for key, value in own[4].items():
                np.testing.assert_array_equal(value, info[key][k])
        live &= ~(terminated | truncated)


def test_vector_form_resets_at_the_next_step_and_is_reproducible() -> None:
    runs = []
    for _ in range(2):
        env = gymnasium.make_vec("yannctl/CSTR-v0", num_envs=50, randomise=True, disturb=True, noise=1.0)
        assert isinstance(env.unwrapped, PlantVectorEnvironment)
        env.reset(seed=3)
        over, rows, ended = np.zeros(50, dtype=bool), [], 0
        for _ in range(60):
            x, reward, terminated, truncated, info = env.step(np.full((50, 1), 310.0))
            assert (reward[over] == 0).all()
            assert not (terminated | truncated)[over].any()
            assert (info["n_clipped"] == 0).all()
            over = terminated | truncated
            ended += over.sum()
            rows.append(x)
        assert ended > 40
        runs.append(np.array(rows))
    np.testing.assert_array_equal(*runs)
    with pytest.raises(ModelError, match="reset"):
        PlantVectorEnvironment(CSTR(), 2).step(np.zeros((2, 1)))


def test_a_trip_terminates_and_never_pays() -> None:
    env = PlantEnvironment(CSTR())
    env.reset(options={"x": [0.9, 360.0]})
    x, reward, terminated, truncated, info = env.step(np.array([320.0]))
    assert x[1] > 365
    assert (terminated, truncated, info["cost"]) == (True, False, 1.0)
    assert info["constraint_margin"] < 0
    plant = CSTR()
    run = plant.rollout(lambda x: np.full((1, 1), 320.0), [0.9, 360.0], 40)
    assert reward == pytest.approx(run.returns[0], rel=1e-12)
    charged = PlantEnvironment(CSTR(), trip_cost=7.0)
    charged.reset(options={"x": [0.9, 360.0]})
    assert charged.step(np.array([320.0]))[1] == pytest.approx(plant.rewards([0.9, 360.0], [320.0]) - 7.0)


def test_filter_acts_before_the_clip_and_is_reported() -> None:
    env = PlantEnvironment(CSTR(), filter=lambda x, u: np.array([270.0]) if x[1] > 355 else u)
    env.reset(options={"x": [0.5, 350.0]})
    info = env.step(np.array([330.0]))[4]
    assert (info["u_proposed"], info["u_applied"]) == (330.0, 320.0)
    assert (info["clipped"], info["filter_active"]) == (True, False)
    env.reset(options={"x": [0.4, 358.0]})
    info = env.step(np.array([310.0]))[4]
    assert (info["u_proposed"], info["u_applied"]) == (310.0, 280.0)
    assert (info["clipped"], info["filter_active"]) == (False, True)
    env = PlantEnvironment(CSTR(), filter=lambda x, u: np.full(1, np.nan))
    env.reset(seed=0)
    with pytest.raises(ModelError, match="filter"):
        env.step(np.array([310.0]))
    many = PlantVectorEnvironment(CSTR(), 3, filter=lambda x, u: np.minimum(u, 300.0))
    many.reset(seed=0)
    info = many.step(np.array([[290.0], [310.0], [300.0]]))[4]
    np.testing.assert_array_equal(info["filter_active"], [False, True, False])


def test_clipped_actions_are_counted() -> None:
    env = PlantEnvironment(DifferentialDrive())
    env.reset(options={"x": [0.0, 0.0, 0.1, 0.0, 0.0]})
    counts = [env.step(np.array(u))[4] for u in ([0.22, 0.0], [0.2, 1.0], [-0.1, 0.0], [0.1, 0.5])]
    assert [c["clipped"] for c in counts] == [False, True, True, False]
    assert [c["n_clipped"] for c in counts] == [0, 1, 2, 2]
    assert env.reset(seed=0)[1].keys() == {"cost", "constraint_margin"}
    assert env.step(np.array([0.1, 0.0]))[4]["n_clipped"] == 0


def test_set_points_follow_their_schedule() -> None:
    env = PlantEnvironment(CSTR(), variation=Variation(schedule=((2, 0.6), (4, (0.55,)))))
    x, _ = env.reset(options={"x": [0.5, 350.0]})
    seen, plant = [x[2]], CSTR()
    for _ in range(5):
        before, wanted = env.state, x[2]
        x, reward, *_ = env.step(np.array([300.0]))
        assert reward == pytest.approx(plant.rewards(before, [300.0], r=[wanted]), rel=1e-12)
        seen.append(x[2])
    assert seen == [0.5, 0.5, 0.6, 0.6, 0.55, 0.55]


def test_randomised_disturbed_and_noisy_episodes() -> None:
    plant = CSTR()
    env = PlantVectorEnvironment(plant, 400, variation=Variation(randomise=True, disturb=True, noise=1.0))
    x, _ = env.reset(seed=0, options={"x": [0.5, 350.0]})
    assert x.shape == (400, 4)  # CA, T and the measured Tf, q
    np.testing.assert_allclose((x[:, :2] - [0.5, 350.0]).std(axis=0), plant.x_noise, rtol=0.15)
    low, high = plant.d_ranges
    assert ((x[:, 2:] >= low[1:]) & (x[:, 2:] <= high[1:])).all()
    after = env.step(np.full((400, 1), 300.0))[0]
    same = (after[:, 2:] == x[:, 2:]).all(axis=1).mean()
    assert 0.8 < same < 0.97  # one in ten drawn anew
    spread = np.ptp(env._simulation.x[:, 1])
    still = PlantVectorEnvironment(plant, 400)
    still.reset(seed=0, options={"x": [0.5, 350.0]})
    still.step(np.full((400, 1), 300.0))
    assert spread > 1.0 > np.ptp(still._simulation.x[:, 1]) == 0.0


def test_given_parameters_are_the_plants() -> None:
    env = PlantEnvironment(CSTR())
    x, _ = env.reset(options={"x": [0.5, 350.0], "p": {"k0": 7.8e10}})
    after = env.step(np.array([300.0]))[0]
    np.testing.assert_allclose(after, CSTR().perturbed({"k0": 7.8e10}).step(x, [300.0]), rtol=1e-13)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"noise": -1.0}, "noise"),
        ({"schedule": ((0, (1.0, 2.0)),)}, "schedule"),
        ({"schedule": ((5, 0.5), (2, 0.6))}, "schedule"),
        ({"hold": 0}, "hold"),
        ({"k_zero": 1.0}, "k_zero"),
        ({"k0": -1.0}, "k0"),
    ],
)
def test_settings_out_of_sense_are_named(settings: dict, field: str) -> None:
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(ModelError) as caught:
            make("yannctl/CSTR-v0", **settings)
        assert caught.value.field == field


def test_actuators_and_plants_of_ones_own() -> None:
    env = gymnasium.make("yannctl/CSTR-v0", actuators=True, set_point=0.6).unwrapped
    x, _ = env.reset(options={"x": [0.5, 350.0, 300.0]})
    after = env.step(np.array([310.0]))[0]
    np.testing.assert_array_equal(after, CSTR(set_point=0.6).actuated().step(x, [310.0]))
    late = Pendulum().actuated(delay=2)
    many = gymnasium.make_vec("yannctl/Pendulum-v0", num_envs=3, plant=late)
    assert many.reset(seed=0)[0].shape == (3, 5)
    assert many.unwrapped.plant is late
    with pytest.raises(ModelError, match="a plant was given"):
        gymnasium.make("yannctl/Pendulum-v0", plant=late, g=9.81)


def test_what_a_plant_does_not_declare_cannot_vary() -> None:
    for settings, field in (({"schedule": "random"}, "schedule"), ({"noise": 1.0}, None)):
        if field is None:
            PlantEnvironment(Pendulum(), variation=Variation(**settings))
            continue
        with pytest.raises(ModelError) as caught:
            PlantEnvironment(Pendulum(), variation=Variation(**settings))
        assert caught.value.field == field


def test_wrong_units_of_a_start_are_named() -> None:
    with pytest.raises(ModelError, match=r"T is 76.9, but in K"):
        PlantEnvironment(CSTR()).reset(options={"x": [0.5, 76.9]})


@pytest.mark.parametrize("plant", PLANTS[1:], ids=lambda p: type(p).__name__)
def test_every_plant_can_be_drawn(plant: AbstractPlant) -> None:
    env = PlantEnvironment(plant, render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (400, 400, 3)
    env.reset(seed=1)
    assert not np.array_equal(first, env.render())


def test_starts_are_drawn_by_the_function_given() -> None:
    plant = Pendulum()
    env = PlantEnvironment(plant, starts=lambda rng, n: rng.uniform([0.1, 0.2], [0.2, 0.3], (n, 2)))
    x, _ = env.reset(seed=1)
    again, _ = env.reset(seed=1)
    assert 0.1 <= x[0] <= 0.2 <= x[1] <= 0.3
    assert np.array_equal(x, again)
    assert np.array_equal(env.reset(options={"x": [0.5, 0.5]})[0], [0.5, 0.5])


def test_the_model_of_a_perturbed_plant_is_the_nominal_one() -> None:
    plant = CSTR()
    task = task_of(PlantEnvironment(plant.perturbed({"UA": 4.6e4}), filter=lambda x, u: u))
    assert task.plant is plant
    assert task.filter is not None
    assert task.starts(np.random.default_rng(0), 3).shape == (3, 2)
