"""Write a controller as C99: constant tables and functions without heap, recursion or library calls."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.files import write_whole
from yannctl.pwa.law import PwaLaw
from yannctl.types import ArrayLike, Float

from .c_fields import share_gains, template_fields
from .c_text import fill_template
from .clip_tables import ClipTables
from .control_reference import ControlReference
from .law_tables import LawTables
from .projection_tables import ProjectionTables, filter_tables
from .residual_tables import ResidualTables
from .row_order import telling_rows_first
from .tree_tables import TreeTables

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
        files: the header, the source and the README; those of the projection too, for a filter of several inputs.
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

    def __repr__(self) -> str:
        size = f"{self.n_regions} regions, about {self.flash_bytes} B flash, {self.ram_bytes} B RAM"
        work = f"at most {self.operation_bound} operations by {self.search}"
        return f"CExport({self.source}, {self.precision}, {size}, {work})"

    @property
    def source(self) -> Path:
        """The C file."""
        return self.folder / f"{self.name}.c"

    @property
    def sources(self) -> tuple[Path, ...]:
        """Every C file that is to be compiled."""
        return tuple(path for path in self.files if path.suffix == ".c")


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
        clip: safety filter: an `assurance.Certificate`, its set, an `assurance.ClipFilter` or `ClipTables`; default:
            none. In float its lines are rounded towards safe, so that the interval lies inside the exact one. Several
            inputs take double: their projection is a law of its own, `<name>_projection.c`, found by a tree if it has
            one.

    Returns:
        The files, their costs and the reference.

    Raises:
        ModelError: no law at all or one that is not complete, a name that is no C identifier, limits, a safe output, a
            learned part or a filter that do not fit.
    """
    check_name(name)
    reference = _reference(law, (precision, search, outside), (safe_output, out_min, out_max), extension, clip)
    further: tuple[Path, ...] = ()
    if isinstance(reference.clip, ProjectionTables):
        reference, projection = _with_projection(reference, Path(folder), name)
        further = projection.files
    tables = reference.tables
    compact = share_gains(tables)
    tree = TreeTables.of(law, tables, compact.law_of, len(compact.F)) if search == "tree" else None
    fields = template_fields(law, compact, name, reference, tree)
    return CExport(
        name=name,
        folder=Path(folder),
        files=(*_written(Path(folder), name, fields), *further),
        precision=precision,
        operation_bound=int(fields["operation_bound"]),
        flash_bytes=int(fields["flash_bytes"]),
        ram_bytes=int(fields["ram_bytes"]),
        law_id=int(fields["law_id"], 16),
        safe_output=reference.safe_output,
        out_min=reference.out_min,
        out_max=reference.out_max,
        tolerance=reference.tolerance,
        search=search,
        n_regions=tables.n_regions,
        reference=reference,
    )


def _reference(
    law: Any,
    form: tuple[Precision, Search, Outside],
    limits: tuple[ArrayLike | None, ArrayLike | None, ArrayLike | None],
    extension: Any,
    clip: Any,
) -> ControlReference:
    """Check what is to be written and state its evaluation rule in numpy: what the C code must equal."""
    precision, search, outside = form
    check_law(law)
    if search not in {"scan", "tree"}:
        raise ModelError("search", f"got {search!r}", remedy='use "scan" or "tree"')
    if outside not in {"nearest", "safe"}:
        raise ModelError("outside", f"got {outside!r}", remedy='use "nearest" or "safe"')
    tables = telling_rows_first(law, LawTables.of(law, precision))
    safe, lower, upper = _outputs(law, tables, *limits)
    reference = ControlReference(
        tables=tables,
        tolerance=tables.outside_tolerance(law),
        safe_output=safe,
        out_min=lower,
        out_max=upper,
        outside=outside,
        residual=None if extension is None else ResidualTables.of(extension, precision),
        clip=None if clip is None else _filter(clip, law, precision),
    )
    _check_residual(reference)
    return reference


def _with_projection(reference: ControlReference, folder: Path, name: str) -> tuple[ControlReference, CExport]:
    """Write the law of a filter of several inputs beside the controller; the rule then knows what it answers."""
    clip = reference.clip
    assert isinstance(clip, ProjectionTables)
    form = "scan" if clip.law.tree is None else "tree"
    written = write_c(clip.law, folder, f"{name}_projection", search=form)
    return replace(reference, clip=replace(clip, answers=written.reference, cost=_cost_of(written))), written


def _cost_of(written: CExport) -> tuple[int, int, int]:
    return written.operation_bound, written.flash_bytes, written.ram_bytes


def _written(folder: Path, name: str, fields: Any) -> tuple[Path, ...]:
    """Fill the templates and write header, code and description."""
    targets = {
        "controller.h.in": folder / f"{name}.h",
        "controller.c.in": folder / f"{name}.c",
        "README.txt.in": folder / f"{name}_README.txt",
    }
    for template, target in targets.items():
        write_whole(target, fill_template(template, fields).encode("ascii"))
    return tuple(targets.values())


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


def _check_residual(reference: ControlReference) -> None:
    """Refuse a learned part of another size than the law."""
    tables, residual = reference.tables, reference.residual
    if residual is not None and (residual.nx > tables.n_theta or residual.sizes[-1] != tables.n_out):
        text = f"maps {residual.nx} states to {residual.sizes[-1]} inputs, the law {tables.n_theta} to {tables.n_out}"
        raise ModelError("extension", text, remedy="extend the actor of this law")


def _filter(clip: Any, law: PwaLaw, precision: Precision) -> ClipTables | ProjectionTables:
    """The filter in the target's precision; its lines cover the law's domain where they state nothing else."""
    tables = filter_tables(clip)
    nu = tables.nu if isinstance(tables, ProjectionTables) else 1
    if tables.nx > law.F.shape[2] or law.F.shape[1] != nu:
        inputs = "1 input" if nu == 1 else f"{nu} inputs"
        text = f"is for {tables.nx} states and {inputs}, the law maps {law.F.shape[2]} to {law.F.shape[1]}"
        raise ModelError("clip", text, remedy="give the filter of this plant")
    if isinstance(tables, ProjectionTables):
        if precision != "double":
            raise ModelError("precision", "a filter of several inputs is written in double only", remedy="use double")
        return tables
    reach = np.maximum(np.abs(law.theta_min), np.abs(law.theta_max))
    return tables.rounded(precision, reach[: tables.nx])


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
