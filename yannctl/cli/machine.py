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

EXTRAS = {  # of pyproject.toml, where a test holds them together: what for, and its packages
    "serial": ("hil: boards on a serial line", ("cobs", "pyserial")),
    "zmq": ("hil: ZeroMQ with CURVE", ("pyzmq",)),
    "can": ("hil: CAN buses", ("cantools", "msgpack", "pyserial", "python-can")),
    "opcua": ("hil: PLCs over OPC UA", ("asyncua",)),
    "ros2": ("hil: ROS 2 topics", ("cyclonedds",)),
    "log": ("hil: logs; Parquet", ("mcap", "pyarrow")),
    "onnx": ("export to ONNX", ("onnx", "onnxruntime", "onnxscript")),
    "bench": (
        "comparisons with other programs",
        ("cma", "cvxopt", "jax", "mujoco", "pandas", "ppopt", "stable-baselines3"),
    ),
}


def doctor(
    rt: Annotated[
        bool, typer.Option("--rt", help="Also measure how late a waiting loop wakes, and name a safe rate.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each measurement of --rt.")] = 5.0,
    json: Json = False,
) -> None:
    """Say what this machine has: Python, packages, compiler, processor cores, optional parts and what they need."""
    output = Output(json)
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    tools = {name: _find(name) for name in TOOLS}
    rows = [["Python", platform.python_version(), ""], ["processor cores", str(os.cpu_count()), ""]]
    rows += [[name, version, ""] for name, version in packages.items()]
    for name, path in tools.items():
        what, remedy = TOOLS[name]
        rows.append([name, path or "not found", "" if path else f"{what}: {remedy}"])
    output.table("This machine", ["item", "found", "what to do"], rows)
    lacking = _lacking()
    output.table("Optional parts", ["part", "found", "what to do"], _optional_rows(lacking))
    data = {"python": platform.python_version(), "cores": os.cpu_count(), "packages": packages, "tools": tools}
    data["missing"] = lacking
    if rt:
        data["rt"] = _real_time(seconds, output)
    output.result(data)


def _lacking() -> dict[str, list[str]]:
    """Packages that each optional part lacks, those of the processor in the loop from Debian."""
    from yannctl.export.pil.boards import missing_tools

    found = {name: [package for package in packages if not _has(package)] for name, (_, packages) in EXTRAS.items()}
    return {**found, "processor": list(missing_tools())}


def _has(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _optional_rows(lacking: dict[str, list[str]]) -> list[list[str]]:
    """A row a part: what it is, whether it is there, what to install."""
    rows = []
    for name, missing in lacking.items():
        what = EXTRAS[name][0] if name in EXTRAS else "firmware on an emulated processor"
        remedy = f"pip install 'yannctl[{name}]'" if name in EXTRAS else f"apt-get install {' '.join(missing)}"
        rows.append([what, f"without {', '.join(missing)}" if missing else "yes", remedy if missing else ""])
    return rows


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
