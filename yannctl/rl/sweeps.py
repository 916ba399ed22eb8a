"""Seeds times configurations through joblib: every cell is a run folder of its own, so a sweep goes on where it was.

`joblib.Parallel` is called without naming a backend: processes of this machine (loky) by default, or whatever the
caller has chosen with `joblib.parallel_config` (ray, dask).
"""

import csv
import hashlib
import importlib
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from joblib import Parallel, delayed

from yannctl.errors import ModelError
from yannctl.files import write_whole
from yannctl.pwa import PwaLaw

from .construction import ALGORITHMS
from .errors import TrainingError
from .settings import profile
from .training import train

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Args:
        env: environment id.
        algorithm: its name.
        seed: seed.
        steps: environment steps.
        profile: name of the settings.
        changes: settings changed from it.
        law: file of the law to start from, or None.
    """

    env: str
    algorithm: str
    seed: int
    steps: int
    profile: str
    changes: dict[str, Any]
    law: str | None = None

    @property
    def name(self) -> str:
        """Name of its folder: the same cell, the same folder."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"{self.algorithm}-seed{self.seed}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    @property
    def configuration(self) -> str:
        """What it is called in a table or a plot: all but the seed."""
        return " ".join([self.algorithm, *(f"{name}={value}" for name, value in sorted(self.changes.items()))])


def cells_of(
    env: str,
    algorithms: Sequence[str],
    seeds: Sequence[int],
    grid: Mapping[str, Sequence[Any]],
    steps: int,
    settings: str = "fast",
    law: str | None = None,
) -> list[Cell]:
    """All cells of a sweep.

    Args:
        env: environment id.
        algorithms: their names.
        seeds: seeds.
        grid: values by name of a setting; every combination is a configuration.
        steps: environment steps of each run.
        settings: name of the profile that the grid changes.
        law: file of the law to start from, or None.

    Returns:
        The cells.

    Raises:
        ModelError: for a name that is none.
    """
    for algorithm in algorithms:
        if algorithm not in ALGORITHMS:
            raise ModelError("algorithm", f"got {algorithm!r}, expected {', '.join(map(repr, ALGORITHMS))}")
    made = []
    for algorithm, values, seed in itertools.product(algorithms, itertools.product(*grid.values()), seeds):
        changes = dict(zip(grid, values, strict=True))
        profile(settings).changed(changes)  # a name that is no setting is found before hours are spent
        made.append(Cell(env, algorithm, seed, steps, settings, changes, law))
    return made


def sweep(cells: Sequence[Cell], out: str | Path, n_jobs: int | None = None) -> list[dict[str, Any]]:
    """Run every cell that has no result yet, and write one table of all.

    Args:
        cells: the runs.
        out: folder of the sweep; what is in it already is not run again.
        n_jobs: processes at a time; None: as `joblib.parallel_config` says, else one.

    Returns:
        The rows of the table: one an evaluation, with the cell's numbers in front.
    """
    out = Path(out)
    jobs = (delayed(run_cell)(cell, out / "runs" / cell.name) for cell in cells)
    results = cast("list[dict[str, Any]]", Parallel(n_jobs=n_jobs)(jobs))
    rows = [row for cell, result in zip(cells, results, strict=True) for row in _rows(cell, result)]
    write_table(rows, out / "results")
    return rows


def run_cell(cell: Cell, folder: Path) -> dict[str, Any]:
    """Run one cell, or go on with it, or read its result.

    Args:
        cell: the run.
        folder: its folder.

    Returns:
        "status" ("done", or why it stopped itself) and "history".
    """
    if (folder / RESULT_FILE).exists():
        return json.loads((folder / RESULT_FILE).read_text())
    import gymnasium

    from yannctl.yann import encode_actor

    settings = profile(cell.profile).changed({**cell.changes, "tensorboard": False})
    actor = None if cell.law is None else encode_actor(PwaLaw.load(cell.law), form="gather")
    place: dict[str, Any] = {"resume" if (folder / "settings.json").exists() else "run_dir": folder}
    env = gymnasium.make(cell.env)
    try:
        history = train(actor, None, env, cell.algorithm, cell.steps, cell.seed, settings=settings, **place).history
        result = {"status": "done", "history": history}
    except OSError:
        raise
    except TrainingError as error:
        result = {"status": str(error), "history": []}
    finally:
        env.close()
    write_whole(folder / RESULT_FILE, json.dumps(result).encode())
    return result


def write_table(rows: list[dict[str, Any]], path: Path) -> Path:
    """Write rows as Parquet, or as CSV where pyarrow is missing.

    Args:
        rows: rows with the same names.
        path: file name without its ending.

    Returns:
        The file.
    """
    names = list(rows[0]) if rows else []
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(path.with_suffix(".csv"), text.getvalue().encode())
        return path.with_suffix(".csv")
    columns = {name: [None if row[name] == "" else row[name] for row in rows] for name in names}
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(columns), sink)
    write_whole(path.with_suffix(".parquet"), sink.getvalue().to_pybytes())
    return path.with_suffix(".parquet")


def _rows(cell: Cell, result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row an evaluation; a run without one gives a single row with its status."""
    head = {
        "env": cell.env,
        "configuration": cell.configuration,
        "algorithm": cell.algorithm,
        "seed": cell.seed,
        **{
            name: value if isinstance(value, int | float | str) else json.dumps(value)
            for name, value in cell.changes.items()
        },
        "status": result["status"],
    }
    kept = ("step", "updates", "episodes", "learning_return", "deployed_return", "behaviour_return", "seconds")
    for row in result["history"] or [dict.fromkeys(kept, "")]:
        yield {**head, **{name: row[name] for name in kept}}
