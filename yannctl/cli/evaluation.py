"""`yannctl eval`: controllers side by side on a named scenario."""

import json as jsonlib
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from yannctl.errors import ModelError
from yannctl.files import write_whole

from .console import Output, busy, plain
from .options import Json, Seed, Short


def evaluate(
    scenario: Annotated[
        str,
        typer.Argument(
            help="cstr-setpoint, cstr-startup, robot-kappa6, runaway-restart, pendulum-swingup, pendulum-upright, "
            "pendulum-clipped or runaway-published."
        ),
    ],
    variant: Annotated[str | None, typer.Option("--variant", help="Condition; default the first.")] = None,
    starts: Annotated[int, typer.Option("--starts", min=2, help="Common random starts.")] = 100,
    seed: Seed = 0,
    controllers: Annotated[str, typer.Option("--controllers", help="Rows by name, with commas; default all.")] = "",
    law: Annotated[list[Path] | None, typer.Option("--law", help="Law file to compare as well; may repeat.")] = None,
    short: Short = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the JSON file and the figure.")] = None,
    show: Annotated[str, typer.Option("--show", help="Rows drawn over time, with commas, or all; default a few.")] = "",
    json: Json = False,
) -> None:
    """Compare controllers on a scenario: same starts, same true plants, same disturbances and noise for all."""
    from yannctl.scenarios import compare, make_scenario

    output = Output(json)
    with busy(f"preparing {scenario}: proof of the filter, starts"):
        task = make_scenario(scenario, variant)
    n = min(starts, task.short_starts) if short else starts
    names, shown = _names(controllers), _names(show)
    own = _law_rows(task, law or [])
    task = replace(task, rows={**own, **task.rows})
    names = (*own, *names) if names else ()
    shown = tuple(task.rows) if shown == ("all",) else tuple(task.choose(shown)) if shown else ()
    comparison = compare(task, n, seed, names, progress=True)
    output.table(f"{task.title}: {n} starts, seed {seed}", *_costs(comparison))
    output.line("")
    output.table("Behaviour", *_behaviour(comparison))
    for name in comparison.beaten:
        output.line(
            f"{name} beats {task.best}, which knows the truth, by more than 1 %: {task.best} missed the optimum"
        )
    if comparison.slack > 0:
        output.line(f"{task.best} planned to exceed a limit by {comparison.slack:.1e} of its range")
    data = result_of(comparison)
    if out is not None:
        from .evaluation_figures import bands
        from .figures import save_figure

        stem = f"{task.name}-{task.variant}"
        write_whole(out / f"{stem}.json", (jsonlib.dumps(plain(data), indent=1) + "\n").encode())
        save_figure(bands(comparison, shown), out / f"{stem}.png")
        output.line(f"written to {out / stem}.json and .png")
    output.result(data)
    if not comparison.ok:
        raise typer.Exit(1)


def _law_rows(task: Any, files: list[Path]) -> dict[str, Any]:
    """Rows of law files, named after the files."""
    from yannctl import PwaLaw
    from yannctl.controllers import ExplicitMpc

    rows: dict[str, Any] = {}
    for file in files:
        law = PwaLaw.load(file)
        plant = task.plant
        if (law.ntheta, law.n_out) != (plant.nx, plant.nu):
            text = f"{file} maps {law.ntheta} parameters to {law.n_out} inputs, the plant has {plant.nx} and {plant.nu}"
            raise ModelError("law", text, remedy="give a law of this plant's state")
        controller = ExplicitMpc(law, u_min=plant.u_min, u_max=plant.u_max)
        rows[file.stem] = lambda scenario, world, controller=controller: controller
    return rows


def result_of(comparison: Any) -> dict[str, Any]:
    """Everything of a comparison that a file should say, with machine and commit.

    Args:
        comparison: from `yannctl.scenarios.compare`.

    Returns:
        Data for JSON.
    """
    scenario = comparison.scenario
    return {
        "scenario": scenario.name,
        "variant": scenario.variant,
        "title": scenario.title,
        "starts": len(comparison.world.x0),
        "steps": scenario.steps,
        "dt": scenario.plant.dt,
        "seed": comparison.world.seed,
        "gap_to": scenario.best,
        "ok": comparison.ok,
        "beaten_by": list(comparison.beaten),
        "planned_slack": comparison.slack,
        "rows": {row.name: row.figures() for row in comparison.rows},
        **provenance(),
    }


def provenance() -> dict[str, Any]:
    """Say which command on which machine and commit made a result.

    Returns:
        Command, Python, processor, cores and commit ("unknown" outside a checkout, "-dirty" where files other than
        results and pages differ from it).
    """
    root = Path(__file__).resolve().parents[2]
    words = sys.argv[1:]
    for option in ("--out", "-o"):  # where the files went is no part of what was computed
        if option in words:
            at = words.index(option)
            words = words[:at] + words[at + 2 :]
    command = " ".join(["yannctl", *words])
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "processor": _processor()}
    return {"command": command, "commit": _commit(root), "machine": machine}


def _commit(root: Path) -> str:
    git, code = ["git", "-C", str(root)], [".", ":!benchmarks/results", ":!docs"]
    try:
        found = subprocess.run([*git, "describe", "--always"], capture_output=True, text=True, check=True)
        same = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *code], capture_output=True, check=False)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip() + ("-dirty" if same.returncode else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _percent(share: float) -> str:
    """A gap; a large one as a multiple."""
    return f"{100 * share:.1f} %" if abs(share) < 10 else f"x {1 + share:.0f}"


def _costs(comparison: Any) -> tuple[list[str], list[list[str]], str]:
    columns = ["controller", "cost", "gap", "from", "to", "median", "90 %"]
    rows = []
    for row in comparison.rows:
        gaps = [row.gap, row.gap_low, row.gap_high, row.gap_median, row.gap_90]
        rows.append([row.name, f"{row.total.mean():.4g}", *map(_percent, gaps)])
    best = comparison.scenario.best
    legend = (
        f"gap: sum of the costs above that of {best}, 95 % interval from ... to; median, 90 %: of the starts' own gaps."
    )
    return columns, rows, legend


def _behaviour(comparison: Any) -> tuple[list[str], list[list[str]], str]:
    plant = comparison.scenario.plant
    limited = [i for i, high in enumerate(comparison.scenario.bounds[1]) if high < float("inf")]
    unit = f" [{plant.x_units[limited[0]]}]" if limited else ""
    columns = ["controller", "over", "worst", "settle", "time", "moves", "ms/step"]
    rows = []
    for row in comparison.rows:
        settling = [f"{100 * row.settles:.0f} %", f"{row.settling:.3g}", f"{row.movement:.2f}"]
        violations = [f"{row.violating} of {len(row.total)}", f"{row.worst:.3g}"]
        rows.append([row.name, *violations, *settling, f"{1e3 * row.runs.seconds:.3g}"])
    legend = (
        f"over: starts that violate the limit, worst: by how much{unit}; settle: starts that come to rest at the "
        f"reference, time: their median [{plant.time_unit}]; moves: input travel, in ranges; ms/step: processor time."
    )
    return columns, rows, legend
