"""The tables of the learning benchmark as text."""

import math
from typing import Any

STEPS = "{:.0f}"
COLUMNS = (
    ("gap_deployed", "gap closed: deployed", "{:.3f}"),
    ("gap_learning", "gap closed: learning", "{:.3f}"),
    ("steps_deployed", "steps to 95 %: deployed", "{:.0f}"),
    ("steps_learning", "steps to 95 %: learning", "{:.0f}"),
    ("steps_80_deployed", "to 80 %: deployed", "{:.0f}"),
    ("steps_80_learning", "to 80 %: learning", "{:.0f}"),
    ("worst_deployed_minus_linear", "worst gain on the law", "{:.3g}"),
    ("regret", "paid above optimum", "{:.4g}"),
    ("violations_training", "violations", "{:.0f}"),
    ("interventions_deployed", "filter acts", "{:.3f}"),
    ("cpu_s", "CPU s", "{:.0f}"),
)


def table(result: dict[str, Any]) -> str:
    """All tables as text.

    Args:
        result: from `learning.run`.
    """
    lines: list[str] = []
    for name, part in result["tasks"].items():
        lines += ["", f"{name}: mean cost on the common test starts (runs that violate a hard limit)"]
        lines += [f"  {row:<24} {who['cost']:10.4f} ({who['violating']})" for row, who in part["controls"].items()]
        lines += _methods(part["methods"])
        lines += [f"  {row}: not installed" for row in part.get("not_installed", [])]
        lines += [f"  {line}" for line in part.get("stopped", [])]
        lines += [_target(target) for target in part["targets"]]
    return "\n".join(lines).strip()


def _methods(methods: dict[str, Any]) -> list[str]:
    if not methods:
        return []
    head = (
        "  "
        + f"{'method (median of seeds)':<26} {'seeds':>5} {'steps':>6}"
        + "".join(f" {title:>23}" for _, title, _ in COLUMNS)
    )
    lines = [head]
    for name, method in methods.items():
        cells = "".join(f" {_figure(method['figures'][key]['median'], form):>23}" for key, _, form in COLUMNS)
        lines.append(f"  {name:<26} {method['n']:>5} {method['steps']:>6}{cells}")
    return lines


def _figure(value: Any, form: str) -> str:
    if value is None or not math.isfinite(value):
        return "never" if form == STEPS else "no gap"
    return form.format(value)


def _target(target: dict[str, Any]) -> str:
    figure = target["figure"]
    text = "not reached" if figure is None else f"{figure:.4g}"
    return f"  {'ok    ' if target['ok'] else 'MISSED'} {target['what']:<58} {text:>12}   ({target['target']})"


def markdown(part: dict[str, Any]) -> str:
    """The tables of one task for a page.

    Args:
        part: from `learning_summary.summarise`, of one task.
    """
    lines = ["| controller | mean cost | runs that violate | filter acts |", "| --- | --- | --- | --- |"]
    for name, who in part["controls"].items():
        title = f"**{name}** ({who['source']})" if name == "best" else name
        lines.append(f"| {title} | {who['cost']:.4g} | {who['violating']} | {100 * who['interventions']:.1f} % |")
    columns = " | ".join(title for _, title, _ in COLUMNS)
    lines += ["", f"| method | seeds | steps | {columns} |", "| --- " * (len(COLUMNS) + 3) + "|"]
    for method in part["methods"].values():
        cells = " | ".join(_cell(method["figures"][key], form) for key, _, form in COLUMNS)
        lines.append(f"| {method['title']} | {method['n']} | {method['steps']} | {cells} |")
    lines += ["", "| figure | found | target | |", "| --- | --- | --- | --- |"]
    for target in part["targets"]:
        figure = "not reached" if target["figure"] is None else f"{target['figure']:.3g}"
        lines.append(f"| {target['what']} | {figure} | {target['target']} | {'ok' if target['ok'] else '**missed**'} |")
    return "\n".join(lines)


def _cell(spread: dict[str, Any], form: str) -> str:
    """Median, and the quartiles where they differ."""
    middle, low, high = (spread[key] for key in ("median", "low", "high"))
    text = _figure(middle, form)
    if low is None or high is None or form.format(low) == form.format(high):
        return text
    return f"{text} ({form.format(low)} to {form.format(high)})"
