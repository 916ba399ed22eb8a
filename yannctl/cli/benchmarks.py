"""`yannctl bench`: the benchmarks of the project, run from a checkout."""

import importlib.util
import json as jsonlib
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from yannctl.errors import ModelError, NotInstalledError
from yannctl.files import write_whole

from .console import Output, plain
from .options import Json, Short


class Benchmark(StrEnum):
    """What can be measured."""

    mpqp = "mpqp"
    yann = "yann"
    plants = "plants"
    pil = "pil"
    learners = "learners"
    learning = "learning"


def bench(
    what: Annotated[
        Benchmark,
        typer.Argument(
            help="mpqp: the solver; yann: networks; plants: simulation; pil: chips; learners: algorithms; "
            "learning: tuned laws against their rivals."
        ),
    ],
    short: Short = False,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the figures to this JSON file.")] = None,
    tasks: Annotated[str, typer.Option("--tasks", help="learning, learners: names with commas; default all.")] = "",
    methods: Annotated[str, typer.Option("--methods", help="learning: names with commas; default all.")] = "",
    seeds: Annotated[str, typer.Option("--seeds", help='learning: "0-9" or "0,3".')] = "0-2",
    rows: Annotated[
        Path | None,
        typer.Option("--rows", help="learning, learners: folder of the rows; those there are not made again."),
    ] = None,
    again: Annotated[
        str, typer.Option("--again", help="Of learning, methods, of learners, tasks to make again all the same.")
    ] = "",
    show: Annotated[
        bool, typer.Option("--show", help="learning, learners: only the tables of the rows there.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure a stage side by side with its peers; a peer that is missing is a row `not installed`."""
    output = Output(json)
    benchmark = _load(what)
    if what is Benchmark.learning:
        asked = benchmark.names(tasks), benchmark.names(methods), benchmark.numbers(seeds)
        result = benchmark.run(short, *asked, rows, benchmark.names(again), say=output.line, show=show)
    elif what is Benchmark.learners and not methods:
        asked = benchmark.names(tasks), rows, benchmark.names(again)
        result = benchmark.run(short, *asked, say=output.line, show=show)
    elif tasks or methods or rows or again or show:
        raise ModelError("--tasks, --methods, --rows, --again, --show", f"bench {what.value} does not take one of them")
    else:
        result = benchmark.run(short=short)
    output.line(benchmark.table(result))
    if out is not None:
        write_whole(out, (jsonlib.dumps(plain(result), indent=1) + "\n").encode())
        output.line(f"written to {out}")
    output.result(result)
    if not result["ok"]:
        raise typer.Exit(1)


def _load(what: Benchmark) -> ModuleType:
    """Import `benchmarks/<what>.py`, which stands beside the package in a checkout and is not part of the wheel."""
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    path = folder / f"{what.value}.py"
    if not path.is_file():
        raise NotInstalledError(f"bench {what.value}: {path} is missing; run it from a checkout of the project")
    spec = importlib.util.spec_from_file_location(
        f"yannctl_benchmark_{what.value}", path, submodule_search_locations=None
    )
    if spec is None or spec.loader is None:
        raise NotInstalledError(f"bench {what.value}: {path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
