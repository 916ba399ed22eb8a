"""What a training run can fail with: each names what was found and what to do."""

from typing import Any

from yannctl.errors import YannctlError


class TrainingError(YannctlError):
    """Training stopped itself: the environment or the learner produced something no controller may learn from.

    Args:
        problem: what was found, where and at which step.
        remedy: what the caller can do about it.

    `.deployed` is the deployed policy of the run at that moment (a torch module), where there was one.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.deployed: Any = None
        self.problem = problem
        self.remedy = remedy
        super().__init__(problem + (f"; {remedy}" if remedy else ""))


class CheckpointError(TrainingError, OSError):
    """A checkpoint could not be written or is not one of this run; the last good one is untouched."""


class RunLockedError(TrainingError):
    """Another process or another call is writing to the same run folder."""
