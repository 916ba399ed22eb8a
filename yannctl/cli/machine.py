"""`yannctl doctor`: what this machine has, and what is missing."""

import importlib.metadata
import os
import platform
import shutil

from .console import Output
from .options import Json

PACKAGES = ("numpy", "scipy", "numba", "torch", "casadi", "cvxpy", "daqp", "highspy", "gymnasium", "safetensors")
TOOLS = {
    "cc": ("C compiler, for the exported law", "apt-get install gcc libc6-dev"),
    "make": ("make, for the project's own targets", "apt-get install make"),
}


def doctor(json: Json = False) -> None:
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
    output.result({"python": platform.python_version(), "cores": os.cpu_count(), "packages": packages, "tools": tools})


def _find(name: str) -> str | None:
    if name == "cc":
        wanted = os.environ.get("CC")
        return shutil.which(wanted) if wanted else shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return shutil.which(name)
