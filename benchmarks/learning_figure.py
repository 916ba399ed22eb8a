"""Learning curves of all tasks from the tables' data: medians with quartile bands, the bounds as lines."""

import math
from pathlib import Path
from typing import Any

from learning_metrics import NO_GAP
from matplotlib.ticker import LogLocator

from yannctl.cli.figures import GREY, new_figure, save_figure

# Method -> (colour, label, policy drawn); Okabe and Ito's palette.
CURVES = {
    "ours": ("#D55E00", "ours, deployed", "deployed"),
    "published": ("#E69F00", "published recipe", "learning"),
    "dsact-scratch": ("#0072B2", "DSAC-T from scratch, 1 update a step", "learning"),
    "td3-scratch-8": ("#56B4E9", "TD3 from scratch, 8 updates a step", "learning"),
    "ddpg-scratch": ("#009E73", "DDPG from scratch, 1 update a step", "learning"),
    "sb3-sac": ("#CC79A7", "SAC of Stable-Baselines3", "learning"),
}
LINES = (("linear", "linear law", "-"), ("rival", "best linear rival", "--"), ("best", "best attainable", ":"))
TITLES = {
    "pendulum-swingup": "pendulum, swing-up",
    "pendulum-upright": "pendulum, upright",
    "cstr-setpoint": "reactor, fixed mismatch",
    "robot-kappa6": "robot, slip and lag",
    "pendulum-clipped": "pendulum as published",
    "runaway-published": "reactor as published",
}


def draw(tasks: dict[str, Any], path: Path) -> None:
    """Draw one panel a task.

    Args:
        tasks: from `learning_summary.summarise`.
        path: PNG file.
    """
    shown = {name: part for name, part in tasks.items() if CURVES.keys() & part["methods"].keys() and _has_gap(part)}
    if not shown:
        return
    figure, axes = new_figure(4.6 * len(shown), 4.4, 1, len(shown))
    handles: dict[str, Any] = {}
    for axis, (name, part) in zip(axes.flat, shown.items(), strict=True):
        _panel(axis, name, part, handles)
    axes[0, 0].set_ylabel("mean cost on the test starts")
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)), frameon=False
    )
    save_figure(figure, path)


def _has_gap(part: dict[str, Any]) -> bool:
    """Whether the best attainable leaves anything to learn."""
    linear, best = (part["controls"][name]["cost"] for name in ("linear", "best"))
    return linear - best > NO_GAP * linear


def _panel(axis: Any, name: str, part: dict[str, Any], handles: dict[str, Any]) -> None:
    for key, label, style in LINES:
        row = part["best_rival"] if key == "rival" else key
        cost = part["controls"][row]["cost"]
        handles.setdefault(label, axis.axhline(cost, color=GREY, linestyle=style, linewidth=1.2))
    longest = max(method["steps"] for method in part["methods"].values())
    for method, (colour, label, who) in CURVES.items():
        beside = method != "ddpg-scratch" or "published" in part["methods"]  # the published comparison
        if method not in part["methods"] or not beside:
            continue
        curve = part["methods"][method]["curve"]
        band = curve.get(who) or curve["learning"]
        steps, middle, low, high = curve["steps"], band["median"], band["low"], band["high"]
        if who == "deployed" and steps[-1] < longest:  # deployed for good
            steps, middle, low, high = [*steps, longest], [*middle, middle[-1]], [*low, low[-1]], [*high, high[-1]]
        where = "post" if who == "deployed" else None
        axis.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0, step=where)
        drawn = {"color": colour, "linewidth": 2.0 if method == "ours" else 1.4}
        (line,) = axis.step(steps, middle, where="post", **drawn) if where else axis.plot(steps, middle, **drawn)
        handles.setdefault(label, line)
    best = part["controls"]["best"]["cost"]
    worst = part["controls"]["linear"]["cost"]
    axis.set(yscale="log", xlabel="steps on the plant", xlim=(0, longest), ylim=(0.9 * best, _top(part, worst)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.yaxis.set_minor_formatter("{x:g}")
    seeds = sorted({method["n"] for key, method in part["methods"].items() if key in CURVES})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    axis.set_title(f"{TITLES.get(name.partition(':')[0], name)} ({count} seed{'s' if seeds[-1] > 1 else ''})")


def _top(part: dict[str, Any], worst: float) -> float:
    """Upper end: what the drawn curves reach, but no more than ten times the law."""
    found = [
        max((v for v in method["curve"]["learning"]["median"] if math.isfinite(v)), default=worst)
        for key, method in part["methods"].items()
        if key in CURVES
    ]
    return 1.15 * min(max([worst, *found]), 10 * worst)
