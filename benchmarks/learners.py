"""The learners against the exact optimum, against Stable-Baselines3, and against kills: one table.

    python benchmarks/learners.py [--short] [--json FILE]

Exit code 0 when every target that was measured holds, 1 otherwise. The short form leaves out the learning runs on
Gymnasium's environments (minutes a seed) and kills less often.
"""

import argparse
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import torch
from tqdm import tqdm

from yannctl import rl
from yannctl.rl.construction import assemble
from yannctl.rl.networks import Actor, Critic
from yannctl.rl.replay import Batch
from yannctl.rl.settings import profile
from yannctl.rl.stochastic import ClampedGaussian
from yannctl.rl.trained import Noise
from yannctl.yann.residual import residual_net

SIGMAS = (0.5, 2.0, 10.0)
LEARNING = (("Pendulum-v1", 8000, -180.0), ("InvertedDoublePendulum-v5", 20_000, 9350.0))
SEEDS = (0, 1, 2)


def learned_sigma(true: float, updates: int) -> float:
    """Mean sigma that the whole DSAC-T learner holds at the end on terminal rewards drawn from N(5, s^2)."""
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
    return float(np.mean(seen))


def learning(name: str, steps: int, seed: int) -> dict[str, Any]:
    """One run of the fast profile; its best and its last evaluation of the learning policy (10 episodes each)."""
    start = time.process_time()
    settings = profile("fast").changed({"tensorboard": False})
    result = rl.train(None, None, gymnasium.make(name), "dsact", steps=steps, seed=seed, settings=settings)
    last = result.history[-1]
    return {
        "deployed": last["deployed_return"], "last": last["learning_return"], "steps": steps,
        "curve": [round(row["learning_return"], 1) for row in result.history],
        "cpu_s": time.process_time() - start,
    }  # fmt: skip


def speed(short: bool) -> dict[str, Any]:
    """Updates a second against Stable-Baselines3 SAC."""
    module = _beside("learners_speed")
    result: dict[str, Any] = {}
    for width, n in ((64, 100), (256, 30)):
        peer = module.peer(width)
        if peer is None:
            return {"peer": "not installed"}
        pairs = 3 if short else 9
        result[f"plain {width}"] = module.ratio(module.ours(width), peer, (2 * n, n), pairs)
        if width == 64 and not short:
            result["compiled 64"] = module.ratio(module.ours(width, True), peer, (2 * n, n), pairs)
            stacked = module.stacked(width)
            result["16 seeds 64"] = module.ratio(stacked, peer, (n // 4, n), pairs, module.SEEDS)
    return result


def graphs() -> dict[str, Any]:
    """What a GPU would add; without one it is not measured."""
    return {"device": "not measured: no GPU" if not torch.cuda.is_available() else torch.cuda.get_device_name()}


def kills(script: str, number: int) -> dict[str, Any]:
    """Run one of the chaos scripts."""
    path = Path(__file__).with_name(f"{script}.py")
    done = subprocess.run(
        [sys.executable, str(path), "--kills", str(number)], capture_output=True, text=True, check=False
    )
    if not done.stdout:
        return {"ok": False, "error": done.stderr[-500:]}
    return json.loads(done.stdout.splitlines()[-1])


def faults(short: bool) -> dict[str, Any]:
    """Run the fault injection of the tests, in full or the part that every test run has."""
    path = Path(__file__).parents[1] / "tests" / "rl" / "test_faults.py"
    marks = "not slow" if short else "slow or not slow"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, str(path)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*command, f"--basetemp={folder}/t"], capture_output=True, text=True, check=False)
    return {"ok": done.returncode == 0, "said": done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr}


def run(short: bool = False) -> dict[str, Any]:
    """Measure everything.

    Args:
        short: leave out the learning runs and kill less often.
    """
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    jobs = tqdm(total=8, unit="part", disable=None)

    def row(what: str, figure: str, target: str, ok: bool | None) -> None:
        rows.append({"what": what, "figure": figure, "target": target, "ok": ok})

    result: dict[str, Any] = {"sigma": {}, "linear_quadratic": {}, "learning": {}}
    for true in SIGMAS:
        sigma = result["sigma"][true] = learned_sigma(true, 1500 if short else 4000)
        row(f"sigma on N(5, {true}^2)", f"{sigma:.3f}", "within 3 %", abs(sigma / true - 1.0) <= 0.03)
    jobs.update()
    linear = _beside("linear_quadratic")
    for plant, algorithm in itertools.product(linear.PLANTS[: 1 if short else None], linear.ALGORITHMS):
        if short and algorithm != "ddpg":
            continue
        name = f"{type(plant).__name__}, {algorithm}"
        part = result["linear_quadratic"][name] = linear.learned_against_optimum(plant, algorithm)
        row(f"linear-quadratic, {name}", f"{100 * part['above']:.2f} % below", "2 %", part["above"] <= 0.02)
    jobs.update()
    for name, steps, target in () if short else LEARNING:
        parts = result["learning"][name] = [learning(name, steps, seed) for seed in SEEDS]
        figures = ", ".join(f"{part['deployed']:.0f}" for part in parts)
        row(f"{name}, {steps} steps", figures, f">= {target:g}", all(part["deployed"] >= target for part in parts))
        jobs.update()
    result["speed"] = speed(short)
    targets = {"compiled 64": 2.5, "plain 256": 1.3, "16 seeds 64": 4.0}
    for name, part in result["speed"].items():
        if name == "peer":
            row("updates a second against Stable-Baselines3", part, "", None)
            continue
        figure = f"{part['ratio']:.2f} ({part['ours_per_s']:.0f} to {part['sb3_per_s']:.0f} a CPU second)"
        target = None if short else targets.get(name)  # a busy machine must not decide a short run
        row(f"updates against SB3 SAC, {name}", figure, f">= {target}" if target else "", _least(part, target))
    result["gpu"] = graphs()
    row("GPU", result["gpu"]["device"], "", None)
    jobs.update()
    for script, number in (("chaos", 3 if short else 200), ("chaos_asynchronous", 3 if short else 200)):
        part = result[script] = kills(script, number)
        row(script.replace("_", ", "), json.dumps(part), "all", part["ok"])
        jobs.update()
    if not short:
        result["faults"] = faults(short)
        row("faults injected", result["faults"]["said"], "all", result["faults"]["ok"])
    jobs.close()
    return {**result, "rows": rows, "ok": all(entry["ok"] is not False for entry in rows)}


def table(result: dict[str, Any]) -> str:
    """The figures as text.

    Args:
        result: from `run`.
    """
    mark = {True: "ok", False: "MISSED", None: ""}
    return "\n".join(
        f"{row['what']:<44} {row['figure']:<48} {row['target']:<12} {mark[row['ok']]}" for row in result["rows"]
    )


def _least(part: dict[str, float], target: float | None) -> bool | None:
    return None if target is None else part["ratio"] >= target


def _beside(name: str) -> ModuleType:
    """Import a file that stands beside this one, however this one was loaded."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    result = run(given.short)
    print(table(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))
    sys.exit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()
