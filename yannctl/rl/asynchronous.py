"""Asynchronous training: an actor process drives the rig at its own rate, the learner here follows its log.

The two share nothing but files in the run folder (`actor_process`): the actor appends transitions, the learner replaces
the weights. Neither waits for the other, and each can be killed and started again without losing an acknowledged
transition. What is given up for that is repeating a run bit for bit.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from yannctl.errors import ModelError
from yannctl.pwa import PwaLaw

from .actor_process import LAW_FILE, LOCK_FILE, PLAN_FILE, Plan, layout_of, publish
from .callbacks import Callback, TensorBoard
from .checkpoint import FILE_NAME as CHECKPOINT
from .checkpoint import read_checkpoint, run_lock
from .construction import ALGORITHMS
from .deployment import publish_deployed
from .errors import CheckpointError, TrainingError
from .gate import GateEvent
from .logs import RunLog
from .model_training import refuse_model
from .progress import facts_of, progress_row
from .run import Run
from .run_state import restore
from .settings import TrainingSettings
from .training import TrainingResult, write_all
from .transitions import FILE_NAME as LOG
from .transitions import TERMINATED, TRUNCATED, VIOLATED, read_records

CHUNK = 32  # updates between two looks at the log
PUBLISH_SECONDS = 0.1  # at most so often are weights offered
IDLE_SECONDS = 0.002  # sleep when there is nothing to do
MAX_RESTARTS = 20  # of a dying actor, in one call


def train_asynchronously(
    env: str,
    law: PwaLaw | None = None,
    algorithm: str = "dsact",
    steps: int = 4000,
    seed: int = 0,
    run_dir: str | os.PathLike[str] = "runs/asynchronous",
    settings: TrainingSettings | None = None,
    rig: str | None = None,
    rate: float = 200.0,
    start_actor: bool = True,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    filter: str = "auto",
    driver: Sequence[str] | None = None,
) -> TrainingResult:
    """Train while another process drives the plant; a folder that holds such a run already is taken up again.

    Args:
        env: environment id; it gives sizes and, for a plant, the nominal model of the gate.
        law: the law to start from, or None to learn from scratch.
        algorithm: "dsact", "td3" or "ddpg".
        steps: ticks of the whole run.
        seed: seed of everything random; two runs still differ, since timing decides what the learner has seen.
        run_dir: folder of the run.
        settings: all numbers; None for the recipe. `updates_per_step` is the most the learner does; what it reached is
            in progress.csv.
        rig: "module:function" giving (rig, judge) in the actor's process; None: the environment is the rig.
        rate: ticks a second where the environment is the rig.
        start_actor: whether to start, and restart, the actor; False where `python -m yannctl.rl.actor_process RUN` is
            started by somebody else.
        progress: whether to show a progress bar (only on a terminal).
        callbacks: told of every row, event and checkpoint.
        filter: "auto", "none" or a name in `assurance.TARGETS`; the actor's process filters before it writes.
        driver: command of the process that drives in place of the actor; it gets what the gate promotes and nothing
            else, and is not started again when it ends.

    Returns:
        The deployed and the learning policy, and the history.

    Raises:
        ModelError: for arguments that do not fit together.
        TrainingError: if the learner diverges or the actor dies again and again.
        RunLockedError: if another learner writes to the same folder.
    """
    folder, settings = Path(run_dir), settings or TrainingSettings()
    refuse_model(settings, "the asynchronous mode")
    if algorithm not in ALGORITHMS:
        raise ModelError("algorithm", f"got {algorithm!r}, expected {', '.join(map(repr, ALGORITHMS))}")
    if settings.environments != 1:
        raise ModelError("environments", f"got {settings.environments}", remedy="the asynchronous mode has one rig")
    plan = Plan(env, algorithm, seed, steps, settings.record(), rig, rate, filter)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with run_lock(folder):
            if (folder / LOG).exists() and not (folder / PLAN_FILE).exists():
                raise CheckpointError(f"{folder} already holds a run", "choose another run_dir")
            if law is not None:
                law.save(folder / LAW_FILE)
            plan.write(folder)
            told = (*callbacks, *([TensorBoard()] if settings.tensorboard else []))
            return _Learner(plan, folder, told, start_actor, driver).go(progress)
    finally:
        torch.set_num_threads(threads)


def ingest(run: Run, records: np.ndarray) -> None:
    """Take acknowledged transitions into the memory.

    Args:
        run: the learner's run.
        records: records of the log.
    """
    if not len(records):
        return
    before, after = run.view_of(records["x"].copy()), run.view_of(records["x1"].copy())
    applied, proposed = run.scaled(records["u"].copy()), run.scaled(records["proposed"].copy())
    for i, record in enumerate(records):
        flags, reward = int(record["flags"]), float(record["reward"])
        x, phi, base, weight = (part[i] for part in before)
        scalars = torch.tensor([[reward], [0.0 if flags & TERMINATED else 1.0]])
        row = torch.cat([x, phi, applied[i], proposed[i], base, *scalars, weight, *(part[i] for part in after)])
        if not bool(row.isfinite().all()):
            raise TrainingError(f"transition {record['number']} is not finite", "repair the plant's reward or sensors")
        run.replay.add(row)
        count = run.count
        count.largest_reward = max(count.largest_reward, abs(reward))
        count.sum_reward += abs(reward) if count.step < run.settings.warmup_steps else 0.0
        count.step += 1
        count.violations += bool(flags & VIOLATED)
        count.terminations += bool(flags & TERMINATED)
        count.truncations += bool(flags & TRUNCATED and not flags & TERMINATED)
        part = run.fleet[0]
        part.total += reward
        if flags & (TERMINATED | TRUNCATED):
            part.last_return, part.total = part.total, 0.0
        count.clipped += bool((applied[i].abs() >= 1.0).any())
        run.watch(record["x"], record["proposed"], record["u"], record["x1"])
        if count.step == run.settings.warmup_steps:
            count.reward_scale = run.settings.reward_scale or count.step / max(count.sum_reward, 1e-12)


class _Learner:
    """The learner's side of one run."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        callbacks: tuple[Callback, ...],
        start_actor: bool,
        driver: Sequence[str] | None = None,
    ) -> None:
        self.plan, self.folder, self.start_actor, self.driver = plan, folder, start_actor, driver
        self.run = run = plan.make_run(folder, plan.settings["device"])
        self.layout, self.path = layout_of(run), folder / LOG
        history, events = [], []
        if (folder / CHECKPOINT).exists():
            tensors, state = read_checkpoint(folder)
            records = read_records(self.path, self.layout)[: state["counters"]["step"]]
            ingest(run, records)
            restore(run, tensors, state, None)
            history, events = state["history"], [GateEvent(**event) for event in state["events"]]
        self.log = RunLog(folder, facts_of(run), callbacks, history, events)
        self.tested = self.saved = run.count.step
        self.started, self.published, self.restarts = time.perf_counter(), 0.0, 0
        self.first_updates = run.learner.updates

    def go(self, progress: bool) -> TrainingResult:
        """Follow the log to its end."""
        run, plan = self.run, self.plan
        self._publish(None)
        actor = self._spawn()
        bar = tqdm(total=plan.steps, initial=run.count.step, unit="step", disable=None if progress else True)
        try:
            while True:
                known = run.count.step
                ingest(run, self._fresh(known))
                bar.update(run.count.step - known)
                worked = self._learn()
                self._look_after()
                if run.count.step >= plan.steps and not worked:
                    break
                idle = not worked and run.count.step == known
                if actor is not None and actor.poll() is not None and run.count.step < plan.steps:
                    if self.driver is not None and idle:
                        break  # its run is over; nobody but an operator starts it again
                    actor = actor if self.driver is not None else self._again(actor)
                if idle:
                    actor = actor or self._spawn()  # an actor left by an earlier learner may have come to its end
                    time.sleep(IDLE_SECONDS)
            run.export()
            write_all(run, self.log)
        finally:
            bar.close()
            self.log.close()
            if actor is not None:
                actor.terminate()
                actor.wait()
        seconds = time.perf_counter() - self.started
        return TrainingResult(run.deployed, run.learning, self.log.history, self.log.events, seconds, run.safeguard)

    def _fresh(self, known: int) -> np.ndarray:
        whole = self.path.exists() and self.path.stat().st_size > len(self.layout.header())
        return read_records(self.path, self.layout, known) if whole else np.zeros(0, self.layout.dtype)

    def _learn(self) -> bool:
        """Do some of the updates that are due; whether there were any."""
        run, settings = self.run, self.run.settings
        owed = int((run.count.step - settings.warmup_steps + 1) * settings.updates_per_step) - run.learner.updates
        if run.count.step < settings.warmup_steps or owed < 1:
            return False
        run.learn(min(owed, CHUNK))
        if run.diverged():
            self.log.event(run.rollback(), run.learning, run.deployed)
        if self.driver is None and time.perf_counter() - self.published > PUBLISH_SECONDS:
            publish(run, self.folder)
            self.published = time.perf_counter()
        return True

    def _look_after(self) -> None:
        """Test and save when it is time."""
        run, settings = self.run, self.run.settings
        if run.learner.updates and run.count.step - self.tested >= settings.gate_every:
            self.tested = run.count.step
            event = run.test()
            if event.decision == "promoted":
                self._publish(event)
            self.log.event(event, run.learning, run.deployed)
            self.log.row(progress_row(run, event, time.perf_counter() - self.started, self.first_updates))
        if settings.checkpoint_every and run.count.step - self.saved >= settings.checkpoint_every:
            self.saved = run.count.step
            write_all(run, self.log)

    def _publish(self, event: GateEvent | None) -> None:
        """Offer the actor the learner's policy, or a driver the deployed one."""
        if self.driver is not None:
            publish_deployed(self.run, self.folder, event)
        elif event is None:
            publish(self.run, self.folder)

    def _spawn(self) -> "subprocess.Popen[bytes] | None":
        """Start the actor unless one drives this run already, which outlived an earlier learner."""
        if not self.start_actor:
            return None
        handle = os.open(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return None
        finally:
            os.close(handle)
        with open(self.folder / "actor.log", "ab") as log:
            command = self.driver or [sys.executable, "-m", "yannctl.rl.actor_process", str(self.folder)]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)

    def _again(self, dead: "subprocess.Popen[bytes]") -> "subprocess.Popen[bytes] | None":
        """Start a new actor in place of one that died."""
        self.restarts += 1
        if self.restarts > MAX_RESTARTS:
            raise TrainingError(
                f"the actor died {self.restarts} times, last with code {dead.returncode}",
                f"see {self.folder / 'actor.log'}; every acknowledged transition is in {self.path.name}",
            )
        return self._spawn()
