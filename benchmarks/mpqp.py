"""Explicit solver: regions, time and correctness on the canonical problems, beside PPOPT where it is installed.

Run `python benchmarks/mpqp.py [--short] [--only NAME ...] [--json FILE]`; exit code 1 when a correctness target does
not hold. Times are CPU seconds of one thread, the median of at least three solves, with the compilation apart.
PPOPT runs with GLPK and DAQP, its fastest setting; the ratio is taken with the faster of two of its algorithms that
finds as many regions. "Alone" compares exploration with PPOPT's solve call, "whole" solve, objects and audit with
PPOPT's program and solve call.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from yannctl import MpQp, PwaLaw, Settings, solve_mpqp
from yannctl.mpqp.presolve import presolve
from yannctl.pwa.audit import facet_centres
from yannctl.pwa.closure import repair
from yannctl.pwa.evaluation import break_even
from yannctl.pwa.exploration import Exploration

sys.path.insert(0, str(Path(__file__).parent))
from mpqp_peer import ALGORITHMS, ppopt_columns
from problems import REGIONS, problem
from rational_qp import ExactProgram

MAX_ERROR = 1e-8  # of the input range
MOST_SCANS = 5_000_000_000  # samples times regions: fewer samples on the one law of 120 000 regions
SHORT = (
    "P1_N5", "P1_N10", "P2_N3", "P3_N5", "P4_nx4_N3", "P5_n3m10t4", "P5_n5m20t3", "H_facet", "H_licq", "H_twice",
    "H_units", "H_long", "H_twins", "H_deadbeat", "H_weak",
)  # fmt: skip
LOOKED_UP = ("P1_N10", "P2_N3", "P3_N10", "P5_n5m20t3", "P4_nx4_N3", "P2_N5")


def run(short: bool, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Solve the problems and check the laws.

    Args:
        short: whether fewer samples are checked and slow runs of PPOPT left out.
        names: keys of `REGIONS`; None for all of them, or those of the short form.

    Returns:
        {"ok": all correctness targets hold, "compile_seconds", "rows" and "look_ups": a dictionary a problem, and the
        geometric means "alone" and "whole" of the ratios to PPOPT over the problems P that it finishes, and the
        lowest of them, None without it}.
    """
    start = time.perf_counter()
    solve_mpqp(problem("P1_N5"))
    compile_seconds = time.perf_counter() - start
    todo = names or (SHORT if short else tuple(REGIONS))
    rows = [measure(name, 2000 if short else 200_000, short) for name in tqdm(todo, "problems", disable=None)]
    ratios = {
        kind: [row[kind] for row in rows if row[kind] and row["problem"][0] == "P"] for kind in ("alone", "whole")
    }
    means = {kind: _geometric_mean(found) for kind, found in ratios.items()}
    lowest = {f"lowest_{kind}": min(found, default=None) for kind, found in ratios.items()}
    trees = look_ups(LOOKED_UP[:2] if short else LOOKED_UP)
    ok = all(row["ok"] for row in rows) and not any(row["wrong"] for row in trees)
    return {"ok": ok, "compile_seconds": compile_seconds, "rows": rows, "look_ups": trees} | means | lowest


def _geometric_mean(ratios: list[float]) -> float | None:
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else None


def explored(program: MpQp) -> Exploration:
    """Return a finished exploration: everything but the objects."""
    exploration = Exploration(presolve(program), Settings())
    exploration.find_start()
    exploration.run()
    repair(exploration)
    return exploration


def cpu_seconds(call: Callable[[], Any]) -> float:
    """Return the median CPU seconds of a call, at least three of them and half a second in all."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.5 and len(times) < 51):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return float(np.median(times))


def measure(name: str, samples: int, short: bool) -> dict[str, Any]:
    """Solve one problem several times and check its law against an online QP."""
    program = problem(name)
    law = solve_mpqp(program)
    audit = law.audit()
    alone = cpu_seconds(lambda: explored(program))
    seconds = cpu_seconds(lambda: solve_mpqp(program))
    whole = cpu_seconds(lambda: solve_mpqp(program).audit())
    samples = min(samples, MOST_SCANS // law.n_regions)
    uncovered, error, disputed = compare(law, program, samples)
    expected = REGIONS[name]
    row: dict[str, Any] = {
        "problem": name, "regions": law.n_regions, "expected": expected, "laws": law.n_laws, "alone_ms": 1e3 * alone,
        "ms": 1e3 * seconds, "whole_ms": 1e3 * whole, "regions_per_second": law.n_regions / max(alone, 1e-9),
        "samples": samples, "uncovered": uncovered, "max_error": error, "disputed": disputed,
        "open_facets": audit.n_open, "status": law.status,
    }  # fmt: skip
    right = expected in {None, law.n_regions} and law.status == "complete"
    row["ok"] = bool(right and uncovered == 0 and error <= MAX_ERROR and audit.n_open == 0)
    row |= ppopt_columns(program, short)
    peers = [row[f"ppopt_{algorithm}"] for algorithm in ALGORITHMS]
    correct = [peer for peer in peers if isinstance(peer, dict) and peer.get("regions") == law.n_regions]
    row["alone"] = min(peer["seconds"] for peer in correct) / alone if correct else None
    row["whole"] = min(peer["whole_seconds"] for peer in correct) / whole if correct else None
    return row


def look_ups(names: tuple[str, ...] = LOOKED_UP, points: int = 200_000) -> list[dict[str, Any]]:
    """Build search trees and time look-ups on points of the parameter box that do not repeat.

    Args:
        names: problems.
        points: number of points in the batch.

    Returns:
        One dictionary a problem; "wrong" counts results that differ from the scan in any bit.
    """
    rows = []
    for name in names:
        law = solve_mpqp(problem(name))
        law.with_tree()
        build, fast = best_of(1, law.with_tree)
        theta = np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (points, law.ntheta))
        fast(theta)
        fast(theta[0])
        batch, u = best_of(7, fast, theta)
        inside = theta[~np.isnan(u).any(axis=1)]
        held, _ = best_of(7, fast, inside)
        located, _ = best_of(3, fast.locate, inside)
        single, _ = best_of(5, lambda fast=fast, theta=theta: [fast(point) for point in theta[:2000]])
        few = np.array_split(theta[:20_000], 40)  # so few that no tree is built for them
        law(few[0])
        scan, rule = best_of(1, lambda law=law, few=few: np.concatenate([law(part) for part in few]))
        wrong = int((~((u[: len(rule)] == rule) | (np.isnan(u[: len(rule)]) & np.isnan(rule)))).any(axis=1).sum())
        rows.append({
            "problem": name, "regions": law.n_regions, "laws": law.n_laws, "nodes": fast.tree.n_nodes,
            "a region": fast.tree.n_nodes / law.n_regions, "depth": fast.tree.depth, "build_ms": 1e3 * build,
            "batch_ns": 1e9 * batch / points, "inside_ns": 1e9 * held / len(inside),
            "locate_ns": 1e9 * located / len(inside), "single_us": 1e6 * single / 2000,
            "scan_ns": 1e9 * scan / len(rule), "break_even": int(break_even(law)), "wrong": wrong,
        })  # fmt: skip
    return rows


def best_of(repeats: int, call: Any, *arguments: Any) -> tuple[float, Any]:
    """Return the least CPU seconds of some calls, and the last result."""
    times, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = call(*arguments)
        times.append(time.process_time() - start)
    return min(times), result


def compare(law: PwaLaw, program: MpQp, samples: int) -> tuple[int, float, int]:
    """Compare a law with an online QP, and in rational numbers where the two differ by more than `MAX_ERROR`.

    Half of the samples are uniform, half lie 1e-6 (scaled) on either side of facets. Where rows are nearly parallel, in
    regions as small as 1e-7, the online QP's own tolerance can move its minimiser by more than that.

    Args:
        law: the law.
        program: what it solves.
        samples: number of points.

    Returns:
        Feasible samples without a region, largest error relative to the output range, and samples judged in rationals.
    """
    points = drawn(law, samples)
    exact = program.solve_qp_batch(points)
    feasible = np.array([status == "optimal" for status in exact.status])
    u = law(points)
    held = ~np.isnan(u).any(axis=1)
    uncovered = int((feasible & ~held).sum())
    both = np.flatnonzero(feasible & held)
    if not len(both):
        return uncovered, 0.0, 0
    reference = exact.z[both][:, : law.n_out]
    size = np.maximum(np.ptp(reference, axis=0), 1e-12)
    error = (np.abs(u[both] - reference) / size).max(axis=1)
    disputed = np.flatnonzero(error > MAX_ERROR)
    if len(disputed):
        judge = ExactProgram(program)
        for i in disputed:
            z = judge.solve(points[both[i]])
            error[i] = np.inf if z is None else (np.abs(u[both[i]] - z[: law.n_out]) / size).max()
    return uncovered, float(error.max()), len(disputed)


def drawn(law: PwaLaw, samples: int) -> np.ndarray:
    """Return parameters of which half are uniform and half lie 1e-6 (scaled) on either side of facets."""
    generator = np.random.default_rng(0)
    lower, upper = law.theta_min, law.theta_max
    uniform = generator.uniform(lower, upper, (samples // 2, law.ntheta))
    centres, normals, _ = facet_centres(law)
    pick = generator.integers(len(centres), size=samples - samples // 2)
    beside = centres[pick] + generator.choice([-1e-6, 1e-6], (len(pick), 1)) * normals[pick]
    beside = beside[(np.abs(beside) <= 1).all(axis=1)]
    return np.vstack([uniform, (upper + lower) / 2 + (upper - lower) / 2 * beside])


def table(result: dict[str, Any]) -> str:
    """Return the result as text."""
    titles = ["regions", "laws", "alone ms", "ms", "audited ms", "regions/s"]
    titles += ["uncovered", "max error", "judged", "open"]
    head = f"{'problem':<12}" + "".join(f"{title:>11}" for title in titles)
    lines = [f"compilation and first solve {result['compile_seconds']:.1f} s"]
    lines.append(f"{head}  ok  PPOPT graph / geometric, its best / ours: alone, whole")
    for row in result["rows"]:
        numbers = f"{row['regions']:>11}{row['laws']:>11}{row['alone_ms']:>11.2f}{row['ms']:>11.2f}"
        speed = f"{row['whole_ms']:>11.2f}{row['regions_per_second']:>11.0f}"
        checks = f"{row['uncovered']:>11}{row['max_error']:>11.1e}{row['disputed']:>11}{row['open_facets']:>11}"
        peers = " / ".join(_peer(row[f"ppopt_{name}"]) for name in ALGORITHMS)
        ratios = f"  {row['alone']:.0f}, {row['whole']:.0f}" if row["alone"] else ""
        lines.append(f"{row['problem']:<12}{numbers}{speed}{checks}  {'yes' if row['ok'] else 'NO':<4}{peers}{ratios}")
    if result["alone"]:
        means, lowest = (
            f"alone {result[each + 'alone']:.0f}, whole {result[each + 'whole']:.0f}" for each in ("", "lowest_")
        )
        lines.append(f"PPOPT / ours over the problems P, geometric mean: {means}; lowest: {lowest}")
    lines.append(
        "\nlook-up by search tree, compiled: batched on points that do not repeat, and single calls from Python"
    )
    lines.append(f"{'problem':<12}" + "".join(f"{title:>11}" for title in list(result["look_ups"][0])[1:]))
    for row in result["look_ups"]:
        cells = (f"{v:>11.1f}" if isinstance(v, float) else f"{v:>11}" for v in list(row.values())[1:])
        lines.append(f"{row['problem']:<12}" + "".join(cells))
    return "\n".join(lines)


def _peer(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    return cell["failed"] if "failed" in cell else f"{cell['regions']} in {cell['seconds']:.3f} s"


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="at most a minute")
    parser.add_argument("--only", metavar="NAME", nargs="+", choices=sorted(REGIONS), help="these problems only")
    parser.add_argument("--json", metavar="FILE", help="write the result to a file")
    arguments = parser.parse_args()
    result = run(arguments.short, arguments.only)
    print(table(result))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=1))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
