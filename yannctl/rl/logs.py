"""The record of a run: progress.csv, gate.jsonl, settings.json and TensorBoard events, all in the run folder."""

import csv
import json
from pathlib import Path
from typing import Any

from yannctl.files import write_whole

from .gate import GateEvent

COLUMNS: tuple[str, ...] = (
    "step", "updates", "episodes", "behaviour_return", "behaviour_violations", "learning_return", "candidate_return",
    "deployed_return", "promoted", "gate_plant_steps", "gate_model_steps", "critic_loss", "actor_loss", "q", "sigma",
    "log_prob", "alpha", "seconds", "updates_per_second",
)  # fmt: skip


class RunLog:
    """Rows of progress and gate events, kept in memory and, with a folder, on disk.

    Args:
        run_dir: folder of the run, or None to keep everything in memory.
        settings: what settings.json will hold.
        tensorboard: whether to write TensorBoard events.
        history: rows of the run that is resumed; a new run passes none.
        events: its gate events.
    """

    def __init__(
        self,
        run_dir: Path | None,
        settings: dict[str, Any],
        tensorboard: bool,
        history: list[dict[str, Any]] | None = None,
        events: list[GateEvent] | None = None,
    ) -> None:
        self.run_dir = run_dir
        self.history: list[dict[str, Any]] = list(history or [])
        self.events: list[GateEvent] = list(events or [])
        self.writer = None
        if run_dir is None:
            return
        write_whole(run_dir / "settings.json", (json.dumps(settings, indent=2) + "\n").encode())
        # Rows after the checkpoint of a broken run are dropped: they are about to be made again.
        self._rewrite()
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            start = self.history[-1]["step"] + 1 if self.history else None
            self.writer = SummaryWriter(str(run_dir), purge_step=start)

    def row(self, values: dict[str, Any]) -> None:
        """Append one row of progress; columns that the algorithm does not have stay empty.

        Args:
            values: numbers by column name.
        """
        row = {name: values.get(name, "") for name in COLUMNS}
        self.history.append(row)
        if self.run_dir is not None:
            with open(self.run_dir / "progress.csv", "a", newline="") as file:
                csv.DictWriter(file, COLUMNS).writerow(row)
        if self.writer is not None:
            for name, value in row.items():
                if name != "step" and value != "":
                    self.writer.add_scalar(name, float(value), row["step"])

    def event(self, event: GateEvent) -> None:
        """Append one decision of the gate.

        Args:
            event: the decision.
        """
        self.events.append(event)
        if self.run_dir is not None:
            with open(self.run_dir / "gate.jsonl", "a") as file:
                file.write(json.dumps(event.record()) + "\n")

    def close(self) -> None:
        """Flush what TensorBoard holds back."""
        if self.writer is not None:
            self.writer.close()

    def _rewrite(self) -> None:
        assert self.run_dir is not None
        with open(self.run_dir / "progress.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.history)
        text = "".join(json.dumps(event.record()) + "\n" for event in self.events)
        write_whole(self.run_dir / "gate.jsonl", text.encode())
