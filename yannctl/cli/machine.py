"""`yannctl doctor`: what this machine has, and what is missing."""

import importlib.metadata
import os
import platform
import shutil
from typing import Annotated, Any

import typer

from .console import Output
from .options import Json

PACKAGES = ("numpy", "scipy", "numba", "torch", "casadi", "cvxpy", "daqp", "highspy", "gymnasium", "safetensors")
TOOLS = {
    "cc": ("C compiler, for the exported law", "apt-get install gcc libc6-dev"),
    "make": ("make, for the project's own targets", "apt-get install make"),
}


def doctor(
    rt: Annotated[
        bool, typer.Option("--rt", help="Also measure how late a waiting loop wakes, and name a safe rate.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each measurement of --rt.")] = 5.0,
    json: Json = False,
) -> None:
    """Say what this machine has: Python, packages, compiler, processor cores."""
    output = Output(json)
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    tools = {name: _find(name) for name in TOOLS}
    rows = [["Python", platform.python_version(), ""], ["processor cores", str(os.cpu_count()), ""]]
    rows += [[name, version, ""] for name, version in packages.items()]
    for name, path in tools.items():
        what, remedy = TOOLS[name]
        rows.append([name, path or "not found", "" if path else f"{what}: {remedy}"])
    output.table("This machine", ["item", "found", "what to do"], rows)
    data = {"python": platform.python_version(), "cores": os.cpu_count(), "packages": packages, "tools": tools}
    if rt:
        data["rt"] = _real_time(seconds, output)
    output.result(data)


def _real_time(seconds: float, output: Output) -> list[dict[str, Any]]:
    """Lateness of a 1 kHz loop, as it is and with what `hil run` can ask for."""
    from yannctl.hil.realtime import LATE_SHARE, RealTime, measure_jitter

    cases = {"normal": RealTime(), "SCHED_FIFO 80, memory locked": RealTime(priority=80, lock_memory=True)}
    found = []
    for name, wanted in cases.items():
        jitter = measure_jitter(1000.0, seconds, wanted)
        row = {"case": name, **jitter.percentiles(), "safe_rate_hz": jitter.safe_rate(), "refused": jitter.refused}
        found.append(row)
    columns = ["lateness at 1 kHz [us]", "p50", "p99", "p99.9", "max", "highest safe rate [Hz]"]
    keys = ("p50", "p99", "p99.9", "max", "safe_rate_hz")
    output.table("Real time", columns, [[row["case"], *(f"{row[key]:.0f}" for key in keys)] for row in found])
    for refused in sorted({line for row in found for line in row["refused"]}):
        output.line(f"not granted: {refused}")
    output.line(f"safe: 999 of 1000 wake-ups within {LATE_SHARE:.0%} of the period, under the load of these seconds")
    return found


def _find(name: str) -> str | None:
    if name == "cc":
        wanted = os.environ.get("CC")
        return shutil.which(wanted) if wanted else shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return shutil.which(name)
