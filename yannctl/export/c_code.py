"""Write a controller as C99: constant tables and functions without heap, recursion or library calls."""

import hashlib
import re
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from yannctl.errors import ModelError
from yannctl.files import write_whole
from yannctl.pwa.law import PwaLaw
from yannctl.types import ArrayLike, Float

from .c_sections import Section, control_text, extension_section, filter_section, row_operations, tree_section
from .c_text import (
    CLIP,
    braced,
    dot_lines,
    fill_template,
    hex_number,
    index_type,
    integers,
    limit_tables,
    name_lines,
    plain,
)
from .clip_tables import ClipTables
from .control_reference import ControlReference
from .law_tables import LawTables
from .residual_tables import ResidualTables
from .row_order import telling_rows_first
from .tree_tables import TreeTables

CODE_BYTES = 1024  # allowed for the instructions of the law; gcc -Os needs about a third of it
SECTION_BYTES = 1536  # allowed for those of each further section
STACK_BYTES = 256  # allowed for the stack frames of one call, local arrays apart

Precision = Literal["double", "float"]
Search = Literal["scan", "tree"]
Outside = Literal["nearest", "safe"]

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
        search: "scan" or "tree".
        n_regions: regions in the tables.
        reference: the same evaluation rule in numpy.
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
    search: str
    n_regions: int
    reference: ControlReference = field(repr=False)

    @property
    def source(self) -> Path:
        """The C file."""
        return self.folder / f"{self.name}.c"


class CompactLaw(NamedTuple):
    """Tables with equal gains stored once.

    Args:
        tables: the law's tables.
        law_of: number of each region's gains (n_regions,).
        F: different gains (n_laws, n_out, ntheta).
        g: their offsets (n_laws, n_out).
    """

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
    search: Search = "scan",
    outside: Outside = "nearest",
    extension: Any = None,
    clip: Any = None,
) -> CExport:
    """Write `<name>.h`, `<name>.c` and `<name>_README.txt`: law, learned part and safety filter as C99.

    The explicit law needs no solver on the chip. The double build equals `law(theta)` in every bit when compiled with
    `-ffp-contract=off`, by scan and by tree; every build equals `CExport.reference` in every bit. A scan does at most
    q (2 ntheta + 3) + n_out (2 ntheta + 4) + 2 ntheta + 1 floating-point operations, q the number of rows of all
    regions; the header states the number for what was written.

    Args:
        law: a complete explicit law.
        folder: where to write; it is created.
        name: prefix of all C names and stem of the files, a C identifier.
        precision: number type of tables and arithmetic, "double" or "float".
        safe_output: u written with BAD_INPUT (n_out,), physical units; default: the law at the centre of its domain.
        out_min: lower limits of u (n_out,) applied where theta is outside all regions; default: none.
        out_max: upper limits, given together with `out_min`.
        search: "scan" compares all rows; "tree" descends, with fewer operations and larger tables.
        outside: where no region holds theta, "nearest" continues the nearest region (a tree then scans), "safe" gives
            the safe output.
        extension: the learned part, a `yann.ExtendedActor` of kind "residual", or `ResidualTables`; default: none.
        clip: safety filter of one input, such as `assurance.ClipFilter`, or `ClipTables`; default: none.

    Returns:
        The files, their costs and the reference.

    Raises:
        ModelError: no law at all or one that is not complete, a name that is no C identifier, limits, a safe output, a
            learned part or a filter that do not fit.
    """
    check_name(name)
    check_law(law)
    if search not in {"scan", "tree"}:
        raise ModelError("search", f"got {search!r}", remedy='use "scan" or "tree"')
    if outside not in {"nearest", "safe"}:
        raise ModelError("outside", f"got {outside!r}", remedy='use "nearest" or "safe"')
    tables = telling_rows_first(law, LawTables.of(law, precision))
    safe, lower, upper = _outputs(law, tables, safe_output, out_min, out_max)
    reference = ControlReference(
        tables=tables,
        tolerance=tables.outside_tolerance(law),
        safe_output=safe,
        out_min=lower,
        out_max=upper,
        outside=outside,
        residual=None if extension is None else ResidualTables.of(extension, precision),
        clip=None if clip is None else ClipTables.of(clip, precision),
    )
    _check_parts(reference)
    compact = share_gains(tables)
    tree = TreeTables.of(law, tables, compact.law_of, len(compact.F)) if search == "tree" else None
    fields = _fields(law, compact, name, reference, tree)
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
        tolerance=reference.tolerance,
        search=search,
        n_regions=tables.n_regions,
        reference=reference,
    )


def operation_bound(n_rows: int, n_theta: int, n_out: int) -> int:
    """Floating-point operations of one scan at most.

    Every row costs ntheta products, ntheta sums and three comparisons; every output ntheta products, ntheta sums, two
    comparisons and, outside all regions, two more with its limits; every parameter two comparisons; the status one.

    Args:
        n_rows: rows of all regions.
        n_theta: parameters.
        n_out: outputs.

    Returns:
        The bound.
    """
    return n_rows * row_operations(n_theta) + n_out * (2 * n_theta + 4) + 2 * n_theta + 1


def check_law(law: Any) -> None:
    """Refuse what is no complete law.

    Args:
        law: the law.

    Raises:
        ModelError: it cannot be exported.
    """
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


def _check_parts(reference: ControlReference) -> None:
    """Refuse a learned part or filter of another size than the law."""
    tables, residual, clip = reference.tables, reference.residual, reference.clip
    if residual is not None and (residual.nx > tables.n_theta or residual.sizes[-1] != tables.n_out):
        text = f"maps {residual.nx} states to {residual.sizes[-1]} inputs, the law {tables.n_theta} to {tables.n_out}"
        raise ModelError("extension", text, remedy="extend the actor of this law")
    if clip is not None and (clip.nx > tables.n_theta or tables.n_out != 1):
        text = f"is for {clip.nx} states and 1 input, the law maps {tables.n_theta} to {tables.n_out}"
        raise ModelError("clip", text, remedy="give the filter of this plant")


def check_name(name: str) -> None:
    """Refuse what cannot be a C identifier, would leave the folder or hide a system header.

    Args:
        name: the name.

    Raises:
        ModelError: it cannot be used.
    """
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


def share_gains(tables: LawTables) -> CompactLaw:
    """Store gains that are equal in every bit once, in order of first use.

    Args:
        tables: the law's tables.

    Returns:
        Different gains and the number of each region's.
    """
    flat = np.concatenate([tables.F.reshape(tables.n_regions, -1), tables.g], axis=1)
    seen: dict[bytes, int] = {}
    law_of = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in flat])
    first = np.array([int(np.argmax(law_of == index)) for index in range(len(seen))])
    return CompactLaw(tables, law_of, tables.F[first], tables.g[first])


def _fields(
    law: PwaLaw, compact: CompactLaw, name: str, reference: ControlReference, tree: TreeTables | None
) -> dict[str, str]:
    """Everything the templates ask for."""
    tables, residual, clip = compact.tables, reference.residual, reference.clip
    width = tables.H.dtype.itemsize
    base = {
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
        "n_laws": str(len(compact.F)),
    }
    tree_part = None if tree is None else tree_section(tree, len(compact.F), len(tables.k), reference.outside, base)
    others = [
        None if residual is None else extension_section(residual, base),
        None if clip is None else filter_section(clip, base),
    ]
    extension, filtering = (part.text if part else "" for part in others)
    sections = [part for part in (tree_part, *others) if part is not None]
    table_fields, table_bytes = _table_fields(compact, reference, name)
    costs = _costs(tables, sections, tree is None or reference.outside == "nearest", table_bytes)
    clipped = reference.out_min is not None
    nearest = "the gains of the nearest region were used" + (", clipped to the output limits" if clipped else "")
    scans = tree is None or reference.outside == "nearest" or not tree.searches
    return {
        **base,
        **table_fields,
        **costs,
        **_texts(law, reference, tree),
        "search": (fill_template("scan.c.in", base) if scans else "")
        + (tree_part.text if tree_part else fill_template("find_scan.c.in", base)),
        "row_sum": dot_lines("row", "theta", tables.n_theta, 1, 4),
        "law_sum": dot_lines("F[law][r]", "theta", tables.n_theta, 1, 8),
        "extension": extension,
        "filter": filtering,
        "control": control_text(residual, clip, reference.outside, base),
        "declarations": _declarations(reference, base),
        "outside_text": nearest if reference.outside == "nearest" else "u is the safe value",
        "outside_safe": ""
        if reference.outside == "nearest"
        else f"    if (violation > TOLERANCE) {{\n        return reject(u, {name.upper()}_OUTSIDE);\n    }}\n",
        "law_id": law_digest(tables, [array for part in sections for array in part.arrays]),
    }


def _table_fields(compact: CompactLaw, reference: ControlReference, name: str) -> tuple[dict[str, str], int]:
    """The law's tables as text, and their size [byte]."""
    tables = compact.tables
    kept = reference.outside == "nearest"  # else the safe value stands there
    lower, upper = (reference.out_min, reference.out_max) if kept else (None, None)
    start_type, law_type = index_type(len(tables.k)), index_type(len(compact.F))
    table_bytes = (
        sum(a.nbytes for a in (tables.H, tables.k, compact.F, compact.g, reference.safe_output))
        + (0 if lower is None or upper is None else lower.nbytes + upper.nbytes)
        + len(tables.row_start) * np.dtype(start_type.removesuffix("_t")).itemsize
        + tables.n_regions * np.dtype(law_type.removesuffix("_t")).itemsize
    )
    return {
        "n_starts": str(len(tables.row_start)),
        "start_type": start_type,
        "law_type": law_type,
        "row_start": integers(tables.row_start),
        "law_of": integers(compact.law_of),
        "rows": braced(np.column_stack([tables.H, tables.k])),
        "row_width": str(tables.n_theta + 1),
        "F": braced(compact.F),
        "g": braced(compact.g),
        "safe": ", ".join(map(hex_number, reference.safe_output)),
        "limit_tables": limit_tables(name, lower, upper),
        "clip": CLIP.replace("UPPER", name.upper()) if lower is not None else "",
        "tolerance": hex_number(tables.H.dtype.type(reference.tolerance)),
    }, table_bytes


def _costs(tables: LawTables, sections: list[Section], scans: bool, table_bytes: int) -> dict[str, str]:
    """Operations, flash and RAM as text."""
    own = operation_bound(len(tables.k) if scans else 0, tables.n_theta, tables.n_out)
    operations = own + sum(part.operations for part in sections)
    all_bytes = table_bytes + sum(part.table_bytes for part in sections)
    code_bytes = CODE_BYTES + SECTION_BYTES * len(sections)
    stack = STACK_BYTES + sum(part.stack_bytes for part in sections) + 64 * len(sections)
    return {
        "operation_bound": str(operations),
        "table_bytes": str(all_bytes),
        "code_bytes": str(code_bytes),
        "flash_bytes": str(all_bytes + code_bytes),
        "ram_bytes": str((tables.n_theta + tables.n_out) * tables.H.dtype.itemsize + stack),
    }


def _texts(law: PwaLaw, reference: ControlReference, tree: TreeTables | None) -> dict[str, str]:
    """Sentences of the header and of the README."""
    parts = ["the law"]
    parts += ["the learned part"] if reference.residual is not None else []
    parts += ["the safety filter"] if reference.clip is not None else []
    down = "" if tree is None else f"search tree of {tree.n_inner} nodes and {tree.n_leaves} leaves, depth {tree.depth}"
    return {
        "search_text": down or "found by a scan of all regions",
        "parts_text": ", ".join(parts),
        "safe_text": "{" + ", ".join(f"{float(v):.9g}" for v in reference.safe_output) + "}",
        "theta_lines": name_lines("theta", law.theta_names or ()),
        "out_lines": name_lines("u", law.out_names or ()),
        "theta_names": ", ".join(map(plain, law.theta_names or ())),
        "out_names": ", ".join(map(plain, law.out_names or ())),
        "measured": "",
    }


def _declarations(reference: ControlReference, base: dict[str, str]) -> str:
    """Prototypes of the sections."""
    name, upper = base["name"], base["upper"]
    lines = []
    if reference.residual is not None:
        lines += [
            "\n/* What the learned part would add, before the limits. */",
            f"void {name}_learned(const {name}_real theta[{upper}_N_THETA], {name}_real change[{upper}_N_OUT]);",
        ]
    if reference.clip is not None:
        lines += [
            "\n/* The safe input nearest to a proposed one; the certified input takes the place of NaN or infinity. */",
            f"{name}_status {name}_filter(const {name}_real theta[{upper}_N_THETA], {name}_real proposal,",
            f"    {name}_real certified, {name}_real *u);",
        ]
    return "\n".join(lines)


def law_digest(tables: LawTables, further: list[np.ndarray]) -> str:
    """Digest all tables.

    Args:
        tables: the law's tables.
        further: arrays of the other sections.

    Returns:
        First 32 bits of their SHA-256, hexadecimal.
    """
    digest = hashlib.sha256()
    for array in (tables.row_start, tables.H, tables.k, tables.F, tables.g, *further):
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:8]
