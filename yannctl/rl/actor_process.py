"""The actor of the asynchronous mode: a process of its own that drives the rig and never waits for the learner.

    python -m yannctl.rl.actor_process RUN [--acknowledge]

It speaks to the learner through files only. Every transition goes to `transitions.bin` before the next tick begins;
between two ticks it takes up new weights if `weights.safetensors` has been replaced. It can be killed and started again
at any time: it goes on behind the last whole record, in a new episode.
"""

import argparse
import fcntl
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import gymnasium
import numpy as np
import torch
from safetensors.torch import load_file, save

from yannctl.files import write_whole

from .errors import RunLockedError, TrainingError
from .rigs import EnvironmentRig, Judge, RigEpisodes, TrainingRig, load_rig
from .run import Run
from .safeguard import safeguard_of
from .settings import TrainingSettings
from .task import task_of
from .transitions import FILE_NAME, FIRST, Layout, TransitionWriter, read_records

PLAN_FILE, WEIGHTS_FILE, LAW_FILE, LOCK_FILE = "actor.json", "weights.safetensors", "law.safetensors", "actor.lock"
SYNC_SECONDS = 1.0  # a power failure loses at most the transitions of this time; a killed process loses none


@dataclass(frozen=True)
class Plan:
    """What both processes must know.

    Args:
        env: environment id; also gives sizes and, for a plant, the nominal model of the gate.
        algorithm: its name.
        seed: seed of the run.
        steps: ticks of the whole run.
        settings: `TrainingSettings.record()`.
        rig: "module:function" giving (rig, judge); None: the environment itself.
        rate: ticks a second where the environment is the rig.
        filter: "auto", "none" or the name of a certified loop.
    """

    env: str
    algorithm: str
    seed: int
    steps: int
    settings: dict
    rig: str | None
    rate: float
    filter: str = "auto"

    def write(self, folder: Path) -> None:
        """Keep it in the run folder.

        Args:
            folder: the folder.
        """
        write_whole(folder / PLAN_FILE, (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """Read it back.

        Args:
            folder: the folder.

        Returns:
            The plan.
        """
        return cls(**json.loads((folder / PLAN_FILE).read_text()))

    def make_run(self, folder: Path, device: str = "cpu") -> Run:
        """Networks, features and gate, as both processes build them.

        Args:
            folder: the run folder, which holds the law if there is one.
            device: where the networks are; an actor's are on the CPU.

        Returns:
            The run.
        """
        from yannctl.pwa import PwaLaw
        from yannctl.yann import encode_actor

        law = folder / LAW_FILE
        actor = encode_actor(PwaLaw.load(law), form="gather") if law.exists() else None
        settings = TrainingSettings.of_record(self.settings | {"device": device})
        env = gymnasium.make(self.env)
        safeguard = safeguard_of(env, task_of(env), self.filter)
        return Run(actor, None, env, self.algorithm, self.seed, settings, safeguard)


def layout_of(run: Run) -> Layout:
    """What a record of an asynchronous run holds: no row of the memory, the learner makes it itself.

    Args:
        run: the run.

    Returns:
        The layout.
    """
    return Layout(run.task.nx, run.task.nu, 0)


def publish(run: Run, folder: Path) -> None:
    """Offer the learner's policy to the actor.

    Args:
        run: the learner's run.
        folder: the run folder.
    """
    write_whole(folder / WEIGHTS_FILE, save({"actor": run.learner.actor.weights.value.detach().cpu().clone()}))


class Weights:
    """Takes up the learner's newest policy, at a tick boundary and without waiting.

    Args:
        run: whose policy is replaced.
        folder: the run folder.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.path, self.version, self.swaps = run, folder / WEIGHTS_FILE, 0, 0

    def swap(self) -> None:
        """Read the file if it is another one than last time."""
        try:
            seen = os.stat(self.path).st_mtime_ns
        except OSError:
            return
        if seen != self.version:
            self.run.learner.actor.weights.value.data.copy_(load_file(self.path)["actor"])
            self.version, self.swaps = seen, self.swaps + 1


def drive(folder: Path, acknowledge: bool) -> None:
    """Drive the rig for the rest of the run's ticks.

    Args:
        folder: the run folder.
        acknowledge: print the number of each transition once it is on file.

    Raises:
        RunLockedError: if another actor drives this run.
    """
    torch.set_num_threads(1)
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise RunLockedError(f"{folder} has an actor already", "wait for it or end it") from error
    plan = Plan.read(folder)
    run = plan.make_run(folder)
    layout, path = layout_of(run), folder / FILE_NAME
    begun = path.exists() and path.stat().st_size >= len(layout.header())
    records = read_records(path, layout) if begun else np.zeros(0, layout.dtype)
    writer = TransitionWriter(path, layout, len(records))
    # A restarted actor must not repeat the noise of its predecessor.
    run.generator.manual_seed(plan.seed + (len(records) << 20))
    rig, judge = _rig(plan, int((records["flags"] & FIRST > 0).sum()))
    done = threading.Event()
    threading.Thread(target=_sync, args=(writer, done), daemon=True).start()
    rig.open()
    try:
        rig.arm()
        _ticks(run, RigEpisodes(rig, judge), Weights(run, folder), writer, plan.steps, acknowledge)
        rig.stop("end of the run")
    except BaseException as error:
        rig.stop(f"{type(error).__name__}: {error}")
        raise
    finally:
        done.set()
        rig.close()
    writer.sync()
    writer.close()


def _ticks(
    run: Run, episodes: RigEpisodes, weights: Weights, writer: TransitionWriter, steps: int, acknowledge: bool
) -> None:
    nothing = np.zeros(0, np.float32)
    while writer.number < steps:
        weights.swap()
        run.view = run.view_of(episodes.x[None])
        a = run.warmup() if writer.number < run.settings.warmup_steps else run.explore()
        if not bool(a.isfinite().all()):
            raise TrainingError("the policy asked for an input that is not finite", "nothing was sent")
        first = episodes.first
        proposed = (run.middle + run.half * a.double()).numpy()
        u, _ = run.safeguard.apply(episodes.x[None], proposed)
        step = episodes.step(u[0], proposed[0])
        number = writer.append(step, nothing, first=first)
        if acknowledge:
            print(number, flush=True)


def _sync(writer: TransitionWriter, done: threading.Event) -> None:
    """Force records to disk now and then, beside the ticks."""
    while not done.wait(SYNC_SECONDS):
        writer.sync()


def _rig(plan: Plan, episode: int) -> tuple[TrainingRig, Judge]:
    if plan.rig is not None:
        return load_rig(plan.rig)
    rig = EnvironmentRig(gymnasium.make(plan.env), plan.seed, episode, plan.rate)
    return rig, rig.judge


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="actor of an asynchronous training run")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--acknowledge", action="store_true")
    given = parser.parse_args()
    drive(given.folder, given.acknowledge)
