"""A foreign environment beside its nominal plant: what is passed on, and what is refused."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from yannctl.errors import ModelError
from yannctl.models import CSTR, DifferentialDrive, Pendulum
from yannctl.plant import AbstractPlant
from yannctl.rl.attached_environment import AttachedEnvironment


class Rig(gymnasium.Env):
    """A float32 world that adds one to the state and multiplies it by the action."""

    observation_space = gymnasium.spaces.Box(-1e4, 1e4, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-400, 400, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.array([0.5, 350.0], np.float32)
        return self.x, {"own": 1}

    def step(self, action):
        assert action.dtype == np.float32
        self.x = self.x + np.float32(1)
        return self.x, float(action[0]), False, False, {"own": 2}


@pytest.mark.filterwarnings("ignore:.*we recommend using a symmetric and normalized space.*:UserWarning")
def test_foreign_environments_serve_as_rigs() -> None:
    env = AttachedEnvironment(Rig(), CSTR())
    assert check_env(env, skip_render_check=True) is None
    x, info = env.reset(seed=0)
    assert (x.dtype, info["own"], info["cost"]) == (np.float64, 1, 0.0)
    x, reward, terminated, _, info = env.step(np.array([500.0]))
    assert (reward, info["clipped"], info["own"]) == (320.0, True, 2)
    assert (terminated, info["cost"]) == (False, 1.0)  # CA = 1.5 mol/L is outside its bounds
    for _ in range(15):
        x, _, terminated, _, info = env.step(np.array([300.0]))
    assert x[1] > 365
    assert terminated


@pytest.mark.parametrize(("plant", "space"), [(DifferentialDrive(), "observation_space"), (Pendulum(), None)])
def test_spaces_must_fit(plant: AbstractPlant, space: str | None) -> None:
    if space is None:
        assert AttachedEnvironment(Rig(), plant).action_space.shape == (1,)
        return
    with pytest.raises(ModelError, match=space):
        AttachedEnvironment(Rig(), plant)
