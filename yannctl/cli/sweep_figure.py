"""The plot of a sweep: median over seeds with the band of the quartiles, deployed and learning policy side by side."""

from pathlib import Path
from typing import Any

import numpy as np

TITLES = {"deployed_return": "deployed policy", "learning_return": "learning policy"}


def draw_sweep(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw return over steps of every configuration.

    Args:
        rows: rows of the table.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for panel, (column, title) in zip(panels, TITLES.items(), strict=True):
        for name in dict.fromkeys(row["configuration"] for row in rows):
            steps, low, middle, high = _bands([row for row in rows if row["configuration"] == name], column)
            if len(steps):
                (line,) = panel.plot(steps, middle, marker="o", markersize=3, label=name)
                panel.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        panel.set(xlabel="environment steps", title=title)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("return (median, quartiles over seeds)")
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)), fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _bands(rows: list[dict[str, Any]], column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, and quartiles over seeds at each of them."""
    by_step: dict[int, list[float]] = {}
    for row in rows:
        if row["step"] != "" and np.isfinite(float(row[column])):
            by_step.setdefault(int(row["step"]), []).append(float(row[column]))
    steps = sorted(by_step)
    quartiles = np.array([np.percentile(by_step[step], [25, 50, 75]) for step in steps]).reshape(-1, 3)
    return np.array(steps), quartiles[:, 0], quartiles[:, 1], quartiles[:, 2]
