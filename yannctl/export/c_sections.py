"""The optional sections of a generated controller: search tree, learned part, safety filter, and what joins them."""

from typing import NamedTuple

import numpy as np

from .activations import ANGLE_END, STEP, odd_table, quarter_turns
from .c_text import braced, constant, dot_lines, fill_template, hex_number, index_type, integer_pairs, integers, numbers
from .clip_tables import ClipTables
from .residual_tables import ResidualTables
from .tree_tables import TreeTables

UNROLLED_LINES = 16  # a filter of more lines keeps them in tables
CLIP_OPERATIONS = 12  # comparisons after the lines


class Section(NamedTuple):
    """One section of the C text.

    Args:
        text: definitions.
        table_bytes: constants [byte].
        operations: floating-point operations at most.
        stack_bytes: local arrays [byte].
        arrays: what identifies it, for the law id.
    """

    text: str
    table_bytes: int
    operations: int
    stack_bytes: int
    arrays: tuple[np.ndarray, ...]


def row_operations(n: int) -> int:
    """Operations of one row: n products, n sums, three comparisons.

    Args:
        n: parameters.

    Returns:
        The count.
    """
    return 2 * n + 3


def tree_section(tree: TreeTables, n_laws: int, n_rows: int, outside: str, base: dict[str, str]) -> Section:
    """Write the search tree.

    Args:
        tree: its tables.
        n_laws: number of different gains.
        n_rows: rows of all regions.
        outside: "nearest" or "safe".
        base: the fields every template knows.

    Returns:
        The section; its operations leave out the scan of a controller that continues outside the regions.
    """
    n = tree.box.shape[1]
    total = tree.n_inner + tree.n_leaves
    types = {
        "row_type": index_type(int(tree.node_row.max(initial=0))),
        "node_type": index_type(total),
        "leaf_law_type": index_type(n_laws + 1),
        "member_start_type": index_type(len(tree.member)),
        "member_type": index_type(int(tree.member.max(initial=0))),
    }
    counts = [tree.n_inner, 2 * tree.n_inner, tree.n_leaves]
    counts += [tree.n_leaves + 1, len(tree.member)] if tree.searches else []
    widths = [np.dtype(name.removesuffix("_t")).itemsize for name in types.values()]
    fields = {
        "n_inner": str(tree.n_inner),
        "n_leaves": str(tree.n_leaves),
        "n_leaf_starts": str(tree.n_leaves + 1),
        "n_members": str(max(len(tree.member), 1)),
        "n_node_rows": str(max(tree.n_inner, 1)),
        "stack": str(tree.stack),
        "depth": str(tree.depth),
        "search_visits": str(tree.search_visits),
        "search_rows": str(tree.search_rows),
        "margin": hex_number(tree.box.dtype.type(tree.margin)),
        "node_row": integers(tree.node_row if tree.n_inner else np.zeros(1, int)),
        "child": integer_pairs(tree.child if tree.n_inner else np.zeros((1, 2), int)),
        "leaf_law": integers(tree.leaf_law),
        "leaf_start": integers(tree.leaf_start),
        "member": integers(tree.member if len(tree.member) else np.zeros(1, int)),
        "box": braced(tree.box),
        "slow": _slow_text(tree.searches, outside),
        "slow_text": f"theta close to a plane is left to the {'search' if tree.searches else 'scan'}",
    }
    search = fill_template("tree_search.c.in", base | types | fields) if tree.searches else ""
    text = fill_template("tree.c.in", base | types | fields | {"search": search})
    rows = tree.search_rows if tree.searches else 0 if outside == "nearest" else n_rows
    operations = (tree.depth + rows) * row_operations(n) + 4 * n
    table_bytes = int(sum(c * w for c, w in zip(counts, widths, strict=False))) + tree.box.nbytes
    stack_bytes = tree.stack * widths[1] if tree.searches else 0
    return Section(text, table_bytes, operations, stack_bytes, (tree.node_row, tree.child, tree.leaf_law))


def _slow_text(searches: bool, outside: str) -> str:
    """What follows where no leaf answers alone."""
    if searches:
        lines = ["} else if ((law > N_LAWS) && (is_inside(theta, 2U) == 1)) {", "    law = search(theta, violation);"]
    elif outside == "nearest":
        return "    } else {\n        law = nearest(theta, violation);\n    }\n"
    else:
        lines = ["} else if (law > N_LAWS) {", "    law = nearest(theta, violation);"]
    lines += ["} else {", "    *violation = REAL_MAX;", "    law = 0U;", "}"]
    if outside == "nearest":
        lines += ["if (*violation > TOLERANCE) {", "    law = nearest(theta, violation);", "}"]
    return "".join(f"    {line}\n" for line in lines)


def filter_section(clip: ClipTables, base: dict[str, str]) -> Section:
    """Write the safety filter.

    Args:
        clip: its tables.
        base: the fields every template knows.

    Returns:
        The section.
    """
    fields = {
        "u_low": constant(clip.u_min),
        "u_high": constant(clip.u_max),
        "filter_nx": str(clip.nx),
        "n_low": str(len(clip.g_low)),
        "n_high": str(len(clip.g_high)),
        "F_low": braced(clip.F_low),
        "g_low": numbers(clip.g_low),
        "F_high": braced(clip.F_high),
        "g_high": numbers(clip.g_high),
        "low_sum": dot_lines("F_LOW[i]", "theta", clip.nx, 0, 8),
        "high_sum": dot_lines("F_HIGH[i]", "theta", clip.nx, 0, 8),
    }
    if clip.n_rows <= UNROLLED_LINES:
        fields |= {"tables": "", "lines": _unrolled_lines(clip, base["name"])}
    else:
        fields["tables"] = fill_template("filter_tables.c.in", base | fields)
        fields["lines"] = fill_template("filter_loops.c.in", base | fields)
    arrays = (clip.F_low, clip.g_low, clip.F_high, clip.g_high, clip.u_min, clip.u_max)
    table_bytes = sum(array.nbytes for array in arrays)
    operations = clip.n_rows * (2 * clip.nx + 1) + CLIP_OPERATIONS
    return Section(fill_template("filter.c.in", base | fields), table_bytes, operations, 0, arrays)


def _unrolled_lines(clip: ClipTables, name: str) -> str:
    """The lines one after the other, their numbers in the code."""
    texts = [f"    {name}_real sum;"]
    for F, g, end, sign in ((clip.F_low, clip.g_low, "low", "<="), (clip.F_high, clip.g_high, "high", ">=")):
        for row, offset in zip(F, g, strict=True):
            texts.append(f"    sum = {constant(offset)};")
            texts += [f"    sum += {constant(slope)} * theta[{j}];" for j, slope in enumerate(row)]
            texts += [f"    if (!(sum {sign} {end})) {{", f"        {end} = sum;", "    }"]
    return "\n".join([*texts, ""])


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


def control_text(residual: ResidualTables | None, clip: ClipTables | None, outside: str, base: dict[str, str]) -> str:
    """Write the body of the function that joins law, learned part and filter.

    Args:
        residual: the learned part, or None.
        clip: the filter, or None.
        outside: "nearest" or "safe".
        base: the fields every template knows.

    Returns:
        The statements.
    """
    name, upper = base["name"], base["upper"]
    if residual is None and clip is None:
        return f"    return {name}_evaluate(theta, u);\n"
    ends = f"status == {upper}_BAD_INPUT"
    if outside == "safe":
        ends = f"({ends}) || (status == {upper}_OUTSIDE)"
    lines = [
        f"    {name}_real law[{upper}_N_OUT];",
        f"    {name}_status status = {name}_evaluate(theta, law);",
        f"    {name}_status found;" if clip is not None else "",
        "    uint32_t r;",
        f"    for (r = 0U; r < {upper}_N_OUT; ++r) {{",
        "        u[r] = law[r];",
        "    }",
        f"    if ({ends}) {{",
        "        return status;",
        "    }",
    ]
    if residual is not None:
        lines += ["    if (extend(theta, law, u) == 0) {", f"        status = {upper}_LAW_USED;", "    }"]
    if clip is not None:
        lines += [
            f"    found = {name}_filter(theta, u[0], law[0], &u[0]);",
            "    if (found > status) {",
            "        status = found;",
            "    }",
        ]
    return "\n".join([*(line for line in lines if line), "    return status;", ""])


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
