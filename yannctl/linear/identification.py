"""A linear model from recorded data: least squares of the next state on state and input.

    x_{k+1} - x_op = A (x_k - x_op) + B (u_k - u_op) + c + e_k,     [A B c] = argmin sum |e_k / scale|²

(Ljung, "System Identification", 2nd ed., 1999, section 7.3). What comes out with it says how well data and model
agree; it is no bound. A certificate needs bounds that hold for every state, and these figures are none.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

from .channels import channel

if TYPE_CHECKING:
    from .linear_model import LinearModel

EXCITED = 1e-7  # a direction of (x, u) with less than this share of the largest singular value was not excited


@dataclass(frozen=True, eq=False)
class Identification:
    """A model found in data, and what speaks for and against it.

    Args:
        model: the linear model.
        residuals: e_k of every transition used (n, nx) [x_units].
        A_error: standard error of each entry of A (nx, nx), if the residuals are white and the model is right.
        B_error: likewise of B (nx, nu).
        fit: 1 - std(e) / std(x_{k+1} - x_k) of each state (nx,) on the data it was fitted to: 0 is "holds still".
        validation_fit: the same on the transitions kept aside (nx,); NaN where none were.
        correlation: of each state's residual with the one before (nx,): far from 0 speaks for unmodelled dynamics.
        certified: always False: the errors are estimates from these data, not bounds.
    """

    model: "LinearModel"
    residuals: Float[np.ndarray, "n nx"]
    A_error: Float[np.ndarray, "nx nx"]
    B_error: Float[np.ndarray, "nx nu"]
    fit: Float[np.ndarray, " nx"]
    validation_fit: Float[np.ndarray, " nx"]
    correlation: Float[np.ndarray, " nx"]
    certified: bool = False

    @property
    def residual_std(self) -> Float[np.ndarray, " nx"]:
        """Standard deviation of the residuals of each state [x_units]."""
        return self.residuals.std(axis=0)

    def __str__(self) -> str:
        lines = ["model from data; its errors are estimates and NOT certified bounds"]
        names = self.model.x_names
        for i, name in enumerate(names):
            kept = f", {100 * self.validation_fit[i]:.1f} % aside" if np.isfinite(self.validation_fit[i]) else ""
            lines.append(
                f"  {name}: explains {100 * self.fit[i]:.1f} % of the moves{kept}, "
                f"residual {self.residual_std[i]:.3g}, its correlation with the last {self.correlation[i]:+.2f}"
            )
        return "\n".join(lines)


def identify(
    kind: type,
    log: Any,
    dt: float,
    x_op: ArrayLike | None = None,
    u_op: ArrayLike | None = None,
    x_names: tuple[str, ...] = (),
    u_names: tuple[str, ...] = (),
    aside: float = 0.25,
) -> Identification:
    """See `LinearModel.identify`.

    Args:
        kind: the class to make, `LinearModel`.
        log: recorded runs.
        dt: sample period.
        x_op: operating state (nx,); None for the mean of the data.
        u_op: operating input (nu,); None for the mean of the data.
        x_names: names of the states.
        u_names: names of the inputs.
        aside: share of the last transitions of each run kept aside for validation.

    Returns:
        Model and figures.

    Raises:
        ModelError: shapes, too few transitions, or a direction that the data do not excite.
    """
    if not 0 <= aside < 1:
        raise ModelError("aside", f"is {aside}", remedy="give a share from 0 to below 1")
    runs = [_transitions(one, i) for i, one in enumerate(_runs(log))]
    widths = {(run[0].shape[1], run[1].shape[1]) for run in runs}
    if len(widths) != 1:
        raise ModelError("log", f"runs have (nx, nu) {sorted(widths)}", remedy="give runs of one plant")
    cut = [len(run[0]) - int(aside * len(run[0])) for run in runs]
    x, u, after = (np.vstack([run[j][:n] for run, n in zip(runs, cut, strict=True)]) for j in range(3))
    rest = [np.vstack([run[j][n:] for run, n in zip(runs, cut, strict=True)]) for j in range(3)]
    nx, nu = x.shape[1], u.shape[1]
    x_mid = x.mean(axis=0) if x_op is None else channel("x_op", x_op, nx)
    u_mid = u.mean(axis=0) if u_op is None else channel("u_op", u_op, nu)
    names = (
        tuple(x_names) or tuple(f"x{i + 1}" for i in range(nx)),
        tuple(u_names) or tuple(f"u{i + 1}" for i in range(nu)),
    )
    table, residuals, errors = _least_squares(x - x_mid, u - u_mid, after - x_mid, names)
    model = kind(table[:nx].T, table[nx:-1].T, table[-1], dt, x_mid, u_mid, *names)
    aside_error = rest[2] - model.step(rest[0], rest[1])
    return Identification(
        model=model,
        residuals=residuals,
        A_error=errors[:nx].T,
        B_error=errors[nx:-1].T,
        fit=_fit(residuals, after - x),
        validation_fit=_fit(aside_error, rest[2] - rest[0]) if len(aside_error) > 1 else np.full(nx, np.nan),
        correlation=_correlation(residuals),
    )


def _runs(log: Any) -> list[Any]:
    """The runs of a log: objects with x and u (or u_applied), or pairs; an array of runs counts as many."""
    if isinstance(log, tuple) and len(log) == 2 and not hasattr(log[0], "u"):
        log = [log]
    items = list(log) if isinstance(log, list | tuple) else [log]
    found = []
    for item in items:
        given = getattr(item, "u_applied", getattr(item, "u", None))
        x, u = (item.x, given) if given is not None else item
        x, u = np.asarray(x, float), np.asarray(u, float)
        found += list(zip(x, u, strict=True)) if x.ndim == 3 else [(x, u)]
    return found


def _transitions(run: tuple[np.ndarray, np.ndarray], i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x_k, u_k, x_{k+1}) of one run, those with a number missing left out."""
    x, u = run
    if x.ndim != 2 or u.ndim != 2 or len(x) - len(u) not in {0, 1}:
        text = f"x has shape {x.shape}, u {u.shape}, expected (T + 1, nx) or (T, nx), and (T, nu)"
        raise ModelError("log", text, index=i, remedy="give states and the inputs applied at them, a column a channel")
    n = len(x) - 1
    parts = x[:-1], u[:n], x[1:]
    known = np.isfinite(np.hstack(parts)).all(axis=1)
    return parts[0][known], parts[1][known], parts[2][known]


def _least_squares(
    dx: np.ndarray, du: np.ndarray, after: np.ndarray, names: tuple[tuple[str, ...], tuple[str, ...]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients (nx + nu + 1, nx), residuals (n, nx), standard errors of the coefficients."""
    regressors = np.hstack([dx, du, np.ones((len(dx), 1))])
    n, m = regressors.shape
    if n < 2 * m:
        raise ModelError("log", f"{n} transitions for {m} unknowns a state", remedy=f"record at least {2 * m}")
    scale = np.maximum(regressors.std(axis=0), 1e-300)
    scale[-1] = 1.0
    idle = np.flatnonzero(regressors[:, :-1].std(axis=0) <= EXCITED * np.abs(regressors[:, :-1]).max(initial=1e-300))
    if len(idle):
        name = (*names[0], *names[1])[idle[0]]
        raise ModelError("log", f"{name} hardly moves", index=int(idle[0]), remedy="excite it while recording")
    _, values, Vt = np.linalg.svd(regressors / scale, full_matrices=False)
    if values[-1] <= EXCITED * values[0]:
        weights = Vt[-1][:-1]
        mixed = ", ".join(name for name, w in zip((*names[0], *names[1]), weights, strict=True) if abs(w) > 0.1)
        text = f"{mixed} move only together (as in a loop whose input follows the state exactly)"
        raise ModelError("log", text, remedy="add noise or steps to the input while recording")
    table = np.linalg.lstsq(regressors / scale, after, rcond=None)[0] / scale[:, None]
    residuals = after - regressors @ table
    variance = (residuals**2).sum(axis=0) / (n - m)
    inverse = np.diag((Vt.T / values**2) @ Vt) / scale**2
    return table, residuals, np.sqrt(np.outer(inverse, variance))


def _fit(error: np.ndarray, moves: np.ndarray) -> np.ndarray:
    return 1 - np.sqrt((error**2).mean(axis=0)) / np.maximum(np.sqrt((moves**2).mean(axis=0)), 1e-300)


def _correlation(residuals: np.ndarray) -> np.ndarray:
    centred = residuals - residuals.mean(axis=0)
    power = np.maximum((centred**2).sum(axis=0), 1e-300)
    return (centred[1:] * centred[:-1]).sum(axis=0) / power
