"""`train`: environment steps, gradient steps, and the gate that alone may change the deployed policy.

The learner wanders: between start and success every variant passes through worse policies (measured, also at eight
updates a step). So two policies are kept. The *learning* one explores and changes with every update. The *deployed*
one starts as the exact law and changes only by the gate's paired test on the nominal model (`gate`). Claim monotone
improvement for the deployed policy only. An environment without a nominal model has no gate: deployed is then the best
of its evaluation episodes, and the log says so.

A run with a folder can be killed at any instant and taken up again bit for bit: every transition is on file before the
learner sees it (`transitions`), everything else is in a checkpoint that is written whole (`checkpoint`), and the steps
after it are made again.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from yannctl.errors import ModelError

from . import transitions
from .callbacks import Callback, TensorBoard
from .checkpoint import FILE_NAME, read_checkpoint, run_lock, write_checkpoint
from .construction import ALGORITHMS
from .errors import CheckpointError, TrainingError
from .gate import GateEvent
from .imitation import Teacher
from .logs import RunLog
from .offline import pretrain, take_recorded
from .progress import facts_of, progress_row
from .recorded import RecordedLog
from .run import Run
from .run_state import restore, state_of, tensors_of
from .safeguard import FilteredPolicy, Safeguard, Wanted, safeguard_of
from .settings import TrainingSettings
from .task import task_of
from .transitions import TransitionWriter, read_records

OnGate = Callable[[GateEvent, nn.Module, nn.Module], None]
NO_FILTER = Safeguard()


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves.

    Args:
        deployed: the policy that passed the gate, or the law itself: torch module, x (..., nx) -> u (..., nu). Without
            a nominal model: the best of the evaluation episodes.
        learning: the policy after the last update, whatever its quality.
        history: a row a gate test, with the columns of progress.csv.
        gate_events: every decision of the gate with its numbers.
        seconds: wall time of this call.
        safeguard: the certified filter that every input of the run passed, or why there was none.
    """

    deployed: nn.Module
    learning: nn.Module
    history: list[dict[str, Any]]
    gate_events: list[GateEvent]
    seconds: float
    safeguard: Safeguard = NO_FILTER

    @property
    def filtered(self) -> nn.Module:
        """The deployed policy behind its certified filter, as the gate judged it; itself where there is no filter."""
        return self.deployed if self.safeguard.filter is None else FilteredPolicy(self.deployed, self.safeguard)

    def __repr__(self) -> str:
        promoted = sum(event.decision == "promoted" for event in self.gate_events)
        last = f", deployed return {self.history[-1]['deployed_return']:.4g}" if self.history else ""
        tests = sum(event.index > 0 for event in self.gate_events)
        guard = "no filter" if self.safeguard.filter is None else f"filter {self.safeguard.name}"
        return f"TrainingResult({tests} gate tests, {promoted} promoted{last}, {guard}, {self.seconds:.0f} s)"


def train(
    actor: nn.Module | None,
    critic: nn.Module | None,
    env: gymnasium.Env,
    algorithm: str = "dsact",
    steps: int = 4000,
    seed: int = 0,
    run_dir: str | os.PathLike[str] | None = None,
    settings: TrainingSettings | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
    on_gate: OnGate | None = None,
    callbacks: Sequence[Callback] = (),
    recorded: RecordedLog | None = None,
    assurance: Wanted = "auto",
    teacher: Teacher | None = None,
) -> TrainingResult:
    """Tune an exact law on an environment; the deployed policy never changes without passing the gate.

    u = sat(law(x) + authority (u_max - u_min) tanh f(x)), f trained by DSAC-T, TD3 or DDPG, zero at the start. The gate
    rolls both policies out on `env.unwrapped.plant`, the nominal model; it costs no step of the environment.

    Args:
        actor: the exact law as a torch module, x (..., nx) -> u (..., nu) [physical units]; None learns from scratch.
        critic: the exact critic (x, u) -> return, used as `settings.critic_base` says; or None.
        env: environment whose observation is the state x and whose action is the input u, both in physical units, and
            whose `unwrapped.plant` is the nominal model. Of its `info`, "u_applied" is the input really applied
            (default: the action) and "cost" is above zero where a state bound is violated (default: never). Or any
            environment with a vector observation and continuous actions; without a nominal model there is no gate.
        algorithm: "dsact", "td3" or "ddpg".
        steps: environment steps of the whole run, including those before a resume.
        seed: seed of everything random; same seed, machine, threads and device give the same bits.
        run_dir: folder for progress.csv, gate.jsonl, settings.json, TensorBoard events and the checkpoint; or None.
        settings: all numbers of the run; None for the recipe.
        progress: whether to show a progress bar (only on a terminal).
        resume: folder of an earlier run to continue, bit for bit, up to `steps`; it becomes the `run_dir`.
        on_gate: called after each test as `on_gate(event, learning, deployed)`, for plots and logs of the caller's
            own; it may evaluate the policies but must not change them.
        callbacks: told of every row, event and checkpoint.
        recorded: transitions of an earlier time, from `load_log`, that the learner starts from: they take the place of
            the warm-up, and `settings.pretrain_updates` are made on them before the first step.
        assurance: the certified filter that every input passes before it is sent, exploration too: "auto" for the one
            whose proof covers the plant, "none", a name in `assurance.TARGETS`, or a certificate, safe set or filter.
            The gate runs behind it as well; starts outside its set are drawn again in simulation.
        teacher: imitated on the model where the run trains on it (`controllers.Planner`, say): called as
            `teacher(x, policy, p)` with states (n, nx), the present policy and the model's parameters at each state
            (n, np), it gives inputs (n, nu) [physical units], or the first K of a plan from each state (n, K, nu);
            answers that are not finite are left out. `settings.imitation` has the numbers.

    Returns:
        The deployed and the learning policy, and the history; `.deployed` is the raw policy, `.filtered` the same
        behind the filter.

    Raises:
        ModelError: for arguments that do not fit together.
        TrainingError: if the environment returns NaN, or the learner diverges again and again; the last checkpoint
            holds the deployed policy.
        RunLockedError: if another run writes to the same folder.
    """
    settings = settings or TrainingSettings()
    if algorithm not in ALGORITHMS:
        raise ModelError("algorithm", f"got {algorithm!r}, expected {', '.join(map(repr, ALGORITHMS))}")
    if steps < 1:
        raise ModelError("steps", f"got {steps}, expected at least 1")
    told = (*callbacks, *([TensorBoard()] if settings.tensorboard else []))
    folder = resume if resume is not None else run_dir
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        run = Run(actor, critic, env, algorithm, seed, settings, safeguard_of(env, task_of(env), assurance))
        run.use_model(teacher)
        rows = take_recorded(run, recorded) if recorded is not None else None
        if folder is None:
            pretrain(run, settings.pretrain_updates if recorded is not None else 0)
            return _loop(run, steps, RunLog(None, facts_of(run), told), progress, on_gate)
        with run_lock(Path(folder)):
            fresh = resume is None
            log = _begin(run, Path(folder), told) if fresh else _take_up(run, Path(folder), told, rows)
            if rows is not None and not run.count.step:
                pretrain(run, settings.pretrain_updates - run.pretrained)
            return _loop(run, steps, log, progress, on_gate)
    finally:
        torch.set_num_threads(threads)


def _begin(run: Run, folder: Path, callbacks: tuple[Callback, ...]) -> RunLog:
    """Start the files of a new run."""
    if (folder / FILE_NAME).exists() or (folder / transitions.FILE_NAME).exists():
        raise CheckpointError(f"{folder} already holds a run", "pass resume= to continue it, or another run_dir")
    log = RunLog(folder, facts_of(run), callbacks)
    run.log = TransitionWriter(folder / transitions.FILE_NAME, run.layout)
    return log


def _take_up(run: Run, folder: Path, callbacks: tuple[Callback, ...], recorded: np.ndarray | None) -> RunLog:
    """Go back to the checkpoint of a run, or to its start if it was killed before the first one."""
    if not (folder / "settings.json").exists():
        raise CheckpointError(f"cannot read {folder}/settings.json", "resume needs the folder of an earlier run")
    path = folder / transitions.FILE_NAME
    history: list[dict[str, Any]] = []
    events: list[GateEvent] = []
    done = 0
    if (folder / FILE_NAME).exists():
        tensors, state = read_checkpoint(folder)
        done, history = state["counters"]["step"], state["history"]
        events = [GateEvent(**event) for event in state["events"]]
        records = read_records(path, run.layout)[:done] if done else np.zeros(0, run.layout.dtype)
        if len(records) < done:
            raise CheckpointError(f"{path} holds {len(records)} transitions of {done}", "restore it from a copy")
        rows = records["row"] if recorded is None else np.concatenate([recorded, records["row"]])
        restore(run, tensors, state, rows)
    log = RunLog(folder, facts_of(run), callbacks, history, events)
    run.log = TransitionWriter(path, run.layout, done)
    return log


def _loop(run: Run, steps: int, log: RunLog, progress: bool, on_gate: OnGate | None) -> TrainingResult:
    """Step, test, log and save until `steps` are done."""
    settings, started, updates = run.settings, time.perf_counter(), run.learner.updates
    bar = tqdm(total=steps, initial=run.count.step, unit="step", disable=None if progress else True)
    n = settings.environments

    def test() -> None:
        _test(run, log, time.perf_counter() - started, updates, on_gate)
        bar.set_postfix_str(f"deployed {log.history[-1]['deployed_return']:.4g}")

    try:
        if run.pretrain_on_model(progress):
            test()
            write_all(run, log)
        while run.count.step < steps:
            run.step()
            bar.update(n)
            if run.diverged():
                log.event(run.rollback(), run.learning, run.deployed)
            if run.test_due():
                test()
            if settings.checkpoint_every and run.count.step % settings.checkpoint_every < n:
                write_all(run, log)
        run.export()
        write_all(run, log)
    except TrainingError as error:
        error.deployed = run.deployed
        raise
    finally:
        bar.close()
        log.close()
        if run.log is not None:
            run.log.close()
    seconds = time.perf_counter() - started
    return TrainingResult(run.deployed, run.learning, log.history, log.events, seconds, run.safeguard)


def _test(run: Run, log: RunLog, seconds: float, updates: int, on_gate: OnGate | None) -> None:
    """Ask the gate, and record what it decided."""
    event = run.test()
    for each in (*run.model_events(), event):
        log.event(each, run.learning, run.deployed)
    log.row(progress_row(run, event, seconds, updates))
    if on_gate is not None:
        on_gate(event, run.learning, run.deployed)


def write_all(run: Run, log: RunLog) -> None:
    """Force the transitions to disk, then write what refers to them.

    Args:
        run: the run.
        log: its record.

    Raises:
        TrainingError: if the learner is not finite, or the disk is full.
    """
    if log.run_dir is None:
        return
    if run.learner.updates and not run.learner.finite():
        raise TrainingError("the learner is not finite, so no checkpoint was written", "resume from the last one")
    if run.log is not None:
        run.log.sync()
    past = {"history": log.history, "events": [event.record() for event in log.events]}
    write_checkpoint(log.run_dir, tensors_of(run), state_of(run) | past)
    for callback in log.callbacks:
        callback.on_checkpoint(run.count.step)
