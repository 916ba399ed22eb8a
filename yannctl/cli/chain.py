"""The rest of the chain of proof: C = law on this machine, processor = C, and the page that shows every link."""

import json
import tempfile
from pathlib import Path
from typing import Any, Literal

from yannctl.files import write_whole

from .console import plain

MOST_POINTS = 100_000
_PRECISIONS: tuple[tuple[Literal["double", "float"], str], ...] = (
    ("double", "C, double = law"),
    ("float", "C, float = Python, float"),
)


def links_to_the_chip(file: Path, points: int, seed: int) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """Check that exported C equals the law and that three emulated processors equal the C.

    Args:
        file: law or controller file.
        points: random points, at most 100 000 of them.
        seed: of the points.

    Returns:
        Rows of check, finding and verdict, and the same as data.

    Raises:
        NotInstalledError: a tool is missing.
    """
    from yannctl import export
    from yannctl.export.pil import CPUS, verify_on_processor
    from yannctl.export.pil.boards import require_tools

    require_tools()
    count = min(points, MOST_POINTS)
    # A filter that has no C form has no link to the chip; the proof of its set is another row of the same check.
    law, residual, clip = export.read_parts(file, bare=True)
    rows: list[list[str]] = []
    data: list[dict[str, Any]] = []

    def add(link: str, differing: int, compared: int, ok: bool, more: dict[str, Any]) -> None:
        rows.append([link, f"{differing} bits differ, {compared} points", "holds" if ok else "FAILS"])
        data.append({"link": link, "ok": ok, "n_different_bits": differing, "n_points": compared, **more})

    with tempfile.TemporaryDirectory(prefix="yannctl_") as folder:
        for precision, name in _PRECISIONS:
            code = export.write_c(law, folder, precision=precision, extension=residual, clip=clip)
            found = export.check_c(code, law, count, seed)
            add(f"{name} ({found.compiler})", found.n_different_bits, found.n_points, found.ok, {"max": found.max_abs})
        code = export.write_c(law, folder, precision="float", search="scan", extension=residual, clip=clip)
        for cpu in CPUS:
            ran = verify_on_processor(code, law, cpu, count, seed)
            more = {
                key: value for key, value in ran.to_json().items() if key not in {"ok", "n_different_bits", "n_points"}
            }
            add(f"{cpu} ({ran.machine}) = C, float", ran.n_different_bits, ran.n_points, ran.ok, more)
    return rows, data


def write_page(path: Path, file: Path, rows: list[list[str]], data: dict[str, Any]) -> None:
    """Write the chain as one HTML page, and as JSON beside it.

    Args:
        path: HTML file; the JSON takes its name with another suffix.
        file: the law or controller the links are about.
        rows: check, finding and verdict of every link.
        data: everything found.
    """
    import hashlib

    from .report import Card, Section, write_report

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    ok = bool(data["ok"])
    cards = [
        Card("holds" if ok else "FAILS", "law = network = C = processor", "good" if ok else "bad"),
        Card(str(len(rows)), "links checked"),
        Card(digest[:12], f"SHA-256 of {file.name}"),
    ]
    text = (
        "Every link is a check made in this run. Bits are compared at vertices, on facets, at random points and at "
        "inputs that must be rejected; the processors are emulated, and what they compute is compared, not their time."
    )
    sections = [Section("Links", text, ("check", "found", "verdict"), rows)]
    write_report(path, f"Chain of proof: {file.name}", "From the optimisation problem to the chip.", cards, sections)
    content = {"file": str(file), "sha256": digest, **data}
    write_whole(path.with_suffix(".json"), (json.dumps(plain(content), indent=1) + "\n").encode())
