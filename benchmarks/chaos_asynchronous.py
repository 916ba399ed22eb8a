"""Kill actor and learner of an asynchronous run at random instants; no acknowledged transition may be lost.

    python benchmarks/chaos_asynchronous.py [--kills 200] [--seed 0]

The actor tells through a pipe which transitions are on file. Whenever one of the two has been killed with SIGKILL, the
log must hold every transition acknowledged until then, and all that it held before, byte for byte. In the end a last
learner must have taken in all of them. Exit code 0 when that holds, 1 otherwise.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from yannctl import rl
from yannctl.rl.actor_process import Plan, drive
from yannctl.rl.checkpoint import read_checkpoint
from yannctl.rl.transitions import FILE_NAME, read_records

SMALL = rl.TrainingSettings(
    width=8, batch=8, updates_per_step=0.1, warmup_steps=50, gate_every=2000, evaluation_episodes=1,
    checkpoint_every=100, tensorboard=False, max_rollbacks=10**6,
)  # fmt: skip
ENDLESS = 10**9
PLAN = Plan("Pendulum-v1", "dsact", 0, ENDLESS, SMALL.record(), None, 500.0)


class Actor:
    """The actor in a child, and what it has acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.pipe, end = os.pipe()
        os.set_blocking(self.pipe, False)
        self.child = os.fork()
        if not self.child:
            os.dup2(end, 1)
            run(lambda: drive(folder, acknowledge=True))
        os.close(end)
        self.text = b""

    def acknowledged(self) -> int:
        """Number of transitions it has acknowledged so far; 0 before the first."""
        while True:
            try:
                part = os.read(self.pipe, 65536)
            except BlockingIOError:
                break
            if not part:
                break
            self.text = (self.text + part)[-64:]
        lines = self.text.rsplit(b"\n", 2)
        return int(lines[-2]) + 1 if len(lines) > 1 and lines[-2] else 0

    def kill(self) -> int:
        """Kill it; gives the number of transitions it had acknowledged."""
        end(self.child)
        known = self.acknowledged()
        os.close(self.pipe)
        return known


def run(work: Any) -> None:
    """Do the work of a child and leave."""
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def learner(folder: Path, steps: int = ENDLESS) -> int:
    """The learner in a child."""
    child = os.fork()
    if not child:
        run(
            lambda: rl.train_asynchronously(
                PLAN.env, None, PLAN.algorithm, steps, PLAN.seed, folder, SMALL, rate=PLAN.rate, start_actor=False
            )
        )
    return child


def await_growth(path: Path) -> None:
    """Wait until the log has grown, for at most 20 seconds."""
    size, last = path.stat().st_size, time.monotonic() + 20.0
    while path.stat().st_size == size and time.monotonic() < last:
        time.sleep(0.01)


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def chaos(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kill one of the two again and again, and compare the log with what was acknowledged."""
    torch.set_num_threads(1)
    rng, path = random.Random(seed), folder / FILE_NAME
    PLAN.write(folder)
    actor, other = Actor(folder), learner(folder)
    while not path.exists() or not len(path.read_bytes()) > 2000:
        time.sleep(0.01)
    before, lost, killed = b"", 0, {"actor": 0, "learner": 0}
    for _ in range(kills):
        if rng.random() < 0.5:  # on a busy machine a process would else only ever be killed while it starts
            await_growth(path)
        time.sleep(rng.expovariate(6.0))
        victim = rng.choice(["actor", "learner"])
        killed[victim] += 1
        if victim == "actor":
            lost += max(0, actor.kill() - len(read_records(path)))
            actor = Actor(folder)
        else:
            end(other)
            other = learner(folder)
        whole = path.read_bytes()
        lost += not whole.startswith(before)
        before = whole[:-200]  # the last record may be torn, and is then cut off
    known = actor.kill()
    end(other)
    records = read_records(path)
    lost += max(0, known - len(records))
    replace(PLAN, steps=len(records)).write(folder)
    code = os.waitpid(learner(folder, len(records)), 0)[1]
    _, state = read_checkpoint(folder)
    taken = state["counters"]["step"]
    return {
        "killed": killed, "transitions": len(records), "lost": lost, "taken_in": taken,
        "ok": not lost and not code and taken == len(records),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = chaos(given.kills, given.seed, Path(folder))
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()
