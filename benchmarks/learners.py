"""The learners against the exact optimum, against Stable-Baselines3, and against kills: one table.

    python benchmarks/learners.py [--short] [--tasks lq,speed] [--rows FOLDER] [--again speed] [--show] [--json FILE]

Every part (an algorithm on a plant with a seed, a speed, 200 kills) has a file of its own that is written whole: a run
that was stopped goes on with the parts that are missing. Exit code 0 when every target that was measured holds, 1
otherwise. The short form leaves out all that takes minutes, kills less often, and holds neither speeds nor returns
against their targets.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
from learners_parts import TASKS, all_parts
from learners_table import rows_of
from learners_table import table as text
from learning import names, read_row
from learning_rows import FORMAT, made_by

from yannctl.errors import ModelError
from yannctl.files import write_whole
from yannctl.rl.errors import TrainingError

__all__ = ["main", "names", "run", "table"]

RESULTS = Path("runs/learners")


def run(
    short: bool = False,
    tasks: Sequence[str] = (),
    results: Path | None = None,
    again: Sequence[str] = (),
    say: Callable[[str], None] = print,
    show: bool = False,
) -> dict[str, Any]:
    """Measure the parts that are missing, then give the table of all asked for.

    Args:
        short: seconds in place of minutes, for correctness only.
        tasks: some of `TASKS`; empty for all.
        results: folder of the parts; None: `RESULTS`, or a temporary one for the short form.
        again: tasks that are measured anew even where they are there.
        say: called with a line when a part is done.
        show: measure nothing, only the table of the parts that are there.

    Returns:
        Rows of the table, all parts, and whether all targets hold.

    Raises:
        ModelError: an unknown task.
    """
    for name in (*tasks, *again):
        if name not in TASKS:
            raise ModelError("tasks", f"none is called {name!r}", remedy=f"choose from {', '.join(TASKS)}")
    torch.set_num_threads(1)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as spare:
        folder = results or (Path(spare) if short else RESULTS)
        for part in tqdm([part for part in all_parts(short) if not tasks or part.task in tasks], disable=None):
            path = folder / f"{part.name}.json"
            row = None if part.task in again and not show else read_row(path)
            if row is None and show:
                continue
            if row is None:
                begin, spent = time.perf_counter(), time.process_time()
                row = {"format": FORMAT, "task": part.task, "words": list(part.words), **made_by()}
                try:
                    row |= {"status": "done", **part.measure()}
                except TrainingError as error:
                    row |= {"status": f"stopped: {error}"}
                row |= {"cpu_s": time.process_time() - spent, "wall_s": time.perf_counter() - begin}
                write_whole(path, (json.dumps(row) + "\n").encode())
                say(f"{part.name}: {row['status']}, {row['wall_s']:.0f} s")
            found[part.name] = row
    rows = rows_of(list(found.values()), short)
    return {"rows": rows, "parts": found, "short": short, "ok": all(row["ok"] is not False for row in rows)}


def table(result: dict[str, Any]) -> str:
    """The figures as text.

    Args:
        result: from `run`.
    """
    return text(result["rows"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--tasks", default="", help=f"some of {','.join(TASKS)}")
    parser.add_argument("--rows", type=Path, help="folder of the parts; those there are not measured again")
    parser.add_argument("--again", default="", help="tasks to measure again all the same")
    parser.add_argument("--show", action="store_true", help="measure nothing, only the table of the parts there")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    result = run(given.short, names(given.tasks), given.rows, names(given.again), show=given.show)
    print(table(result))
    if given.json:
        write_whole(given.json, (json.dumps(result, indent=1) + "\n").encode())
    sys.exit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()
