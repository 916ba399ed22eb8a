"""The learned part of a generated controller as C: features, dense layers and activations without libm."""

import numpy as np

from .activations import ANGLE_END, STEP, odd_table, quarter_turns
from .c_sections import Section
from .c_text import braced, constant, fill_template, hex_number, numbers
from .residual_tables import ResidualTables


def extension_section(residual: ResidualTables, base: dict[str, str]) -> Section:
    """Write the learned part.

    Args:
        residual: its tables.
        base: the fields every template knows.

    Returns:
        The section.
    """
    item = residual.reach.itemsize
    kinds = sorted({"tanh", residual.kind} - {"relu"})
    tables = [odd_table("normal" if kind == "gelu" else kind, residual.precision) for kind in kinds]
    activation = _activation_text(residual, base)
    feature_tables, feature_lines, feature_operations = _features(residual, base)
    layers, calls, last = _layers(residual, base)
    text = fill_template(
        "extension.c.in",
        base
        | {
            "activation": activation,
            "layer_tables": layers,
            "layer_calls": calls,
            "last": last,
            "width": str(max(residual.sizes)),
            "n_features": str(residual.sizes[0]),
            "feature_tables": feature_tables,
            "feature_lines": feature_lines,
            "reach": ", ".join(map(hex_number, residual.reach)),
            "u_min": ", ".join(map(hex_number, residual.u_min)),
            "u_max": ", ".join(map(hex_number, residual.u_max)),
        },
    )
    arrays = (
        *residual.weights, *residual.biases, residual.centre, residual.scale, residual.reach, residual.u_min,
        residual.u_max,
    )  # fmt: skip
    degree = tables[0].values.shape[1] - 1
    odd = 2 * degree + 6
    hidden, n_out = sum(residual.sizes[1:-1]), residual.sizes[-1]
    a_unit = 1 if residual.kind == "relu" else odd + 2
    products = sum(2 * weight.size for weight in residual.weights)
    operations = products + hidden * a_unit + n_out * (odd + 10) + feature_operations
    table_bytes = sum(array.nbytes for array in arrays) + sum(table.values.nbytes for table in tables)
    return Section(text, table_bytes, operations, (2 * max(residual.sizes) + 2 * n_out) * item, arrays)


def _activation_text(residual: ResidualTables, base: dict[str, str]) -> str:
    """Functions of the hidden units and of the output."""
    name = base["name"]
    parts = [_odd_text("tanh", residual.precision, base)]
    parts.append(f"\nstatic {name}_real activation_tanh({name}_real x)\n{{\n    return odd_tanh(x);\n}}\n")
    if residual.kind == "relu":
        body = f"(x < ({name}_real)0) ? ({name}_real)0 : x; /* NaN stays NaN */"
        parts.append(f"\nstatic {name}_real activation({name}_real x)\n{{\n    return {body}\n}}\n")
    elif residual.kind == "gelu":
        half = hex_number(residual.reach.dtype.type(0.5))
        parts.append(_odd_text("normal", residual.precision, base))
        parts.append(
            f"\nstatic {name}_real activation({name}_real x)\n{{\n    return x * (odd_normal(x) + {half});\n}}\n"
        )
    else:
        parts.append(f"\nstatic {name}_real activation({name}_real x)\n{{\n    return odd_tanh(x);\n}}\n")
    return "".join(parts)


def _odd_text(kind: str, precision: str, base: dict[str, str]) -> str:
    """An odd function on intervals."""
    table = odd_table(kind, precision)
    real, degree = table.values.dtype.type, table.values.shape[1] - 1
    name = f"{kind.upper()}_TABLE"
    horner = "".join(f"        value = (value * t) + {name}[i][{power}];\n" for power in range(degree - 1, -1, -1))
    return fill_template(
        "piecewise.c.in",
        base
        | {
            "function": kind,
            "table": name,
            "degree": str(degree),
            "terms": str(degree + 1),
            "intervals": str(len(table.values)),
            "values": braced(table.values),
            "end": hex_number(real(table.end)),
            "limit": hex_number(real(table.limit)),
            "per_unit": hex_number(real(1 / STEP)),
            "step": hex_number(real(STEP)),
            "horner": horner,
        },
    )


def _features(residual: ResidualTables, base: dict[str, str]) -> tuple[str, str, int]:
    """Tables and statements of the features, and their operations."""
    lines = [f"    cos_sin(theta[{index}], &seen[{2 * at}]);" for at, index in enumerate(residual.angles)]
    first = 2 * len(residual.angles)
    lines += [
        f"    seen[{first + at}] = (theta[{index}] - {constant(centre)}) * {constant(scale)};"
        for at, (index, centre, scale) in enumerate(zip(residual.others, residual.centre, residual.scale, strict=True))
    ]
    turns = quarter_turns(residual.precision)
    operations = 2 * len(residual.others) + len(residual.angles) * (2 * (len(turns.cos_terms) * 2) + 14)
    return (_turns_text(residual.precision, base) if residual.angles else ""), "\n".join([*lines, ""]), operations


def _turns_text(precision: str, base: dict[str, str]) -> str:
    """Cosine and sine."""
    turns = quarter_turns(precision)
    real = turns.parts.dtype.type

    def horner(variable: str, terms: np.ndarray) -> str:
        return "".join(f"        {variable} = ({variable} * s) + {constant(term)};\n" for term in terms[-2::-1])

    return fill_template(
        "sincos.c.in",
        base
        | {
            "angle_end": hex_number(real(ANGLE_END)),
            "two_over_pi": hex_number(real(2 / np.pi)),
            "half": hex_number(real(0.5)),
            **{f"part{i}": hex_number(part) for i, part in enumerate(turns.parts)},
            "cos_first": constant(turns.cos_terms[-1]),
            "sin_first": constant(turns.sin_terms[-1]),
            "cos_horner": horner("c", turns.cos_terms),
            "sin_horner": horner("d", turns.sin_terms),
        },
    )


def _layers(residual: ResidualTables, base: dict[str, str]) -> tuple[str, str, str]:
    """Weight tables, the calls that run through them, and the array the raw output is in."""
    name = base["name"]
    tables, calls, source, target = [], [], "a", "b"
    for i, (weight, bias) in enumerate(zip(residual.weights, residual.biases, strict=True)):
        flat = _blocked(weight)
        tables.append(f"static const {name}_real W{i}[{flat.size}] = {{\n{numbers(flat)}\n}};\n")
        tables.append(f"static const {name}_real B{i}[{bias.size}] = {{\n{numbers(bias)}\n}};\n")
        calls.append(f"    dense(W{i}, B{i}, {source}, {target}, {weight.shape[1]}U, {weight.shape[0]}U);")
        if i + 1 < len(residual.weights):
            calls.append(f"    for (r = 0U; r < {weight.shape[0]}U; ++r) {{")
            calls.append(f"        {target}[r] = activation({target}[r]);")
            calls.append("    }")
        source, target = target, source
    return "\n".join(tables), "\n".join([*calls, ""]), source


def _blocked(weight: np.ndarray) -> np.ndarray:
    """Weights in the order `dense` reads them: blocks of four rows column by column, then the other rows."""
    whole = len(weight) - len(weight) % 4
    blocks = [weight[r : r + 4].T.reshape(-1) for r in range(0, whole, 4)]
    return np.concatenate([*blocks, weight[whole:].reshape(-1)])
