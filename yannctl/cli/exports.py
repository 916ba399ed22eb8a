"""`yannctl export c` and `yannctl pil verify`: from a law or controller file to code, and to a processor."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .checks import refuse_problem
from .console import Output, busy
from .laws import export_app
from .options import Json, Seed

ControllerFile = Annotated[
    Path, typer.Argument(help="Law file of `yannctl solve`, or controller file.", metavar="FILE")
]
CertificateFile = Annotated[
    Path | None,
    typer.Option("--certificate", help="Certificate of `yannctl certify`: its filter has the last word in the C code."),
]
Bare = Annotated[
    bool, typer.Option("--bare", help="Leave out a certified filter that has no C form: it must run elsewhere.")
]
Cpu = Annotated[str, typer.Option("--cpu", help="cortex-m4 (M4F), cortex-m7 or cortex-m3 (soft float).")]

pil_app = typer.Typer(help="Processor in the loop: run exported code on an emulated board.", no_args_is_help=True)


@export_app.command("c")
def export_c(
    file: ControllerFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the C files.")] = Path("controller_c"),
    precision: Annotated[Literal["double", "float"] | None, typer.Option(help="Type of the numbers in C.")] = None,
    search: Annotated[Literal["scan", "tree"], typer.Option(help="How the region is found.")] = "scan",
    merge: Annotated[bool, typer.Option("--merge", help="Join regions with equal laws first.")] = False,
    max_instructions: Annotated[
        int | None, typer.Option("--max-instructions", min=1, help="Choose a form within this many instructions.")
    ] = None,
    flash: Annotated[
        str | None, typer.Option("--flash", help='Choose a form within this flash, such as "16k".')
    ] = None,
    certificate: CertificateFile = None,
    bare: Bare = False,
    cpu: Cpu = "cortex-m4",
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG of cost against size, with a budget.")] = None,
    check: Annotated[bool, typer.Option(help="Compile it and compare with Python, where a compiler is found.")] = True,
    json: Json = False,
) -> None:
    """Write a controller as C99: constant tables, no heap, no solver, a bounded number of operations.

    With a budget (`--max-instructions`, `--flash`) the form is chosen: tree, scan or merged law, in float unless
    `--precision` says otherwise.
    """
    from yannctl import export

    output = Output(json)
    law, residual, clip = _parts(output, file, certificate, bare)
    budgeted = max_instructions is not None or flash is not None
    precision = precision or ("float" if budgeted else "double")
    law, outside, data = (law.merged() if merge else law), "nearest", {}
    if budgeted:
        form, data = _within_budget(output, (law, residual, clip), precision, cpu, max_instructions, flash, plot)
        law, search, outside = form.law, form.search, form.outside
    settings = {"precision": precision, "search": search, "outside": outside}
    with busy("writing tables and code"):
        code = export.write_c(law, out, **settings, extension=residual, clip=clip)
    output.line(
        f"{len(code.files)} files in {out}; at most {code.operation_bound} operations, about {code.flash_bytes} B flash"
    )
    data |= {
        "files": code.files,
        "operation_bound": code.operation_bound,
        "flash_bytes": code.flash_bytes,
        "ram_bytes": code.ram_bytes,
        "search": code.search,
        "n_regions": code.n_regions,
        "filter_lines": 0 if clip is None else clip.n_rows,
        "filter_source": "" if clip is None else clip.source,
    }
    if not check:
        output.result(data)
        return
    _measure(output, code, law, cpu)
    with busy("compiling, comparing 20 000 points with Python"):
        found = export.check_c(code, law, n_points=20_000, seed=0)
    if found.skipped:
        output.line(f"not compiled here: {found.reason}")
    else:
        output.line(f"{found.compiler}: largest difference from Python {found.max_abs:.1e} on {found.n_points} points")
    output.result({**data, "c_vs_python_max_abs": found.max_abs, "skipped": found.skipped, "reason": found.reason})
    if not found.skipped and not found.ok:
        raise typer.Exit(1)


@export_app.command("st")
def export_st(
    file: ControllerFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")] = Path("controller_st"),
    precision: Annotated[Literal["double", "float"], typer.Option(help="LREAL or REAL.")] = "double",
    json: Json = False,
) -> None:
    """Write the law as IEC 61131-3 Structured Text with test vectors; no PLC has run it."""
    from yannctl.export.structured_text import write_st

    output = Output(json)
    law, residual, clip = _parts(output, file, None, True)
    if residual is not None or clip is not None:
        output.line("only the explicit law is written; learned part and filter have no Structured Text form")
    with busy("writing tables and code"):
        written = write_st(law, out, precision=precision)
    output.line(f"{len(written.files)} files in {out}; {written.n_vectors} test vectors; not verified on a PLC")
    output.result({"files": written.files, "n_vectors": written.n_vectors, "verified_on_plc": False})


@pil_app.command("verify")
def pil_verify(
    file: ControllerFile,
    cpu: Cpu = "cortex-m4",
    certificate: CertificateFile = None,
    bare: Bare = False,
    precision: Annotated[Literal["double", "float"], typer.Option(help="Type of the numbers in C.")] = "float",
    search: Annotated[Literal["scan", "tree"], typer.Option(help="How the region is found.")] = "scan",
    points: Annotated[
        int, typer.Option("--points", min=30, help="Points to compare at; vertices are added.")
    ] = 100_000,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Cross-compile a controller, run it on an emulated board, and compare every bit with Python."""
    import tempfile

    from yannctl import export
    from yannctl.export.pil import verify_on_processor

    output = Output(json)
    law, residual, clip = _parts(output, file, certificate, bare)
    with tempfile.TemporaryDirectory(prefix="yannctl_") as folder, busy(f"{points} points on an emulated {cpu}"):
        code = export.write_c(law, folder, precision=precision, search=search, extension=residual, clip=clip)
        found = verify_on_processor(code, law, cpu, points, seed)
    rows = [
        ["outputs that differ in a bit", str(found.n_different_bits)],
        ["wrong status codes", str(found.n_wrong_status)],
        ["points (vertices, facets, random)", str(found.n_points)],
        ["instructions, median / largest", f"{found.instructions_median} / {found.instructions_max}"],
        ["flash, RAM", f"{found.flash_bytes} B, {found.ram_bytes} B"],
    ]
    output.table(f"{file} on {found.machine} ({cpu}), {precision}, {search}", ["check", "found"], rows)
    output.line("instructions are counted, not cycles: wait states and pipelines are not modelled")
    output.result({**found.to_json(), "precision": precision, "search": search})
    if not found.ok:
        raise typer.Exit(1)


def _parts(output: Output, file: Path, certificate: Path | None, bare: bool) -> tuple[Any, Any, Any]:
    """Law, learned part and filter of a file; the filter of a certificate takes the place of the file's own."""
    from yannctl import export

    refuse_problem(file)
    law, residual, clip = export.read_parts(file, bare)
    if certificate is not None:
        clip = export.certified_clip(certificate, law)
    if clip is not None:
        output.line(f"safety filter of {clip.n_rows} lines; source: {clip.source or 'not stated'}")
    return law, residual, clip


def _within_budget(
    output: Output, parts: tuple, precision: Any, cpu: str, most: int | None, flash: str | None, plot: Path | None
) -> tuple[Any, dict[str, Any]]:
    """Choose a form, print what each costs, and leave with 1 when none fits."""
    from yannctl.export.budget import choose_form, forms_of, parse_size

    size = None if flash is None else parse_size(flash)
    law, residual, clip = parts
    with busy("measuring every form"):
        forms = forms_of(law, precision, cpu, residual, clip)
    choice = choose_form(forms, most, size)
    rows = [
        [
            form.name,
            str(form.law.n_regions),
            f"{form.typical} / {form.instructions}",
            f"{form.flash_bytes} B",
            "measured" if form.measured else "estimate",
        ]
        for form in forms
    ]
    output.table(f"{cpu}, {precision}", ["form", "regions", "instructions, median / most", "flash", ""], rows)
    output.line(choice.message)
    if plot is not None:
        from .figures import cost_against_size, save_figure

        save_figure(cost_against_size(forms, most, size, f"{cpu}, {precision}"), plot)
        output.line(f"written to {plot}")
    data = {"budget": choice.message, "forms": [form.to_json() for form in forms]}
    if choice.chosen is None:
        output.result(data)
        raise typer.Exit(1)
    return choice.chosen, {**data, "chosen": choice.chosen.name}


def _measure(output: Output, code: Any, law: Any, cpu: str) -> None:
    """Write what an emulated processor measures into the README, where the tools are there."""
    from yannctl.export.budget import write_figures
    from yannctl.export.pil import missing_tools, verify_on_processor

    if missing_tools():
        output.line(f"instructions not measured: apt-get install {' '.join(missing_tools())}")
        return
    with busy(f"running 2000 points on an emulated {cpu}"):
        found = verify_on_processor(code, law, cpu, 2000)
    text = (
        f"{cpu}: {found.instructions_median} instructions median, {found.instructions_max} at most over "
        f"{found.n_timed} points"
    )
    figures = f"{cpu}: {found.flash_bytes} bytes of flash, {found.ram_bytes} bytes of RAM"
    write_figures(code, [text, figures])
    output.line(f"{text}; {found.flash_bytes} B flash, {found.ram_bytes} B RAM")
