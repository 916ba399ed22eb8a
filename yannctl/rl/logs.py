"""The record of a run: progress.csv, gate.jsonl and settings.json in the run folder, and what callbacks make of it."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from torch import nn

from yannctl.files import AppendFile, write_whole

from .callbacks import Callback
from .errors import typed_disk_errors
from .gate import GateEvent

COLUMNS: tuple[str, ...] = (
    "step", "updates", "episodes", "behaviour_return", "behaviour_violations", "learning_return", "candidate_return",
    "deployed_return", "promoted", "gate_plant_steps", "gate_model_steps", "model_steps", "model_updates",
    "critic_loss", "actor_loss", "q", "sigma", "log_prob", "alpha", "seconds", "updates_per_second",
    "updates_per_env_step", "terminations", "truncations", "clip_fraction",
    "interventions", "intervention_rate", "outside_set", "deployed_intervention_rate", "residual_share",
)  # fmt: skip


class RunLog:
    """Rows of progress and gate events, kept in memory and, with a folder, on disk; callbacks see each of them.

    Args:
        run_dir: folder of the run, or None to keep everything in memory.
        settings: what settings.json will hold.
        callbacks: who else is told.
        history: rows of the run that is resumed; a new run passes none.
        events: its gate events.

    Raises:
        CheckpointError: if the folder cannot be written.
    """

    def __init__(
        self,
        run_dir: Path | None,
        settings: dict[str, Any],
        callbacks: tuple[Callback, ...] = (),
        history: list[dict[str, Any]] | None = None,
        events: list[GateEvent] | None = None,
    ) -> None:
        self.run_dir, self.callbacks = run_dir, callbacks
        self.history: list[dict[str, Any]] = list(history or [])
        self.events: list[GateEvent] = list(events or [])
        self._files: dict[str, AppendFile] = {}
        if run_dir is not None:
            with typed_disk_errors(run_dir):
                write_whole(run_dir / "settings.json", (json.dumps(settings, indent=2) + "\n").encode())
                # Rows after the checkpoint of a broken run are dropped: they are about to be made again.
                for name, data in (("progress.csv", self._table()), ("gate.jsonl", self._lines())):
                    write_whole(run_dir / name, data)
                    self._files[name] = AppendFile(run_dir / name)
        for callback in callbacks:
            callback.on_start(run_dir, settings, self.history)

    def row(self, values: dict[str, Any]) -> None:
        """Append one row of progress; columns that the algorithm does not have stay empty.

        Args:
            values: numbers by column name.
        """
        row = {name: values.get(name, "") for name in COLUMNS}
        self.history.append(row)
        self._append("progress.csv", _csv([row]))
        for callback in self.callbacks:
            callback.on_row(row)

    def event(self, event: GateEvent, learning: nn.Module, deployed: nn.Module) -> None:
        """Append one decision of the gate.

        Args:
            event: the decision.
            learning: the learner's policy at that moment.
            deployed: the deployed policy after the decision.
        """
        self.events.append(event)
        self._append("gate.jsonl", (json.dumps(event.record()) + "\n").encode())
        for callback in self.callbacks:
            callback.on_event(event, learning, deployed)

    def close(self) -> None:
        """Close the files and tell the callbacks that the run is over."""
        for file in self._files.values():
            file.close()
        for callback in self.callbacks:
            callback.on_end()

    def _append(self, name: str, data: bytes) -> None:
        if self.run_dir is not None:
            with typed_disk_errors(self.run_dir / name):
                self._files[name].append(data)

    def _table(self) -> bytes:
        return _csv(self.history, header=True)

    def _lines(self) -> bytes:
        return "".join(json.dumps(event.record()) + "\n" for event in self.events).encode()


def _csv(rows: list[dict[str, Any]], header: bool = False) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
