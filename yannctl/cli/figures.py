"""The figures of the demo and of reports: each function takes data and returns a matplotlib figure."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from yannctl.files import write_whole

# One colour a policy, the same in every figure (Okabe and Ito's palette, safe for colour-blind readers).
COLOURS = {
    "linear": "#0072B2",
    "scratch DDPG": "#CC79A7",
    "tuned": "#D55E00",
    "learning": "#8b929c",
    "optimum": "#009E73",
}
GREY = "#6b7280"


@dataclass(frozen=True)
class Trace:
    """One closed-loop run.

    Args:
        time: sampling instants, shape (steps + 1,) [s].
        x: states, shape (steps + 1, nx).
        u: inputs, shape (steps, nu).
    """

    time: np.ndarray
    x: np.ndarray
    u: np.ndarray


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """Make a figure without any global state, in the house look.

    Args:
        width: [inch].
        height: [inch].
        rows: rows of axes.
        columns: columns of axes.
        options: passed to `Figure.subplots`.

    Returns:
        The figure and its axes, shape (rows, columns).
    """
    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat:
        tidy(axis)
    return figure, axes


def tidy(axis) -> None:
    """Give an axis the house look: light grid, no box.

    Args:
        axis: matplotlib axes.
    """
    axis.grid(True, color="#e5e7eb", linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Args:
        figure: what to write.
        path: file to write.
    """
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    write_whole(path, data.getvalue())


def broken_at_jumps(x: np.ndarray, angles: Sequence[int]) -> np.ndarray:
    """Put a gap into a trajectory wherever a wrapped angle jumps, so that no line crosses the plot.

    Args:
        x: states, shape (steps, nx).
        angles: indices of the wrapped angles.

    Returns:
        The states with a row of NaN at each jump.
    """
    jumps = (np.abs(np.diff(x[:, list(angles)], axis=0)) > np.pi).any(axis=1)
    return np.insert(x, np.flatnonzero(jumps) + 1, np.nan, axis=0)


def learning_curve(
    steps: np.ndarray,
    learning: np.ndarray,
    deployed: np.ndarray,
    levels: Mapping[str, float],
    promotions: Sequence[int],
) -> Figure:
    """Draw the return of the learning and of the deployed policy over the steps on the plant.

    Args:
        steps: plant steps at each gate, shape (k,).
        learning: returns of the learning policy, shape (k, starts).
        deployed: returns of the deployed policy on the same starts, shape (k, starts).
        levels: horizontal lines by name, mean returns.
        promotions: gates at which the deployed policy changed.

    Returns:
        The figure.
    """
    figure, axes = new_figure(8.6, 4.4)
    axis = axes[0, 0]
    for data, name, text in ((learning, "learning", "learning policy"), (deployed, "tuned", "deployed policy (gated)")):
        mean = data.mean(axis=1)
        low, high = np.quantile(data, [0.25, 0.75], axis=1)
        axis.fill_between(steps, low, high, color=COLOURS[name], alpha=0.16, linewidth=0, step="post")
        axis.step(steps, mean, where="post", color=COLOURS[name], lw=2.4 if name == "tuned" else 1.4, label=text)
    changed = list(promotions)
    axis.plot(steps[changed], deployed.mean(axis=1)[changed], "o", ms=5, color=COLOURS["tuned"], label="gate opened")
    for name, level in levels.items():
        axis.axhline(level, color=COLOURS[name], ls=(0, (5, 3)), lw=1.3)
        axis.annotate(
            f"{name} {level:.0f}",
            (1.0, level),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=COLOURS[name],
        )
    axis.set_xlabel("steps on the plant")
    axis.set_ylabel("return over 200 steps")
    axis.set_title("Only the gate changes the deployed policy", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1.0, 0.64))
    return figure


def closed_loop(
    traces: Mapping[str, Trace],
    x_names: Sequence[str],
    x_units: Sequence[str],
    angles: Sequence[int],
    u_name: str,
    u_max: float,
) -> Figure:
    """Draw states and input of several policies from one start.

    Args:
        traces: one run a policy.
        x_names: names of the states.
        x_units: units of the states.
        angles: indices of the wrapped angles.
        u_name: name of the input with its unit.
        u_max: the input's bound, drawn as a band.

    Returns:
        The figure.
    """
    count = len(x_names)
    figure, axes = new_figure(8.6, 2.1 * (count + 1), rows=count + 1, sharex=True)
    for name, trace in traces.items():
        style = {"color": COLOURS[name], "lw": 2.2 if name == "tuned" else 1.5, "label": name}
        path = broken_at_jumps(np.column_stack([trace.time, trace.x]), [1 + i for i in angles])
        for i in range(count):
            axes[i, 0].plot(path[:, 0], path[:, 1 + i], **style)
        axes[count, 0].step(trace.time[:-1], trace.u[:, 0], where="post", **style)
    for i, (name, unit) in enumerate(zip(x_names, x_units, strict=True)):
        axes[i, 0].set_ylabel(f"{name} [{unit}]")
        axes[i, 0].axhline(0.0, color=GREY, lw=0.8, ls=":")
    axes[count, 0].set_ylabel(u_name)
    axes[count, 0].axhspan(-u_max, u_max, color="#f3f4f6", zorder=0)
    axes[count, 0].set_xlabel("time [s]")
    axes[0, 0].set_title("Closed loops from hanging", loc="left", fontsize=11)
    axes[0, 0].legend(frameon=False, ncols=len(traces), fontsize=9, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return figure


def surfaces(
    grid: tuple[np.ndarray, np.ndarray], before: np.ndarray, after: np.ndarray, names: Sequence[str], u_name: str
) -> Figure:
    """Draw the law before and after learning, and their difference, as maps over two states.

    Args:
        grid: the two axes, shapes (n,) and (m,).
        before: the explicit law's input on the grid, shape (m, n).
        after: the tuned policy's input on the grid, shape (m, n).
        names: labels of the two states.
        u_name: label of the input.

    Returns:
        The figure.
    """
    figure, axes = new_figure(12.4, 3.9, columns=3, sharey=True)
    figure.get_layout_engine().set(wspace=0.05)  # type: ignore[union-attr]  # between a colour bar and the next map
    top = float(np.abs(before).max())
    pictures = (
        ("Exact law (before)", before, "RdBu_r", top),
        ("Tuned policy (after)", after, "RdBu_r", top),
        ("What learning changed", after - before, "PuOr_r", 2 * top),
    )
    for axis, (title, data, colours, limit) in zip(axes[0], pictures, strict=True):
        axis.grid(False)
        image = axis.pcolormesh(*grid, data, cmap=colours, vmin=-limit, vmax=limit, shading="auto", rasterized=True)
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_xlabel(names[0])
        figure.colorbar(image, ax=axis, label=u_name, shrink=0.9, pad=0.03)
    axes[0, 0].set_ylabel(names[1])
    return figure


def returns_by_policy(returns: Mapping[str, np.ndarray]) -> Figure:
    """Draw the distribution of returns over common starts as sorted curves, one a policy.

    Args:
        returns: one array of returns a policy, all on the same starts, each shape (starts,).

    Returns:
        The figure.
    """
    figure, axes = new_figure(8.6, 3.6)
    axis = axes[0, 0]
    for name, values in returns.items():
        share = (np.arange(len(values)) + 0.5) / len(values)
        axis.plot(np.sort(values), 100 * share, color=COLOURS[name], lw=2.2 if name == "tuned" else 1.6, label=name)
    axis.set_xlabel("return over 200 steps (0 is perfect)")
    axis.set_ylabel("share of starts below [%]")
    axis.set_ylim(0, 100)
    axis.set_title("Starts all around: how the returns are spread", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=9)
    return figure


def cost_against_size(forms: Sequence, most: int | None, flash_bytes: int | None, title: str) -> Figure:
    """Draw instructions against flash of every form of a law, with the budget.

    Args:
        forms: the forms, with `name`, `typical`, `instructions` and `flash_bytes`.
        most: instructions of the budget, None for none.
        flash_bytes: flash of the budget [byte], None for none.
        title: what was measured.

    Returns:
        The figure.
    """
    figure, axes = new_figure(7.2, 4.4)
    axis = axes[0, 0]
    for form, colour in zip(forms, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=False):
        size = form.flash_bytes / 1024
        axis.plot([size, size], [form.typical, form.instructions], color=colour, lw=2)
        axis.plot(size, form.instructions, "o", color=colour, label=f"{form.name} ({form.flash_bytes} B)")
        axis.plot(size, form.typical, "_", color=colour, ms=12, mew=2)
    axis.set(yscale="log", xlabel="flash [KiB]", ylabel="instructions an evaluation")
    axis.set_xlim(0, 1.15 * max([form.flash_bytes for form in forms] + [flash_bytes or 0]) / 1024)
    if most is not None:
        axis.axhline(most, color=GREY, ls="--", lw=1.2)
        axis.annotate(
            f"at most {most}", (0.01, most), xycoords=("axes fraction", "data"), xytext=(0, 4), va="bottom",
            textcoords="offset points", color=GREY, fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip
        axis.set_ylim(top=1.4 * max(most, *(form.instructions for form in forms)))
    if flash_bytes is not None:
        axis.axvline(flash_bytes / 1024, color=GREY, ls="--", lw=1.2)
    axis.set_title(f"{title}: dot = largest, bar = median", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=9)
    return figure
