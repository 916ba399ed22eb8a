"""Laws and networks on emulated Cortex-M processors: bits, instructions, flash and RAM, beside a 64 x 64 network.

Instructions are counted, not cycles: wait states and pipelines are not modelled. The network of 64 x 64 ReLU units is
what the same task costs when an approximation is learned in place of the exact law.
"""

import importlib.util
import itertools
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from yannctl import PwaLaw, solve_mpqp
from yannctl.export import write_c
from yannctl.export.pil import CPUS, PilReport, missing_tools, verify_on_processor
from yannctl.export.pil.network import measure_network
from yannctl.export.residual_tables import random_residual

TARGETS = {"P1_N10 with filter": 1000, "4-32-32-1 relu": 8000, "4-32-32-1 tanh": 12000, "4-32-32-1 gelu": 12000}
POINTS = {"cortex-m4": 100_000, "cortex-m7": 100_000, "cortex-m3": 100_000}
TIMED = {"cortex-m4": 400, "cortex-m7": 400, "cortex-m3": 40}  # evaluations of a network; soft float is slow
SHORT_POINTS = 1500
FILTER = SimpleNamespace(  # lines of a filter for two states, four a side
    F_low=np.array([[0.3, 0.2], [-0.1, 0.5], [0.1, 0.2], [0.3, 0.4]]),
    g_low=np.array([-1.2, -0.9, -3.0, -3.0]),
    F_high=np.array([[0.3, 0.2], [-0.1, 0.5], [0.2, 0.1], [0.4, 0.3]]),
    g_high=np.array([1.1, 0.8, 3.0, 3.0]),
    u_min=-1.0,
    u_max=1.0,
)


def run(short: bool = False) -> dict[str, Any]:
    """Measure.

    Args:
        short: fewer laws and points, about a minute.

    Returns:
        Rows, targets and the verdict.
    """
    if missing_tools():
        text = f"not installed: apt-get install {' '.join(missing_tools())}"
        return {"ok": False, "rows": [], "targets": [], "message": text}
    rows: list[dict[str, Any]] = []
    for name, law, kind, clip in _laws(short):
        for cpu in CPUS:
            points = SHORT_POINTS if short else POINTS[cpu]
            search, outside = ("tree", "safe") if "tree" in kind else ("scan", "nearest")
            with tempfile.TemporaryDirectory(prefix="yannctl_") as folder:
                code = write_c(law, folder, precision="float", search=search, outside=outside, clip=clip)
                found = verify_on_processor(code, law, cpu, points)
            rows.append(_row(name, f"{law.n_regions} regions, {kind}", found))
    for name, sizes, kind in _networks(short):
        for cpu in CPUS:
            found = measure_network(
                random_residual(sizes, kind, 1.0, 0, "float"), cpu, TIMED[cpu] // (10 if short else 1)
            )
            rows.append(_row(name, f"{sum(a * b + b for a, b in itertools.pairwise(sizes))} weights", found))
    targets = [_target(rows, name, most) for name, most in TARGETS.items()]
    exact = all(row["identical"] for row in rows)
    return {"ok": exact and all(target["holds"] for target in targets), "rows": rows, "targets": targets, "message": ""}


def table(result: dict[str, Any]) -> str:
    """Lay the rows out as text.

    Args:
        result: from `run`.

    Returns:
        The table.
    """
    if result["message"]:
        return result["message"]
    head = f"{'controller':<24}{'size':<28}{'cpu':<11}{'bits':>6}{'points':>9}{'median':>9}{'most':>9}"
    lines = [f"{head}{'flash B':>9}{'RAM B':>7}"]
    for row in result["rows"]:
        bits = "equal" if row["identical"] else "DIFFER"
        lines.append(
            f"{row['name']:<24}{row['size']:<28}{row['cpu']:<11}{bits:>6}{row['points']:>9}{row['median']:>9}"
            f"{row['most']:>9}{row['flash_bytes']:>9}{row['ram_bytes']:>7}"
        )
    for target in result["targets"]:
        verdict = "holds" if target["holds"] else "FAILS"
        lines.append(
            f"{target['name']} on cortex-m4: {target['most']} instructions at most of {target['limit']}: {verdict}"
        )
    lines.append("median, most: instructions of one evaluation over vertices, facets and random points")
    return "\n".join(lines)


def _laws(short: bool) -> list[tuple[str, PwaLaw, str, Any]]:
    """Name, law, form and filter of each row."""
    integrator, reactor = (solve_mpqp(_problem(name)) for name in ("P1_N10", "P3_N5"))
    rows: list[tuple[str, PwaLaw, str, Any]] = [
        ("P1_N10", integrator, "scan", None),
        ("P1_N10 with filter", integrator.merged(), "merged, tree", FILTER),
        ("P3_N5", reactor, "tree", None),
    ]
    if short:
        return rows
    more = [("P1_N5", solve_mpqp(_problem("P1_N5"))), ("P3_N10", solve_mpqp(_problem("P3_N10")))]
    rows += [("P1_N10", integrator, "tree", None), ("P1_N10", integrator.merged(), "merged, scan", None)]
    rows += [("P3_N5", reactor, "scan", None)]
    return rows + [(name, law, kind, None) for name, law in more for kind in ("scan", "tree")]


def _networks(short: bool) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, sizes and activation of each network."""
    kinds = ("relu", "tanh", "gelu")
    rows: list[tuple[str, tuple[int, ...], str]] = [(f"4-32-32-1 {kind}", (4, 32, 32, 1), kind) for kind in kinds]
    rows.append(("P1: 2-64-64-1 relu", (2, 64, 64, 1), "relu"))
    return rows if short else [*rows, ("P3: 2-64-64-2 relu", (2, 64, 64, 2), "relu")]


def _row(name: str, size: str, found: PilReport) -> dict[str, Any]:
    """One row of the table."""
    return {
        "name": name,
        "size": size,
        "cpu": found.cpu,
        "identical": found.ok,
        "points": found.n_points,
        "median": found.instructions_median,
        "most": found.instructions_max,
        "flash_bytes": found.flash_bytes,
        "ram_bytes": found.ram_bytes,
    }


def _target(rows: list[dict[str, Any]], name: str, limit: int) -> dict[str, Any]:
    """A target beside what was measured on the Cortex-M4F."""
    row = next(row for row in rows if row["name"] == name and row["cpu"] == "cortex-m4")
    return {"name": name, "limit": limit, "median": row["median"], "most": row["most"], "holds": row["most"] <= limit}


def _problem(name: str) -> Any:
    """A problem of benchmarks/problems.py."""
    path = Path(__file__).with_name("problems.py")
    spec = importlib.util.spec_from_file_location("benchmark_problems", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.problem(name)
