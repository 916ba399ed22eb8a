"""What a GPU makes of networks, plants and learners, in one run: evaluations, plant steps and updates a second.

    python benchmarks/gpu.py [--parts networks,plants,learners] [--json FILE]

Wall time, the GPU waited for. Exit code 0 when the targets hold (1 G evaluations/s of the fastest form on P1_N10, 1 G
steps/s of the pendulum) and every result is right, 1 otherwise; without a GPU it says so and ends with 0.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from yannctl import PwaLaw, solve_mpqp
from yannctl.files import write_whole
from yannctl.yann import encode_actor
from yannctl.yann.verification import verification_points

sys.path.insert(0, str(Path(__file__).parent))
from problems import problem

POINTS, CHECKED = 10_000_000, 100_000
FORMS = (("lattice", "float32"), ("lattice", "float64"), ("gather", "float32"), ("gather", "float64"))
ERROR = {"float64": 1e-9, "float32": 1e-3}  # of the output's range: a sanity check; near a facet a region may be missed
STEP_ERROR = {"float64": 1e-9, "float32": 1e-3}  # of a plant's state range, one period
COMPILED_PLANTS = ("Pendulum, Gymnasium's step", "CSTR, fast")
TARGET = 1e9
PARTS = ("networks", "plants", "learners")


def wall_per_second(call: Callable[[], Any], count: int, seconds: float) -> float:
    """Repeat a call for some time and wait for each; the best repetition counts.

    Args:
        call: what is timed.
        count: things it does.
        seconds: how long.

    Returns:
        Things a second.
    """
    call()
    torch.cuda.synchronize()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return count / best


def network_row(law: PwaLaw, form: str, dtype: str, compiled: bool, seconds: float, points: int = POINTS) -> dict:
    """One form on the GPU, its values against the law at points of the feasible set.

    Args:
        law: the law.
        form: name of the form.
        dtype: "float32" or "float64".
        compiled: whether through torch.compile.
        seconds: time of the measurement.
        points: points in the batch.

    Returns:
        A row of `benchmarks/yann.py`.
    """
    actor: Any = encode_actor(law, form, getattr(torch, dtype)).cuda()
    spread = verification_points(law, 2 * CHECKED, 0, np.random.default_rng(0))
    seen = spread[law.locate(spread) >= 0][:CHECKED]
    few = torch.from_numpy(seen[:points].astype(dtype)).cuda()
    x = few.repeat(-(-points // len(few)), 1)[:points]
    start = time.perf_counter()
    called = torch.compile(actor) if compiled else actor
    with torch.inference_mode():
        found = called(x)[: len(few)].double().cpu().numpy()
        build = time.perf_counter() - start
        exact = law(few.double().cpu().numpy())
        error = float(np.abs(found - exact).max() / np.ptp(exact))
        rate = wall_per_second(lambda: called(x), points, seconds)
    how = f"{form}{', torch.compile' if compiled else ''} on {torch.cuda.get_device_name()}"
    row = {"method": how, "dtype": dtype, "size": actor.n_weights, "build_s": build, "single_us": None}
    return row | {"batch_per_s": rate, "points": points, "error": error, "exact": error <= ERROR[dtype]}


def networks(seconds: float = 1.0) -> dict[str, Any]:
    """The forms on P1_N10."""
    law = solve_mpqp(problem("P1_N10"))
    rows = [
        network_row(law, form, dtype, compiled, seconds)
        for form, dtype in FORMS
        for compiled in (True, False)
        if compiled or form == "lattice"
    ]
    fastest = max(rows, key=lambda row: row["batch_per_s"])
    ok = all(row["exact"] for row in rows) and fastest["batch_per_s"] >= TARGET
    return {"problem": "P1_N10", "rows": rows, "fastest_per_s": fastest["batch_per_s"], "asked": TARGET, "ok": ok}


def plants(seconds: float = 0.5) -> dict[str, Any]:
    """Every plant's batched step, the tape's operations one by one and, for some, in one kernel."""
    from plants import BATCH, CASES, GPU_BATCH, operating_samples

    rows: list[dict[str, Any]] = []
    for case in CASES:
        plant = case.plant
        x, u = operating_samples(plant, BATCH)
        exact, width = plant.step(x, u), np.where(np.isfinite(plant.x_max), plant.x_max - plant.x_min, 1.0)
        for dtype in ("float64", "float32"):
            for compiled in (False, True) if case.name in COMPILED_PLANTS else (False,):
                parts = [np.resize(part, (GPU_BATCH, part.shape[1])).astype(dtype) for part in (x, u)]
                sent = [torch.from_numpy(part).cuda() for part in parts]
                step: Any = plant.step_tape.torch
                step = torch.compile(make_fx(step)(*sent)) if compiled else step
                with torch.inference_mode():
                    result = step(*sent)
                    found = (result if isinstance(result, torch.Tensor) else result[0])[:BATCH].double().cpu().numpy()
                    rate = wall_per_second(lambda step=step, sent=sent: step(*sent), GPU_BATCH, seconds)
                share = np.abs(found - exact) / width
                error = float(np.minimum(share, np.abs(1.0 - share)).max())  # an angle may be wrapped the other way
                row = {"name": case.name, "dtype": dtype, "compiled": compiled, "million_steps_per_s": rate / 1e6}
                rows.append(row | {"error": error, "ok": error <= STEP_ERROR[dtype]})
                torch.cuda.empty_cache()
    pendulum = max(row["million_steps_per_s"] for row in rows if row["name"] == CASES[0].name)
    return {"rows": rows, "asked": TARGET, "ok": all(row["ok"] for row in rows) and pendulum * 1e6 >= TARGET}


def learners() -> dict[str, Any]:
    """Updates a second, as `benchmarks/learners.py` has them."""
    from learners_gpu import measure

    return measure() | {"ok": True}


def run(parts: tuple[str, ...] = PARTS) -> dict[str, Any]:
    """Measure some parts.

    Args:
        parts: some of `PARTS`.

    Returns:
        The report; `ok` says whether all targets hold.
    """
    report: dict[str, Any] = {"benchmark": "gpu", "gpu": None, "torch": torch.__version__, "ok": True}
    if not torch.cuda.is_available():
        return report
    report["gpu"] = torch.cuda.get_device_name()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's compiler about torch
        for name in parts:
            report[name] = {"networks": networks, "plants": plants, "learners": learners}[name]()
    return report | {"ok": all(report[name]["ok"] for name in parts)}


def table(report: dict[str, Any]) -> str:
    """Return the report as text.

    Args:
        report: from `run`.
    """
    if report["gpu"] is None:
        return "not measured: no GPU"
    lines = [f"{report['gpu']}, torch {report['torch']}"]
    for row in report.get("networks", {}).get("rows", ()):
        figure = f"{row['batch_per_s'] / 1e9:8.3f} G/s"
        lines.append(f"{row['method']:<60}{row['dtype']:<9}{figure}  error {row['error']:.1e}")
    for row in report.get("plants", {}).get("rows", ()):
        name = row["name"] + (", torch.compile" if row["compiled"] else "")
        lines.append(
            f"{name:<60}{row['dtype']:<9}{row['million_steps_per_s'] / 1e3:8.3f} G/s  error {row['error']:.1e}"
        )
    lines += [f"{name:<60}{rate:12.0f} /s" for name, rate in report.get("learners", {}).get("per_s", {}).items()]
    lines += [
        f"training, {name:<50}{s:12.1f} s" for name, s in report.get("learners", {}).get("training_s", {}).items()
    ]
    return "\n".join([*lines, f"all targets hold: {report['ok']}"])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to this file")
    options = parser.parse_args(arguments)
    parts = tuple(options.parts.split(","))
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts: {', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    report = run(parts)
    print(table(report))
    if options.json and report["gpu"] is not None:
        write_whole(options.json, (json.dumps(report, indent=1) + "\n").encode())
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
