"""Python values as C99 text."""

import re
from importlib import resources
from string import Template

import numpy as np

NUMBERS_A_LINE = 4

CLIP = """\
        for (r = 0U; r < UPPER_N_OUT; ++r) {
            if (!(u[r] >= OUT_MIN[r])) {
                u[r] = OUT_MIN[r];
            }
            if (!(u[r] <= OUT_MAX[r])) {
                u[r] = OUT_MAX[r];
            }
        }
"""


def hex_number(value: float | np.floating) -> str:
    """A C99 hexadecimal constant that holds the number exactly.

    Args:
        value: a finite float64 or float32.

    Returns:
        The literal, with the suffix f for float32.
    """
    return float(value).hex() + ("f" if getattr(value, "dtype", None) == np.float32 else "")


def numbers(values: np.ndarray) -> str:
    """A flat list of constants, a few a line.

    Args:
        values: numbers (n,).

    Returns:
        The lines.
    """
    texts = [hex_number(v) for v in values]
    lines = [texts[i : i + NUMBERS_A_LINE] for i in range(0, len(texts), NUMBERS_A_LINE)]
    return ",\n".join("    " + ", ".join(line) for line in lines)


def braced(values: np.ndarray) -> str:
    """A nested initialiser, one line for each entry of the first axis.

    Args:
        values: numbers (n, ...).

    Returns:
        The lines.
    """
    return ",\n".join("    " + _brace(entry) for entry in values)


def _brace(entry: np.ndarray) -> str:
    """One nested entry."""
    inner = map(hex_number, entry) if entry.ndim == 1 else map(_brace, entry)
    return "{" + ", ".join(inner) + "}"


def integers(values: np.ndarray) -> str:
    """A flat list of unsigned integers.

    Args:
        values: integers (n,).

    Returns:
        The lines.
    """
    return ",\n".join("    " + ", ".join(f"{v}U" for v in values[i : i + 16]) for i in range(0, len(values), 16))


def integer_pairs(values: np.ndarray) -> str:
    """Pairs of unsigned integers, a few a line.

    Args:
        values: integers (n, 2).

    Returns:
        The lines.
    """
    pairs = [f"{{{a}U, {b}U}}" for a, b in values]
    return ",\n".join("    " + ", ".join(pairs[i : i + 8]) for i in range(0, len(pairs), 8))


def constant(value: float | np.floating | np.ndarray) -> str:
    """A hexadecimal constant that stands inside an expression.

    Args:
        value: a finite number, an array of no axes included.

    Returns:
        The literal, in parentheses when it is negative.
    """
    text = hex_number(np.asarray(value).reshape(-1)[0])
    return f"({text})" if text.startswith("-") else text


def dot_lines(row: str, vector: str, n: int, first: int, indent: int) -> str:
    """Statements that add products to `sum`, in order.

    Args:
        row: text of the row.
        vector: text of the vector.
        n: length of both.
        first: first product to add.
        indent: spaces before each statement.

    Returns:
        The lines.
    """
    return "".join(f"{' ' * indent}sum += {row}[{j}] * {vector}[{j}];\n" for j in range(first, n))


def index_type(largest: int) -> str:
    """The smallest stdint type that holds an index.

    Args:
        largest: the largest index.

    Returns:
        The C type.
    """
    return "uint8_t" if largest <= 0xFF else "uint16_t" if largest <= 0xFFFF else "uint32_t"


def limit_tables(name: str, lower: np.ndarray | None, upper: np.ndarray | None) -> str:
    """Tables of the output limits, or nothing.

    Args:
        name: prefix of the C names.
        lower: lower limits (n_out,), or None.
        upper: upper limits (n_out,), or None.

    Returns:
        The definitions.
    """
    if lower is None or upper is None:
        return ""
    return "".join(
        f"static const {name}_real {table}[{len(values)}] = {{{', '.join(map(hex_number, values))}}};\n"
        for table, values in (("OUT_MIN", lower), ("OUT_MAX", upper))
    )


def plain(text: str) -> str:
    """ASCII text that cannot end a comment or start a trigraph.

    Args:
        text: any text.

    Returns:
        The text with everything else replaced.
    """
    ascii_text = text.encode("ascii", "replace").decode("ascii")
    return re.sub(r"[^A-Za-z0-9 _.,:;()\[\]^+*-]", "_", ascii_text)


def name_lines(symbol: str, names: tuple[str, ...]) -> str:
    """Comment lines that say what each entry is.

    Args:
        symbol: the array.
        names: name of each entry.

    Returns:
        The lines.
    """
    return "\n".join(f" *   {symbol}[{i}] {plain(text)}" for i, text in enumerate(names))


def fill_template(template: str, fields: dict[str, str]) -> str:
    """Read a template of this package and fill it.

    Args:
        template: file name under templates/.
        fields: text for each `$field`.

    Returns:
        The filled text.
    """
    text = resources.files("yannctl.export").joinpath("templates", template).read_text("ascii")
    return Template(text).substitute(fields)
