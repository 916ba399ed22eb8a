"""Write `docs/solver.md`: what the explicit solver was measured to do, beside PPOPT.

    python docs/solver.py

The table comes from `benchmarks/results/mpqp.json`, which `yannctl bench mpqp` wrote; a test compares page and file.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER.parent / "benchmarks" / "results" / "mpqp.json"
PAGE = FOLDER / "solver.md"
KINDS = {
    "P1": "double integrator, 2 parameters",
    "P2": "pendulum on a cart, 4 parameters",
    "P3": "reactor, 2 parameters",
    "P4": "masses on springs, 4 or 6 parameters",
    "P5": "random programs, 3 to 6 parameters",
    "H": "built to break solvers: overlapping facets, dependent rows, rows twice, bad units, deadbeat, weakly active",
}

TEXT = """<!-- written by docs/solver.py; run it again instead of editing -->
# The explicit solver: regions, time, correctness

    yannctl bench mpqp [--short] [--out FILE]

solves every problem, compares each law with an online QP at up to 200 000 points (half uniform, half 1e-6 of the box
beside facets), audits every facet, and runs PPOPT on the same program where it is installed (GLPK and DAQP, its fastest
setting; the faster of two of its algorithms that finds as many regions). Times are CPU time of one thread, the median of
three solves or more; compiled code is kept on disk, the first solve ever takes about {compile:.0f} s.

{kinds}

{table}

**Alone** is exploration against PPOPT's solve call, **whole** is the call with objects and audit against PPOPT's program
and solve call. Over the problems P that PPOPT finishes within a minute: alone {alone:.0f} times as fast in the geometric
mean (lowest {lowest_alone:.0f}), whole {whole:.0f} times (lowest {lowest_whole:.0f}).

{note}

* **Uncovered**: {uncovered} feasible points in no region, {open} open facets, on all {n} problems.
* **Error**: largest difference between law and QP, relative to the range of the input. Where the two differ by more than
  1e-8 ({disputed} points, on {judged}), the program is solved once more in rational numbers and the law is held to that.
  The twelve worst points of P4_nx6_N3 were looked at: there active rows are nearly parallel, in regions of radius 3e-8 to
  6e-7, the law is right to 4e-10, and a row that the online QP violates by 1e-12 to 4e-10 moves its answer by up to 1.5e-7.
* PPOPT returns other numbers of regions on {differs}.

## Look-ups

Batches of 200 000 points that do not repeat, by the compiled search tree, one thread; "single" is one call from Python.
Every result is compared with the scan of all regions, bit by bit: {wrong} differ.

{look_ups}

Of these only P4_nx4_N3 needs more than ten nodes a region: its facets cut many other regions. Its time does not suffer.
"""


def seconds(peer: Any) -> str:
    """What a peer found, and how long it took."""
    if isinstance(peer, str):
        return peer
    return peer["failed"] if "failed" in peer else f"{peer['regions']} in {peer['seconds']:.3g} s"


def short(number: float) -> str:
    """Three digits or more, without an exponent."""
    return f"{number:.0f}" if number >= 1000 else f"{number:.3g}"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of the problems."""
    titles = (
        "problem",
        "regions",
        "alone [ms]",
        "whole [ms]",
        "regions/s",
        "error",
        "PPOPT, graph",
        "PPOPT, geometric",
    )
    lines = ["| " + " | ".join((*titles, "ratio alone", "whole")) + " |", "| --- " * (len(titles) + 2) + "|"]
    for row in rows:
        times = f"{short(row['alone_ms'])} | {short(row['whole_ms'])} | {row['regions_per_second']:.0f}"
        peers = " | ".join(seconds(row[f"ppopt_{name}"]) for name in ("combinatorial_graph", "geometric"))
        ratios = " | ".join(f"{row[kind]:.0f}" if row[kind] else "–" for kind in ("alone", "whole"))
        lines.append(f"| {row['problem']} | {row['regions']} | {times} | {row['max_error']:.0e} | {peers} | {ratios} |")
    return "\n".join(lines)


def look_ups(rows: list[dict[str, Any]]) -> str:
    """The rows of the look-ups."""
    lines = [
        "| problem | regions | nodes | a region | depth | batch [ns] | single [µs] | scan [ns] |",
        "| --- " * 8 + "|",
    ]
    for row in rows:
        tree = f"{row['nodes']} | {row['a region']:.1f} | {row['depth']}"
        times = f"{row['batch_ns']:.0f} | {row['single_us']:.1f} | {row['scan_ns']:.0f}"
        lines.append(f"| {row['problem']} | {row['regions']} | {tree} | {times} |")
    return "\n".join(lines)


def other_counts(row: dict[str, Any]) -> bool:
    """Whether some algorithm of PPOPT ends with another number of regions."""
    peers = [row[f"ppopt_{name}"] for name in ("combinatorial_graph", "geometric")]
    return any(isinstance(peer, dict) and peer.get("regions", row["regions"]) != row["regions"] for peer in peers)


def page() -> str:
    """The page as text."""
    data = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = data["rows"]
    names = {key: ", ".join(row["problem"] for row in rows if test(row)) for key, test in {
        "judged": lambda row: row["disputed"], "differs": other_counts}.items()}  # fmt: skip
    return TEXT.format(
        compile=data["compile_seconds"],
        kinds="\n".join(f"* **{kind}**: {text}" for kind, text in KINDS.items()),
        table=table(rows),
        look_ups=look_ups(data["look_ups"]),
        note=data.get("note", ""),
        n=len(rows),
        uncovered=sum(row["uncovered"] for row in rows),
        open=sum(row["open_facets"] for row in rows),
        disputed=sum(row["disputed"] for row in rows),
        wrong=sum(row["wrong"] for row in data["look_ups"]),
        **names,
        **{key: data[key] for key in ("alone", "lowest_alone", "whole", "lowest_whole")},
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
