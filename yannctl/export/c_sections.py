"""Sections of a generated controller: search tree, safety filter, and what joins law, learned part and filter."""

from typing import NamedTuple

import numpy as np

from .c_text import braced, constant, dot_lines, fill_template, hex_number, index_type, integer_pairs, integers, numbers
from .clip_tables import ClipTables
from .projection_tables import ProjectionTables
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


def projection_section(clip: ProjectionTables, base: dict[str, str]) -> Section:
    """Write the safety filter of several inputs; its law is in a file of its own, whose costs are counted here.

    Args:
        clip: its tables.
        base: the fields every template knows.

    Returns:
        The section.
    """
    limits = {"u_low": clip.u_min, "u_high": clip.u_max, "u_middle": clip.middle, "u_half": clip.half}
    n_point = clip.nx + clip.nu
    fields = {
        **{name: ", ".join(map(hex_number, value)) for name, value in limits.items()},
        "filter_nx": str(clip.nx),
        "n_lines": str(clip.n_rows),
        "n_point": str(n_point),
        "lines": braced(clip.lines),
        "bounds": numbers(clip.bounds),
        "line_sum": dot_lines("LINE[i]", "point", n_point, 1, 8),
    }
    operations, flash, stack = clip.cost
    own = sum(array.nbytes for array in (clip.lines, clip.bounds, *limits.values()))
    operations += 2 * clip.n_rows * (2 * n_point + 1) + 8 * clip.nu
    text = fill_template("projection.c.in", base | fields)
    return Section(text, own + flash, operations, stack + 8 * (n_point + clip.nu), clip.arrays)


def _unrolled_lines(clip: ClipTables, name: str) -> str:
    """The lines one after the other, their numbers in the code."""
    texts = [f"    {name}_real sum;"]
    for F, g, end, sign in ((clip.F_low, clip.g_low, "low", "<="), (clip.F_high, clip.g_high, "high", ">=")):
        for row, offset in zip(F, g, strict=True):
            texts.append(f"    sum = {constant(offset)};")
            texts += [f"    sum += {constant(slope)} * theta[{j}];" for j, slope in enumerate(row)]
            texts += [f"    if (!(sum {sign} {end})) {{", f"        {end} = sum;", "    }"]
    return "\n".join([*texts, ""])


def control_text(
    residual: ResidualTables | None, clip: ClipTables | ProjectionTables | None, outside: str, base: dict[str, str]
) -> str:
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
        given = "u, law, u" if isinstance(clip, ProjectionTables) else "u[0], law[0], &u[0]"
        lines += [
            f"    found = {name}_filter(theta, {given});",
            "    if (found > status) {",
            "        status = found;",
            "    }",
        ]
    return "\n".join([*(line for line in lines if line), "    return status;", ""])
