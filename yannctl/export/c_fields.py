"""The text of every field of the templates: tables, sections, sizes and sentences of a generated controller."""

import hashlib
import textwrap
from importlib import metadata
from typing import NamedTuple

import numpy as np

from yannctl.pwa.law import PwaLaw

from .c_extension import extension_section
from .c_sections import Section, control_text, filter_section, projection_section, row_operations, tree_section
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
from .projection_tables import ProjectionTables
from .tree_tables import TreeTables

CODE_BYTES = 1024  # allowed for the instructions of the law; gcc -Os needs about a third of it
SECTION_BYTES = 1536  # allowed for those of each further section
STACK_BYTES = 256  # allowed for the stack frames of one call, local arrays apart


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


def template_fields(
    law: PwaLaw, compact: CompactLaw, name: str, reference: ControlReference, tree: TreeTables | None
) -> dict[str, str]:
    """Give everything the templates ask for.

    Args:
        law: the law.
        compact: its tables, equal gains once.
        name: prefix of the C names.
        reference: the evaluation rule.
        tree: the search tree, or None for a scan.

    Returns:
        Text of every field.
    """
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
        None if clip is None else _filter_section(clip, base),
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
        "search": (_scan_text(reference.outside, base) if scans else "")
        + (tree_part.text if tree_part else fill_template("find_scan.c.in", base)),
        "row_sum": dot_lines("row", "theta", tables.n_theta, 1, 4),
        "law_sum": dot_lines("F[law][r]", "theta", tables.n_theta, 1, 8),
        "extension": extension,
        "filter": filtering,
        "control": control_text(residual, clip, reference.outside, base),
        "includes": f'#include "{name}_projection.h"\n' if isinstance(clip, ProjectionTables) else "",
        "declarations": _declarations(reference, base),
        "outside_text": nearest if reference.outside == "nearest" else "u is the safe value",
        "outside_safe": ""
        if reference.outside == "nearest"
        else f"    if (violation > TOLERANCE) {{\n        return reject(u, {name.upper()}_OUTSIDE);\n    }}\n",
        "law_id": law_digest(tables, [array for part in sections for array in part.arrays]),
    }


def _filter_section(clip: ClipTables | ProjectionTables, base: dict[str, str]) -> Section:
    return projection_section(clip, base) if isinstance(clip, ProjectionTables) else filter_section(clip, base)


def _scan_text(outside: str, base: dict[str, str]) -> str:
    """The scan; where the safe output stands outside, rows beyond the tolerance end a region at once."""
    fields = {"scan_of": "all regions", "scan_start": "REAL_MAX", "scan_end": ""}
    if outside == "safe":
        end = "    if (region == N_REGIONS) {\n        *violation = REAL_MAX;\n    }\n"
        fields = {"scan_of": "those that hold theta", "scan_start": "TOLERANCE", "scan_end": end}
    return fill_template("scan.c.in", base | fields)


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
        "filter_text": "" if reference.clip is None else _filter_text(reference.clip),
    }


def _filter_text(clip: ClipTables | ProjectionTables) -> str:
    """What the README says of the safety filter."""
    several = isinstance(clip, ProjectionTables)
    way = "the nearest safe u is given, each input in units of its range" if several else (
        "u is clipped to [low(theta), high(theta)]"
    )  # fmt: skip
    lines = [
        f"{clip.n_rows} lines; {way}, and stays as it is where it is safe already",
        *textwrap.wrap(f"source: {clip.source.encode('ascii', 'replace').decode() or 'not stated'}", 112),
        "NaN or infinity from the learned part gives way to the law, which is filtered like any other proposal",
        "outside the certified set nothing is claimed, whatever the status",
    ]
    if isinstance(clip, ClipTables) and clip.g_low.dtype == np.float32 and clip.reach is not None:
        reach = ", ".join(f"{float(value):.6g}" for value in clip.reach)
        lines += [
            "float: lower lines are rounded up, upper lines down, by all that float can lose for |theta| up to",
            f"({reach}); there the interval lies inside the exact one",
        ]
    return "\nSafety filter\n" + "".join(f"  {line}\n" for line in lines)


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
        several = isinstance(reference.clip, ProjectionTables)
        size = f"[{upper}_N_OUT]"
        given, taken, to = (f" proposal{size}", f" certified{size}", f" u{size}") if several else (
            " proposal", " certified", " *u"
        )  # fmt: skip
        kind = f"const {name}_real" if several else f"{name}_real"
        lines += [
            "\n/* The safe input nearest to a proposed one; the certified input takes the place of NaN or infinity. */",
            f"{name}_status {name}_filter(const {name}_real theta[{upper}_N_THETA], {kind}{given},",
            f"    {kind}{taken}, {name}_real{to});",
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
