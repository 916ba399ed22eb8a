"""The figure of `yannctl eval`: bands of the runs over time, and the spread of the gaps."""

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .figures import GREY, new_figure

# One colour a row of the table, in its order (Okabe and Ito), the row that the gaps count from in black.
ROW_COLOURS = ("#0072B2", "#CC79A7", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#882255")
BAND = (0.1, 0.9)
SHOWN = 3  # states at most
FEW = 200.0  # [%] gaps below it are drawn on a linear axis


def bands(comparison: Any) -> Figure:
    """Draw the median of each limited or wanted state and of the inputs over time, with the 10 to 90 % band.

    Args:
        comparison: from `yannctl.scenarios.compare`.

    Returns:
        The figure: states and inputs on the left, sorted gaps and counted violations on the right.
    """
    scenario = comparison.scenario
    plant = scenario.plant
    shown = [i for i in range(plant.nx) if np.isfinite(scenario.x_ref[i]) or np.isfinite(scenario.bounds[1][i])]
    shown += [i for i in range(plant.nx) if i not in shown and np.isfinite(plant.x_max[i])]
    shown = sorted(shown[:SHOWN])
    count = len(shown) + plant.nu
    figure, axes = new_figure(12.5, max(1.6 * count, 5.0), rows=count, columns=2, width_ratios=[1.6, 1.0])
    colours = colours_of(comparison)
    time = np.arange(scenario.steps + 1) * plant.dt
    for row in comparison.rows:
        for axis, i in zip(axes[:, 0], shown, strict=False):
            values = np.abs(row.runs.x[:, :, i]) if i in plant.angles else row.runs.x[:, :, i]
            _band(axis, time, values, colours[row.name], row.name)
        for axis, i in zip(axes[len(shown) :, 0], range(plant.nu), strict=True):
            _band(axis, time[:-1], row.runs.u[:, :, i], colours[row.name], row.name)
    _label(axes[:, 0], scenario, shown)
    axes[0, 0].set_title(
        f"{scenario.title}: median and 10 to 90 % of {len(comparison.world.x0)} runs", loc="left", fontsize=11
    )
    labelled = axes[0, 0].get_legend_handles_labels()
    figure.legend(*labelled, frameon=False, ncols=min(5, len(comparison.rows)), fontsize=9, loc="outside lower left")
    split = count // 2
    grid = axes[0, 0].get_gridspec()
    for axis in axes[:, 1]:
        axis.remove()
    _gaps(figure.add_subplot(grid[:split, 1]), comparison, colours)
    _violations(figure.add_subplot(grid[split:, 1]), comparison, colours)
    return figure


def colours_of(comparison: Any) -> dict[str, str]:
    """One colour a row.

    Args:
        comparison: from `yannctl.scenarios.compare`.

    Returns:
        Colour by name of the row.
    """
    others = [row.name for row in comparison.rows if row.name != comparison.scenario.best]
    return {**dict(zip(others, cycle(ROW_COLOURS), strict=False)), comparison.scenario.best: "#111827"}


def _band(axis: Any, time: np.ndarray, values: np.ndarray, colour: str, name: str) -> None:
    low, high = np.quantile(values, BAND, axis=0)
    axis.fill_between(time, low, high, color=colour, alpha=0.13, linewidth=0)
    axis.plot(time, np.median(values, axis=0), color=colour, lw=1.8, label=name)


def _label(axes: np.ndarray, scenario: Any, shown: list[int]) -> None:
    plant = scenario.plant
    low, high = scenario.bounds
    for axis, i in zip(axes, shown, strict=False):
        name = f"|{plant.x_names[i]}|" if i in plant.angles else plant.x_names[i]
        axis.set_ylabel(f"{name} [{plant.x_units[i]}]")
        for limit in (high[i],) if i in plant.angles else (low[i], high[i]):
            if np.isfinite(limit):
                axis.axhline(limit, color="#b91c1c", lw=1.4)
        if np.isfinite(scenario.x_ref[i]):
            axis.axhline(scenario.x_ref[i], color=GREY, lw=0.9, ls=":")
    for axis, i in zip(axes[len(shown) :], range(plant.nu), strict=True):
        axis.set_ylabel(f"{plant.u_names[i]} [{plant.u_units[i]}]")
        for limit in (plant.u_min[i], plant.u_max[i]):
            axis.axhline(limit, color=GREY, lw=0.9, ls="--")
    axes[-1].set_xlabel("time [min]" if plant.u_units[0] == "K" else "time [s]")


def _gaps(axis: Any, comparison: Any, colours: dict[str, str]) -> None:
    best = next(row for row in comparison.rows if row.name == comparison.scenario.best)
    for row in comparison.rows:
        if row.name == best.name:
            continue
        gaps = np.sort(100 * (row.total / np.maximum(best.total, 1e-300) - 1))
        axis.plot(gaps, 100 * (np.arange(len(gaps)) + 0.5) / len(gaps), color=colours[row.name], lw=1.8, label=row.name)
    if axis.dataLim.x1 > FEW:
        axis.set_xscale("symlog", linthresh=10)
    elif max(abs(axis.dataLim.x0), abs(axis.dataLim.x1)) < 1.0:
        axis.set_xlim(-1.0, 1.0)
    axis.set_xlabel(f"cost above {best.name} [%]")
    axis.set_ylabel("share of starts [%]")
    axis.set_ylim(0, 100)
    axis.set_title("How the gaps are spread", loc="left", fontsize=11)
    _finish(axis)


def _violations(axis: Any, comparison: Any, colours: dict[str, str]) -> None:
    """Counted violations where there are any, else the mean gaps with their intervals."""
    rows, places = comparison.rows, np.arange(len(comparison.rows))
    counted = any(row.violating for row in rows)
    values = np.array([row.violating if counted else 100 * row.gap for row in rows])
    ends = np.array([[0.0, 0.0] if counted else [100 * row.gap_low, 100 * row.gap_high] for row in rows])
    error = None if counted else np.abs(ends.T - values)
    axis.barh(places, values, xerr=error, color=[colours[row.name] for row in rows], height=0.6, ecolor=GREY, capsize=3)
    for place, row, value, end in zip(places, rows, values, ends, strict=True):
        text = f"{row.violating}" + (f", by up to {row.worst:.3g}" if row.violating else "")
        at = (max(value, 0.0, end[1]), place)
        axis.annotate(text if counted else f"{value:.1f} %", at, xytext=(6, 0), textcoords="offset points", va="center")
    axis.set_yticks(places, [row.name for row in rows])
    axis.invert_yaxis()
    axis.set_xlim(min(0.0, 1.2 * ends.min()), max(1.0, 1.5 * max(values.max(), ends.max())))
    title = "Starts that violate the limit" if counted else "Mean cost above the best [%], 95 % interval"
    axis.set_title(title, loc="left", fontsize=11)
    _finish(axis)


def _finish(axis: Any) -> None:
    axis.grid(True, color="#e5e7eb", linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
