"""The parts of the learners' benchmark: each measures one thing and gives plain numbers."""

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import learners_gpu
import learners_speed
import linear_quadratic
import numpy as np
import torch
from learning_peers import ALGORITHMS as PEERS
from learning_peers import installed, train_peer
from torch import nn

from yannctl import rl
from yannctl.rl.construction import assemble
from yannctl.rl.environment import PlantEnvironment
from yannctl.rl.episodes import stream_seed
from yannctl.rl.networks import Actor, Critic
from yannctl.rl.promotion import EPISODE_EVALUATION_STREAM
from yannctl.rl.replay import Batch
from yannctl.rl.settings import profile
from yannctl.rl.stochastic import ClampedGaussian
from yannctl.rl.trained import Noise
from yannctl.yann.residual import residual_net

ROOT = Path(__file__).resolve().parents[1]
SIGMAS = (0.5, 2.0, 10.0)
SEEDS = (1, 2, 3)  # of the linear-quadratic plants, whose settings were chosen on seed 0
LEARNING = {"Pendulum-v1": (8000, -180.0), "InvertedDoublePendulum-v5": (20_000, 9350.0)}
LEARNING_SEEDS = (0, 1, 2)
PAPER = ("Pendulum-v1", 600_000)  # 29 500 updates, a quarter of an hour of one core
LOOKS = 10  # at a peer's policy on a linear-quadratic plant
EPISODES = 10  # of each evaluation of a peer on an environment
SPEEDS = {"plain-64": 2.5, "plain-256": 1.3, "stacked-64": 4.0, "compiled-64": None}
KILLS, SHORT_KILLS = 200, 2


@dataclass(frozen=True)
class Part:
    """One measurement, with a file of its own.

    Args:
        task: group that it belongs to.
        words: what it is about.
    """

    task: str
    words: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """Name of its file."""
        return "_".join([self.task, *(f"{word}" for word in self.words)]).replace(" ", "-")

    def measure(self) -> dict[str, Any]:
        """Do it."""
        measures = {
            "sigma": learned_sigma, "lq": linear, "lq-peer": linear_peer, "learn": learn, "learn-peer": learn_peer,
            "paper": paper, "speed": speed, "gpu": gpu, "chaos": chaos, "faults": faults,
        }  # fmt: skip
        return measures[self.task](*self.words)


TASKS = ("sigma", "lq", "lq-peer", "learn", "learn-peer", "paper", "speed", "gpu", "chaos", "faults")


def all_parts(short: bool) -> Iterator[Part]:
    """Every part of a form, in the order of the table.

    Args:
        short: the short form: minutes become seconds.

    Yields:
        The parts.
    """
    for true in SIGMAS:
        yield Part("sigma", (true, 1000 if short else 4000))
    if short:
        yield Part("lq", ("Integrator", "td3", SEEDS[0], 600))
    else:
        plants = [type(plant).__name__ for plant in linear_quadratic.PLANTS]
        yield from (Part("lq", (p, a, s)) for p in plants for a in linear_quadratic.ALGORITHMS for s in SEEDS)
        yield from (Part("lq-peer", (p, a)) for p in plants for a in PEERS)
        yield from (Part("learn", (e, n, s)) for e, (n, _) in LEARNING.items() for s in LEARNING_SEEDS)
        yield from (Part("learn-peer", (e, n, s)) for e, (n, _) in LEARNING.items() for s in LEARNING_SEEDS)
        yield Part("paper", PAPER)
    for name in SPEEDS:
        if not (short and name in ("stacked-64", "compiled-64")):
            yield Part("speed", (name, 3 if short else 15))
    yield Part("gpu")
    yield from (Part("chaos", (kind, SHORT_KILLS if short else KILLS)) for kind in ("synchronous", "asynchronous"))
    if not short:
        yield Part("faults")


def learned_sigma(true: float, updates: int) -> dict[str, Any]:
    """Mean sigma that the whole DSAC-T learner holds at the end on terminal rewards drawn from N(5, s^2).

    Args:
        true: s.
        updates: gradient steps.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    settings = rl.TrainingSettings(batch=256)
    actor = Actor(residual_net(2, (32,), 1, 0, False, torch.float32), 1.0, 0.3)
    critic = Critic(2, 1, 32, 2, 2, generator)
    learner = assemble("dsact", actor, critic, ClampedGaussian(), settings, Noise(generator), None)
    seen: list[float] = []
    for update in range(updates):
        # The rate falls, so that the end is not one of Adam's wanderings.
        learner.critic.adam.rate = 1e-2 * min(1.0, 2.0 * (1.0 - update / updates) + 1e-3)
        x, a = torch.rand(256, 2, generator=generator), torch.rand(256, 1, generator=generator) * 2.0 - 1.0
        reward, none = 5.0 + true * torch.randn(256, generator=generator), torch.zeros(256)
        learner.update(Batch(x, x, a, a, 0.0 * a, reward, none, x, x, 0.0 * a, none, none))
        if update >= 0.8 * updates:
            seen.append(learner.metrics()["sigma"])
    return {"sigma": float(np.mean(seen)), "true": true, "updates": updates}


def linear(plant: str, algorithm: str, seed: int, steps: int | None = None) -> dict[str, Any]:
    """The deployed policy, learned from scratch, against the exact optimum.

    Args:
        plant: class of the plant.
        algorithm: name.
        seed: seed.
        steps: steps instead of those that the settings are for.
    """
    return linear_quadratic.learned_against_optimum(_plant(plant), algorithm, seed, steps)


def linear_peer(plant: str, method: str) -> dict[str, Any]:
    """The best of all looks at a peer's policy, as many steps, its defaults.

    Args:
        plant: class of the plant.
        method: name of the peer.
    """
    if not installed():
        return {"status": "not installed"}
    made = _plant(plant)
    starts = made.sample_starts(500, 7)
    best = float(linear_quadratic.optimal_returns(made, starts).mean())
    seen: list[float] = []

    def look(_step: int, policy: nn.Module) -> None:
        seen.append(float(rl.evaluate(policy, made, starts, made.episode_steps).returns.mean()))

    steps = linear_quadratic.STEPS
    train_peer(method, PlantEnvironment(made), made, steps, SEEDS[0], steps // LOOKS, look)
    return {"learned": max(seen), "last": seen[-1], "optimum": best, "above": (best - max(seen)) / abs(best)}


def learn(name: str, steps: int, seed: int) -> dict[str, Any]:
    """One run of the fast profile: its best and its last evaluation.

    Args:
        name: environment.
        steps: steps.
        seed: seed.
    """
    return _trained(name, steps, seed, "fast")


def paper(name: str, steps: int) -> dict[str, Any]:
    """One run of DSAC-T as published.

    Args:
        name: environment.
        steps: steps.
    """
    return _trained(name, steps, 0, "paper")


def _trained(name: str, steps: int, seed: int, which: str) -> dict[str, Any]:
    settings = profile(which).changed({"tensorboard": False})
    result = rl.train(None, None, gymnasium.make(name), "dsact", steps=steps, seed=seed, settings=settings)
    curve = [round(row["learning_return"], 1) for row in result.history]
    return {"deployed": result.history[-1]["deployed_return"], "last": curve[-1], "steps": steps, "curve": curve}


def learn_peer(name: str, steps: int, seed: int) -> dict[str, Any]:
    """SAC of Stable-Baselines3 with the nets and the batch of the fast profile, its defaults otherwise.

    Args:
        name: environment.
        steps: steps.
        seed: seed.
    """
    if not installed():
        return {"status": "not installed"}
    from stable_baselines3 import SAC
    from stable_baselines3.common.callbacks import BaseCallback

    settings, judge, curve = profile("fast"), gymnasium.make(name), []
    net: dict[str, Any] = {"net_arch": [settings.width] * settings.depth}
    model = SAC("MlpPolicy", name, policy_kwargs=net, batch_size=settings.batch, seed=seed, device="cpu")

    class Look(BaseCallback):
        """Evaluates as often as the fast profile does."""

        def _on_step(self) -> bool:
            if self.num_timesteps % settings.gate_every == 0:
                curve.append(_mean_return(model, judge, seed))
            return True

    model.learn(total_timesteps=steps, callback=Look())
    return {"deployed": max(curve), "last": curve[-1], "steps": steps, "curve": [round(value, 1) for value in curve]}


def _mean_return(model: Any, env: gymnasium.Env, seed: int) -> float:
    """Mean return of a peer's deterministic policy over the episodes that our evaluation takes as well."""
    total = 0.0
    for episode in range(EPISODES):
        x, _ = env.reset(seed=stream_seed(seed, EPISODE_EVALUATION_STREAM, episode))
        done = False
        while not done:
            x, reward, ended, cut, _ = env.step(model.predict(x, deterministic=True)[0])
            total, done = total + float(reward), ended or cut
    return total / EPISODES


def speed(what: str, pairs: int) -> dict[str, Any]:
    """Updates a CPU second against Stable-Baselines3 SAC.

    Args:
        what: a key of `SPEEDS`.
        pairs: pairs of blocks.
    """
    kind, width = what.split("-")
    n = {"64": 100, "256": 30}[width]
    peer = learners_speed.peer(int(width))
    if peer is None:
        return {"status": "not installed"}
    if kind == "stacked":
        mine = learners_speed.stacked(int(width))
        return learners_speed.ratio(mine, peer, (n // 4, n), pairs, learners_speed.SEEDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch's compiler about torch
        mine = learners_speed.ours(int(width), kind == "compiled")
        return learners_speed.ratio(mine, peer, (2 * n, n), pairs)


def gpu() -> dict[str, Any]:
    """What a GPU makes of it; without one it is not measured."""
    return learners_gpu.measure()


def chaos(kind: str, number: int) -> dict[str, Any]:
    """Kill runs at random instants, in a process of their own.

    Args:
        kind: "synchronous" or "asynchronous".
        number: of kills.
    """
    path = ROOT / "benchmarks" / ("chaos.py" if kind == "synchronous" else "chaos_asynchronous.py")
    command = [sys.executable, str(path), "--kills", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        return {"ok": False, "error": done.stderr[-500:]}
    return json.loads(done.stdout.splitlines()[-1])


def faults() -> dict[str, Any]:
    """Run the whole fault injection of the tests: values that are not finite, rates a million fold, a full disk."""
    path = ROOT / "tests" / "rl" / "test_faults.py"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow", str(path)]
        done = subprocess.run(
            [*command, f"--basetemp={folder}/t"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    lines = (done.stdout or done.stderr).strip().splitlines()
    return {"ok": done.returncode == 0, "said": lines[-1] if lines else "nothing"}


def _plant(name: str) -> linear_quadratic.LinearPlant:
    return next(plant for plant in linear_quadratic.PLANTS if type(plant).__name__ == name)
