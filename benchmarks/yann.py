"""Exact networks beside the published layout, PPOPT, a search tree and an online QP: size, build, speed, error.

    python benchmarks/yann.py [--short] [--json FILE]

Batches have 10^5 points and run on two threads where the method has threads; speeds are the best of several runs, as
the machine may be busy. "GPU" is the lattice through torch.compile, single precision, 10^7 points, where there is one.
Exit code 0 when every form equals its law, every critic the online problem, and the targets below hold.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yannctl import MpQp, PwaLaw, solve_mpqp
from yannctl.yann import encode_actor, verify
from yannctl.yann.verification import verification_points

sys.path.insert(0, str(Path(__file__).parent))
import gpu
from critics import critic_rows
from problems import problem, tutorial
from published import PublishedNetwork

FORMS = ("gather", "five_layer", "lattice")
DTYPES = {"float64": torch.float64, "float32": torch.float32}
BATCH = 100_000
CHUNK = 10_000  # points at a time of networks with units for all rows and regions
THREADS = 2
CPU_TARGET = 20e6  # evaluations/s of the fastest exact form on P1_N10
SIZE_TARGET = 100  # weights of five layers / weights of the lattice on the tutorial's 115 regions
ERROR = {"float64": 1e-9, "float32": 1e-3}  # of the output's range, at random points: a sanity check, `verify` decides
PPOPT_REGIONS = {True: 50, False: 150}  # PPOPT is solved afresh, which takes long for more; fewer in the short form


def per_second(call: Callable[[], Any], evaluations: int, seconds: float) -> float:
    """Repeat a call for some time; the best repetition counts."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return evaluations / best


class Bench:
    """One law and the points all methods are measured at.

    Args:
        law: the law.
        mpqp: its program.
        seconds: time of each measurement.
        short: leave out what takes long.
    """

    def __init__(self, law: PwaLaw, mpqp: MpQp, seconds: float, short: bool) -> None:
        self.law, self.mpqp, self.seconds, self.short = law, mpqp, seconds, short
        rng = np.random.default_rng(0)
        spread = verification_points(law, 2 * BATCH, 0, rng)
        self.x = spread[law.locate(spread) >= 0][rng.permutation(BATCH)]
        self.u = law(self.x)
        self.range = np.ptp(self.u, axis=0)

    def wide_calls(self, module: Any) -> dict[str, Any]:
        """Calls of a network with units for all rows and regions, on fewer points in the short form."""
        return torch_calls(module, CHUNK) | ({"count": CHUNK} if self.short else {})

    def row(self, method: str, dtype: str, size: int | None, build: float, **calls: Any) -> dict[str, Any]:
        """Measure a method: `single(x)` of one point, `batch(x)` of all; `parts` splits a batch for wide networks."""
        count = int(calls.get("count", BATCH))
        x = self.x[:count].astype(dtype)
        found = np.asarray(calls["batch"](x), dtype=float)
        exact = self.law(x.astype(float))
        error = float(np.nanmax(np.abs(found - exact) / self.range))
        return {
            "method": method,
            "dtype": dtype,
            "size": size,
            "build_s": build,
            "single_us": 1e6 / per_second(lambda: calls["single"](x[0]), 1, self.seconds),
            "batch_per_s": per_second(lambda: calls["batch"](x[:count]), count, self.seconds),
            "error": error,
            "exact": error <= ERROR[dtype],
        }


def torch_calls(module: Any, chunk: int = BATCH) -> dict[str, Any]:
    """Single and batched calls of a module on numpy points."""

    def batch(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.cat([module(part) for part in torch.from_numpy(x).split(chunk)]).numpy()

    def single(x: np.ndarray) -> torch.Tensor:
        with torch.inference_mode():
            return module(torch.from_numpy(x))

    return {"single": single, "batch": batch}


def network_rows(bench: Bench, n_points: int) -> list[dict[str, Any]]:
    """The three forms in both precisions, verified, and the lattice compiled."""
    rows = []
    for form in FORMS:
        for dtype, kind in DTYPES.items():
            start = time.perf_counter()
            actor: Any = encode_actor(bench.law, form, kind)
            build = time.perf_counter() - start
            calls = torch_calls(actor) if form == "lattice" else bench.wide_calls(actor)
            row = bench.row(form, dtype, actor.n_weights, build, **calls)
            result = verify(actor, bench.law, n_points, n_points // 5)
            rows.append(row | {"exact": result.ok, "bound": result.bound, "max_error": result.max_error})
            if form != "lattice":
                continue
            start = time.perf_counter()
            compiled = actor.compiled(THREADS)
            compiled(bench.x[:2].astype(dtype))
            build += time.perf_counter() - start
            row = bench.row("lattice, compiled loops", dtype, actor.n_weights, build, single=compiled, batch=compiled)
            same = np.array_equal(compiled(bench.x.astype(dtype)), torch_calls(actor)["batch"](bench.x.astype(dtype)))
            rows.append(row | {"exact": result.ok and same})
    return rows


def torch_compiled_row(bench: Bench) -> dict[str, Any]:
    """The lattice through torch.compile, which needs a C++ compiler."""
    actor: Any = encode_actor(bench.law, "lattice")
    start = time.perf_counter()
    compiled = torch.compile(actor)
    try:
        torch_calls(compiled)["batch"](bench.x)
    except Exception as error:  # no compiler here: a row, not a failure
        return {"method": "lattice, torch.compile", "skipped": f"{type(error).__name__}"}
    build = time.perf_counter() - start
    return bench.row("lattice, torch.compile", "float64", actor.n_weights, build, **torch_calls(compiled))


def gpu_row(bench: Bench) -> dict[str, Any]:
    """The lattice in one kernel on a GPU."""
    if not torch.cuda.is_available():
        return {"method": "lattice on a GPU", "skipped": "no GPU here"}
    return gpu.network_row(bench.law, "lattice", "float32", True, bench.seconds)


def published_row(bench: Bench) -> dict[str, Any]:
    """The published layout as published: M = 500, no row tolerance; and how many points on facets it loses."""
    start = time.perf_counter()
    network = PublishedNetwork(bench.law)
    build = time.perf_counter() - start
    size = sum(weight.numel() for weight in network.buffers())
    row = bench.row("published layout, M = 500", "float64", size, build, **bench.wide_calls(network))
    on_facets = verification_points(bench.law, 0, 4_000 if bench.short else 20_000, np.random.default_rng(1))
    on_facets = torch.from_numpy(on_facets[bench.law.locate(on_facets) >= 0])
    lost = torch.cat([network.chosen(part).sum(dim=1) < 1 for part in on_facets.split(10_000)])
    return row | {"lost_on_facets": float(lost.double().mean())}


def peer_rows(bench: Bench) -> list[dict[str, Any]]:
    """The law itself by scanning and by search tree, PPOPT's evaluation, and the QP solved online."""
    law = bench.law
    numbers = int(law.H.size + law.k.size + law.F.size + law.g.size)
    rows = [bench.row("law, regions scanned", "float64", numbers, 0.0, single=law, batch=law)]
    start = time.perf_counter()
    tree = law.with_tree()
    build = time.perf_counter() - start
    if tree.tree is not None:
        size = numbers + sum(part.size for part in vars(tree.tree).values() if isinstance(part, np.ndarray))
        rows.append(bench.row("law, search tree, compiled", "float64", size, build, single=tree, batch=tree))
    solve = bench.mpqp.solve_qp_batch

    def online(x: np.ndarray) -> np.ndarray:
        return solve(np.atleast_2d(x)).z[:, : law.n_out]

    numbers = int(sum(part.size for part in (bench.mpqp.H, bench.mpqp.F, bench.mpqp.A, bench.mpqp.b, bench.mpqp.B)))
    few = bench.x[:2000]
    error = float((np.abs(online(few) - bench.u[:2000]) / bench.range).max())
    rows.append(
        {
            "method": "online QP (daqp)",
            "dtype": "float64",
            "size": numbers,
            "build_s": 0.0,
            "single_us": 1e6 / per_second(lambda: online(few[0]), 1, bench.seconds),
            "batch_per_s": per_second(lambda: online(few), len(few), bench.seconds),
            "error": error,
            "exact": error <= 1e-8,
        }
    )
    rows.append(ppopt_row(bench))
    return rows


def ppopt_row(bench: Bench) -> dict[str, Any]:
    """PPOPT's evaluation of its own solution."""
    name = "PPOPT evaluate"
    if importlib.util.find_spec("ppopt") is None:
        return {"method": name, "skipped": "not installed"}
    limit = PPOPT_REGIONS[bench.short]
    if bench.law.n_regions > limit:
        return {"method": name, "skipped": f"more than {limit} regions"}
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        try:
            solution = solve_with_ppopt(bench.mpqp)
        except Exception as error:  # a peer's failure is a row, not ours
            return {"method": name, "skipped": f"{type(error).__name__}: {error}"}
        build = time.perf_counter() - start

    def evaluate(x: np.ndarray) -> np.ndarray | None:
        return solution.evaluate(x[:, None])

    few, n_out = bench.x[:300], bench.law.n_out
    found = [evaluate(x) for x in few]
    held = np.array([u is not None for u in found])
    got = np.array([np.ravel(u)[:n_out] for u in found if u is not None])
    error = float((np.abs(got - bench.u[:300][held]) / bench.range).max())
    return {
        "method": name,
        "dtype": "float64",
        "size": sum(
            int(region.E.size + region.f.size + region.A.size + region.b.size) for region in solution.critical_regions
        ),
        "build_s": build,
        "single_us": 1e6 / per_second(lambda: evaluate(few[0]), 1, bench.seconds),
        "batch_per_s": per_second(lambda: [evaluate(x) for x in few], len(few), bench.seconds),
        "error": error,
        "exact": error <= 1e-6,
    }


def solve_with_ppopt(program: MpQp) -> Any:
    """Solve a program with PPOPT's combinatorial-graph algorithm, GLPK and DAQP."""
    from ppopt.mp_solvers.solve_mpqp import mpqp_algorithm, solve_mpqp as solve_ppopt  # noqa: I001
    from ppopt.mpqp_program import MPQP_Program
    from ppopt.solver import Solver

    eye = np.eye(program.n_theta)
    more = program.theta_A is not None
    A_t = np.vstack([eye, -eye, *([program.theta_A] if more else [])])
    b_t = np.concatenate([program.theta_max, -program.theta_min, *([program.theta_b] if more else [])])[:, None]
    peer = MPQP_Program(
        A=np.array(program.A), b=program.b[:, None].copy(), c=program.f[:, None].copy(), H=np.array(program.F),
        Q=np.array(program.H), A_t=A_t, b_t=b_t, F=np.array(program.B),
        solver=Solver({"lp": "glpk", "qp": "daqp", "milp": "glpk", "miqp": "gurobi"}),
    )  # fmt: skip
    return solve_ppopt(peer, mpqp_algorithm.combinatorial_graph)


def measure_law(name: str, seconds: float, n_points: int, short: bool) -> dict[str, Any]:
    """All methods on one problem."""
    mpqp = tutorial() if name == "tutorial" else problem(name)
    start = time.perf_counter()
    law = solve_mpqp(mpqp)
    solve = time.perf_counter() - start
    bench = Bench(law, mpqp, seconds, short)
    rows = network_rows(bench, n_points)
    if not short:
        rows.append(torch_compiled_row(bench))
    rows += [gpu_row(bench), published_row(bench), *peer_rows(bench)]
    return {"problem": name, "regions": law.n_regions, "laws": law.n_laws, "solve_s": solve, "rows": rows}


def targets(laws: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was asked for, and what was found; a target that cannot be measured here is None."""
    first = next(law for law in laws if law["problem"] == "P1_N10")
    networks = [row for row in first["rows"] if row.get("exact") and row["method"].startswith("lattice")]
    on_cpu = [row for row in networks if " on " not in row["method"]]
    fastest = max(on_cpu, key=lambda row: row["batch_per_s"])
    graphics = next((row["batch_per_s"] for row in networks if " on " in row["method"]), None)
    published = next(law for law in laws if law["problem"] == "tutorial")["rows"]
    size = {row["method"]: row["size"] for row in published if row.get("dtype") == "float64"}
    ratio = size["five_layer"] / size["lattice"]
    name = f"{fastest['method']}, {fastest['dtype']}"
    return [
        {"target": f"fastest exact form on P1_N10 ({name}), evaluations/s", "found": fastest["batch_per_s"],
         "asked": CPU_TARGET, "ok": fastest["batch_per_s"] >= CPU_TARGET},
        {"target": "on a GPU, evaluations/s", "found": graphics, "asked": gpu.TARGET,
         "ok": None if graphics is None else graphics >= gpu.TARGET},
        {"target": "weights of five layers / lattice, 115 regions", "found": ratio, "asked": SIZE_TARGET,
         "ok": ratio >= SIZE_TARGET},
    ]  # fmt: skip


def run(short: bool = False) -> dict[str, Any]:
    """Measure every law; `ok` says whether all are exact and the targets hold.

    Args:
        short: fewer laws and points, below a minute.
    """
    torch.set_num_threads(THREADS)
    names = ("P1_N10", "tutorial") if short else ("P1_N10", "tutorial", "P3_N5", "P2_N3")
    seconds, n_points = (0.1, 10_000) if short else (1.0, 100_000)
    laws = [measure_law(name, seconds, n_points, short) for name in names]
    critics = critic_rows(short)
    wanted = targets(laws)
    ours = [row for law in laws for row in law["rows"] if row["method"].split(",")[0] in FORMS and "exact" in row]
    ok = all(row["exact"] for row in [*ours, *critics]) and all(row["ok"] is not False for row in wanted)
    return {"benchmark": "yann", "short": short, "laws": laws, "critics": critics, "targets": wanted, "ok": ok}


def table(report: dict[str, Any]) -> str:
    """Return the report as text, one block a law."""
    lines = []
    for law in report["laws"]:
        lines.append(
            f"{law['problem']}: {law['regions']} regions, {law['laws']} laws, solved in {law['solve_s']:.2f} s"
        )
        head = f"{'numbers':>10}{'build s':>10}{'single us':>11}{'batch M/s':>11}{'error':>10}"
        lines.append(f"  {'method':<28}{'type':<9}{head}  error is that of the range")
        lines += [f"  {_line(row)}" for row in law["rows"]]
    lines.append(
        f"critics: {'problem':<26}{'numbers':>9}{'build s':>9}{'batch M/s':>11}{'Q':>10}{'slope':>10}{'TD':>10}"
    )
    for row in report["critics"]:
        figures = f"{row['size']:>9}{row['build_s']:>9.2f}{row['batch_per_s'] / 1e6:>11.3f}"
        errors = f"{row['q_error']:>10.1e}{row['slope_error']:>10.1e}{row['td_residual']:>10.1e}"
        lines.append(f"         {row['problem']:<26}{figures}{errors}  {'exact' if row['exact'] else 'WRONG'}")
    for row in report["targets"]:
        found = "not measured here" if row["found"] is None else f"{row['found']:.4g}"
        verdict = {None: "", True: "holds", False: "MISSED"}[row["ok"]]
        lines.append(f"{row['target']}: {found} (asked: {row['asked']:.4g}) {verdict}")
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return f"{row['method']:<28}{row['skipped']}"
    single = "" if row["single_us"] is None else f"{row['single_us']:.1f}"
    figures = (
        f"{row['size']:>10}{row['build_s']:>10.3f}{single:>11}{row['batch_per_s'] / 1e6:>11.3f}{row['error']:>10.1e}"
    )
    lost = (
        f"; {100 * row['lost_on_facets']:.1f} % of points on facets in no region" if row.get("lost_on_facets") else ""
    )
    return f"{row['method']:<28}{row['dtype']:<9}{figures}  {'exact' if row['exact'] else 'not exact'}{lost}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="at most a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to this file")
    options = parser.parse_args(arguments)
    report = run(options.short)
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
