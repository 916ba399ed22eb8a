"""Write an explicit law as an IEC 61131-3 Structured Text function block with test vectors."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from yannctl.files import write_whole
from yannctl.pwa.law import PwaLaw

from .c_check import check_points
from .c_code import Precision, check_law, check_name
from .c_fields import law_digest, operation_bound, share_gains
from .c_text import fill_template, plain
from .control_reference import ControlReference
from .law_tables import LawTables
from .row_order import telling_rows_first

VECTORS = 300
NUMBERS_A_LINE = 4


@dataclass(frozen=True)
class StructuredText:
    """What `write_st` wrote.

    Args:
        files: the function block and the test vectors.
        n_vectors: number of test vectors.
        law_id: first 32 bits of the SHA-256 of the tables.
        reference: the same evaluation rule in numpy.
    """

    files: tuple[Path, Path]
    n_vectors: int
    law_id: int
    reference: ControlReference


def write_st(
    law: PwaLaw, folder: str | Path, name: str = "controller", precision: Precision = "double", seed: int = 0
) -> StructuredText:
    """Write `<name>.st`, a function block, and `<name>_vectors.csv`, inputs with the outputs they must give.

    The text follows the rule of the C export in the same order of operations. No PLC has run it: the vectors are there
    to prove it on the one at hand.

    Args:
        law: a complete explicit law.
        folder: where to write; it is created.
        name: name of the function block behind `FB_`, and stem of the files.
        precision: "double" for LREAL, "float" for REAL.
        seed: of the test vectors.

    Returns:
        The files and the reference.

    Raises:
        ModelError: no complete law, or a name that is no identifier.
    """
    check_name(name)
    check_law(law)
    tables = telling_rows_first(law, LawTables.of(law, precision))
    safe = tables.evaluate((law.theta_min + law.theta_max) / 2).u
    reference = ControlReference(tables, tables.outside_tolerance(law), safe)
    law_id = law_digest(tables, [])
    folder = Path(folder)
    block, vectors = folder / f"{name}.st", folder / f"{name}_vectors.csv"
    write_whole(block, fill_template("law.st.in", _fields(law, reference, name, law_id)).encode("ascii"))
    points = check_points(law, VECTORS, seed)
    points = points[np.abs(points).max(axis=1) < 1e30].astype(reference.dtype)
    points = points[np.random.default_rng(seed).permutation(len(points))[:VECTORS]]
    u, status = reference.evaluate(points)
    head = ",".join([*(f"theta{i}" for i in range(law.ntheta)), *(f"u{i}" for i in range(law.n_out)), "status"])
    rows = [",".join([*map(number, t), *map(number, v), str(s)]) for t, v, s in zip(points, u, status, strict=True)]
    write_whole(vectors, "\n".join([head, *rows, ""]).encode("ascii"))
    return StructuredText((block, vectors), len(points), int(law_id, 16), reference)


def number(value: np.floating) -> str:
    """Write a number so that reading it back gives the same bits.

    Args:
        value: a finite float64 or float32.

    Returns:
        A decimal literal with a point.
    """
    text = format(float(value), ".9g" if value.dtype == np.float32 else ".17g")
    mantissa, mark, exponent = text.partition("e")
    return (mantissa if "." in mantissa else f"{mantissa}.0") + (f"E{int(exponent)}" if mark else "")


def _fields(law: PwaLaw, reference: ControlReference, name: str, law_id: str) -> dict[str, str]:
    """Everything the template asks for."""
    tables = reference.tables
    compact = share_gains(tables)
    gains = np.concatenate([compact.F, compact.g[..., None]], axis=2)
    n, m, real = tables.n_theta, tables.n_out, tables.H.dtype.type
    return {
        "name": name,
        "version": metadata.version("yannctl"),
        "law_id": f"16#{law_id}",
        "real": "LREAL" if real is np.float64 else "REAL",
        "real_max": number(np.finfo(real).max),
        "tolerance": number(real(reference.tolerance)),
        "n_theta": str(n),
        "n_out": str(m),
        "row_width": str(n + 1),
        "last_theta": str(n - 1),
        "last_out": str(m - 1),
        "n_regions": str(tables.n_regions),
        "last_region": str(tables.n_regions - 1),
        "n_rows": str(len(tables.k)),
        "last_row": str(len(tables.k) * (n + 1) - 1),
        "last_gain": str(gains.size - 1),
        "operation_bound": str(operation_bound(len(tables.k), n, m)),
        "row_start": _lines([str(v) for v in tables.row_start]),
        "rows": _lines([number(v) for v in np.column_stack([tables.H, tables.k]).reshape(-1)]),
        "law_of": _lines([str(v) for v in compact.law_of]),
        "gains": _lines([number(v) for v in gains.reshape(-1)]),
        "safe": _lines([number(v) for v in reference.safe_output]),
        "theta_lines": "\n".join(f"     theta[{i}] {plain(text)}" for i, text in enumerate(law.theta_names or ())),
        "out_lines": "\n".join(f"     u[{i}] {plain(text)}" for i, text in enumerate(law.out_names or ())),
    }


def _lines(texts: list[str]) -> str:
    """A list over several lines."""
    rows = [texts[i : i + NUMBERS_A_LINE] for i in range(0, len(texts), NUMBERS_A_LINE)]
    return ",\n".join("        " + ", ".join(row) for row in rows)
