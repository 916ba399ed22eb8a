"""The figures of a training report, each in a wide form and in a narrow one for a telephone or half a page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from yannctl.plant import AbstractPlant

from .figures import COLOURS, GREY, broken_at_jumps, new_figure
from .intervals import mean_interval
from .training_comparison import Comparison, axes_of, operating_point

SLICE_POINTS, MAP_POINTS = 801, 201  # an axis
NARROW = 4.6  # width of the narrow form [inch]


@dataclass(frozen=True)
class Slice:
    """A law along one state through the operating point, before and after.

    Args:
        i: the state.
        values: where it was evaluated (n,) [x_units].
        before: the law's input there (n, nu) [u_units].
        after: the deployed policy's (n, nu).
    """

    i: int
    values: np.ndarray
    before: np.ndarray
    after: np.ndarray


def slices_of(comparison: Comparison) -> list[Slice]:
    """Evaluate law and deployed policy along every state through the operating point, within the input limits.

    Args:
        comparison: the comparison.

    Returns:
        A slice a state.
    """
    plant, (low, high) = comparison.plant, axes_of(comparison.plant)
    made = []
    for i in range(plant.nx):
        x = np.tile(operating_point(plant), (SLICE_POINTS, 1))
        x[:, i] = np.linspace(low[i], high[i], SLICE_POINTS)
        made.append(Slice(i, x[:, i], plant.clip(comparison.before(x)), plant.clip(comparison.after(x))))
    return made


def slices(comparison: Comparison, narrow: bool = False) -> Figure:
    """Draw every input along every state through the operating point, before and after.

    Args:
        comparison: the comparison.
        narrow: one below the other.

    Returns:
        The figure.
    """
    plant, parts = comparison.plant, slices_of(comparison)
    panels = [(part, j) for j in range(plant.nu) for part in parts]
    columns = 1 if narrow else min(3, len(parts)) if plant.nu == 1 or len(parts) <= 3 else 5
    rows = -(-len(panels) // columns)
    width = NARROW if narrow else {1: 6.0, 2: 8.8, 3: 11.0, 5: 13.0}[columns]
    figure, axes = new_figure(width, 0.5 + 2.3 * rows, rows, columns)
    point = operating_point(plant)
    for axis, (part, j) in zip(axes.flat, panels, strict=False):
        axis.axvline(point[part.i], color=GREY, lw=0.8, ls=":")
        axis.plot(part.values, part.before[:, j], color=COLOURS["linear"], lw=1.8, label="before")
        axis.plot(part.values, part.after[:, j], color=COLOURS["tuned"], lw=1.8, label="after")
        axis.fill_between(part.values, part.before[:, j], part.after[:, j], color=COLOURS["tuned"], alpha=0.12, lw=0)
        room = 0.06 * (plant.u_max[j] - plant.u_min[j])
        axis.set_ylim(plant.u_min[j] - room, plant.u_max[j] + room)
        axis.set_xlabel(state_label(plant, part.i))
        if narrow or part.i % columns == 0:
            axis.set_ylabel(input_label(plant, j))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), frameon=False, ncols=2, fontsize=9, loc="outside upper right"
    )
    return figure


def maps(comparison: Comparison, j: int = 0, narrow: bool = False) -> Figure:
    """Draw one input over two states before and after, and the difference; further states at the operating point.

    Args:
        comparison: the comparison.
        j: the input.
        narrow: one below the other.

    Returns:
        The figure.
    """
    plant, (low, high) = comparison.plant, axes_of(comparison.plant)
    first, second = most_varied(comparison, j)
    grid = tuple(np.linspace(low[i], high[i], MAP_POINTS) for i in (first, second))
    x = np.tile(operating_point(plant), (MAP_POINTS**2, 1))
    x[:, first], x[:, second] = (part.ravel() for part in np.meshgrid(*grid))
    before, after = (
        plant.clip(law(x))[:, j].reshape(MAP_POINTS, MAP_POINTS) for law in (comparison.before, comparison.after)
    )
    ends = float(plant.u_min[j]), float(plant.u_max[j])
    most = max(float(np.abs(after - before).max()), 1e-9 * (ends[1] - ends[0]))
    pictures = (
        ("before: the exact law", before, "RdBu_r", ends),
        ("after: the deployed policy", after, "RdBu_r", ends),
        ("what learning changed", after - before, "PuOr_r", (-most, most)),
    )
    size = (NARROW, 9.6, 3, 1) if narrow else (12.4, 3.9, 1, 3)
    figure, axes = new_figure(*size, sharex=True, sharey=True)
    figure.get_layout_engine().set(wspace=0.05)  # type: ignore[union-attr]  # between a colour bar and the next map
    for axis, (title, data, colours, (bottom, top)) in zip(axes.flat, pictures, strict=True):
        axis.grid(False)
        image = axis.pcolormesh(*grid, data, cmap=colours, vmin=bottom, vmax=top, shading="auto", rasterized=True)
        axis.set_title(title, loc="left", fontsize=11)
        figure.colorbar(image, ax=axis, label=input_label(plant, j), shrink=0.9, pad=0.03)
        if narrow or axis is axes[0, 0]:
            axis.set_ylabel(state_label(plant, second))
        if not narrow or axis is axes[-1, 0]:
            axis.set_xlabel(state_label(plant, first))
    return figure


def most_varied(comparison: Comparison, j: int) -> tuple[int, int]:
    """The two states along whose slices an input and its change vary most, in their own order.

    Args:
        comparison: the comparison.
        j: the input.

    Returns:
        Indices of two states.
    """
    varied = [
        sum(float(np.ptp(values[:, j])) for values in (part.before, part.after, part.after - part.before))
        for part in slices_of(comparison)
    ]
    first, second = sorted(np.argsort(varied, kind="stable")[::-1][:2].tolist())
    return first, second


def progress(history: list[dict[str, Any]], levels: dict[str, float], narrow: bool = False) -> Figure:
    """Draw the return of the learning and of the deployed policy over the steps on the plant.

    Args:
        history: rows of progress.csv.
        levels: mean returns of "linear" and "optimum" on the common starts, as far as known.
        narrow: the narrow form.

    Returns:
        The figure.
    """
    figure, axes = new_figure(*((NARROW, 4.0) if narrow else (9.4, 4.2)))
    axis = axes[0, 0]
    steps = [row["step"] for row in history]
    axis.plot(steps, [row["learning_return"] for row in history], "-", color=COLOURS["learning"], lw=1.4,
              marker=".", label="learning policy")  # fmt: skip
    deployed = [row["deployed_return"] for row in history]
    axis.step(steps, deployed, where="post", color=COLOURS["tuned"], lw=2.4, label="deployed policy")
    opened = [i for i, row in enumerate(history) if row["promoted"]]
    if opened:
        axis.plot([steps[i] for i in opened], [deployed[i] for i in opened], "o", ms=6, color=COLOURS["tuned"],
                  markeredgecolor="white", label="gate opened")  # fmt: skip
    words = {"linear": "exact law", "optimum": "best known"}
    for name, level in levels.items():
        text = f"{words[name]} {level:.4g}"
        axis.axhline(level, color=COLOURS[name], ls=(0, (5, 3)), lw=1.3, label=text)
    axis.set_xlabel("steps on the plant")
    axis.set_ylabel("return of an episode")
    figure.legend(*axis.get_legend_handles_labels(), frameon=False, ncols=2 if narrow else 5, fontsize=8.5,
                  loc="outside upper left")  # fmt: skip
    return figure


def interventions(history: list[dict[str, Any]], narrow: bool = False) -> Figure:
    """Draw the share of inputs that the filter changed over the steps on the plant.

    Args:
        history: rows of progress.csv.
        narrow: the narrow form.

    Returns:
        The figure.
    """
    figure, axes = new_figure(*((NARROW, 3.0) if narrow else (9.4, 2.8)))
    axis, steps = axes[0, 0], [row["step"] for row in history]
    curves = (
        ("intervention_rate", "learning", "while exploring, on the plant"),
        ("deployed_intervention_rate", "tuned", "deployed policy, in the gate's rollouts"),
    )
    for name, colour, text in curves:
        axis.plot(steps, [100 * row[name] for row in history], color=COLOURS[colour], lw=2, marker=".", label=text)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("steps on the plant")
    axis.set_ylabel("inputs changed [%]")
    figure.legend(*axis.get_legend_handles_labels(), frameon=False, ncols=1 if narrow else 2, fontsize=8.5,
                  loc="outside upper left")  # fmt: skip
    return figure


def gains(comparison: Comparison, narrow: bool = False) -> Figure:
    """Draw the mean gain of every policy over the law with its interval, and the gain from every single start.

    Args:
        comparison: the comparison.
        narrow: one below the other.

    Returns:
        The figure.
    """
    linear = comparison.rows["linear"].returns
    others = {name: row for name, row in comparison.rows.items() if name != "linear"}
    figure, axes = new_figure(*((NARROW, 5.6, 2, 1) if narrow else (10.6, 3.2, 1, 2)))
    means, single = axes.flat
    for place, (name, row) in enumerate(reversed(others.items())):
        mean, low, high = mean_interval(row.returns - linear)
        means.plot([low, high], [place, place], color=COLOURS[name], lw=3, solid_capstyle="butt")
        means.plot(mean, place, "o", color=COLOURS[name], ms=7)
        means.annotate(row.label, (mean, place), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9)
        if name != "learning":
            share = 100 * (np.arange(len(linear)) + 0.5) / len(linear)
            single.plot(np.sort(row.returns - linear), share, color=COLOURS[name], lw=2, label=row.label)
    means.axvline(0, color=COLOURS["linear"], lw=1.3, ls=(0, (5, 3)))
    means.set(ylim=(-0.5, len(others) - 0.3), yticks=[], xlabel="mean gain over the law (bar: 95 %)")
    means.margins(x=0.25)
    single.axvline(0, color=COLOURS["linear"], lw=1.3, ls=(0, (5, 3)))
    single.set(ylim=(0, 100), xlabel="gain over the law from one start", ylabel="share of starts below [%]")
    single.legend(frameon=False, fontsize=8.5)
    return figure


def courses(comparison: Comparison, narrow: bool = False) -> Figure:
    """Draw the closed loops of law and deployed policy from the starts of largest gain and of least gain.

    Args:
        comparison: the comparison.
        narrow: one start only, that of largest gain, above that of least gain.

    Returns:
        The figure.
    """
    plant, linear, tuned = comparison.plant, comparison.courses["linear"], comparison.courses["tuned"]
    gain = tuned.returns - linear.returns
    chosen = {"largest gain": int(np.argmax(gain)), "least gain": int(np.argmin(gain))}
    shown = _shown(plant)
    count = len(shown) + plant.nu
    size = (NARROW, 1.35 * count * 2 + 1.0, 2 * count, 1) if narrow else (11.0, 1.5 * count + 0.8, count, 2)
    figure, axes = new_figure(*size, sharex=True)
    blocks = [axes[:count, 0], axes[count:, 0]] if narrow else [axes[:, 0], axes[:, 1]]
    time = np.arange(tuned.x.shape[1]) * plant.dt
    for block, (title, k) in zip(blocks, chosen.items(), strict=True):
        block[0].set_title(f"{title}: {gain[k]:+.4g}", loc="left", fontsize=10)
        for name, course, text in (("linear", linear, "exact law"), ("tuned", tuned, "deployed policy")):
            style = {"color": COLOURS[name], "lw": 1.7, "label": text}
            for axis, i in zip(block, shown, strict=False):
                path = np.column_stack([time, course.x[k, :, i]])
                path = broken_at_jumps(path, [1]) if i in plant.angles else path
                axis.plot(*path.T, **style)
            for j in range(plant.nu):
                block[len(shown) + j].step(time[:-1], course.u[k, :, j], where="post", **style)
        _mark_limits(block, plant, shown)
    for axis in axes[-1]:
        axis.set_xlabel(f"time [{plant.time_unit}]")
    figure.align_ylabels()
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), frameon=False, ncols=2, fontsize=9, loc="outside upper right"
    )
    return figure


def state_label(plant: AbstractPlant, i: int) -> str:
    """Name and unit of a state.

    Args:
        plant: the plant.
        i: the state.
    """
    return f"{plant.x_names[i]} [{plant.x_units[i]}]"


def input_label(plant: AbstractPlant, j: int) -> str:
    """Name and unit of an input.

    Args:
        plant: the plant.
        j: the input.
    """
    return f"{plant.u_names[j]} [{plant.u_units[j]}]"


def _shown(plant: AbstractPlant) -> list[int]:
    """States worth a panel: all but those that only count up along the way."""
    endless = {i for i, _ in plant.periods}
    return [i for i in range(plant.nx) if i not in endless]


def _mark_limits(block: Any, plant: AbstractPlant, shown: list[int]) -> None:
    """Label the panels of one start; hard limits in red where they are near enough to be seen."""
    for axis, i in zip(block, shown, strict=False):
        axis.set_ylabel(state_label(plant, i), fontsize=9)
        low, high = axis.get_ylim()
        reach = 0.35 * (high - low)
        for limit in (plant.x_min[i], plant.x_max[i]) if i in plant.hard_states else ():
            if low - reach <= limit <= high + reach:
                axis.axhline(limit, color="#b91c1c", lw=1.1, ls="--")
    for j in range(plant.nu):
        axis = block[len(shown) + j]
        axis.set_ylabel(input_label(plant, j), fontsize=9)
        axis.axhspan(plant.u_min[j], plant.u_max[j], color="#f3f4f6", zorder=0)


Drawing = Callable[[bool], Figure]
