"""Integration of dx/dt = f(x, u) over one sample period with the input held, as CasADi expressions of fixed size.

`runge_kutta` is the classical fourth-order method. `extrapolate` is Gragg's modified midpoint rule with
Aitken-Neville extrapolation in h^2 (Hairer, Norsett, Wanner, "Solving Ordinary Differential Equations I", II.9):
order 2 * stages, for references where the integration error must not be seen.
"""

from collections.abc import Callable
from typing import Any

# A CasADi expression or anything else that adds and scales.
Expression = Any


def runge_kutta(
    rhs: Callable[[Expression, Expression], Expression], x: Expression, u: Expression, dt: float, substeps: int
) -> Expression:
    """Integrate with the classical Runge-Kutta method: x+ = x + h/6 (k1 + 2 k2 + 2 k3 + k4), `substeps` times.

    Args:
        rhs: f(x, u).
        x: state (nx,).
        u: input (nu,), held.
        dt: period.
        substeps: steps a period, h = dt / substeps.

    Returns:
        The state after the period (nx,).
    """
    h = dt / substeps
    for _ in range(substeps):
        k1 = rhs(x, u)
        k2 = rhs(x + h / 2 * k1, u)
        k3 = rhs(x + h / 2 * k2, u)
        k4 = rhs(x + h * k3, u)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def extrapolate(
    rhs: Callable[[Expression, Expression], Expression],
    x: Expression,
    u: Expression,
    dt: float,
    substeps: int = 1,
    stages: int = 4,
) -> Expression:
    """Integrate with Gragg's midpoint rule at n = 2, 4, ..., 2*stages divisions, extrapolated to h = 0.

    T[j, k] = T[j, k-1] + (T[j, k-1] - T[j-1, k-1]) / ((n_j / n_{j-k})^2 - 1), order 2 * stages.

    Args:
        rhs: f(x, u).
        x: state (nx,).
        u: input (nu,), held.
        dt: period.
        substeps: steps a period.
        stages: rows of the extrapolation table.

    Returns:
        The state after the period (nx,).
    """
    divisions = [2 * (j + 1) for j in range(stages)]
    for _ in range(substeps):
        row: list[Expression] = []
        for j, n in enumerate(divisions):
            new = [_midpoint(rhs, x, u, dt / substeps, n)]
            for k in range(j):
                ratio = (n / divisions[j - k - 1]) ** 2 - 1
                new.append(new[k] + (new[k] - row[k]) / ratio)
            row = new
        x = row[-1]
    return x


def _midpoint(
    rhs: Callable[[Expression, Expression], Expression], x: Expression, u: Expression, h: float, n: int
) -> Expression:
    """Modified midpoint rule with n divisions and Gragg's smoothing step; its error is even in h / n."""
    step = h / n
    before, now = x, x + step * rhs(x, u)
    for _ in range(n - 1):
        before, now = now, before + 2 * step * rhs(now, u)
    return (before + now + step * rhs(now, u)) / 2
