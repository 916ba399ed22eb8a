"""`yannctl analyse`: what a problem file promises before anything is solved: poles, margins, sets."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from yannctl.errors import ModelError

from .console import Output
from .options import Json, Seed

POINTS = 20_000  # random states that measure the sets
LARGEST = 4  # states up to which the sets are computed: beyond, the explicit law is no longer quick


@dataclass(frozen=True)
class Sets:
    """Sets of a problem.

    Args:
        law: explicit law of the hard problem, or None.
        feasible: share of the states of interest from which some input sequence keeps all bounds, or None.
        terminal: maximal output admissible set of the LQR as a polyhedron, or None.
        terminal_share: its share of the states of interest, or None.
        reason: why a set is missing.
    """

    law: Any
    feasible: float | None
    terminal: Any
    terminal_share: float | None
    reason: str


def analyse(
    file: Annotated[Path, typer.Argument(help="TOML problem file: [model], [weights], [bounds].")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Figure to write (PNG).")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Analyse a problem: poles, disk, gain, phase and delay margins, feasible and terminal set."""
    from yannctl.ocp.analysis import loop_margins, poles

    from .problem_file import read_problem

    output = Output(json)
    ocp = read_problem(file)
    opened, closed = poles(ocp)
    margins = loop_margins(ocp)
    sets = compute_sets(ocp, seed)
    output.table(f"{file}: the loop near its reference", ["what", "found"], _loop_rows(ocp, opened, closed, margins))
    output.table("sets", ["what", "found"], _set_rows(sets))
    if out is not None:
        from .analysis_figure import analysis_figure
        from .figures import save_figure

        save_figure(analysis_figure(ocp, opened, closed, margins, sets), out)
        output.line(f"written to {out}")
    stable = bool(np.abs(closed).max() < 1)
    output.result(
        {
            "stable": stable,
            "open_loop_poles": [[v.real, v.imag] for v in opened.astype(complex)],
            "closed_loop_poles": [[v.real, v.imag] for v in closed.astype(complex)],
            "dt": ocp.lin.dt,
            "margins": dict(margins.__dict__),
            "feasible_share": sets.feasible,
            "terminal_share": sets.terminal_share,
            "terminal_rows": None if sets.terminal is None else len(sets.terminal.b),
            "regions": None if sets.law is None else sets.law.n_regions,
            "missing": sets.reason,
        }
    )
    if not stable:
        raise typer.Exit(1)


def compute_sets(ocp: Any, seed: int) -> Sets:
    """Solve the hard problem for its feasible set, and compute the terminal set of its LQR.

    Args:
        ocp: the problem.
        seed: of the random states that measure both.

    Returns:
        The sets, with None where one could not be computed.
    """
    from yannctl import condense, solve_mpqp

    reason, law, feasible, terminal, share = "", None, None, None, None
    if ocp.nx > LARGEST or ocp.parameters.n > ocp.nx:
        return Sets(None, None, None, None, f"more than {LARGEST} states or further parameters")
    try:
        law = solve_mpqp(condense(replace(ocp, soft=None)))
        theta = np.random.default_rng(seed).uniform(law.theta_min, law.theta_max, (POINTS, ocp.nx))
        feasible = float((law.locate(theta) >= 0).mean())
        terminal = replace(ocp, soft=None, terminal="set").terminal_set
        share = float(terminal.contains(theta).mean())
    except ModelError as error:
        reason = str(error)
    return Sets(law, feasible, terminal, share, reason)


def _loop_rows(ocp: Any, opened: np.ndarray, closed: np.ndarray, margins: Any) -> list[list[str]]:
    rows = [
        ["poles of the model", ", ".join(map(_complex, opened))],
        ["poles of the closed loop", ", ".join(map(_complex, closed))],
        ["disk margin", f"{margins.disk:.3f} (2 is the best) at {margins.disk_frequency:.3g} rad/time"],
        ["gain of every input, by the disk", f"times {margins.gain_low:.3f} to {margins.gain_high:.3f}"],
        ["phase of every input, by the disk", f"{margins.phase:.1f} degrees"],
        ["delay margin", f"{margins.delay:.3g}, that is {margins.delay / ocp.lin.dt:.2f} sample periods"],
    ]
    if margins.gain_margins is not None:
        rows.append(["gain margins", f"times {margins.gain_margins[0]:.3f} to {margins.gain_margins[1]:.3f}"])
    if margins.phase_margin is not None:
        rows.append(["phase margin", f"{margins.phase_margin:.1f} degrees"])
    return rows


def _set_rows(sets: Sets) -> list[list[str]]:
    rows = []
    if sets.feasible is not None:
        rows.append(["feasible (bounds hard)", f"{100 * sets.feasible:.1f} % of the states of interest"])
        rows.append(["critical regions", str(sets.law.n_regions)])
    if sets.terminal is not None:
        share = f"{100 * (sets.terminal_share or 0.0):.1f} % of the states of interest"
        rows.append(["terminal set of the LQR", f"{share}, {len(sets.terminal.b)} rows"])
    if sets.reason:
        rows.append(["not computed", sets.reason])
    return rows


def _complex(number: Any) -> str:
    value = complex(number)
    return f"{value.real:.4g}" if abs(value.imag) < 1e-12 else f"{value.real:.4g}{value.imag:+.4g}i"
