"""Who is told what a run does: base class, TensorBoard, Weights & Biases, or anything a caller writes.

The files of record (progress.csv, gate.jsonl, settings.json) are the run's own and need no callback.
"""

import importlib
from pathlib import Path
from typing import Any

from torch import nn

from yannctl.errors import NotInstalledError

from .errors import typed_disk_errors
from .gate import GateEvent


class Callback:
    """Told of everything that happens; subclass it and define what is wanted. It must not change what it is given."""

    def on_start(self, run_dir: Path | None, settings: dict[str, Any], history: list[dict[str, Any]]) -> None:
        """A run begins or is resumed.

        Args:
            run_dir: its folder, or None.
            settings: what settings.json holds.
            history: rows already made, where it is resumed.
        """

    def on_row(self, row: dict[str, Any]) -> None:
        """A row of progress was made.

        Args:
            row: numbers by column of progress.csv; "" where the algorithm has none.
        """

    def on_event(self, event: GateEvent, learning: nn.Module, deployed: nn.Module) -> None:
        """The gate decided, or the learner was rolled back.

        Args:
            event: the decision.
            learning: the learner's policy.
            deployed: the deployed policy after it.
        """

    def on_checkpoint(self, step: int) -> None:
        """A checkpoint is on disk.

        Args:
            step: environment steps it holds.
        """

    def on_end(self) -> None:
        """The run is over, also after an error."""


class TensorBoard(Callback):
    """Writes TensorBoard events into the run folder; rows made again after a resume replace the old ones."""

    def __init__(self) -> None:
        self._writer: Any = None

    def on_start(self, run_dir: Path | None, settings: dict[str, Any], history: list[dict[str, Any]]) -> None:
        """Open the event file."""
        if run_dir is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        start = history[-1]["step"] + 1 if history else None
        with typed_disk_errors(run_dir):
            self._writer = SummaryWriter(str(run_dir), purge_step=start)

    def on_row(self, row: dict[str, Any]) -> None:
        """Write every number of the row."""
        if self._writer is None:
            return
        with typed_disk_errors(Path(self._writer.log_dir)):
            for name, value in row.items():
                if name != "step" and value != "":
                    self._writer.add_scalar(name, float(value), row["step"])

    def on_end(self) -> None:
        """Flush what is held back."""
        if self._writer is not None:
            with typed_disk_errors(Path(self._writer.log_dir)):
                self._writer.close()


class WeightsAndBiases(Callback):
    """Sends rows to Weights & Biases; the package `wandb` is imported when a run starts, and only then.

    Args:
        project: name of the project there.
        mode: "online" or "offline".

    Raises:
        NotInstalledError: on the start of a run, without the package.
    """

    def __init__(self, project: str = "yannctl", mode: str = "online") -> None:
        self.project, self.mode = project, mode
        self._run: Any = None

    def on_start(self, run_dir: Path | None, settings: dict[str, Any], history: list[dict[str, Any]]) -> None:
        """Open a run there."""
        try:
            wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise NotInstalledError("Weights & Biases: install it with `pip install wandb`") from error
        folder = None if run_dir is None else str(run_dir)
        self._run = wandb.init(project=self.project, mode=self.mode, config=settings, dir=folder)

    def on_row(self, row: dict[str, Any]) -> None:
        """Send every number of the row."""
        self._run.log({name: value for name, value in row.items() if value != ""}, step=row["step"])

    def on_end(self) -> None:
        """Close the run there."""
        if self._run is not None:
            self._run.finish()
