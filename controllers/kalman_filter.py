"""The stationary Kalman filter of a linear model, with its constant disturbances if it has any."""

import numpy as np
import scipy.linalg

from yannctl.errors import ModelError
from yannctl.linear import LinearModel
from yannctl.types import ArrayLike, Float

from .memory import same_batch

UNIT_CIRCLE = 1e-9  # distance below which an estimation error counts as one that does not decay


class KalmanFilter:
    """Estimate x and d from the outputs y = C x + C_d (d - d_op) (Anderson and Moore, "Optimal Filtering", 1979).

        predict:  x^ = A x^ + B u + E d^ + c,    d^ = d^       correct:  (x^, d^) = (x^, d^) + L (y - y^)

    L is the stationary gain for process noise of covariance W on (x, d) and measurement noise V. The disturbances
    are constant in the model; their part of W says how fast they are believed to change.

    Args:
        lin: the model, with outputs; its disturbances are estimated as well.
        W: process noise on (x, d), (nx + nd, nx + nd) or its diagonal [x_units², d_units²].
        V: measurement noise (ny, ny) or its diagonal [y_units²].

    Raises:
        ModelError: no outputs, a covariance that does not fit, or something no output tells of (not detectable).
    """

    def __init__(self, lin: LinearModel, W: ArrayLike, V: ArrayLike) -> None:
        if not lin.ny:
            raise ModelError("lin", "the model has no outputs", remedy='call with_outputs(("a state\'s name",)) first')
        self.lin = lin
        wide = lin.with_disturbance_states()
        self.W, self.V = _covariance("W", W, wide.nx), _covariance("V", V, lin.ny)
        if np.linalg.eigvalsh(self.V)[0] <= 0:
            raise ModelError("V", "is not positive definite", remedy="give every output some noise")
        self._wide = wide
        try:
            P = scipy.linalg.solve_discrete_are(wide.A.T, wide.C.T, self.W, self.V)
        except np.linalg.LinAlgError as error:
            raise _undetectable(lin) from error
        self.L = np.linalg.solve(wide.C @ P @ wide.C.T + self.V, wide.C @ P).T
        error_map = (np.eye(wide.nx) - self.L @ wide.C) @ wide.A
        if np.abs(np.linalg.eigvals(error_map)).max() > 1 - UNIT_CIRCLE:
            raise _undetectable(lin)
        self.reset()

    def update(self, y: ArrayLike, u_last: ArrayLike | None = None) -> Float[np.ndarray, "*batch nxd"]:
        """Predict with the input applied since the last update, then correct with the new outputs.

        Args:
            y: outputs (..., ny).
            u_last: inputs applied since the last update (..., nu); not used in the first update after a reset, which
                takes the state nearest to the operating point that explains y.

        Returns:
            Estimates of (x, d) (..., nx + nd).

        Raises:
            ModelError: a wrong shape, or a batch of another size than the last one without a reset.
        """
        outputs = np.asarray(y, float)
        if outputs.shape[-1:] != (self.lin.ny,):
            raise ModelError("y", f"has shape {outputs.shape}", remedy=f"give (..., {self.lin.ny})")
        rows = outputs.reshape(-1, self.lin.ny)
        before = self._estimate
        if before is None or not same_batch(before, len(rows)):
            start = np.broadcast_to(self._wide.x_op, (len(rows), self._wide.nx)).copy()
            start[:, : self.lin.nx] += (rows - start @ self._wide.C.T) @ np.linalg.pinv(self.lin.C).T
            now = start
        else:
            if u_last is None:
                raise ModelError("u_last", "missing", remedy="say what was applied since the last update")
            now = self._wide.step(before, np.asarray(u_last, float).reshape(-1, self.lin.nu))
            now = now + (rows - now @ self._wide.C.T) @ self.L.T
        self._estimate = now
        return now.reshape(*outputs.shape[:-1], self._wide.nx).copy()

    def reset(self) -> None:
        """Forget the estimate."""
        self._estimate: np.ndarray | None = None


def _covariance(name: str, value: ArrayLike, n: int) -> np.ndarray:
    array = np.array(value, float)
    matrix = np.diag(array) if array.shape == (n,) else array
    if matrix.shape != (n, n) or not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T):
        raise ModelError(name, f"has shape {array.shape}", remedy=f"give a symmetric ({n}, {n}) matrix or its diagonal")
    if np.linalg.eigvalsh(matrix)[0] < -1e-12 * np.abs(matrix).max(initial=0.0):
        raise ModelError(name, "is not positive semidefinite", remedy="give a covariance")
    return (matrix + matrix.T) / 2


def _undetectable(lin: LinearModel) -> ModelError:
    names = ", ".join((*lin.x_names, *lin.d_names))
    text = f"some of {names} cannot be told from the outputs {', '.join(lin.y_names)} (or has no process noise)"
    return ModelError("lin", text, remedy="measure more, estimate fewer disturbances than outputs, or give W noise")
