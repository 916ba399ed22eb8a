"""`yannctl hil`: run a controller on a rig, or play the rig."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import Output
from .options import Json

if TYPE_CHECKING:
    from yannctl.hil.plant_device import DeviceTick

hil_app = typer.Typer(help="Run a controller on a rig through the bridge.", no_args_is_help=True)
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to run; see docs/bridge.md.")]


@hil_app.command()
def run(config: ConfigFile, json: Json = False) -> None:
    """Drive the rig with the controller at a fixed rate, the exact law as fallback, a safe action at the end."""
    from yannctl.hil.assembly import make_law, make_rig
    from yannctl.hil.configuration import read_configuration
    from yannctl.hil.loop import FixedRateLoop, LoopSettings
    from yannctl.hil.realtime import RealTime, real_time

    output = Output(json)
    configuration = read_configuration(config)
    controller, fallback = make_law(configuration)
    rig = make_rig(configuration)
    settings = LoopSettings(max_bad_samples=configuration.loop.max_age)
    ticks = max(1, round(configuration.loop.seconds / rig.dt))
    section = configuration.loop
    with real_time(RealTime(section.priority, tuple(section.cores), section.lock_memory)) as refused:
        for line in refused:
            output.line(f"not granted: {line}")
        report = FixedRateLoop(rig, controller, fallback=fallback, settings=settings).run(ticks)
    summary = report.summary()
    output.line(f"{report.ticks} ticks, {summary['reason']}")
    for name in ("lateness", "io", "compute"):
        times = summary[f"{name}_us"]
        output.line(f"  {name:<9} p50 {times['p50']:.0f}  p99 {times['p99']:.0f}  max {times['max']:.0f} us")
    counted = {key: value for key, value in summary["counts"].items() if value}
    output.line(f"  counted {counted}" if counted else "  nothing went wrong")
    output.result(summary)
    if report.stop_errors or summary["reason"] != "ticks done":
        raise typer.Exit(1)


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

    output = Output(json)
    with _tick_log(log) as on_tick:
        made = make_device(read_configuration(config), on_tick)
        output.line("device ready")
        try:
            made.run(seconds)
        finally:
            output.result({"guard": dict(made.guard.counts), "channel": dict(made.channel.counts)})


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
