"""`yannctl solve | export onnx`: from a problem file to a law, and to an ONNX graph."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import Output
from .options import Json

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


@export_app.command("onnx")
def export_onnx(
    file: Annotated[Path, typer.Argument(help="Law file or controller file.", metavar="FILE")],
    out: Annotated[Path, typer.Option("--out", "-o", help="ONNX file to write.")] = Path("controller.onnx"),
    form: Annotated[
        Literal["gather", "five_layer", "lattice"], typer.Option(help="Network of a file that holds a law alone.")
    ] = "gather",
    precision: Annotated[
        Literal["double", "float"], typer.Option(help="Type of the numbers, for a file that holds a law alone.")
    ] = "double",
    json: Json = False,
) -> None:
    """Write a law or a tuned policy as an ONNX graph, and compare it with onnxruntime."""
    import torch

    from yannctl import export
    from yannctl.export.policy_file import policy_of
    from yannctl.yann import encode_actor

    from .checks import read_law

    output = Output(json)
    law, content = read_law(file)
    if content is not None and content.metadata.get("policy"):
        policy = policy_of(content, str(file))
    else:
        policy = encode_actor(law, form, torch.float64 if precision == "double" else torch.float32)
    found = export.write_onnx(policy, out, law)
    verdict = f"largest difference in onnxruntime {found.max_error:.1e} of {found.tolerance:.1e} allowed"
    output.line(f"{found.n_bytes} B, {found.dtype}; {verdict} at {found.n_points} points")
    output.line(f"written to {out}" if found.ok else "not written: onnxruntime gives other values")
    output.result({**found.__dict__, "path": out})
    if not found.ok:
        raise typer.Exit(1)
