"""What a training run can fail with: each names what was found and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


@contextmanager
def typed_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a failing file into a `CheckpointError` that says what still holds.

    Args:
        path: what is being written.

    Raises:
        CheckpointError: in place of any other OSError.
    """
    try:
        yield
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}",
            "free the disk, then resume: the last checkpoint and every acknowledged transition are intact",
        ) from error
