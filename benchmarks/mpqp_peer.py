"""PPOPT on the problems of the solver's benchmark, where it is installed."""

import contextlib
import importlib.util
import io
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from yannctl import MpQp

PPOPT_SECONDS = 60.0
ALGORITHMS = ("combinatorial_graph", "geometric")


def ppopt_columns(program: MpQp, short: bool) -> dict[str, Any]:
    """Return regions and CPU seconds of PPOPT's combinatorial-graph and geometric algorithms, if it is installed."""
    if importlib.util.find_spec("ppopt") is None:
        return {f"ppopt_{name}": "not installed" for name in ALGORITHMS}
    seconds = 5.0 if short else PPOPT_SECONDS
    return {f"ppopt_{name}": _run_ppopt(program, name, seconds) for name in ALGORITHMS}


def _run_ppopt(program: MpQp, algorithm: str, seconds: float) -> dict[str, Any]:
    """Return the medians of three runs, or what one run gave when it takes longer than a second."""
    runs: list[dict[str, Any]] = []
    while len(runs) < 3:
        try:
            with cpu_limit(seconds), contextlib.redirect_stdout(io.StringIO()):
                runs.append(_solve_ppopt(program, algorithm))
        except TimeoutError:
            return {"failed": f"> {seconds:g} s"}
        except Exception as error:  # a peer's failure is a row, not ours
            return {"failed": f"{type(error).__name__}: {error}"}
        if runs[-1]["seconds"] > 1:
            break
    medians = {key: float(np.median([run[key] for run in runs])) for key in ("seconds", "whole_seconds")}
    return {"regions": runs[-1]["regions"]} | medians


def _solve_ppopt(program: MpQp, algorithm: str) -> dict[str, Any]:
    from ppopt.mp_solvers.solve_mpqp import mpqp_algorithm, solve_mpqp as solve_ppopt  # noqa: I001
    from ppopt.mpqp_program import MPQP_Program
    from ppopt.solver import Solver

    eye = np.eye(len(program.theta_min))
    domain = np.concatenate([program.theta_max, -program.theta_min])[:, None]
    start = time.process_time()
    peer = MPQP_Program(
        A=np.array(program.A), b=program.b[:, None].copy(), c=program.f[:, None].copy(), H=np.array(program.F),
        Q=np.array(program.H), A_t=np.vstack([eye, -eye]), b_t=domain, F=np.array(program.B),
        solver=Solver({"lp": "glpk", "qp": "daqp", "milp": "glpk", "miqp": "gurobi"}),
    )  # fmt: skip
    begin = time.process_time()
    answer = solve_ppopt(peer, mpqp_algorithm[algorithm])
    end = time.process_time()
    return {"regions": len(answer.critical_regions), "seconds": end - begin, "whole_seconds": end - start}


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after so many CPU seconds of this process."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
