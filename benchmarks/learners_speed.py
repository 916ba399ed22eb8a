"""Gradient updates a second, one thread: ours against Stable-Baselines3 SAC, with the same nets and batch.

Both draw their batches from a memory of the same transitions. Blocks of updates alternate between the two, so that a
busy machine slows both; the figure is the median over pairs of blocks, in CPU seconds of this process.
"""

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import torch

from yannctl import rl
from yannctl.rl.run import Run
from yannctl.rl.seeds import Stack

BATCH, MEMORY, SEEDS = 256, 1500, 16
Block = Callable[[int], None]


def settings_of(width: int, compiled: bool, device: str = "cpu") -> rl.TrainingSettings:
    """Plain nets, as Stable-Baselines3 has them: two hidden layers, no normalisation."""
    plain = {"layer_norm": False, "updates_per_step": 1, "warmup_steps": MEMORY, "tensorboard": False}
    changes = {"width": width, "batch": BATCH, "compile": compiled, "replay_capacity": MEMORY, "device": device}
    return rl.TrainingSettings().changed({**changes, **plain})


def filled(run: Run) -> Run:
    """The run with its memory filled by the warm-up."""
    while run.count.step < MEMORY:
        run.advance(run.warmup())
    return run


def new_run(seed: int, width: int, compiled: bool, device: str = "cpu") -> Run:
    """A run that has not begun."""
    return Run(None, None, gymnasium.make("Pendulum-v1"), "dsact", seed, settings_of(width, compiled, device))


def ours(width: int, compiled: bool = False, device: str = "cpu", graphs: bool | None = None) -> Block:
    """Updates of one seed, sampling included."""
    run = filled(new_run(0, width, compiled, device))
    run.updates.graphs = run.updates.graphs if graphs is None else graphs
    drawing = run.replay.drawing(BATCH)
    return lambda n: run.updates.make(n, drawing, 0.1)


def stacked(width: int, compiled: bool = False, seeds: int = SEEDS, device: str = "cpu") -> Block:
    """Updates of several seeds in one network, sampling included; one update of the block updates every seed."""
    stack = Stack([new_run(seed, width, compiled) for seed in range(seeds)], torch.device(device))
    first = filled(stack.runs[0])
    for run in stack.runs[1:]:  # the same transitions: what is drawn of them differs
        run.replay.extend(first.replay.latest(MEMORY))
    scale = torch.full((seeds, 1), 0.1)
    return lambda n: stack.updates.make(n, stack.drawing, scale)


def peer(width: int, device: str = "cpu") -> Block | None:
    """Updates of Stable-Baselines3 SAC, sampling included, or None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from stable_baselines3 import SAC
    except ImportError:
        return None
    policy: dict[str, Any] = {"net_arch": [width, width], "activation_fn": torch.nn.GELU}
    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs=policy, learning_starts=10**9, device=device, seed=0)
    model.learn(MEMORY)
    return lambda n: model.train(gradient_steps=n, batch_size=BATCH)


def cpu_seconds(block: Block, n: int) -> float:
    """CPU time of one block."""
    start = time.process_time()
    block(n)
    return time.process_time() - start


def ratio(mine: Block, other: Block, n: tuple[int, int], pairs: int, factor: int = 1) -> dict[str, float]:
    """Updates a second of both, and how many of mine fall on one of the other.

    Args:
        mine: a block of ours.
        other: a block of the peer.
        n: updates in a block of ours and of the peer.
        pairs: pairs of blocks.
        factor: seeds that one update of ours updates.
    """
    for block, number in ((mine, n[0]), (other, n[1])):
        block(max(1, number // 5))
    rates = [(factor * n[0] / cpu_seconds(mine, n[0]), n[1] / cpu_seconds(other, n[1])) for _ in range(pairs)]
    return {
        "ours_per_s": statistics.median(a for a, _ in rates),
        "sb3_per_s": statistics.median(b for _, b in rates),
        "ratio": statistics.median(a / b for a, b in rates),
    }
