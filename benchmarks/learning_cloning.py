"""What a network is cloned from: transitions of the law itself on the nominal model."""

import numpy as np
import torch

from yannctl.rl.recorded import LogReport, RecordedLog
from yannctl.scenarios.learning import LearningTask

EPISODES = 100


def law_log(task: LearningTask, seed: int) -> RecordedLog:
    """Roll the law out on the nominal model, behind the filter where there is one.

    Args:
        task: the task.
        seed: of the starts.

    Returns:
        Its transitions.
    """
    plant, steps, law = task.nominal, task.scenario.steps, task.law()
    starts = task.scenario.starts(np.random.default_rng([seed, 77]), EPISODES)

    def act(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            u = law(torch.from_numpy(x)).numpy()
        return u if task.safety_filter is None else task.safety_filter(x, u)

    run = plant.rollout(act, starts, steps)
    x, u, reward, x1 = run.x[:, :-1], run.u, run.rewards, run.x[:, 1:]
    flat = [part.reshape(-1, part.shape[-1]) for part in (x, u, x1)]
    report = LogReport(len(flat[0]), len(flat[0]), EPISODES, (), (), 0.0, float(reward.mean()), tuple(run.returns))
    ended = np.zeros(len(flat[0]), bool)
    return RecordedLog(flat[0], flat[1], reward.reshape(-1), flat[2], ended, report)
