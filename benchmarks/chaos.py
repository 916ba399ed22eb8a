"""Kill training runs at random instants, resume them, and compare with runs that nobody disturbed.

    python benchmarks/chaos.py [--kills 200] [--seed 0] [--folder DIR]

Every trial starts a run in a process of its own, kills it with SIGKILL at an instant drawn over the whole length of a
run, starts it again, and compares checkpoint (weights, targets, optimisers, temperature, running means, random states,
environment), log of transitions, gate record and progress with the undisturbed run, bit for bit. Exit code 0 when all
agree, 1 otherwise.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium

import yannctl  # noqa: F401 (registers the environments)
from yannctl import rl
from yannctl.rl.checkpoint import digest, read_checkpoint

STEPS = 90
SMALL = rl.TrainingSettings(
    width=8, batch=8, updates_per_step=1, warmup_steps=20, gate_every=30, gate_starts=4, screen_starts=2,
    evaluation_episodes=1, checkpoint_every=10, tensorboard=False, max_rollbacks=1000,
)  # fmt: skip
# Training on the model before the first step and again when the parameters are found, and both memories mixed.
MODEL = {
    "model.use": "on", "model.pretrain_updates": 24, "model.retrain_updates": 16, "model.episodes": 4,
    "model.first_gate": 15, "model.gate_starts": 4, "model.members": 1, "model.capacity": 200,
}  # fmt: skip
CASES: tuple[tuple[str, str, int], ...] = (
    ("dsact", "yannctl/Pendulum-v0", 1),
    ("td3", "Pendulum-v1", 2),
    ("ddpg", "yannctl/Pendulum-v0", 1),
)


def go(case: tuple[str, str, int], folder: Path) -> None:
    """Start the run of a folder, or take it up where it was killed."""
    algorithm, name, environments = case
    settings = SMALL.changed({"environments": environments, **(MODEL if algorithm == "dsact" else {})})
    begun = (folder / "settings.json").exists()
    place: dict[str, Any] = {"resume": folder} if begun else {"run_dir": folder}
    rl.train(None, None, gymnasium.make(name), algorithm, steps=STEPS, seed=5, settings=settings, **place)


def fork(case: tuple[str, str, int], folder: Path) -> int:
    """Run `go` in a child; its exit code is 0 when it came to the end."""
    child = os.fork()
    if child:
        return child
    try:
        go(case, folder)
        os._exit(0)
    except BaseException as error:
        print(f"{folder}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def trace(folder: Path) -> tuple[Any, ...]:
    """Everything a run left, except times."""
    tensors, state = read_checkpoint(folder)
    with open(folder / "progress.csv", newline="") as file:
        rows = [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]
    kept = {k: v for k, v in state.items() if k != "history"}
    gate, log = (folder / "gate.jsonl").read_text(), (folder / "transitions.bin").read_bytes()
    return digest(tensors), json.dumps(kept, sort_keys=True), rows, gate, log


def trial(case: tuple[str, str, int], folder: Path, length: float, rng: random.Random) -> tuple[bool, int]:
    """Kill once, or now and then twice, then go on to the end; return whether that worked and how many were killed."""
    killed = 0
    for _ in range(2 if rng.random() < 0.3 else 1):
        child = fork(case, folder)
        time.sleep(rng.uniform(0.0, length))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    return os.waitpid(fork(case, folder), 0)[1] == 0, killed


def run(kills: int, seed: int, root: Path) -> dict[str, Any]:
    """Kill until so many processes have died in the middle of a run."""
    rng = random.Random(seed)
    whole, lengths = {}, {}
    for case in CASES:
        start = time.perf_counter()
        if os.waitpid(fork(case, root / case[0]), 0)[1]:
            raise SystemExit("the undisturbed run failed")
        whole[case], lengths[case] = trace(root / case[0]), time.perf_counter() - start
    died = trials = exact = 0
    while died < kills:
        case = CASES[trials % len(CASES)]
        folder = root / f"trial{trials}"
        finished, killed = trial(case, folder, lengths[case], rng)
        same = finished and trace(folder) == whole[case]
        died, trials, exact = died + killed, trials + 1, exact + same
        if same:
            shutil.rmtree(folder)
        else:
            print(f"trial {trials} differs: {folder}", file=sys.stderr)
    return {"killed": died, "trials": trials, "bit_exact": exact, "ok": exact == trials}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = run(given.kills, given.seed, given.folder or Path(temporary))
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()
