"""`yannctl hil`: run a controller on a rig, or play the rig."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from .console import Output
from .operation import keys, learn, operate, reset, watch
from .options import Json, Seed, Short

if TYPE_CHECKING:
    from yannctl.hil.chaos_verdict import Case
    from yannctl.hil.plant_device import DeviceTick

hil_app = typer.Typer(help="Run a controller on a rig through the bridge.", no_args_is_help=True)
log_app = typer.Typer(help="Logs of runs.", no_args_is_help=True)
hil_app.add_typer(log_app, name="log")
for _name, _command in (("train", learn), ("watch", watch), ("operate", operate), ("reset", reset), ("keys", keys)):
    hil_app.command(_name)(_command)
LogArgument = Annotated[Path, typer.Argument(metavar="LOG.mcap", help="Log written by `yannctl hil run`.")]
OutFile = Annotated[Path, typer.Option("--out", "-o", help="File to write; it must not exist.")]
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to run; see docs/bridge.md.")]


@hil_app.command()
def run(
    config: ConfigFile,
    live: Annotated[bool, typer.Option("--live", help="Show the loop live, with keys; on a terminal only.")] = False,
    json: Json = False,
) -> None:
    """Drive the rig with the controller at a fixed rate, the exact law as fallback, a safe action at the end."""
    from yannctl.hil.configuration import read_configuration
    from yannctl.hil.run_assembly import drive

    output = Output(json)
    configuration = read_configuration(config)
    with _live_view(config, live and not json):
        report = drive(config, configuration, output.line)
    summary = report.summary()
    output.line(f"{report.ticks} ticks, {summary['reason']}")
    if not report.ticks and configuration.link.kind != "simulated":
        output.line(f"  to try it without the plant, start its simulation first: yannctl hil device {config}")
    for name in ("lateness", "io", "compute") if report.ticks else ():
        times = summary[f"{name}_us"]
        output.line(f"  {name:<9} p50 {times['p50']:.0f}  p99 {times['p99']:.0f}  max {times['max']:.0f} us")
    counted = {key: value for key, value in summary["counts"].items() if value}
    output.line(f"  counted {counted}" if counted else "  nothing went wrong")
    output.result(summary)
    if report.stop_errors or summary["reason"] != "ticks done":
        raise typer.Exit(1)


@contextmanager
def _live_view(config: Path, wanted: bool) -> "Iterator[None]":
    """The live view in a process of its own, where there is a terminal."""
    if not (wanted and sys.stdin.isatty() and sys.stdout.isatty()):
        yield
        return
    code = "from yannctl.cli.app import main; main()"
    viewer = subprocess.Popen([sys.executable, "-c", code, "hil", "watch", str(config), "--wait", "60"])
    try:
        yield
    finally:
        try:
            viewer.wait(5.0)  # it sees by itself that the loop has stopped
        except subprocess.TimeoutExpired:
            viewer.terminate()
            viewer.wait()


@hil_app.command()
def device(
    config: ConfigFile,
    seconds: Annotated[float | None, typer.Option(min=0, help="How long; default for ever.")] = None,
    log: Annotated[Path | None, typer.Option("--log", help="Write every period to this CSV file.")] = None,
    json: Json = False,
) -> None:
    """Play the other end of the link: the plant in simulation, with the watchdog of a real device."""
    from yannctl.hil.assembly import make_device
    from yannctl.hil.configuration import read_configuration
    from yannctl.hil.device import why_safe

    output = Output(json)
    with _tick_log(log) as note:
        state = 0

        def on_tick(tick: "DeviceTick") -> None:
            nonlocal state
            if tick.state != state:
                state = tick.state
                output.line("armed" if state == 1 else f"safe action {tick.u.tolist()}: {why_safe(made.guard.cause)}")
            if note is not None:
                note(tick)

        made = make_device(read_configuration(config), on_tick)
        try:
            made.run(seconds, ready=lambda: output.line("device ready"))
        finally:
            output.result({"guard": dict(made.guard.counts)})


@hil_app.command()
def dbc(config: ConfigFile, out: OutFile, json: Json = False) -> None:
    """Write the DBC file of a CAN link, for the plant's own tools; its identifiers may be changed there."""
    from yannctl.errors import ModelError
    from yannctl.hil.assembly import can_codec, make_plant
    from yannctl.hil.can_messages import write_dbc
    from yannctl.hil.configuration import CanLinkSection, read_configuration

    output, configuration = Output(json), read_configuration(config)
    if not isinstance(configuration.link, CanLinkSection):
        raise ModelError("link.kind", f"is {configuration.link.kind!r}", remedy='only kind = "can" has a DBC file')
    if out.exists():
        raise ModelError("--out", f"{out} exists", remedy="name a new file")
    codec = can_codec(configuration.link, make_plant(configuration.plant.name, configuration.plant.parameters))
    write_dbc(codec, out)
    output.line(f"{len(codec.places)} frames described in {out}")
    output.result({"frames": len(codec.places), "file": out})


@hil_app.command()
def replay(
    log: LogArgument,
    law: Annotated[Path, typer.Option("--law", help="Law to ask at every recorded state.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="The run's configuration, where a proposal had a share.")
    ] = None,
    policies: Annotated[Path | None, typer.Option("--policies", help="Folder policies of a run that learned.")] = None,
    json: Json = False,
) -> None:
    """Run a log through a law again: its own must give the same bits; another one shows what it would have done."""
    from yannctl import PwaLaw
    from yannctl.controllers import ExplicitMpc
    from yannctl.hil.flight_log import file_digest, read_log
    from yannctl.hil.replay import replay as ask
    from yannctl.hil.run_assembly import replay_run

    output, record = Output(json), read_log(log)
    found = ask(record, ExplicitMpc(PwaLaw.load(law))) if config is None else replay_run(record, config, policies)
    own = record.header.controller == file_digest(law)
    kind = "the run's own law" if own else "another law, in shadow"
    output.line(
        f"{kind}: {found.n_different} of {found.n_compared} ticks differ, by {found.max_difference:.3g} at most"
    )
    data = {"own": own, "compared": found.n_compared, "different": found.n_different}
    output.result({**data, "max_difference": found.max_difference, "whole": record.whole})
    if own and found.n_different and (config is not None or not record.authority.any()):
        raise typer.Exit(1)


@hil_app.command()
def chaos(
    link: Annotated[
        list[str] | None,
        typer.Option(
            "--link", help="simulated, udp, zmq, serial, can, opcua, ros2 or board (firmware in QEMU); may be repeated."
        ),
    ] = None,
    fault: Annotated[list[str] | None, typer.Option("--fault", help="One fault; may be repeated.")] = None,
    seed: Seed = 7,
    short: Short = False,
    json: Json = False,
) -> None:
    """Put every fault on every kind of link and see whether the device still ends in its safe action."""
    from yannctl.hil.chaos import FAULTS
    from yannctl.hil.chaos_matrix import HOST_FAULTS, LINKS, run_matrix
    from yannctl.hil.chaos_verdict import as_rows

    output = Output(json)
    links = tuple(link or (LINKS[:2] if short else LINKS))
    faults = tuple(fault or (("drop", "corrupt", "half_open", "kill") if short else FAULTS + HOST_FAULTS))
    bar = tqdm(total=len(links) * len(faults), unit="case", disable=None)

    def tell(case: "Case") -> None:
        bar.update()
        if bar.disable:  # no terminal: a log that shows how far it is
            output.line(f"{case.link} {case.fault}: {'pass' if case.passed else case.why}")

    with bar:
        cases = run_matrix(links, faults, seed, tell)
    columns = ["link", "fault", "spoilt", "obeyed", "ticks", "verdict", "the loop's ending"]
    legend = (
        "spoilt: messages the fault touched; obeyed: commands the device took; ticks: until it was in its safe action."
    )
    rows = [
        [
            c.link,
            c.fault,
            str(c.spoilt),
            str(c.obeyed),
            str(c.ticks_to_safe),
            "pass" if c.passed else c.why,
            c.ending,
        ]
        for c in cases
    ]
    output.table(f"Faults, seed {seed}", columns, rows, legend)
    failed = sum(not case.passed for case in cases)
    output.line(f"{len(cases) - failed} of {len(cases)} pass")
    output.result({"seed": seed, "failed": failed, "cases": as_rows(cases)})
    if failed:
        raise typer.Exit(1)


@log_app.command()
def recover(log: LogArgument, out: OutFile, json: Json = False) -> None:
    """Write what a log that a crash cut off still holds as a whole file."""
    from yannctl.hil.flight_log import recover as rescue

    output, rows = Output(json), rescue(log, out)
    output.line(f"{rows} ticks recovered into {out}")
    output.result({"rows": rows, "file": out})


@log_app.command()
def export(log: LogArgument, out: OutFile, json: Json = False) -> None:
    """Write a log as a Parquet table, as `yannctl train` and pandas take it."""
    from yannctl.hil.flight_log import to_parquet

    output, rows = Output(json), to_parquet(log, out)
    output.line(f"{rows} ticks written to {out}")
    output.result({"rows": rows, "file": out})


@contextmanager
def _tick_log(path: Path | None) -> "Iterator[Callable[[DeviceTick], None] | None]":
    """Rows of a CSV file, each on disk as soon as it is known."""
    if path is None:
        yield None
        return
    with open(path, "w", buffering=1, encoding="ascii") as file:
        file.write("time_ns,state,commands,values of x and u\n")

        def write(tick: "DeviceTick") -> None:
            numbers = ",".join(f"{value:.9g}" for value in (*tick.x, *tick.u))
            file.write(f"{tick.time_ns},{tick.state},{tick.commands},{numbers}\n")

        yield write
