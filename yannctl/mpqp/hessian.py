"""The Hessian of a program: its inverse root, and what is added to it where it is singular."""

import numpy as np

from yannctl.errors import ModelError
from yannctl.solvers.lp import LinearProgram

from .kernels_presolve import invert_root


def inverse_root(H: np.ndarray, condition_limit: float) -> np.ndarray | None:
    """Return R^-1 of H = R'R, None when H is singular to within the limit.

    Args:
        H: (n, n) symmetric matrix.
        condition_limit: matrices with a larger condition number, once scaled to a unit diagonal, count as singular.

    Raises:
        ModelError: H is not positive semidefinite.
    """
    inverse, unit = np.empty(H.shape), np.empty(len(H))
    square = invert_root(np.array(H, dtype=float, order="C"), unit, inverse)
    # |scaled^-1| <= |inverse|^2 and |scaled| <= nz
    if 0.0 < square * len(H) < condition_limit:
        return unit[:, None] * inverse
    diagonal = np.diag(H)
    size = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values = np.linalg.eigvalsh(H * (size[:, None] * size))  # has the condition number that scaling cannot cure
    if values[0] < -1e-9 * max(values[-1], 1e-300):
        raise ModelError("H", f"is not positive semidefinite (eigenvalue {values[0]:.3g} after scaling)")
    if square < 0 or values[0] <= values[-1] / condition_limit:
        return None
    return unit[:, None] * inverse


def raised(
    H: np.ndarray, linear: np.ndarray, A: np.ndarray, R: np.ndarray, regularisation: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a singular H made definite, the linear cost that goes with it, and by how much H was raised.

    Each direction d along which the cost is flat (d'Hd below `regularisation` times the linear cost's size there) gets
    d'd (y - middle)^2 times that. y is scaled by the extent of the feasible set, so this costs as much in any units.

    Args:
        H: (n, n) positive semidefinite Hessian.
        linear: (n, ntheta+1) linear cost as a function of [theta_s; 1].
        A: (m, n) unit rows.
        R: (m, ntheta+1) their right-hand sides as functions of [theta_s; 1].
        regularisation: what is added, relative to the linear cost along the direction.
    """
    middle, extent = _extent(A, R)
    values, directions = np.linalg.eigh(H * np.outer(extent, extent))
    slope = np.abs(directions.T @ (linear * extent[:, None])).sum(axis=1)
    size = max(float(np.abs(values).max(initial=0.0)), float(slope.max(initial=0.0))) or 1.0
    least = regularisation * np.maximum(slope, 1e-3 * size)
    added = np.where(values < least, least - np.minimum(values, 0.0), 0.0)
    extra = (directions * added) @ directions.T / np.outer(extent, extent)
    linear = linear.copy()
    linear[:, -1] -= extra @ middle
    return H + (extra + extra.T) / 2, linear, float(added.max())


def _extent(A: np.ndarray, R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return middle and half of the extent of each variable over {A y <= R [theta_s; 1], |theta_s| <= 1}.

    Variables without a finite extent have middle 0 and the inverse of their largest coefficient instead.
    """
    nz, n = A.shape[1], R.shape[1] - 1
    largest = np.abs(A).max(axis=0, initial=0.0)
    middle, half = np.zeros(nz), 1.0 / np.where(largest > 0, largest, 1.0)
    if not len(A):
        return middle, half
    size = half.copy()  # the solver works on scaled columns
    box = np.hstack([np.zeros((n, nz)), np.eye(n)])
    rows = np.vstack([np.hstack([A * size, -R[:, :-1]]), box, -box])
    program = LinearProgram(rows, np.concatenate([R[:, -1], np.ones(2 * n)]))
    for j in range(nz):
        direction = np.zeros(nz + n)
        direction[j] = 1.0
        upper, lower = program.maximise(direction), program.maximise(-direction)
        if upper.status == lower.status == "optimal" and upper.value + lower.value > 1e-9 * abs(upper.value):
            middle[j] = size[j] * (upper.value - lower.value) / 2
            half[j] = size[j] * (upper.value + lower.value) / 2
    return middle, half
