"""Laws and networks on emulated Cortex-M processors: bits, instructions, flash and RAM, beside a 64 x 64 network.

Instructions are counted, not cycles: wait states and pipelines are not modelled. The network of 64 x 64 ReLU units is
what the same task costs when an approximation is learned in place of the exact law.

Filters come from certificates. That of P1 is proved for the integrator itself; a gain that may be off by 5 % doubles
its lines. That of the pendulum covers mass, gravity and one lost packet. What the filter alone takes on this machine
is timed too, call by call, the reading of the clock included.
"""

import importlib.util
import itertools
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from yannctl import Ocp, PwaLaw, condense, linearise, solve_mpqp
from yannctl.assurance import (
    Certificate,
    ClipFilter,
    DiscreteMap,
    Domain,
    Errors,
    Statement,
    bound_inclusion,
    certified,
    certify,
)
from yannctl.export import write_c
from yannctl.export.c_check import EXACT_FLAGS, find_compiler
from yannctl.export.pil import CPUS, PilReport, missing_tools, verify_on_processor
from yannctl.export.pil.network import measure_network
from yannctl.export.residual_tables import random_residual

TARGETS = {"P1_N10 with filter": 1000, "4-32-32-1 relu": 8000, "4-32-32-1 tanh": 12000, "4-32-32-1 gelu": 12000}
POINTS = {"cortex-m4": 100_000, "cortex-m7": 100_000, "cortex-m3": 100_000}
TIMED = {"cortex-m4": 400, "cortex-m7": 400, "cortex-m3": 40}  # evaluations of a network; soft float is slow
SHORT_POINTS = 1500
CALLS = 200_000  # of the filter alone
CALL_LIMIT_NS = 1000  # 99 % of the calls of a filter of at most 300 lines
CLOCK = r"""
#define _POSIX_C_SOURCE 199309L
#include "controller.h"
#include <stdio.h>
#include <time.h>
int main(void)
{
    struct timespec a;
    struct timespec b;
    controller_real in[CONTROLLER_N_THETA + 1];
    controller_real u = 0;
    while (fread(in, sizeof(in), 1, stdin) == 1) {
        long ns;
        (void)clock_gettime(CLOCK_MONOTONIC, &a);
        (void)controller_filter(in, in[CONTROLLER_N_THETA], u, &u);
        (void)clock_gettime(CLOCK_MONOTONIC, &b);
        ns = (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec;
        (void)fwrite(&ns, sizeof(ns), 1, stdout);
    }
    return 0;
}
"""


def run(short: bool = False) -> dict[str, Any]:
    """Measure.

    Args:
        short: fewer laws and points, about a minute.

    Returns:
        Rows, targets and the verdict.
    """
    if missing_tools():
        text = f"not installed: apt-get install {' '.join(missing_tools())}"
        return {"ok": False, "rows": [], "targets": [], "filter_times": [], "message": text}
    rows: list[dict[str, Any]] = []
    laws = _laws(short)
    for name, law, kind, clip in laws:
        for cpu in CPUS:
            points = SHORT_POINTS if short else POINTS[cpu]
            search, outside = ("tree", "safe") if "tree" in kind else ("scan", "nearest")
            with tempfile.TemporaryDirectory(prefix="yannctl_") as folder:
                code = write_c(law, folder, precision="float", search=search, outside=outside, clip=clip)
                found = verify_on_processor(code, law, cpu, points)
            lines = "" if clip is None else f", {clip.clip().n_rows} lines"
            rows.append(_row(name, f"{law.n_regions} regions, {kind}{lines}", found))
    for name, sizes, kind in _networks(short):
        for cpu in CPUS:
            found = measure_network(
                random_residual(sizes, kind, 1.0, 0, "float"), cpu, TIMED[cpu] // (10 if short else 1)
            )
            rows.append(_row(name, f"{sum(a * b + b for a, b in itertools.pairwise(sizes))} weights", found))
    targets = [_target(rows, name, most) for name, most in TARGETS.items()]
    exact = all(row["identical"] for row in rows)
    filtered = next(row for row in laws if row[0] == "pendulum with filter")
    times = _filter_times(filtered[1], filtered[3]) if find_compiler() else []
    ok = exact and all(target["holds"] for target in targets) and (short or all(time["holds"] for time in times))
    return {"ok": ok, "rows": rows, "targets": targets, "filter_times": times, "message": ""}


def table(result: dict[str, Any]) -> str:
    """Lay the rows out as text.

    Args:
        result: from `run`.

    Returns:
        The table.
    """
    if result["message"]:
        return result["message"]
    head = f"{'controller':<24}{'size':<38}{'cpu':<11}{'bits':>6}{'points':>9}{'median':>9}{'most':>9}"
    lines = [f"{head}{'flash B':>9}{'RAM B':>7}"]
    for row in result["rows"]:
        bits = "equal" if row["identical"] else "DIFFER"
        lines.append(
            f"{row['name']:<24}{row['size']:<38}{row['cpu']:<11}{bits:>6}{row['points']:>9}{row['median']:>9}"
            f"{row['most']:>9}{row['flash_bytes']:>9}{row['ram_bytes']:>7}"
        )
    for target in result["targets"]:
        verdict = "holds" if target["holds"] else "FAILS"
        lines.append(
            f"{target['name']} on cortex-m4: {target['most']} instructions at most of {target['limit']}: {verdict}"
        )
    for time in result["filter_times"]:
        verdict = "holds" if time["holds"] else "FAILS"
        lines.append(
            f"filter of {time['lines']} lines on this machine, {time['precision']}: {time['median_ns']} ns median, "
            f"{time['p99_ns']} ns in 99 % of {time['calls']} calls, limit {CALL_LIMIT_NS}: {verdict}"
        )
    lines.append("median, most: instructions of one evaluation over vertices, facets and random points")
    return "\n".join(lines)


def _laws(short: bool) -> list[tuple[str, PwaLaw, str, Any]]:
    """Name, law, form and filter of each row."""
    integrator, reactor = (solve_mpqp(_problem(name)) for name in ("P1_N10", "P3_N5"))
    upright = _pendulum_law().merged()
    rows: list[tuple[str, PwaLaw, str, Any]] = [
        ("P1_N10", integrator, "scan", None),
        ("P1_N10 with filter", integrator.merged(), "merged, tree", _integrator_certificate(0.0)),
        ("pendulum", upright, "merged, tree", None),
        ("pendulum with filter", upright, "merged, tree", certified("pendulum-upright")[1]),
        ("P3_N5", reactor, "tree", None),
    ]
    if short:
        return rows
    more = [("P1_N5", solve_mpqp(_problem("P1_N5"))), ("P3_N10", solve_mpqp(_problem("P3_N10")))]
    rows += [("P1_N10", integrator, "tree", None), ("P1_N10", integrator.merged(), "merged, scan", None)]
    rows += [("P3_N5", reactor, "scan", None)]
    rows += [(name, law, kind, None) for name, law in more for kind in ("scan", "tree")]
    return [*rows, ("P1_N10, gain +-5 %", integrator.merged(), "merged, tree", _integrator_certificate(0.05))]


def _integrator_certificate(gain_error: float) -> Certificate:
    """Certificate of P1's plant, |x| <= 5 and |u| <= 1, the input's gain off by a share of at most `gain_error`."""
    import casadi as ca

    x, u, gain = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("gain")
    step = DiscreteMap(ca.Function("step", [x, u, gain], [ca.vertcat(x[0] + x[1] + gain * u / 2, x[1] + gain * u)]))
    domain = Domain([-5.0, -5.0], [5.0, 5.0], [-1.0], [1.0], [1 - gain_error], [1 + gain_error])
    note = f"gain off by at most {100 * gain_error:g} %; no disturbance"
    statement = Statement("double integrator", ("x0", "x1"), ("", ""), ("u",), ("",), ("gain",), 1.0, note)
    return certify(statement, domain, bound_inclusion(step, domain, Errors(), 1))


def _pendulum_law() -> PwaLaw:
    """A law that holds the pendulum upright."""
    from yannctl.models import Pendulum

    plant = Pendulum()
    ocp = Ocp(
        linearise(plant, x=[0.0, 0.0], u=[0.0]), Q=np.diag([1.0, 0.1]), R=[[0.01]], N=4, x_min=plant.x_min,
        x_max=plant.x_max, u_min=plant.u_min, u_max=plant.u_max, soft="l1l2", terminal="lqr",
    )  # fmt: skip
    return solve_mpqp(condense(ocp))


def _filter_times(law: PwaLaw, certificate: Certificate) -> list[dict[str, Any]]:
    """Nanoseconds of one call of the filter at states of its set: its own lines, and 300 made of them."""
    own = certificate.clip()
    low, high = (np.arange(150) % len(g) for g in (own.g_low, own.g_high))
    many = ClipFilter(own.F_low[low], own.g_low[low], own.F_high[high], own.g_high[high], own.u_min, own.u_max)
    draw = np.random.default_rng(0)
    corners = certificate.found.vertices
    states = draw.dirichlet(np.full(len(corners), 0.2), CALLS) @ corners
    points = np.column_stack([states, draw.uniform(-3, 3, CALLS)])
    rows: list[dict[str, Any]] = []
    for clip, precision in itertools.product((own, many), ("double", "float")):
        with tempfile.TemporaryDirectory(prefix="yannctl_") as folder:
            code = write_c(law, folder, precision=precision, clip=clip)
            main, binary = Path(folder) / "main.c", Path(folder) / "main"
            main.write_text(CLOCK, "ascii")
            command = [*find_compiler(), "-std=c99", *EXACT_FLAGS, str(main), str(code.source), "-o", str(binary)]
            subprocess.run(command, check=True)
            given = points.astype(code.reference.dtype).tobytes()
            spent = np.frombuffer(
                subprocess.run([binary], input=given, capture_output=True, check=True).stdout, np.int64
            )
        p99 = int(np.quantile(spent, 0.99))
        rows.append({
            "lines": clip.n_rows, "precision": precision, "calls": len(spent), "median_ns": int(np.median(spent)),
            "p99_ns": p99, "holds": p99 <= CALL_LIMIT_NS,
        })  # fmt: skip
    return rows


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
