"""A linear plant with a known optimum, and settings small enough for a test."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from yannctl.plant import AbstractPlant, Range, vector
from yannctl.rl import TrainingSettings
from yannctl.rl.environment import PlantEnvironment
from yannctl.rl.model_settings import ModelSettings

A, B, Q, R = 1.0, 0.4, 1.0, 0.1


@dataclass(frozen=True)
class Integrator(AbstractPlant):
    """x+ = x + 0.4 u, reward -(x^2 + 0.1 u^2), 20 steps an episode."""

    x_names: ClassVar[tuple[str, ...]] = ("position",)
    u_names: ClassVar[tuple[str, ...]] = ("speed",)
    x_units: ClassVar[tuple[str, ...]] = ("m",)
    u_units: ClassVar[tuple[str, ...]] = ("m/s",)
    x_min: ClassVar[np.ndarray] = vector(-2.0)
    x_max: ClassVar[np.ndarray] = vector(2.0)
    u_min: ClassVar[np.ndarray] = vector(-3.0)
    u_max: ClassVar[np.ndarray] = vector(3.0)
    dt: ClassVar[float] = 1.0
    start_min: ClassVar[np.ndarray] = vector(-1.0)
    start_max: ClassVar[np.ndarray] = vector(1.0)
    episode_steps: ClassVar[int] = 20

    def rhs(self, x, u):
        return (A - 1.0) * x + B * u

    def step_map(self, x, u):
        return A * x + B * u

    def reward(self, x, u):
        return -(Q * x[0] ** 2 + R * u[0] ** 2)


@dataclass(frozen=True)
class Geared(Integrator):
    """x+ = x + gear u, reward -(x^2 + 0.001 u^2), 20 steps an episode; the gear is uncertain."""

    gear: float = 0.5

    uncertain: ClassVar[dict[str, Range]] = {"gear": Range(0.4, 1.0)}

    def rhs(self, x, u):
        return self.gear * u

    def step_map(self, x, u):
        return x + self.gear * u

    def reward(self, x, u):
        return -(x[0] ** 2 + 0.001 * u[0] ** 2)


class Gain(torch.nn.Module):
    """u = -K x, clipped: stands for an exact law."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.register_buffer("gain", torch.tensor(gain, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (-self.gain * x[..., :1]).clamp(-3.0, 3.0)


@pytest.fixture
def env() -> PlantEnvironment:
    return PlantEnvironment(Integrator())


@pytest.fixture
def law() -> Gain:
    return Gain(0.3)


@pytest.fixture
def small() -> TrainingSettings:
    return TrainingSettings(
        width=8, batch=8, updates_per_step=2, warmup_steps=20, gate_every=25, gate_starts=16, screen_starts=4,
        tensorboard=False, model=ModelSettings(use="off"),
    )  # fmt: skip


@pytest.fixture
def optimal_return():
    """Exact undiscounted return of the best law from given starts (Riccati recursion over the episode)."""

    def value(starts: np.ndarray, steps: int) -> np.ndarray:
        P = 0.0
        for _ in range(steps):
            P = Q + A * P * A - (A * P * B) ** 2 / (R + B * P * B)
        return -P * starts[:, 0] ** 2

    return value
