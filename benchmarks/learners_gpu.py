"""Updates a second of the learners on a GPU, in wall time, and what a whole training takes there."""

import statistics
import time
import warnings
from typing import Any

import gymnasium
import learners_speed
import torch
from learners_speed import Block

from yannctl import rl
from yannctl.rl.settings import profile

WIDTHS = (64, 256)
STACKS = {64: (16, 64, 256), 256: (16, 64)}  # seeds in one network, by width; the largest compiled as well
TRAININGS = (("cpu", 1), ("cuda", 1), ("cpu", 32), ("cuda", 32))  # device and seeds
STEPS = 300  # of each of them, 100 to warm up and 4 updates in each of the rest
BLOCKS = 5


def wall_rate(block: Block, n: int) -> float:
    """Updates a second: the median of some blocks, each waited for.

    Args:
        block: the block.
        n: updates in it.
    """
    block(max(20, n // 10))
    torch.cuda.synchronize()
    rates = []
    for _ in range(BLOCKS):
        start = time.perf_counter()
        block(n)
        torch.cuda.synchronize()
        rates.append(n / (time.perf_counter() - start))
    return statistics.median(rates)


def updates_per_second(width: int) -> dict[str, float]:
    """Of one seed by single kernels, by graphs and by graphs of compiled losses, of stacked seeds, and of the peer.

    Args:
        width: units of each hidden layer.

    Returns:
        Updates of a seed a second, by form.
    """
    rates: dict[str, float] = {}
    other = learners_speed.peer(width, "cuda")
    if other is not None:
        rates[f"sb3-{width}"] = wall_rate(other, 200)
    rates[f"single-kernels-{width}"] = wall_rate(learners_speed.ours(width, False, "cuda", False), 300)
    rates[f"graph-{width}"] = wall_rate(learners_speed.ours(width, False, "cuda"), 3000)
    torch.compiler.reset()  # or the second shape would be compiled for any shape
    rates[f"compiled-graph-{width}"] = wall_rate(learners_speed.ours(width, True, "cuda"), 3000)
    for seeds in STACKS[width]:
        rates[f"{seeds}-seeds-{width}"] = seeds * wall_rate(learners_speed.stacked(width, False, seeds, "cuda"), 300)
        torch.cuda.empty_cache()
    seeds = STACKS[width][-1]
    torch.compiler.reset()
    block = learners_speed.stacked(width, True, seeds, "cuda")
    return rates | {f"compiled-{seeds}-seeds-{width}": seeds * wall_rate(block, 300)}


def training_seconds(device: str, seeds: int) -> float:
    """Wall time of a short training on `Pendulum-v1`, environments on the CPU as always, one thread.

    Args:
        device: where the learner is.
        seeds: how many, stacked where there are several.
    """
    few = {"warmup_steps": 100, "gate_every": 10_000, "updates_per_step": 4, "tensorboard": False}
    settings, env = profile("fast").changed(few | {"device": device}), gymnasium.make("Pendulum-v1")
    start = time.perf_counter()
    if seeds == 1:
        rl.train(None, None, env, steps=STEPS, settings=settings)
    else:
        rl.train_seeds(None, env, range(seeds), steps=STEPS, settings=settings)
    return time.perf_counter() - start


def measure() -> dict[str, Any]:
    """All of it, or that there is no GPU."""
    if not torch.cuda.is_available():
        return {"device": "not measured: no GPU"}
    rates: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's compiler about torch
        for width in WIDTHS:
            rates |= updates_per_second(width)
    trainings = {f"{seeds} seeds, {device}": training_seconds(device, seeds) for device, seeds in TRAININGS}
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "per_s": rates,
        "training_s": trainings,
        "training": f"Pendulum-v1, {STEPS} steps, 4 updates a step, batch {profile('fast').batch}",
    }
