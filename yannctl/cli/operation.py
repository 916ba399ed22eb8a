"""`yannctl hil watch`, `operate`, `reset`, `keys` and `learn`: what an operator does beside a running loop."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from .console import Output
from .options import Json, Seed
from .training import Changes
from .training_command import Algorithm, parse_setting

POLICY_FILE, RIG_RUN = "policy.safetensors", Path("runs/rig")
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What runs; see docs/bridge.md.")]


def watch(
    config: ConfigFile,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a loop that has not begun.")] = 0.0,
    json: Json = False,
) -> None:
    """Show a running loop live, with keys for stop and authority; without a terminal, one picture of it."""
    from yannctl.hil.configuration import read_configuration
    from yannctl.hil.live_view import LiveView, wait_for_loop

    output, view = Output(json), LiveView(config, read_configuration(config))
    if wait:
        wait_for_loop(view, wait)
    if sys.stdin.isatty() and sys.stdout.isatty() and not json:
        view.show()
        return
    board = view.board()
    status = board.read()
    board.close()
    output.console.print(view.table(status))
    output.result({**status._asdict(), "state": status.state.name, "source": status.source.name})


def operate(
    config: ConfigFile,
    authority: Annotated[float | None, typer.Option(help="Share of the learned proposal, 0 (shadow) to 1.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the plant.")] = False,
    json: Json = False,
) -> None:
    """Change the authority of a running loop, or stop it."""
    from yannctl.hil.operator_port import send_command
    from yannctl.hil.rendezvous import rendezvous

    output, port = Output(json), rendezvous(config).port
    send_command(port, authority, "by the operator" if stop else None)
    output.line("stop sent" if stop else f"authority {authority:g} sent")
    output.result({"authority": authority, "stop": stop})


def learn(
    config: ConfigFile,
    steps: Annotated[int, typer.Option(min=1, help="Transitions of the whole run.")] = 4000,
    algorithm: Annotated[Algorithm, typer.Option(help="Learning algorithm.")] = Algorithm.dsact,
    seed: Seed = 0,
    changes: Changes = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; a run in it is taken up again.")] = RIG_RUN,
    json: Json = False,
) -> None:
    """Learn on the rig: the loop drives and never waits; what drives changes only through gate, parity and filter."""
    import json as jsonlib

    from yannctl.export import save_policy
    from yannctl.hil.assembly import make_plant
    from yannctl.hil.configuration import read_configuration
    from yannctl.hil.rig_training import SUMMARY_FILE, train_on_rig
    from yannctl.rl.settings import TrainingSettings

    output = Output(json)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the loop must not go on alone
    settings = TrainingSettings().changed(dict(parse_setting(text) for text in changes or []))
    result = train_on_rig(config, out, algorithm.value, steps, seed, settings, progress=True)
    loop = jsonlib.loads((out / SUMMARY_FILE).read_text())
    promoted = sum(event.decision == "promoted" for event in result.gate_events)
    output.line(f"{len(result.gate_events)} tests of the gate, {promoted} promoted; {loop['swaps']} swaps in the loop")
    late = loop["lateness_us"]
    output.line(
        f"  loop: {loop['ticks']} ticks, late p50 {late['p50']:.0f}  p99 {late['p99']:.0f}  max {late['max']:.0f} us"
    )
    section, policy = read_configuration(config).plant, out / POLICY_FILE
    save_policy(policy, result.deployed, make_plant(section.name, section.parameters))
    output.line(f"  deployed policy, for [proposal] file: {policy}; logs and checkpoint beside it")
    output.result({"promotions": promoted, "loop": loop, "run": out, "policy": policy})


def keys(config: ConfigFile, json: Json = False) -> None:
    """Make the keys or certificates that CONFIG.toml names, once; existing files are never touched."""
    from yannctl.hil.configuration import read_configuration
    from yannctl.hil.keys import make_keys

    output, made = Output(json), make_keys(read_configuration(config))
    for file in made.files:
        output.line(f"written: {file}")
    if made.lines:
        output.line(f"put these lines into {config}, in place of those there:")
    for line in made.lines:
        output.line(f"  {line}")
    output.result({"files": list(made.files), "lines": list(made.lines)})


def reset(config: ConfigFile, json: Json = False) -> None:
    """Allow the next run after the supervisor has stopped the plant and somebody has looked at it."""
    from yannctl.hil.rendezvous import rendezvous, unlatch

    output, reason = Output(json), unlatch(rendezvous(config))
    output.line(f"released: {reason}" if reason else "nothing was latched")
    output.result({"reason": reason})
