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
from yannctl.rl.replay import as_batch
from yannctl.rl.run import Run
from yannctl.rl.seeds import Stack

BATCH, MEMORY, SEEDS = 256, 1500, 16
Block = Callable[[int], None]


def settings_of(width: int, compiled: bool) -> rl.TrainingSettings:
    """Plain nets, as Stable-Baselines3 has them: two hidden layers, no normalisation."""
    plain = {"layer_norm": False, "updates_per_step": 1, "warmup_steps": MEMORY, "tensorboard": False}
    return rl.TrainingSettings().changed({"width": width, "batch": BATCH, "compile": compiled, **plain})


def collected(seed: int, width: int, compiled: bool) -> Run:
    """A run with its memory filled by the warm-up."""
    run = Run(None, None, gymnasium.make("Pendulum-v1"), "dsact", seed, settings_of(width, compiled))
    while run.count.step < MEMORY:
        run.advance(run.warmup())
    return run


def ours(width: int, compiled: bool = False) -> Block:
    """Updates of one seed, sampling included."""
    run = collected(0, width, compiled)

    def block(n: int) -> None:
        for batch in run.replay.batches(n, BATCH, 0.1, run.generator):
            run.learner.update(batch)

    return block


def stacked(width: int, compiled: bool = False, seeds: int = SEEDS) -> Block:
    """Updates of several seeds in one network, sampling included; one update of the block updates every seed."""
    stack = Stack([collected(seed, width, compiled) for seed in range(seeds)])
    widths = stack.runs[0].replay.widths

    def block(n: int) -> None:
        drawn = [run.replay.draw(n, BATCH, run.generator) for run in stack.runs]
        for rows in torch.stack(drawn, 1).unbind(0):
            stack.learner.update(as_batch(rows, widths, 0.1))

    return block


def peer(width: int) -> Block | None:
    """Updates of Stable-Baselines3 SAC, sampling included, or None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from stable_baselines3 import SAC
    except ImportError:
        return None
    policy: dict[str, Any] = {"net_arch": [width, width], "activation_fn": torch.nn.GELU}
    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs=policy, learning_starts=10**9, device="cpu", seed=0)
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
