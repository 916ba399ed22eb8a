"""Several seeds of a learner from scratch at once, in one stacked network: the same algorithm, less of the time."""

import time
from collections.abc import Sequence
from typing import Any

from learning_rows import EVERY, METHODS, Judge, Recorder, begun, finished, settings_of

from yannctl import rl
from yannctl.rl.networks import CentreLaw
from yannctl.rl.run import Run
from yannctl.rl.safeguard import safeguard_of
from yannctl.rl.seeds import Stack
from yannctl.rl.task import task_of
from yannctl.scenarios.learning import LearningTask


def train_stacked(task: LearningTask, name: str, seeds: Sequence[int], steps: int) -> list[dict[str, Any]]:
    """Train one method from scratch on one task with several seeds; nothing is gated.

    Args:
        task: the task.
        name: a key of `METHODS` that may be stacked.
        seeds: at least two.
        steps: budget of plant steps of the task.

    Returns:
        A row a seed; their times are equal shares of the whole.
    """
    method, wall, cpu = METHODS[name], time.perf_counter(), time.process_time()
    budget, settings = method.budget(steps), settings_of(method)
    judges = [Judge(task, Recorder(task.environment(method.filtered))) for _ in seeds]
    rows = [begun(task, name, seed) for seed in seeds]
    try:
        runs = []
        for judge, seed in zip(judges, seeds, strict=True):
            env = judge.recorder
            keep = safeguard_of(env, task_of(env), method.assurance(task))
            runs.append(Run(None, None, env, method.algorithm, seed, settings, keep))
        stack = Stack(runs)
        for judge in judges:
            judge.look(0, CentreLaw(task.nominal.u_min, task.nominal.u_max))
        for step in range(1, budget + 1):
            stack.step()
            stack.heal()
            if step % EVERY == 0 and stack.learner.updates:
                stack.give()
                for run, judge in zip(stack.runs, judges, strict=True):
                    run.export()
                    judge.look(step, run.learning)
    except rl.TrainingError as error:
        return [{**row, "status": f"stopped: {error}"} for row in rows]
    n = len(judges)
    spent = (time.perf_counter() - wall) / n, (time.process_time() - cpu) / n
    return [
        {**row, "stacked": n, **finished(judge, method, budget, settings.record(), *spent)}
        for row, judge in zip(rows, judges, strict=True)
    ]
