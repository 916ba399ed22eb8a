"""`yannctl sweep`: seeds times configurations, resumable, one table and one plot."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from yannctl.errors import ModelError

from .console import Output
from .options import Json
from .training_command import Recipe, parse_setting


def sweep(
    env: Annotated[str, typer.Option("--env", help="Environment id.")] = "yannctl/Pendulum-v0",
    algorithm: Annotated[str, typer.Option(help="Names, separated by commas.")] = "dsact",
    seeds: Annotated[str, typer.Option(help="Seeds: 0,1,2 or 0-4.")] = "0-2",
    grid: Annotated[
        list[str] | None, typer.Option("--set", help="A setting and its values: gamma=0.98,0.99; repeat for a grid.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each run.")] = 4000,
    profile: Annotated[Recipe | None, typer.Option(help="Settings that --set changes.")] = None,
    law: Annotated[Path | None, typer.Option("--law", help="Law file to start from.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes at a time.")] = 1,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; a sweep in it is continued.")] = Path("runs/sweep"),
    json: Json = False,
) -> None:
    """Train every combination of seeds and settings; what is done already is not run again."""
    from yannctl.rl.sweeps import cells_of
    from yannctl.rl.sweeps import sweep as run_sweep

    from .sweep_figure import draw_sweep

    output = Output(json)
    chosen = profile or (Recipe.recipe if env.startswith("yannctl/") else Recipe.fast)
    values = dict(_values(text) for text in grid or [])
    cells = cells_of(env, algorithm.split(","), _seeds(seeds), values, steps, chosen.value, law and str(law))
    output.line(f"{len(cells)} runs in {out}")
    rows = run_sweep(cells, out, jobs)
    figure = out / "sweep.png"
    draw_sweep(rows, figure)
    best = _summary(rows)
    output.table(
        "last evaluation, over seeds",
        ["configuration", "seeds", "deployed median", "quartiles", "stopped"],
        [[part["configuration"], str(part["seeds"]), *_texts(part), str(part["stopped"])] for part in best],
    )
    table = next(path for path in (out / "results.parquet", out / "results.csv") if path.exists())
    output.line(f"table: {table}, plot: {figure}")
    output.result({"runs": len(cells), "configurations": best, "table": table, "figure": figure})


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median and quartiles of the deployed return at the end, for each configuration."""
    parts = []
    for name in dict.fromkeys(row["configuration"] for row in rows):
        last = {row["seed"]: row for row in rows if row["configuration"] == name}
        done = [float(row["deployed_return"]) for row in last.values() if row["deployed_return"] != ""]
        low, middle, high = np.percentile(done, [25, 50, 75]) if done else (np.nan,) * 3
        stopped = sum(row["status"] != "done" for row in last.values())
        figures = {"median": float(middle), "lower": float(low), "upper": float(high)}
        parts.append({"configuration": name, "seeds": len(last), **figures, "stopped": stopped})
    return sorted(parts, key=lambda part: -part["median"] if np.isfinite(part["median"]) else np.inf)


def _texts(part: dict[str, Any]) -> list[str]:
    return [f"{part['median']:.1f}", f"{part['lower']:.1f} to {part['upper']:.1f}"]


def _seeds(text: str) -> list[int]:
    """0,3,7 or 0-4."""
    try:
        parts = [part.split("-") for part in text.split(",")]
        return [seed for part in parts for seed in range(int(part[0]), int(part[-1]) + 1)]
    except ValueError as error:
        raise ModelError("--seeds", f"got {text!r}", remedy="write 0,1,2 or 0-4") from error


def _values(text: str) -> tuple[str, list[Any]]:
    """name=a,b,c."""
    name, found, values = text.partition("=")
    if not found:
        raise ModelError("--set", f"got {text!r}", remedy="write name=value,value")
    return name, [parse_setting(f"{name}={value}")[1] for value in values.split(",")]
