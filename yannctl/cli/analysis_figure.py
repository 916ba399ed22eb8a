"""The figure of `yannctl analyse`: poles, the loop's Nyquist curve with its disk, the sets."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon

from .figures import GREY, new_figure

RED, BLUE, GREEN = "#D55E00", "#0072B2", "#009E73"
CURVE = 2000  # points of the Nyquist curve


def analysis_figure(ocp: Any, opened: np.ndarray, closed: np.ndarray, margins: Any, sets: Any) -> Figure:
    """Draw poles, Nyquist curve (one input) and, for two states, the feasible and the terminal set.

    Args:
        ocp: the problem.
        opened: poles of the model.
        closed: poles of the closed loop.
        margins: of the loop.
        sets: feasible and terminal set.

    Returns:
        The figure.
    """
    draws = [lambda axis: _poles(axis, opened, closed)]
    if ocp.nu == 1:
        draws.append(lambda axis: _nyquist(axis, ocp, margins))
    if ocp.nx == 2 and sets.law is not None and sets.law.n_regions:
        draws.append(lambda axis: _sets(axis, ocp, sets))
    figure, axes = new_figure(4.6 * len(draws), 4.4, columns=len(draws))
    for axis, draw in zip(axes[0], draws, strict=True):
        draw(axis)
    return figure


def _poles(axis: Any, opened: np.ndarray, closed: np.ndarray) -> None:
    axis.add_patch(Circle((0, 0), 1.0, fill=False, color=GREY, lw=1.0))
    for values, mark, colour, text in ((opened, "x", RED, "model"), (closed, "o", BLUE, "closed loop")):
        axis.plot(values.real, values.imag, mark, color=colour, ms=8, mfc="none", mew=2, label=text)
    reach = 1.15 * max(1.0, np.abs(opened).max(), np.abs(closed).max())
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="real part", ylabel="imaginary part")
    axis.set_title("Poles and the unit circle", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=9, loc="upper left")


def _nyquist(axis: Any, ocp: Any, margins: Any) -> None:
    lin = ocp.lin
    z = np.exp(1j * np.concatenate([np.geomspace(1e-4, np.pi, CURVE)]))
    L = ocp.K @ np.linalg.solve(
        z[:, None, None] * np.eye(ocp.nx) - lin.A, np.broadcast_to(lin.B, (CURVE, *lin.B.shape))
    )
    curve = L[:, 0, 0]
    for values in (curve, curve.conj()):
        axis.plot(values.real, values.imag, color=BLUE, lw=1.6)
    left, right = -1 / margins.gain_low if margins.gain_low > 0 else -10.0, -1 / margins.gain_high
    axis.add_patch(Circle(((left + right) / 2, 0), (right - left) / 2, color=RED, alpha=0.18, lw=0))
    axis.plot(-1, 0, "+", color=RED, ms=12, mew=2)
    reach = float(np.clip(np.abs(curve).max(), 2.0, 6.0))
    axis.set(xlim=(-reach, reach / 2), ylim=(-0.75 * reach, 0.75 * reach), aspect="equal")
    axis.set(xlabel="real part of L", ylabel="imaginary part of L")
    axis.set_title(f"The loop keeps out of its disk: margin {margins.disk:.2f}", loc="left", fontsize=11)


def _sets(axis: Any, ocp: Any, sets: Any) -> None:
    from yannctl.pwa import plots

    plots.plot_regions(sets.law, axes=axis)
    if sets.terminal is not None:
        corners = sets.terminal.vertices()
        middle = corners.mean(axis=0)
        order = np.argsort(np.arctan2(*(corners - middle).T[::-1]))
        axis.add_patch(Polygon(corners[order], fill=False, edgecolor=GREEN, lw=2.2))
    axis.set(xlabel=ocp.lin.x_names[0], ylabel=ocp.lin.x_names[1])
    axis.set_title("Feasible set (regions), terminal set (green)", loc="left", fontsize=11)
