"""The figure of `yannctl eval`: bands of the runs over time, the spread of the gaps, and every row's figure."""

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .figures import GREY, tidy

# One colour a row shown (Okabe and Ito), the row that the gaps count from in black, those not shown in light grey.
ROW_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
BAND = (0.1, 0.9)
STATES = 3  # at most
FEW = 200.0  # [%] gaps below it are drawn on a linear axis
NOT_SHOWN = "#cbd5e1"


def bands(comparison: Any, shown: tuple[str, ...] = ()) -> Figure:
    """Draw the median of each limited or wanted state and of the inputs over time, with the 10 to 90 % band.

    Args:
        comparison: from `yannctl.scenarios.compare`.
        shown: rows to draw over time and as a distribution; empty for the `telling_rows`.

    Returns:
        The figure: states and inputs on the left, sorted gaps and the figures of all rows on the right.
    """
    scenario, plant = comparison.scenario, comparison.scenario.plant
    states = _states(scenario)
    count = len(states) + plant.nu
    names = shown or telling_rows(comparison)
    rows = [row for row in comparison.rows if row.name in {*names, scenario.best}]
    colours = colours_of(comparison, tuple(row.name for row in rows))
    figure = Figure(figsize=(13.0, max(1.9 * count, 6.0)), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(1, 2, width_ratios=[1.5, 1.0])
    left, right = halves
    axes = left.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    time = np.arange(scenario.steps + 1) * plant.dt
    for row in rows:
        for axis, i in zip(axes, states, strict=False):
            values = np.abs(row.runs.x[:, :, i]) if i in plant.angles else row.runs.x[:, :, i]
            _band(axis, time, values, colours[row.name], row.name)
        for axis, i in zip(axes[len(states) :], range(plant.nu), strict=True):
            _band(axis, time[:-1], row.runs.u[:, :, i], colours[row.name], row.name)
    _label(axes, scenario, states)
    _window(axes, scenario, states, rows)
    for axis in axes:
        tidy(axis)
    figure.suptitle(
        f"{scenario.title}: median and 10 to 90 % of {len(comparison.world.x0)} runs", x=0.01, ha="left", fontsize=11
    )
    labelled = axes[0].get_legend_handles_labels()
    left.legend(*labelled, frameon=False, ncols=min(4, len(rows)), fontsize=9, loc="outside lower left")
    spread, bars = right.subplots(2, 1, height_ratios=[1.0, 0.4 + 0.12 * len(comparison.rows)])
    _gaps(spread, comparison, rows, colours)
    _all_rows(bars, comparison, colours)
    return figure


def telling_rows(comparison: Any) -> tuple[str, ...]:
    """The rows that tell the story: the first one, the cheapest without filter, plain and cheapest behind it, the best.

    Args:
        comparison: from `yannctl.scenarios.compare`.

    Returns:
        Names in the order of the table.
    """
    best = comparison.scenario.best
    cost = {row.name: row.total.mean() for row in comparison.rows if row.name != best}
    bare = [name for name in cost if not name.startswith("filtered")]
    linear = [name for name in cost if name.startswith("filtered") and name != "filtered-best"]
    chosen = {best, *bare[:1], *linear[:1], *(name for name in cost if name == "filtered-best")}
    chosen |= {min(group, key=lambda name: cost[name]) for group in (bare, linear) if group}
    return tuple(row.name for row in comparison.rows if row.name in chosen)


def colours_of(comparison: Any, names: tuple[str, ...]) -> dict[str, str]:
    """One colour a row.

    Args:
        comparison: from `yannctl.scenarios.compare`.
        names: rows that are shown; the others get a light grey.

    Returns:
        Colour by name of the row.
    """
    others = [name for name in names if name != comparison.scenario.best]
    own = {**dict(zip(others, cycle(ROW_COLOURS), strict=False)), comparison.scenario.best: "#111827"}
    return {row.name: own.get(row.name, NOT_SHOWN) for row in comparison.rows}


def _states(scenario: Any) -> list[int]:
    """States to show: wanted or limited ones first, then any with a bound."""
    plant = scenario.plant
    first = [i for i in range(plant.nx) if np.isfinite(scenario.x_ref[i]) or np.isfinite(scenario.bounds[1][i])]
    return sorted((first + [i for i in range(plant.nx) if i not in first and np.isfinite(plant.x_max[i])])[:STATES])


def _band(axis: Any, time: np.ndarray, values: np.ndarray, colour: str, name: str) -> None:
    low, high = np.quantile(values, BAND, axis=0)
    axis.fill_between(time, low, high, color=colour, alpha=0.12, linewidth=0)
    axis.plot(time, np.median(values, axis=0), color=colour, lw=1.6, label=name)


def _label(axes: np.ndarray, scenario: Any, states: list[int]) -> None:
    plant = scenario.plant
    low, high = scenario.bounds
    for axis, i in zip(axes, states, strict=False):
        name = f"|{plant.x_names[i]}|" if i in plant.angles else plant.x_names[i]
        axis.set_ylabel(f"{name} [{plant.x_units[i]}]")
        for limit in (high[i],) if i in plant.angles else (low[i], high[i]):
            if np.isfinite(limit):
                axis.axhline(limit, color="#b91c1c", lw=1.4)
        if np.isfinite(scenario.x_ref[i]):
            axis.axhline(scenario.x_ref[i], color=GREY, lw=0.9, ls=":")
    for axis, i in zip(axes[len(states) :], range(plant.nu), strict=True):
        axis.set_ylabel(f"{plant.u_names[i]} [{plant.u_units[i]}]")
        for limit in (plant.u_min[i], plant.u_max[i]):
            axis.axhline(limit, color=GREY, lw=0.9, ls="--")
    axes[-1].set_xlim(0, scenario.steps * plant.dt)
    axes[-1].set_xlabel(f"time [{plant.time_unit}]")


def _window(axes: np.ndarray, scenario: Any, states: list[int], rows: list[Any]) -> None:
    """A run that is lost must not squeeze the others: a limited state is shown up to a quarter of its span beyond."""
    low, high = scenario.bounds
    for axis, i in zip(axes, states, strict=False):
        if np.isfinite(high[i]) and i not in scenario.plant.angles:
            span = high[i] - min(row.runs.x[:, :, i].min() for row in rows)
            bottom, top = axis.get_ylim()
            floor = low[i] - 0.25 * span if np.isfinite(low[i]) else bottom
            axis.set_ylim(max(bottom, floor), min(top, high[i] + 0.25 * span))


def _gaps(axis: Any, comparison: Any, rows: list[Any], colours: dict[str, str]) -> None:
    best = next(row for row in rows if row.name == comparison.scenario.best)
    for row in rows:
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
    tidy(axis)


def _all_rows(axis: Any, comparison: Any, colours: dict[str, str]) -> None:
    """Mean gap of every row with its interval, and how many starts violate a limit, if any does."""
    rows = [row for row in comparison.rows if row.name != comparison.scenario.best]
    places = np.arange(len(rows))
    gaps = np.array([100 * row.gap for row in rows])
    ends = np.array([[100 * row.gap_low, 100 * row.gap_high] for row in rows])
    axis.barh(
        places, gaps, xerr=np.abs(ends.T - gaps), color=[colours[row.name] for row in rows], height=0.62, ecolor=GREY,
        capsize=2,
    )  # fmt: skip
    wide = ends.max() > 2 * FEW
    if wide:
        axis.set_xscale("symlog", linthresh=10)
    for place, row, end in zip(places, rows, ends, strict=True):
        over = f", {row.violating} over by up to {row.worst:.3g}" if row.violating else ""
        text = f"{100 * row.gap:.1f} %{over}"
        axis.annotate(
            text, (max(end[1], 0.0), place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set_yticks(places, [row.name for row in rows], fontsize=9)
    axis.invert_yaxis()
    left = min(0.0, 1.2 * float(ends.min()))
    room = (5e4 if wide else 2.0) if any(row.violating for row in rows) else (30 if wide else 1.4)
    axis.set_xlim(left, room * max(1.0, float(ends.max())))
    axis.set_title("Every row, and starts over the limit", loc="left", fontsize=11)
    axis.set_xlabel(f"mean cost above {comparison.scenario.best} [%], 95 % interval")
    tidy(axis)
