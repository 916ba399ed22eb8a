"""`yannctl demo`: the main job end to end, with its figures measured in the run and a page to look at."""

import contextlib
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Annotated

import typer

from yannctl.errors import ModelError
from yannctl.files import write_whole

from .console import Output, gate_lines, plain
from .options import Json, Seed, Short

LAW = "law.safetensors"


class DemoPlant(StrEnum):
    """Plants with a demo."""

    pendulum = "pendulum"


def demo(
    plant: Annotated[DemoPlant, typer.Argument(help="Plant.")] = DemoPlant.pendulum,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for law, summary.json, report.html, figures.")
    ] = Path("runs/demo"),
    seed: Seed = 0,
    short: Short = False,
    json: Json = False,
) -> None:
    """Run the whole chain on a plant: law, exact networks, learning behind the gate, C code, closed loop."""
    from . import pendulum

    output = Output(json)
    plan = replace(pendulum.SHORT if short else pendulum.Plan(), seed=seed)
    summary = _demonstrate(plan, out, output)
    holds = [name for name, value in summary["verdicts"].items() if value is True]
    fails = [name for name, value in summary["verdicts"].items() if value is False]
    output.table("Verdicts", ["claim", "holds"], [[n, "yes"] for n in holds] + [[n, "NO"] for n in fails])
    output.line(f"open {out / 'report.html'} in a browser; all figures are in {out / 'summary.json'}")
    output.line(f"the law is {out / LAW}: check it with yannctl verify {out / LAW}")
    output.result(summary)
    if fails:
        raise typer.Exit(1)


def _clear_training(folder: Path) -> None:
    """Remove the training folder of an earlier demo; anything else that bears its name is left alone.

    Raises:
        ModelError: if the folder is not one of ours.
    """
    if not folder.exists():
        return
    if not {"settings.json", "gate.jsonl"} <= {path.name for path in folder.iterdir()}:
        raise ModelError(
            "--out", f"{folder} exists and is not a training folder of ours", remedy="choose another --out"
        )
    shutil.rmtree(folder)


@contextlib.contextmanager
def _second_process() -> Iterator[Pool]:
    """Start one worker that leaves Ctrl-C to us; leaving the block, for whatever reason, ends it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by the worker
    try:
        pool = get_context("spawn").Pool(1)
    finally:
        signal.signal(signal.SIGINT, before)
    with pool:
        yield pool
        pool.close()  # an orderly end; after an exception the block's own exit kills the worker
        pool.join()


def _demonstrate(plan, out: Path, output: Output) -> dict:
    """Run the stages in order; learning from scratch and the optimum are computed in a second process meanwhile."""
    import json

    import torch

    from . import demo_page, pendulum, pendulum_learning

    torch.set_num_threads(1)  # the other core learns from scratch meanwhile
    clock = pendulum.Clock(output.line)
    out.mkdir(parents=True, exist_ok=True)
    _clear_training(out / "training")
    with clock.stage("law", "1-5  linearise, condense, solve"):
        model = pendulum.make_model()
        output.line(f"  {model.law.n_regions} critical regions")
        model.law.save(out / LAW)
    starts = model.plant.sample_starts(plan.starts, plan.seed + 1_000_003)
    with _second_process() as pool:
        waiting = pool.apply_async(pendulum_learning.make_rivals, (plan, starts))
        with clock.stage("law_check", "     compare the law with an online QP, audit its facets"):
            law_check, open_facets = pendulum.check_law(model, plan)
        with clock.stage("networks", "6    compile actor and critic, verify them"):
            networks = pendulum.make_networks(model, plan)
        with clock.stage("learning", f"7    fine-tune on the plant, {plan.steps} steps, behind the gate"):
            training, gates = pendulum_learning.tune(
                model, networks, plan, starts, out / "training", not output.as_json, gate_lines(output)
            )
        with clock.stage("rivals", "     wait for DDPG from scratch and the optimum (second process)"):
            rivals = waiting.get()
    clock.seconds |= rivals.seconds
    with clock.stage("c", "8    export the law as C, compile it, compare"):
        code, c_check = pendulum.run_c(model, plan, out / "c")
        if c_check.skipped:
            output.line(f"  SKIPPED: {c_check.reason}")
    with clock.stage(
        "loop", f"9    closed loop on a simulated rig: lockstep, then {plan.loop_seconds:.0f} s in real time"
    ):
        loop = pendulum_learning.run_rig(model, training.deployed, plan, clock="lockstep")
        paced = pendulum_learning.run_rig(model, training.deployed, plan, clock="realtime")
        paced.to_json(out / "loop_in_real_time.json", trajectory=True)
    results = demo_page.Results(
        plan, model, law_check, open_facets, networks, training, gates, rivals, starts, code, c_check, loop, paced
    )
    with clock.stage("report", "     figures and report"):
        summary = demo_page.summarise(results)
        demo_page.write_page(results, summary, out)
    summary["seconds"] = clock.seconds
    write_whole(out / "summary.json", (json.dumps(plain(summary), indent=1) + "\n").encode())
    return summary
