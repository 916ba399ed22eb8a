"""Where a reactor's worst parameters are one known corner: a grid of states with the coolants it is proved for.

In a cell of the grid, for every coolant up to `warmest` and all parameters, T rises over the whole period with those
parameters whose sign is +1 and falls with the others, CA does the opposite, and at the end so does T along the normals
of the border. One trajectory with the worst parameters then bounds all of them; CA ends at most `moved` above its own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.types import Float

from .sampled_map import Flow, value_tapes

_STEPS, _ORDER = 8, 2  # of the proof, a period
_DEPTH = 60.0  # [K] below the limit: further down a period cannot reach the border


@dataclass(frozen=True, eq=False)
class MonotoneCells:
    """A grid of cells and what is proved in each.

    Args:
        CA: ends of the cells (n + 1,) [mol/L], equal steps.
        T: ends of the cells (m + 1,) [K], equal steps.
        warmest: warmest coolant proved (n, m) [K], -inf for none.
        moved: how far CA ends above that of the worst parameters (n, m) [mol/L].
        worst: the worst parameters (np,).
        step: program of one Taylor step in plain floats, for a first look.
    """

    CA: Float[np.ndarray, " columns"]
    T: Float[np.ndarray, " rows"]
    warmest: Float[np.ndarray, "cells_CA cells_T"]
    moved: Float[np.ndarray, "cells_CA cells_T"]
    worst: Float[np.ndarray, " np"]
    step: np.ndarray

    def kernel_data(self) -> tuple[np.ndarray, ...]:
        """Give the arrays in the order the kernels take them."""
        return self.CA, self.T, self.warmest, self.moved, self.worst, self.step


def monotone_cells(
    flow: Flow,
    lines: Float[np.ndarray, "segments 4"],
    highest: Any,
    T_max: float,
    u_bounds: tuple[float, float],
    p_min: Float[np.ndarray, " np"],
    p_max: Float[np.ndarray, " np"],
    cells: tuple[int, int] = (48, 60),
) -> MonotoneCells:
    """Prove the signs of the sensitivities cell by cell, by interval arithmetic.

    Args:
        flow: the reactor over one period.
        lines: lines of the border: slope, offset, and the interval of CA each is for.
        highest: border T(CA), falling.
        T_max: temperature limit [K].
        u_bounds: coldest and warmest coolant [K].
        p_min: lower parameters.
        p_max: upper parameters.
        cells: number of cells in CA and T.

    Returns:
        The cells; one without proof holds -inf.
    """
    from .monotone_kernels import prove_cells

    first, last = float(lines[0, 2]), float(lines[-1, 3])
    CA = np.linspace(0.5 * first, last, cells[0] + 1)
    T = np.linspace(T_max - _DEPTH, T_max, cells[1] + 1)
    p = np.stack([p_min, p_max])
    middle = np.array([0.5 * (first + last), T_max])
    signs = _signs(flow, middle, u_bounds[0], p.mean(axis=0))
    parts = value_tapes(_with_sensitivities(flow.rate, p_max - p_min), flow.dt / _STEPS, _ORDER)
    worst, step = np.where(signs > 0, p_max, p_min), flow.tapes[1][1].tape.program
    made = MonotoneCells(CA, T, np.empty(cells), np.empty(cells), worst, step)
    tops = np.asarray(highest(CA[:-1]), dtype=float)
    prove_cells(
        parts, flow.dt / _STEPS, _STEPS, flow.kernel_data(), made.kernel_data(), tops, p, signs, lines, *u_bounds
    )
    return made


def _signs(flow: Flow, x: np.ndarray, u: float, p: np.ndarray) -> np.ndarray:
    """Which way each parameter moves dT/dt at one state: the signs to be proved."""
    import casadi as ca

    symbol = ca.SX.sym("p", p.size)
    slope = ca.Function("slope", [symbol], [ca.jacobian(flow.rate(x, u, symbol), symbol)])
    return np.where(np.array(slope(p))[1] >= 0, 1.0, -1.0)


def _with_sensitivities(rate: Any, span: np.ndarray) -> Any:
    """The rate of (x, sigma_1, sigma_2, ...), sigma_i = span_i dx/dp_i, as a function of them, u and p."""
    import casadi as ca

    x, sigma = ca.SX.sym("x", 2), ca.SX.sym("sigma", 2, span.size)
    u, p = ca.SX.sym("u"), ca.SX.sym("p", span.size)
    f = ca.densify(rate(x, u, p))
    moved = ca.jacobian(f, x) @ sigma + ca.jacobian(f, p) @ ca.diag(ca.DM(span))
    return ca.Function("rate", [ca.vertcat(x, ca.vec(sigma)), u, p], [ca.densify(ca.vertcat(f, ca.vec(moved)))])
