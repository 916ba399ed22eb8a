"""`yannctl tune`: weights and estimators of a scenario's linear rows, on starts other than those of the test."""

from pathlib import Path
from typing import Annotated, Any

import typer

from yannctl.errors import ModelError

from .console import Output
from .options import Json


def tune(
    scenario: Annotated[str, typer.Argument(help="cstr-setpoint, cstr-startup, robot-kappa6, pendulum-swingup, …")],
    variant: Annotated[str | None, typer.Option("--variant", help="Condition; default the first.")] = None,
    row: Annotated[str, typer.Option("--row", help="tuned, filtered-tuned, …, with commas; or all.")] = "tuned",
    trials: Annotated[int, typer.Option("--trials", min=1, help="Weights to try.")] = 300,
    starts: Annotated[int, typer.Option("--starts", min=2, help="Tuning starts.")] = 40,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of starts and search; not the one you test with.")] = 1000,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to add the weights to.")] = None,
    json: Json = False,
) -> None:
    """Search weights of a scenario's linear rows at random, those of related rows first; `yannctl eval` shows them."""
    from tqdm import tqdm

    from yannctl.scenarios import make_scenario
    from yannctl.scenarios.tuning import tune as search
    from yannctl.scenarios.tuning import write_tuned
    from yannctl.scenarios.weights import TUNED, read_tuned

    output = Output(json)
    task = make_scenario(scenario, variant)
    path = TUNED if out is None else out
    results = {}
    rows = _rows(task, row)
    with tqdm(total=trials * len(rows), desc="weights", disable=None) as bar:
        for name in rows:
            bar.set_postfix_str(name)
            known = [read_tuned(task.name, task.variant, path, other) for other in task.tunable]
            related = [weights for weights in known if weights is not None]
            found = search(task, trials, starts, seed, bar.update, name, related)
            write_tuned(found, path)
            results[name] = found
    for name, found in results.items():
        output.line(f"{name}: mean cost on the tuning starts {found.plain_cost:.4g} -> {found.cost:.4g}")
    output.line(f"written to {path}")
    figures = {
        name: {
            "factors": found.weights.factors,
            "backoff": found.weights.backoff,
            "cost": found.cost,
            "plain_cost": found.plain_cost,
            "command": found.command,
        }
        for name, found in results.items()
    }
    output.result({"rows": figures, "file": path})


def _rows(task: Any, wanted: str) -> list[str]:
    known = list(task.tunable)
    names = known if wanted == "all" else [name.strip() for name in wanted.split(",") if name.strip()]
    for i, name in enumerate(names):
        if name not in known:
            text = f"{task.name} has nothing to tune in {name!r}"
            raise ModelError("row", text, index=i, remedy=f"choose from {', '.join(known)}")
    return names
