"""Learning behind the gate against learners from scratch, linear rivals and the best attainable: rows, tables, figure.

    python benchmarks/learning.py [--short] [--tasks a,b] [--methods x,y] [--seeds 0-9] [--rows FOLDER] [--again x]

A row is a task, a method and a seed, in a file of its own that is written whole: a run that was stopped goes on with
the rows that are missing. Exit code 0 when every target that the rows speak of holds, 1 otherwise; the short form
makes a few rows of a few hundred steps and checks only that all parts work.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
from learning_figure import draw
from learning_rows import ABLATIONS, FORMAT, FULL, METHODS, control_row, train_row
from learning_stacked import train_stacked
from learning_summary import summarise
from learning_text import table

from yannctl.errors import ModelError
from yannctl.files import write_whole
from yannctl.scenarios.learning import TASKS, LearningTask, learning_task

__all__ = ["main", "run", "table"]

RESULTS = Path("runs/learning")
FIRST_SEEDS = 3  # every method gets these before any gets more
SHORT_STEPS, SHORT_METHODS = 600, ("ours", "td3-scratch", "sb3-td3")


@dataclass(frozen=True)
class Job:
    """Rows of one task and method to make.

    Args:
        task: name, with a variant after a colon.
        method: name; of a control "rival" or "bound" stands before it.
        seeds: seeds, none for a control.
        steps: budget of plant steps.
        quick: to see only that all parts work.
    """

    task: str
    method: str
    seeds: tuple[int, ...]
    steps: int
    quick: bool = False

    def file(self, seed: int | None = None) -> str:
        """Name of the file of a row.

        Args:
            seed: its seed, None for a control.
        """
        return (
            "_".join([self.task.replace(":", "-"), self.method, *([] if seed is None else [f"{seed:02d}"])]) + ".json"
        )


def run(
    short: bool = False,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    results: Path | None = None,
    again: Sequence[str] = (),
    steps: int | None = None,
    say: Callable[[str], None] = print,
    show: bool = False,
) -> dict[str, Any]:
    """Make the rows that are missing, then the tables of all rows asked for.

    Args:
        short: a few rows of a few hundred steps, for correctness only.
        tasks: names, "cstr-setpoint" or "robot-kappa6:nominal"; empty for all.
        methods: names; empty for all but the ablations.
        seeds: of the methods that learn.
        results: folder of the rows; None: `RESULTS`, or a temporary one for the short form.
        again: methods whose rows are made anew even where they are there.
        steps: budget of plant steps instead of each task's own.
        say: called with a line when a row is done.
        show: make nothing, only the tables of the rows that are there.

    Returns:
        Tables by task, and whether all targets hold.

    Raises:
        ModelError: an unknown task or method.
    """
    torch.set_num_threads(1)
    chosen = tuple(tasks) or (("pendulum-upright",) if short else tuple(TASKS)[:3])
    wanted = tuple(methods) or (SHORT_METHODS if short else tuple(name for name in METHODS if name not in ABLATIONS))
    for name in (*wanted, *again):
        if name not in METHODS:
            raise ModelError("methods", f"none is called {name!r}", remedy=f"choose from {', '.join(METHODS)}")
    found = {name: learning_task(*name.split(":")) for name in chosen}
    if short:
        seeds, steps = (0,), steps or SHORT_STEPS
    with tempfile.TemporaryDirectory() as spare:
        folder = results or (Path(spare) if short else RESULTS)
        jobs = _queue(found, wanted, seeds, steps, short)
        rows = _read(jobs, folder) if show else _make(jobs, found, folder, again, say)
        summary = summarise(rows)
        if results is not None:
            draw(summary, folder / "curves.png")
    targets = [target["ok"] for part in summary.values() for target in part["targets"]]
    ok = all(row["status"] in {"done", "not installed"} for row in rows)
    return {"tasks": summary, "rows": len(rows), "short": short, "ok": ok and (short or all(targets))}


def _queue(
    found: dict[str, LearningTask], methods: Sequence[str], seeds: Sequence[int], steps: int | None, short: bool
) -> list[Job]:
    """Controls first, then the first seeds of every task, then the rest."""
    jobs = []
    for name, task in found.items():
        bounds = list(task.bounds())[: 1 if short else None]
        rows = [*(f"rival-{row}" for row in task.rivals()), *(f"bound-{row}" for row in bounds)]
        jobs += [Job(name, row, (), 0) for row in rows]
    for part in (tuple(seeds[:FIRST_SEEDS]), tuple(seeds[FIRST_SEEDS:])):
        for name, task in found.items():
            budget = steps or FULL[name.partition(":")[0]]
            jobs += [Job(name, method, part, budget, short) for method in methods if part and _applies(task, method)]
    return jobs


def _applies(task: LearningTask, method: str) -> bool:
    """Whether a method can be had on a task and differs from the others there."""
    if method == "scratch-unfiltered":
        return task.safety_filter is not None
    if method == "ours-tuned":
        return task.scenario.name == "robot-kappa6"
    return method != "published" or task.problem is not None  # it needs an explicit law


def _make(
    jobs: list[Job], found: dict[str, LearningTask], folder: Path, again: Sequence[str], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Read the rows that are there and make the others."""
    rows: list[dict[str, Any]] = []
    with tqdm(jobs, unit="job", disable=None) as bar:
        for job in bar:
            bar.set_postfix_str(f"{job.task} {job.method}")
            there = {seed: read_row(folder / job.file(seed)) for seed in job.seeds or (None,)}
            missing = [seed for seed, row in there.items() if row is None or job.method in again]
            begin = time.perf_counter()
            for row in _new(found[job.task], job, missing):
                seed = row.get("seed")
                there[seed] = row
                write_whole(folder / job.file(seed), (json.dumps(row, default=float) + "\n").encode())
                say(f"{job.file(seed).removesuffix('.json')}: {row['status']}, {time.perf_counter() - begin:.0f} s")
            rows += [row for row in there.values() if row is not None]
    return rows


def _read(jobs: list[Job], folder: Path) -> list[dict[str, Any]]:
    """Read the rows that are there."""
    found = (read_row(folder / job.file(seed)) for job in jobs for seed in job.seeds or (None,))
    return [row for row in found if row is not None]


def read_row(path: Path) -> dict[str, Any] | None:
    """Read a row.

    Args:
        path: its file.

    Returns:
        The row; None where there is none, or one of another format.
    """
    try:
        row = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) and row.get("format") == FORMAT else None


def _new(task: LearningTask, job: Job, missing: Sequence[int | None]) -> Iterator[dict[str, Any]]:
    """Make rows, seeds stacked where they may be."""
    if not missing:
        return
    if not job.seeds:
        kind, _, name = job.method.partition("-")
        row = control_row(task, kind, name, (task.rivals() if kind == "rival" else task.bounds())[name])
        first = kind == "bound" and name == next(iter(task.bounds()))
        yield row | {"method": "best", "source": name} if first else row
        return
    seeds = [seed for seed in missing if seed is not None]
    if METHODS[job.method].stackable and len(seeds) > 1:
        yield from train_stacked(task, job.method, seeds, job.steps)
        return
    for seed in seeds:
        yield train_row(task, job.method, seed, job.steps, job.quick)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--tasks", default="")
    parser.add_argument("--methods", default="")
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--again", default="")
    parser.add_argument("--show", action="store_true", help="make no rows, only the tables of those there")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tables", type=Path, help="folder for the tables, a JSON file a task")
    given = parser.parse_args()
    result = run(
        given.short, names(given.tasks), names(given.methods), numbers(given.seeds), given.rows,
        names(given.again), given.steps, lambda line: print(line, flush=True), given.show,
    )  # fmt: skip
    print(table(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))
    for name, part in result["tasks"].items() if given.tables else ():
        write_whole(given.tables / f"{name.replace(':', '-')}.json", (json.dumps(finite(part)) + "\n").encode())
    sys.exit(0 if result["ok"] else 1)


def finite(data: Any) -> Any:
    """Data with null for every number that JSON has no form of: steps never reached, a gap that is none.

    Args:
        data: dictionaries, lists, numbers, texts.
    """
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def names(text: str) -> tuple[str, ...]:
    """Split names at commas.

    Args:
        text: as typed.
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


def numbers(text: str) -> tuple[int, ...]:
    """Read seeds: "0-9" or "0,3,5".

    Args:
        text: as typed.

    Raises:
        ModelError: no whole numbers.
    """
    found: list[int] = []
    try:
        for part in names(text):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        raise ModelError("--seeds", f"got {text!r}", remedy='write "0-9" or "0,3,5"') from None
    return tuple(found)


if __name__ == "__main__":
    main()
