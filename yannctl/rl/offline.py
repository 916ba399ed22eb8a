"""The start from recorded data: the log goes into the memory, and the learner is trained on it before its first step.

The critic step is the learner's own; the policy step is held near the recorded actions by TD3+BC (`cloning`).
"""

import hashlib

import numpy as np
import torch

from yannctl.errors import ModelError

from .cloning import Cloning
from .errors import TrainingError
from .recorded import RecordedLog
from .run import Run

CHECK_EVERY = 100  # updates between two looks for divergence


def digest_of(recorded: RecordedLog) -> str:
    """SHA-256 of the transitions, by which a resumed run knows its log.

    Args:
        recorded: the log.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256()
    for part in (recorded.x, recorded.u, recorded.reward, recorded.x1, recorded.terminated):
        total.update(np.ascontiguousarray(part).tobytes())
    return total.hexdigest()


def take_recorded(run: Run, recorded: RecordedLog) -> np.ndarray:
    """Put a log into the memory of a run that has not begun; its warm-up is over with that.

    Args:
        run: the run.
        recorded: the log.

    Returns:
        The rows of the memory (n, width).

    Raises:
        ModelError: if the log is of another plant or not finite.
    """
    if recorded.x.shape[1] != run.task.nx or recorded.u.shape[1] != run.task.nu:
        got, wanted = (recorded.x.shape[1], recorded.u.shape[1]), (run.task.nx, run.task.nu)
        raise ModelError("recorded", f"has {got} states and inputs, the environment {wanted}")
    x, phi, base, weight = run.view_of(np.array(recorded.x, float))
    after = run.view_of(np.array(recorded.x1, float))
    a = ((torch.from_numpy(np.array(recorded.u, float)) - run.middle) / run.half).clamp(-1.0, 1.0).float()
    reward = torch.from_numpy(np.array(recorded.reward, np.float32))[:, None]
    live = torch.from_numpy(np.where(recorded.terminated, 0.0, 1.0).astype(np.float32))[:, None]
    rows = torch.cat([x, phi, a, a, base, reward, live, weight, *after], 1)
    bad = np.flatnonzero(~rows.isfinite().all(1).numpy())
    if bad.size:
        raise ModelError("recorded", "is not finite in single precision", index=int(bad[0]))
    run.replay.fill(rows.numpy())
    run.warmup_steps, run.recorded = 0, digest_of(recorded)
    count, size = run.count, np.abs(recorded.reward)
    count.largest_reward = float(size.max())
    count.reward_scale = run.settings.reward_scale or 1.0 / max(float(size.mean()), 1e-12)
    if run.prior is not None:
        run.prior.scale = count.reward_scale
    return rows.numpy()


def pretrain(run: Run, updates: int) -> None:
    """Train on the memory as it is, the policy held near the recorded actions.

    Args:
        run: the run, its memory filled.
        updates: gradient steps.

    Raises:
        TrainingError: if the learner diverges.
    """
    settings, cloning = run.settings, Cloning(run.settings.cloning_alpha)
    for done in range(0, updates, CHECK_EVERY):
        n = min(CHECK_EVERY, updates - done)
        run.updates.make(n, run.replay.drawing(settings.batch), run.count.reward_scale, cloning)
        if run.diverged():
            raise TrainingError(f"the learner diverged while pre-training, update {done}", "lower the rates")
    run.pretrained = updates
    run.good = run.snapshot()
