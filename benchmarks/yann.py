"""Size, build time, speed and error of the exact networks on double-integrator laws.

    python benchmarks/yann.py [--short] [--json FILE]

Exit code 0 when every form equals its law and every critic the online problem, 1 otherwise.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yannctl.linear import LinearModel
from yannctl.mpqp import condense
from yannctl.ocp import Ocp
from yannctl.pwa import PwaLaw, solve_mpqp
from yannctl.yann import encode_actor, encode_critic, verify, verify_critic

FORMS = ("gather", "five_layer", "lattice")
DTYPES = {"float64": torch.float64, "float32": torch.float32}
BATCH = 100_000


def integrator(N: int, soft: str | None) -> Ocp:
    """Double integrator with bounds on position, speed and input."""
    lin = LinearModel(np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.5], [1.0]]))
    bounds = {"x_min": [-25.0, -5.0], "x_max": [25.0, 5.0], "u_min": [-1.0], "u_max": [1.0]}
    return Ocp(lin, Q=np.eye(2), R=0.1 * np.eye(1), N=N, soft=soft, **bounds)


def per_second(call: Callable[[], Any], evaluations: int, seconds: float) -> float:
    """Repeat a call for some time; the best repetition counts, the machine may be busy."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return evaluations / best


def measure_form(law: PwaLaw, form: str, dtype: str, seconds: float, n_points: int) -> dict[str, Any]:
    """One row of the table."""
    start = time.perf_counter()
    actor = encode_actor(law, form, DTYPES[dtype])
    build = time.perf_counter() - start
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.uniform(law.theta_min, law.theta_max, (BATCH, law.ntheta))).to(DTYPES[dtype])
    result = verify(actor, law, n_points, n_points // 5)
    with torch.no_grad():
        single = per_second(lambda: actor(x[0]), 1, seconds)
        batch = per_second(lambda: [actor(part) for part in x.split(10_000)], BATCH, seconds)
    return {
        "form": form,
        "dtype": dtype,
        "weights": actor.n_weights,
        "build_s": build,
        "single_per_s": single,
        "batch_per_s": batch,
        "max_error": result.max_error,
        "tolerance": result.tolerance,
        "points": result.n_points,
        "ok": result.ok,
    }


def measure_law(N: int, soft: str | None, seconds: float, n_points: int) -> dict[str, Any]:
    """All forms and the critic of one problem."""
    ocp = integrator(N, soft)
    start = time.perf_counter()
    law = solve_mpqp(condense(ocp))
    solve = time.perf_counter() - start
    x = np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (BATCH, 2))
    rows = [measure_form(law, form, dtype, seconds, n_points) for form in FORMS for dtype in DTYPES]
    start = time.perf_counter()
    critic = encode_critic(ocp)
    build = time.perf_counter() - start
    checked = verify_critic(critic, ocp, 300)
    states, inputs = torch.as_tensor(x), torch.as_tensor(np.random.default_rng(1).uniform(-1, 1, (BATCH, 1)))
    with torch.no_grad():
        speed = per_second(lambda: critic(states, inputs), BATCH, seconds)
    return {
        "N": N,
        "soft": soft,
        "regions": law.n_regions,
        "laws": law.n_laws,
        "solve_s": solve,
        "law_batch_per_s": per_second(lambda: law(x), BATCH, seconds),
        "forms": rows,
        "critic": {
            "weights": critic.n_weights,
            "build_s": build,
            "batch_per_s": speed,
            "max_relative_error": checked.max_relative_error,
            "tolerance": checked.tolerance,
            "ok": checked.ok,
        },
        "ok": all(row["ok"] for row in rows) and checked.ok,
    }


def run(short: bool = False) -> dict[str, Any]:
    """Measure every law; `ok` says whether all are exact.

    Args:
        short: fewer and smaller laws, below a minute.
    """
    torch.set_num_threads(1)
    problems = [(3, None), (10, None), (4, "l1l2")] + ([] if short else [(20, None), (8, "l1l2")])
    seconds, n_points = (0.1, 10_000) if short else (1.0, 100_000)
    laws = [measure_law(N, soft, seconds, n_points) for N, soft in problems]
    return {"benchmark": "yann", "short": short, "laws": laws, "ok": all(law["ok"] for law in laws)}


def table(report: dict[str, Any]) -> str:
    """Return the report as text, one block a law."""
    lines = []
    for law in report["laws"]:
        title = f"N = {law['N']}, soft = {law['soft']}: {law['regions']} regions, {law['laws']} laws"
        lines.append(f"{title}, solved in {law['solve_s']:.2f} s, law(theta) {law['law_batch_per_s']:.3g}/s")
        head = f"{'weights':>9}{'build s':>9}{'single/s':>11}{'batch/s':>11}{'max error':>11}"
        lines.append(f"  {'form':<12}{'type':<9}{head}")
        for row in law["forms"]:
            speeds = f"{row['single_per_s']:>11.3g}{row['batch_per_s']:>11.3g}"
            figures = f"{row['weights']:>9}{row['build_s']:>9.3f}{speeds}{row['max_error']:>11.2g}"
            lines.append(f"  {row['form']:<12}{row['dtype']:<9}{figures}  {'exact' if row['ok'] else 'WRONG'}")
        critic = law["critic"]
        speeds = f"{critic['build_s']:>9.3f}{'':>11}{critic['batch_per_s']:>11.3g}{critic['max_relative_error']:>11.2g}"
        figures = f"{critic['weights']:>9}{speeds}"
        lines.append(f"  {'critic':<12}{'float64':<9}{figures}  {'exact' if critic['ok'] else 'WRONG'}")
    return "\n".join(lines)


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
