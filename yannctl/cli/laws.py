"""`yannctl solve | verify | export`: from a problem file to a law, its proof, and C code."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import Output
from .options import Json, Seed

LawFile = Annotated[Path, typer.Argument(help="Law file written by `yannctl solve`.", metavar="LAW")]

export_app = typer.Typer(help="Write a law as code that runs without Python.", no_args_is_help=True)


def solve(
    problem: Annotated[Path, typer.Argument(help="TOML problem file: [model], [weights], [bounds].")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Law file to write.")] = Path("law.safetensors"),
    json: Json = False,
) -> None:
    """Turn a linear model, weights and bounds into an explicit control law."""
    from yannctl import condense, solve_mpqp

    from .problem_file import read_problem

    output = Output(json)
    mpqp = condense(read_problem(problem))
    start = time.perf_counter()
    law = solve_mpqp(mpqp, progress=True)
    seconds = time.perf_counter() - start
    output.line(f"{law.status}: {law.message}")
    data = {"status": law.status, "message": law.message, "n_regions": law.n_regions, "seconds": seconds}
    if law.status in {"infeasible", "unbounded"}:
        output.result(data)
        raise typer.Exit(1)
    audit = law.audit()
    law.save(out)
    output.line(f"{law.n_regions} regions, {law.n_laws} distinct laws, {audit.n_open} open facets, {seconds:.3f} s")
    output.line(f"written to {out}")
    output.result({**data, "n_laws": law.n_laws, "audit_open_facets": audit.n_open, "file": out})
    if law.status != "complete":
        raise typer.Exit(1)


def verify(
    file: LawFile,
    points: Annotated[int, typer.Option("--points", min=100, help="Random points to compare at.")] = 20_000,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Check that the law covers its domain, equals the online QP, and that the networks equal the law."""
    from yannctl import PwaLaw
    from yannctl.yann import encode_actor
    from yannctl.yann import verify as verify_actor

    from .checks import compare_with_qp

    output = Output(json)
    law = PwaLaw.load(file)
    audit = law.audit()
    against_qp = compare_with_qp(law, points, seed)
    rows = [
        ["every facet has a neighbour", f"{audit.n_open} open", _verdict(audit.n_open == 0)],
        ["feasible points inside a region", f"{100 * against_qp.coverage:.4f} %", _verdict(against_qp.coverage == 1.0)],
        ["law = online QP", f"{against_qp.max_error:.1e}", _verdict(against_qp.max_error <= 1e-8)],
    ]
    forms = {}
    for form in ("gather", "five_layer"):
        forms[form] = verify_actor(encode_actor(law, form=form), law, n_random=points, seed=seed)
        rows.append([f"network ({form}) = law", f"{forms[form].max_relative_error:.1e}", _verdict(forms[form].ok)])
    output.table(f"{file}: {law.n_regions} regions", ["check", "found", "verdict"], rows)
    ok = all(row[2] == "holds" for row in rows)
    output.result(
        {
            "ok": ok,
            "audit_open_facets": audit.n_open,
            "coverage": against_qp.coverage,
            "law_max_error": against_qp.max_error,
            "actor_max_error": {form: found.max_relative_error for form, found in forms.items()},
        }
    )
    if not ok:
        raise typer.Exit(1)


@export_app.command("c")
def export_c(
    file: LawFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the C files.")] = Path("controller_c"),
    precision: Annotated[Literal["double", "float"], typer.Option(help="Type of the numbers in C.")] = "double",
    check: Annotated[bool, typer.Option(help="Compile it and compare with Python, where a compiler is found.")] = True,
    json: Json = False,
) -> None:
    """Write the law as C99: constant tables, no heap, no solver, a bounded number of operations."""
    from yannctl import PwaLaw, export

    output = Output(json)
    law = PwaLaw.load(file)
    code = export.write_c(law, out, precision=precision)
    output.line(
        f"{len(code.files)} files in {out}; at most {code.operation_bound} operations, {code.flash_bytes} B flash"
    )
    data = {
        "files": code.files,
        "operation_bound": code.operation_bound,
        "flash_bytes": code.flash_bytes,
        "ram_bytes": code.ram_bytes,
    }
    if not check:
        output.result(data)
        return
    found = export.check_c(code, law, n_points=20_000, seed=0)
    if found.skipped:
        output.line(f"not compiled here: {found.reason}")
    else:
        output.line(f"{found.compiler}: largest difference from Python {found.max_abs:.1e} on {found.n_points} points")
    output.result({**data, "c_vs_python_max_abs": found.max_abs, "skipped": found.skipped, "reason": found.reason})
    if not found.skipped and not found.ok:
        raise typer.Exit(1)


def _verdict(holds: bool) -> str:
    return "holds" if holds else "FAILS"
