"""How late a loop's ticks begin while its learner works, and while the learner stands still, with and without FIFO.

    python benchmarks/learner_influence.py [--speed 10] [--seconds 4] [--rounds 4] [--json FILE]

One run of `yannctl hil train` a priority, with all its processes: loop, courier, writer of the log, learner. Every few
seconds the learner is stopped by SIGSTOP or continued, so both cases meet the same machine; the log says how late each
tick began. Nothing is judged: a busy machine gives other numbers.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from yannctl import PwaLaw, condense, solve_mpqp
from yannctl.cli.problem_file import read_problem
from yannctl.hil.configuration import read_configuration
from yannctl.hil.flight_log import read_log
from yannctl.hil.live_view import LiveView
from yannctl.hil.rig import RigError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BUSY = ["width=64", "warmup_steps=50", "updates_per_step=1000", "gate_every=1000000", "tensorboard=false"]
START_SECONDS, SETTLED = 600.0, 10  # ticks at the seam of two parts that count for neither
CODE = "from yannctl.cli.app import main; main()"


def configuration(folder: Path, law: PwaLaw, speed: float, priority: int) -> Path:
    """The example's rig at another speed and priority, with its learner as nice as on a real rig."""
    law.save(folder / "law.safetensors")
    text = (EXAMPLES / "bridge" / "learning.toml").read_text()
    text = text.replace("speed = 4", f"speed = {speed}").replace("learner_nice = 0 ", f"priority = {priority}\n# ")
    path = folder / "rig.toml"
    path.write_text(text)
    return path


def beat(view: LiveView) -> int:
    """Ticks the loop has done, 0 before it runs."""
    try:
        board = view.board()
    except (RigError, OSError):
        return 0
    found = board.read().beat
    board.close()
    return found


def measure(path: Path, speed: float, seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """Lateness with the learner at work and standing still [us of the computer]."""
    folder, view = path.parent, LiveView(path, read_configuration(path))
    words = ["hil", "train", str(path), "--out", str(folder / "run"), "--steps", str(10**8)]
    words += [word for setting in BUSY for word in ("--set", setting)]
    learner = subprocess.Popen(
        [sys.executable, "-c", CODE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    seams = []
    try:
        end = time.monotonic() + START_SECONDS
        while beat(view) < 300:  # the learner's memory is full enough to work from
            if learner.poll() is not None or time.monotonic() > end:
                raise SystemExit("the loop did not start")
            time.sleep(0.2)
        time.sleep(seconds)
        for number in range(2 * rounds):
            os.kill(learner.pid, signal.SIGSTOP if number % 2 else signal.SIGCONT)
            seams.append(beat(view))
            time.sleep(seconds)
        seams.append(beat(view))
    finally:
        os.kill(learner.pid, signal.SIGCONT)
        learner.send_signal(signal.SIGINT)
        learner.wait()
    for line in (folder / "run" / "actor.log").read_text().splitlines():
        print(f"  {line}")  # what the system has refused, e.g. the priority
    late = read_log(folder / "run.mcap").scalars["lateness_ns"] / speed / 1e3
    parts = [late[a + SETTLED : b] for a, b in itertools.pairwise(seams)]
    return {"learner at work": summary(parts[::2]), "learner stopped": summary(parts[1::2])}


def summary(parts: list[np.ndarray]) -> dict[str, float]:
    """Percentiles of all parts together."""
    late = np.concatenate(parts)
    p50, p99 = np.percentile(late, [50, 99])
    return {"ticks": len(late), "p50": float(p50), "p99": float(p99), "max": float(late.max())}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", type=float, default=10.0, help="of real time: 10 is 200 ticks a second")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each part")
    parser.add_argument("--rounds", type=int, default=4, help="parts with and parts without the learner")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    chosen = parser.parse_args()
    law, found = solve_mpqp(condense(read_problem(EXAMPLES / "pendulum.toml"))), {}
    print(f"{20 * chosen.speed:g} ticks a second; lateness [us]; load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    for priority in (0, 80):
        with tempfile.TemporaryDirectory() as name:
            path = configuration(Path(name), law, chosen.speed, priority)
            rows = measure(path, chosen.speed, chosen.seconds, chosen.rounds)
        for case, row in rows.items():
            kind = f"{'SCHED_FIFO 80' if priority else 'normal priority'}, {case}"
            found[kind] = row
            print(f"{kind:34s} p50 {row['p50']:8.0f}  p99 {row['p99']:8.0f}  max {row['max']:8.0f}  n {row['ticks']}")
    print(f"load {os.getloadavg()[0]:.1f}")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
