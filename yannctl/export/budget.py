"""A budget of instructions and flash as a design parameter: which form of a law fits a chip, or what is missing.

The forms are the law and the merged law, each by scan and by tree. A tree takes fewer instructions and more flash; it
gives the safe output outside all regions, because continuing the nearest region would cost a scan.
"""

import tempfile
from dataclasses import dataclass, field
from typing import Any

from yannctl.errors import ModelError
from yannctl.files import write_whole
from yannctl.pwa.law import PwaLaw

from .c_code import CExport, Outside, Precision, Search, write_c

INSTRUCTIONS_AN_OPERATION = 2.6  # float on a Cortex-M4F, an estimate where nothing can be measured
FORMS: tuple[tuple[Search, Outside], ...] = (("scan", "nearest"), ("tree", "safe"))
MOST_REGIONS_MERGED = 3000  # merging takes a minute beyond


@dataclass(frozen=True)
class Form:
    """One way to put a law on a chip, and what it costs.

    Args:
        name: what it is, for people.
        law: the law it holds.
        search: "scan" or "tree".
        outside: "nearest" or "safe".
        instructions: largest number measured over vertices, facets and random points, or an estimate of the bound.
        typical: median of the same points, equal to `instructions` for an estimate.
        flash_bytes: code and constants [byte].
        measured: on an emulated processor; False for an estimate.
    """

    name: str
    law: PwaLaw = field(repr=False)
    search: Any
    outside: Any
    instructions: int
    typical: int
    flash_bytes: int
    measured: bool

    def to_json(self) -> dict:
        """Return the figures as numbers and texts."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "law"}


@dataclass(frozen=True)
class Choice:
    """The form that fits, or why none does.

    Args:
        chosen: the form of least flash among those that fit, None where none does.
        forms: all of them.
        message: one sentence; where nothing fits, what is missing and by how much.
    """

    chosen: Form | None
    forms: tuple[Form, ...]
    message: str


def parse_size(text: str) -> int:
    """Read a size such as "16k" or "1M".

    Args:
        text: a number of bytes, with k or M for 1024 and 1024^2.

    Returns:
        Bytes.

    Raises:
        ModelError: not a positive size.
    """
    units = {"k": 1024, "m": 1024**2}
    number, unit = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1)
    if not number.isdigit() or int(number) == 0:
        raise ModelError("flash", f"got {text!r}", remedy='give bytes, such as 16384, "16k" or "1M"')
    return int(number) * unit


def forms_of(
    law: PwaLaw,
    precision: Precision = "float",
    cpu: str = "cortex-m4",
    extension: Any = None,
    clip: Any = None,
    n_points: int = 3000,
) -> tuple[Form, ...]:
    """Measure every form of a law on an emulated processor, or estimate it where the tools are missing.

    Args:
        law: a complete law.
        precision: "double" or "float".
        cpu: name of the processor.
        extension: the learned part, or None.
        clip: the safety filter, or None.
        n_points: points that are run.

    Returns:
        The forms, in the order scan, tree, merged scan, merged tree.
    """  # fmt: skip
    laws = [("law", law)]
    if law.n_regions <= MOST_REGIONS_MERGED:
        merged = law.merged()
        laws += [("merged law", merged)] if merged.n_regions < law.n_regions else []
    forms = []
    with tempfile.TemporaryDirectory(prefix="yannctl_") as folder:
        for name, each in laws:
            for search, outside in FORMS:
                try:
                    code = write_c(
                        each, folder, precision=precision, search=search, outside=outside, extension=extension,
                        clip=clip,
                    )  # fmt: skip
                except ModelError as error:
                    if error.field != "search":
                        raise
                    continue  # this law has no tree
                forms.append(_cost(f"{name}, {search}", each, code, outside, cpu, n_points))
    return tuple(forms)


def choose_form(forms: tuple[Form, ...], max_instructions: int | None, flash_bytes: int | None) -> Choice:
    """Choose the form of least flash that fits.

    Args:
        forms: from `forms_of`.
        max_instructions: instructions of one evaluation at most, None for any number.
        flash_bytes: flash at most [byte], None for any size.

    Returns:
        The choice.
    """
    fitting = [
        form
        for form in forms
        if (max_instructions is None or form.instructions <= max_instructions)
        and (flash_bytes is None or form.flash_bytes <= flash_bytes)
    ]
    if fitting:
        best = min(fitting, key=lambda form: (form.flash_bytes, form.instructions))
        text = f"{best.name}: {best.instructions} instructions at most, {best.flash_bytes} B flash"
        return Choice(best, forms, text)
    gaps = []
    for form in forms:
        over = []
        if max_instructions is not None and form.instructions > max_instructions:
            over.append(f"{form.instructions - max_instructions} instructions too many")
        if flash_bytes is not None and form.flash_bytes > flash_bytes:
            over.append(f"{form.flash_bytes - flash_bytes} B flash too many")
        gaps.append(f"{form.name}: {' and '.join(over)}")
    return Choice(None, forms, "nothing fits; " + "; ".join(gaps))


def _cost(name: str, law: PwaLaw, code: CExport, outside: str, cpu: str, n_points: int) -> Form:
    """Figures of one form."""
    from .pil import missing_tools, verify_on_processor

    if missing_tools():
        estimate = round(code.operation_bound * INSTRUCTIONS_AN_OPERATION)
        return Form(name, law, code.search, outside, estimate, estimate, code.flash_bytes, False)
    found = verify_on_processor(code, law, cpu, n_points)
    if not found.ok:
        raise ModelError("law", f"{name} on {cpu} differs from Python at {found.n_different_bits} outputs")
    return Form(
        name, law, code.search, outside, found.instructions_max, found.instructions_median, found.flash_bytes, True
    )


def write_figures(code: CExport, lines: list[str]) -> None:
    """Put measured figures into the README of an export.

    Args:
        code: what `write_c` returned.
        lines: the figures, one a line.
    """
    path = code.folder / f"{code.name}_README.txt"
    head, mark, tail = path.read_text("ascii").partition("\nStatus\n")
    block = "Measured on emulated processors (instructions, not cycles; wait states and pipelines are not modelled)\n"
    write_whole(path, f"{head}{block}{''.join(f'  {line}' + chr(10) for line in lines)}{mark}{tail}".encode("ascii"))
