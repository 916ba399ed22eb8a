"""Write an explicit law as C99: constant tables and one function without heap, recursion or library calls."""

import hashlib
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from yannctl.errors import ModelError
from yannctl.files import write_whole
from yannctl.pwa.law import PwaLaw
from yannctl.types import ArrayLike, Float

from .c_text import (
    CLIP,
    braced,
    fill_template,
    hex_number,
    index_type,
    integers,
    limit_tables,
    name_lines,
    numbers,
    plain,
)
from .law_tables import LawTables

CODE_BYTES = 1024  # allowed for the instructions; gcc -Os needs about a third of it
STACK_BYTES = 256  # allowed for the stack frame of one call

Precision = Literal["double", "float"]

_SYSTEM_HEADERS = frozenset({"float", "stddef", "stdint"})  # a file of that name would hide the system's


@dataclass(frozen=True)
class CExport:
    """What `write_c` wrote and what it costs on the target.

    Args:
        name: prefix of the C names and stem of the files.
        folder: where the files are.
        files: the header, the source and the README.
        precision: "double" or "float".
        operation_bound: floating-point operations (multiply, add, compare) of one call at most.
        flash_bytes: constant tables and an allowance for the code [byte].
        ram_bytes: theta, u and the stack of one call [byte]; there is no static RAM.
        law_id: first 32 bits of the SHA-256 of the tables, as the header states it.
        safe_output: u returned with BAD_INPUT (n_out,), physical units.
        out_min: lower limits applied outside all regions (n_out,), or None.
        out_max: upper limits applied outside all regions (n_out,), or None.
        tolerance: violation above which the status is OUTSIDE, scaled units.
    """

    name: str
    folder: Path
    files: tuple[Path, ...]
    precision: str
    operation_bound: int
    flash_bytes: int
    ram_bytes: int
    law_id: int
    safe_output: Float[np.ndarray, " n_out"]
    out_min: Float[np.ndarray, " n_out"] | None
    out_max: Float[np.ndarray, " n_out"] | None
    tolerance: float


class _Compact(NamedTuple):
    """Tables with equal gains stored once."""

    tables: LawTables
    law_of: np.ndarray
    F: np.ndarray
    g: np.ndarray


def write_c(
    law: PwaLaw | Any,
    folder: str | Path,
    name: str = "controller",
    precision: Precision = "double",
    safe_output: ArrayLike | None = None,
    out_min: ArrayLike | None = None,
    out_max: ArrayLike | None = None,
) -> CExport:
    """Write `<name>.h`, `<name>.c` and `<name>_README.txt`: the explicit law as C99.

    The double build equals `law(theta)` in every bit when compiled with `-ffp-contract=off`; outside all regions it
    extends the nearest one and says so in its status. One call does at most q (2 ntheta + 2) + n_out (2 ntheta + 2) +
    n_out 2 + 2 ntheta + 1 floating-point operations, q the number of rows of all regions.

    Args:
        law: a complete explicit law.
        folder: where to write; it is created.
        name: prefix of all C names and stem of the files, a C identifier.
        precision: number type of tables and arithmetic, "double" or "float".
        safe_output: u written with BAD_INPUT (n_out,), physical units; default: the law at the centre of its domain.
        out_min: lower limits of u (n_out,) applied where theta is outside all regions; default: none.
        out_max: upper limits, given together with `out_min`.

    Returns:
        The files and their costs.

    Raises:
        ModelError: no law at all or one that is not complete, a name that is no C identifier, limits or a safe output
            that do not fit.
    """
    _check_name(name)
    if not isinstance(law, PwaLaw):
        raise ModelError(
            "law",
            f"only a law can be written as C, got {type(law).__name__}",
            remedy="give the PwaLaw the controller was compiled from, or the result of solve_mpqp",
        )
    if law.status != "complete":
        raise ModelError(
            "law",
            f"is {law.status}: {law.message}",
            remedy="only a complete law is exported; solve with a larger budget",
        )
    tables = LawTables.of(law, precision)
    safe, lower, upper = _outputs(law, tables, safe_output, out_min, out_max)
    compact = _share_gains(tables)
    tolerance = tables.outside_tolerance(law)
    fields = _fields(law, compact, name, safe, lower, upper, tolerance)
    folder = Path(folder)
    targets = {
        "controller.h.in": folder / f"{name}.h",
        "controller.c.in": folder / f"{name}.c",
        "README.txt.in": folder / f"{name}_README.txt",
    }
    for template, target in targets.items():
        write_whole(target, fill_template(template, fields).encode("ascii"))
    return CExport(
        name=name,
        folder=folder,
        files=tuple(targets.values()),
        precision=precision,
        operation_bound=int(fields["operation_bound"]),
        flash_bytes=int(fields["flash_bytes"]),
        ram_bytes=int(fields["ram_bytes"]),
        law_id=int(fields["law_id"], 16),
        safe_output=safe,
        out_min=lower,
        out_max=upper,
        tolerance=tolerance,
    )


def operation_bound(n_rows: int, n_theta: int, n_out: int) -> int:
    """Floating-point operations of one call at most.

    Every row costs ntheta products, ntheta sums and two comparisons; every output the same and, outside all regions,
    two comparisons with its limits; every parameter two comparisons; the status one.

    Args:
        n_rows: rows of all regions.
        n_theta: parameters.
        n_out: outputs.

    Returns:
        The bound.
    """
    return n_rows * (2 * n_theta + 2) + n_out * (2 * n_theta + 4) + 2 * n_theta + 1


def _check_name(name: str) -> None:
    """Refuse what cannot be a C identifier would leave the folder or hide a system header."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,40}", name) or name.lower() in _SYSTEM_HEADERS:
        raise ModelError("name", f"got {name!r}", remedy="use a C identifier of at most 41 letters, digits and _")


def _outputs(
    law: PwaLaw, tables: LawTables, safe: ArrayLike | None, lower: ArrayLike | None, upper: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Safe output and limits as vectors of the target's precision, checked."""
    if safe is None:
        safe = tables.evaluate((law.theta_min + law.theta_max) / 2).u
    if (lower is None) != (upper is None):
        raise ModelError("out_min", "and out_max must be given together")
    safe_vector = _vector("safe_output", safe, tables)
    if lower is None or upper is None:
        return safe_vector, None, None
    low, high = _vector("out_min", lower, tables), _vector("out_max", upper, tables)
    if np.any(low > high):
        raise ModelError("out_min", "lies above out_max", index=int(np.argmax(low > high)))
    return safe_vector, low, high


def _vector(field: str, value: ArrayLike, tables: LawTables) -> np.ndarray:
    """A finite vector of length n_out."""
    vector = np.asarray(value, tables.H.dtype)
    if vector.shape != (tables.n_out,) or not np.all(np.isfinite(vector)):
        raise ModelError(field, f"got {value!r}", remedy=f"give {tables.n_out} finite numbers")
    return vector


def _share_gains(tables: LawTables) -> _Compact:
    """Store gains that are equal in every bit once, in order of first use."""
    flat = np.concatenate([tables.F.reshape(tables.n_regions, -1), tables.g], axis=1)
    seen: dict[bytes, int] = {}
    law_of = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in flat])
    first = np.array([int(np.argmax(law_of == index)) for index in range(len(seen))])
    return _Compact(tables, law_of, tables.F[first], tables.g[first])


def _fields(
    law: PwaLaw,
    compact: _Compact,
    name: str,
    safe: np.ndarray,
    lower: np.ndarray | None,
    upper: np.ndarray | None,
    tolerance: float,
) -> dict[str, str]:
    """Everything the templates ask for."""
    tables = compact.tables
    start_type, law_type = index_type(len(tables.k)), index_type(len(compact.F))
    table_bytes = (
        sum(a.nbytes for a in (tables.H, tables.k, compact.F, compact.g, safe))
        + (0 if lower is None or upper is None else lower.nbytes + upper.nbytes)
        + len(tables.row_start) * np.dtype(start_type.removesuffix("_t")).itemsize
        + tables.n_regions * np.dtype(law_type.removesuffix("_t")).itemsize
    )
    width = tables.H.dtype.itemsize
    clipped = lower is not None
    return {
        "name": name,
        "upper": name.upper(),
        "guard": f"{name.upper()}_H",
        "version": metadata.version("yannctl"),
        "real": "double" if width == 8 else "float",
        "real_max": "DBL_MAX" if width == 8 else "FLT_MAX",
        "n_theta": str(tables.n_theta),
        "n_out": str(tables.n_out),
        "n_regions": str(tables.n_regions),
        "n_rows": str(len(tables.k)),
        "n_starts": str(len(tables.row_start)),
        "n_laws": str(len(compact.F)),
        "start_type": start_type,
        "law_type": law_type,
        "row_start": integers(tables.row_start),
        "law_of": integers(compact.law_of),
        "H": braced(tables.H),
        "k": numbers(tables.k),
        "F": braced(compact.F),
        "g": braced(compact.g),
        "safe": ", ".join(map(hex_number, safe)),
        "safe_text": "{" + ", ".join(f"{float(v):.9g}" for v in safe) + "}",
        "limit_tables": limit_tables(name, lower, upper),
        "clip": CLIP.replace("UPPER", name.upper()) if clipped else "",
        "clip_note": ", clipped to the output limits" if clipped else "",
        "tolerance": hex_number(tables.H.dtype.type(tolerance)),
        "theta_lines": name_lines("theta", law.theta_names or ()),
        "out_lines": name_lines("u", law.out_names or ()),
        "theta_names": ", ".join(map(plain, law.theta_names or ())),
        "out_names": ", ".join(map(plain, law.out_names or ())),
        "law_id": _law_id(tables),
        "operation_bound": str(operation_bound(len(tables.k), tables.n_theta, tables.n_out)),
        "table_bytes": str(table_bytes),
        "code_bytes": str(CODE_BYTES),
        "flash_bytes": str(table_bytes + CODE_BYTES),
        "ram_bytes": str((tables.n_theta + tables.n_out) * width + STACK_BYTES),
    }


def _law_id(tables: LawTables) -> str:
    """First 32 bits of the SHA-256 of all tables, hexadecimal."""
    digest = hashlib.sha256()
    for array in (tables.row_start, tables.H, tables.k, tables.F, tables.g):
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:8]
