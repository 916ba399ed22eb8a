"""Speed and accuracy of the plants: batched steps, integrators against CVODES, the reactor against PC-Gym's.

    python benchmarks/plants.py [--short] [--json FILE]

Exit code 0 when every error is within its limit and, on one core, the pendulum makes at least 20 million and the
reactor at least 3 million steps a second; 1 otherwise. Times are processor time of one thread; the best repetition
counts.
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
import torch

from yannctl.models import CSTR, DifferentialDrive, Pendulum, RunawayReactor
from yannctl.plant import AbstractPlant
from yannctl.rl.vector_environment import PlantVectorEnvironment

BATCH = 20_000
GPU_BATCH = 4_000_000
CVODES = {"abstol": 1e-12, "reltol": 1e-12, "max_num_steps": 100_000}
PEER_AGREEMENT = 1e-9


@dataclass(frozen=True)
class Case:
    """One plant in one setting, with what it has to reach."""

    name: str
    plant: AbstractPlant
    least_million_steps: float | None = None
    largest_error: float | None = None


CASES = (
    Case("Pendulum, Gymnasium's step", Pendulum(), least_million_steps=20.0),
    Case("Pendulum, accurate", Pendulum(integrator="accurate"), largest_error=1e-8),
    Case("CSTR, fast", CSTR(integrator="fast"), least_million_steps=3.0, largest_error=1e-6),
    Case("CSTR, fast, 0.02 min", CSTR(integrator="fast", dt=0.02), largest_error=1e-6),
    Case("CSTR, accurate", CSTR(), largest_error=1e-8),
    Case("RunawayReactor, fast", RunawayReactor(integrator="fast"), largest_error=1e-6),
    Case("RunawayReactor, accurate", RunawayReactor(), largest_error=1e-8),
    Case("DifferentialDrive, fast", DifferentialDrive(integrator="fast"), largest_error=1e-6),
    Case("DifferentialDrive, accurate", DifferentialDrive(), largest_error=1e-8),
)


def million_per_second(call: Callable[[], Any], calls: int, seconds: float, clock: Callable[[], float]) -> float:
    """Repeat a call for some time; the best repetition counts, the machine may be busy."""
    call()
    best, end = float("inf"), clock() + seconds
    while clock() < end:
        start = clock()
        call()
        best = min(best, clock() - start)
    return calls / best / 1e6


def operating_samples(plant: AbstractPlant, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """States of the plant's box of starts and inputs within the limits."""
    rng = np.random.default_rng(seed)
    return plant.sample_starts(n, rng), plant.clip(rng.uniform(plant.u_min, plant.u_max, (n, plant.nu)))


def cvodes_error(plant: AbstractPlant, n: int) -> float:
    """Largest error of one period in shares of each state's range, over periods that end within the hard bounds."""
    x, u = operating_samples(plant, n, seed=1)
    xs, us = ca.SX.sym("x", plant.nx), ca.SX.sym("u", plant.nu)
    oracle = ca.integrator("oracle", "cvodes", {"x": xs, "p": us, "ode": plant.rhs(xs, us)}, 0, plant.dt, CVODES)
    expected = oracle(x0=x.T, p=u.T)["xf"].full().T
    gap = plant.step_function(bounded=False)(x.T, u.T).full().T - expected
    width = plant.x_max - plant.x_min
    share = np.abs(gap) / np.where(np.isfinite(width), width, 1.0)
    return float(share[~plant.trip(expected)].max())


def torch_million_per_second(plant: AbstractPlant, device: str, dtype: torch.dtype, n: int, seconds: float) -> float:
    """Batched torch step; a GPU is waited for."""
    arrays = operating_samples(plant, BATCH)
    tensors = [torch.tensor(np.resize(array, (n, array.shape[1])), dtype=dtype, device=device) for array in arrays]

    def call() -> None:
        with torch.no_grad():
            plant.step_tape.torch(*tensors)
        if device == "cuda":
            torch.cuda.synchronize()

    clock = time.perf_counter if device == "cuda" else time.process_time
    return million_per_second(call, n, seconds, clock)


def measure(case: Case, seconds: float, n_samples: int) -> dict[str, Any]:
    """One row of the table."""
    plant = case.plant
    x, u = operating_samples(plant, BATCH)
    steps = million_per_second(lambda: plant.step(x, u), BATCH, seconds, time.process_time)
    envs = PlantVectorEnvironment(plant, 4096)
    envs.reset(seed=0)
    actions = envs.action_space.sample()
    inside = million_per_second(lambda: envs.step(actions), 4096, seconds, time.process_time)
    by_torch = torch_million_per_second(plant, "cpu", torch.float64, BATCH, seconds)
    gpu = {}
    if torch.cuda.is_available():
        gpu = {
            str(dtype).removeprefix("torch."): torch_million_per_second(plant, "cuda", dtype, GPU_BATCH, seconds)
            for dtype in (torch.float64, torch.float32)
        }
    error = None if case.largest_error is None else cvodes_error(plant, n_samples)
    fast = case.least_million_steps is None or steps >= case.least_million_steps
    exact = case.largest_error is None or (error is not None and error <= case.largest_error)
    return {
        "name": case.name,
        "dt": plant.dt,
        "instructions": int(plant.step_tape.program.shape[0]),
        "million_steps_per_s": steps,
        "million_environment_steps_per_s": inside,
        "million_torch_steps_per_s": by_torch,
        "million_gpu_steps_per_s": gpu,
        "least_million_steps_per_s": case.least_million_steps,
        "error": error,
        "largest_error": case.largest_error,
        "ok": fast and exact,
    }


def compare_with_peer(n: int = 2000) -> dict[str, Any]:
    """Right-hand side of PC-Gym's `cstr` against ours at random states, feeds and inputs; units are the same.

    Only its file of models is loaded: the package itself asks for simulators that are not needed here.
    """
    package = importlib.util.find_spec("pcgym")
    if package is None or not package.submodule_search_locations or importlib.util.find_spec("jax") is None:
        return {"status": "not installed", "ok": True}
    path = Path(package.submodule_search_locations[0]) / "model_classes.py"
    spec = importlib.util.spec_from_file_location("pcgym_model_classes", path)
    if spec is None or spec.loader is None:
        return {"status": f"{path} cannot be loaded", "ok": False}
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    theirs, ours = module.cstr(int_method="casadi"), CSTR()
    names = {"q": "q", "V": "V", "rho": "rho", "C": "Cp", "deltaHr": "dH", "EA_over_R": "E_R", "k0": "k0", "UA": "UA"}
    names |= {"Ti": "Tf", "Caf": "CAf"}
    constants = {own: (getattr(theirs, name), getattr(ours, own)) for name, own in names.items()}
    differing = {name: pair for name, pair in constants.items() if pair[0] != pair[1]}
    rng = np.random.default_rng(0)
    x, u = rng.uniform([0.0, 280.0], [1.0, 390.0], (n, 2)), rng.uniform(280.0, 370.0, (n, 1))
    feed = rng.uniform([345.0, 0.95], [355.0, 1.05], (n, 2))
    function, worst = ours.rate_function(disturbances=True), 0.0
    own = function(x.T, u.T, np.column_stack([feed[:, 1], feed[:, 0], np.full(n, 100.0)]).T).full().T
    for k in range(n):
        rates = np.array(theirs(x[k], np.array([u[k, 0], feed[k, 0], feed[k, 1]])), dtype=float).ravel()
        worst = max(worst, float((np.abs(own[k] - rates) / np.maximum(1.0, np.abs(rates))).max()))
    ok = worst <= PEER_AGREEMENT and not differing
    return {"status": "compared", "samples": n, "largest_difference": worst, "differing": differing, "ok": ok}


def run(short: bool = False) -> dict[str, Any]:
    """Measure every case; `ok` says whether all targets hold.

    Args:
        short: fewer repetitions and samples, below a minute.
    """
    torch.set_num_threads(1)
    seconds, n_samples = (0.3, 300) if short else (2.0, 5000)
    rows = [measure(case, seconds, n_samples) for case in CASES]
    peer = compare_with_peer()
    return {
        "benchmark": "plants",
        "short": short,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "plants": rows,
        "pcgym": peer,
        "ok": all(row["ok"] for row in rows) and peer["ok"],
    }


def table(report: dict[str, Any]) -> str:
    """Return the report as text, one line a plant, speeds in millions of steps a second."""
    gpu = report["gpu"] is not None
    head = f"{'plant':<29}{'dt':>9}{'step':>9}{'wanted':>8}{'vector env':>12}{'torch':>8}"
    lines = [head + (f"{'GPU f64':>9}{'GPU f32':>9}" if gpu else "") + f"{'error':>10}{'limit':>8}"]
    for row in report["plants"]:
        wanted = row["least_million_steps_per_s"]
        text = f"{row['name']:<29}{row['dt']:>9.4g}{row['million_steps_per_s']:>9.3g}{wanted or '':>8}"
        text += f"{row['million_environment_steps_per_s']:>12.3g}{row['million_torch_steps_per_s']:>8.3g}"
        if gpu:
            text += "".join(f"{row['million_gpu_steps_per_s'][kind]:>9.4g}" for kind in ("float64", "float32"))
        error = "" if row["error"] is None else f"{row['error']:.2g}"
        lines.append(f"{text}{error:>10}{row['largest_error'] or '':>8}  {'ok' if row['ok'] else 'MISSED'}")
    lines.append("millions of steps a second, one thread; error of one period in shares of the range, against CVODES")
    lines.append(f"GPU: {report['gpu'] or 'none here'}")
    peer = report["pcgym"]
    if peer["status"] == "compared":
        text = f"right-hand side within {peer['largest_difference']:.2g} at {peer['samples']} points"
        constants = f"other constants: {peer['differing']}" if peer["differing"] else "same constants"
        lines.append(f"PC-Gym cstr: {text}, {constants}  {'ok' if peer['ok'] else 'MISSED'}")
    else:
        lines.append(f"PC-Gym cstr: {peer['status']}")
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
