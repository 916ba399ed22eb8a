"""The environment: Gymnasium's own checker, its Pendulum-v1, and the constraint report."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import yannctl  # noqa: F401  (its import registers the environments)
from yannctl.errors import ModelError
from yannctl.models import Pendulum
from yannctl.rl.environment import PlantEnvironment, make_pendulum, register


@pytest.fixture
def env() -> PlantEnvironment:
    return make_pendulum()


# The checker recommends actions in [-1, 1]; ours are physical by contract, as are those of Gymnasium's own Pendulum.
@pytest.mark.filterwarnings("ignore:.*we recommend using a symmetric and normalized space.*:UserWarning")
@pytest.mark.parametrize("integrator", ["gymnasium", "accurate"])
def test_gymnasiums_checker_is_content(integrator: str) -> None:
    env = gymnasium.make("yannctl/Pendulum-v0", integrator=integrator, render_mode="rgb_array")
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
    env = make_pendulum("accurate")
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
    env = make_pendulum(render_mode="rgb_array")
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
    assert make_pendulum().render() is None


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
    register()
    register()
    assert isinstance(gymnasium.make("yannctl/Pendulum-v0").unwrapped, PlantEnvironment)


def test_import_is_light() -> None:
    code = (
        "import sys, yannctl.rl.environment, yannctl.plant, yannctl.linear;"
        "print([m for m in ('torch', 'casadi', 'numba', 'matplotlib', 'control') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
