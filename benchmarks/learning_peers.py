"""The learners of Stable-Baselines3 on the same environments, in their libraries' default settings."""

import importlib
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

from yannctl.plant import AbstractPlant
from yannctl.yann.features import Features

ALGORITHMS = {"sb3-sac": "SAC", "sb3-td3": "TD3", "sb3-ddpg": "DDPG"}
NOISE = 0.1  # exploration of TD3 and DDPG, in half ranges of the input: the papers' (the library's default is none)


def installed() -> bool:
    """Whether the peer is there."""
    return importlib.util.find_spec("stable_baselines3") is not None


class Scaled(gymnasium.Wrapper):
    """Observation as our networks see it, float32; actions in [-1, 1].

    Args:
        env: environment of a plant in physical units.
        plant: the nominal plant.
    """

    def __init__(self, env: gymnasium.Env, plant: AbstractPlant) -> None:
        super().__init__(env)
        self.plant = plant
        self.features = Features(plant.x_min, plant.x_max, plant.angles, periods=plant.periods)
        self.middle, self.half = (plant.u_max + plant.u_min) / 2, (plant.u_max - plant.u_min) / 2
        wide = np.full(self.features.size, np.inf, np.float32)
        self.observation_space = gymnasium.spaces.Box(-wide, wide, dtype=np.float32)
        ones = np.ones(plant.nu, np.float32)
        self.action_space = gymnasium.spaces.Box(-ones, ones, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start an episode."""
        x, info = self.env.reset(seed=seed, options=options)
        return self._seen(x), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply an action."""
        u = self.plant.clip(self.middle + self.half * np.asarray(action, float))  # before the filter, as for ours
        x, reward, ended, cut, info = self.env.step(u)
        return self._seen(x), float(reward), ended, cut, info

    def _seen(self, x: np.ndarray) -> np.ndarray:
        return self.features(torch.from_numpy(np.asarray(x, float))).float().numpy()


class PeerPolicy(nn.Module):
    """The peer's deterministic policy on states in physical units.

    Args:
        model: the peer.
        scaled: its environment.
    """

    def __init__(self, model: Any, scaled: Scaled) -> None:
        super().__init__()
        self.model, self.features = model, scaled.features
        self.centre, self.reach = torch.from_numpy(scaled.middle), torch.from_numpy(scaled.half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate: (n, nx) -> (n, nu)."""
        seen = self.features(x).float().numpy()
        action, _ = self.model.predict(seen, deterministic=True)
        return self.centre + self.reach * torch.from_numpy(np.asarray(action, float))


def train_peer(
    method: str,
    env: gymnasium.Env,
    plant: AbstractPlant,
    steps: int,
    seed: int,
    every: int,
    look: Callable[[int, nn.Module], None],
) -> dict[str, Any]:
    """Train a peer and look at its policy on a grid of plant steps.

    Args:
        method: a key of `ALGORITHMS`.
        env: the environment in physical units.
        plant: the nominal plant.
        steps: plant steps.
        seed: of everything random.
        every: steps between two looks.
        look: called with the step and the policy; also at step 0.

    Returns:
        Settings, as far as they are not the library's defaults.
    """
    import stable_baselines3 as peer
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import NormalActionNoise

    torch.set_num_threads(1)
    scaled = Scaled(env, plant)
    own: dict[str, Any] = {}
    if method != "sb3-sac":
        own["action_noise"] = NormalActionNoise(np.zeros(plant.nu), NOISE * np.ones(plant.nu))
    model = getattr(peer, ALGORITHMS[method])("MlpPolicy", scaled, seed=seed, device="cpu", verbose=0, **own)
    policy = PeerPolicy(model, scaled)

    class Look(BaseCallback):
        """Calls `look` on the grid."""

        def _on_step(self) -> bool:
            if self.num_timesteps % every == 0:
                look(self.num_timesteps, policy)
            return True

    look(0, policy)
    model.learn(total_timesteps=steps, callback=Look())
    return {"library": f"stable-baselines3 {peer.__version__}", "noise": NOISE if own else None, "settings": "defaults"}
