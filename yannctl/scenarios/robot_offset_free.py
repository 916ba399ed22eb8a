"""The robot's offset-free linear MPC: what the model does not explain of each state is estimated and predicted."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from yannctl.controllers import KalmanFilter, Preview, PreviewMpc
from yannctl.controllers.base import as_states, refuse_reference
from yannctl.controllers.memory import AbstractRecallingController, same_batch
from yannctl.linear import LinearModel
from yannctl.models import DifferentialDrive
from yannctl.types import ArrayLike, Float

from .weights import Weights

DRIFT = 0.1  # variance of a disturbance's change a step, as a share of the sensor's


class OffsetFreeRobot(AbstractRecallingController):
    """Linear MPC with a constant disturbance on each of (ey, epsi, v, omega), estimated by a Kalman filter.

    The turn rate that holds the heading moves with the estimate: omega_ref = v_ref kappa - d_epsi / dt.

    Args:
        plant: the nominal plant.
        lin: its linear model with the curvature as only disturbance.
        law: makes the `PreviewMpc` of a model and of a preview.
        N: its horizon.
        noisy: whether the sensors are noisy; otherwise they are trusted ten times as much.
        weights: factors on the estimator's variances.
    """

    def __init__(
        self,
        plant: DifferentialDrive,
        lin: LinearModel,
        law: Callable[[LinearModel, Callable[[np.ndarray], Preview]], PreviewMpc],
        N: int,
        noisy: bool,
        weights: Weights,
    ) -> None:
        self.plant, self.N, self.nx, self.nu = plant, N, plant.nx, plant.nu
        n = lin.nx
        names = tuple(f"d_{name}" for name in lin.x_names)
        # The filter knows the curvature: to it that is one more input.
        known = LinearModel(
            lin.A, np.hstack([lin.B, lin.E]), lin.c, lin.dt, lin.x_op, np.append(lin.u_op, lin.d_op), lin.x_names,
            (*lin.u_names, "kappa"), E=np.eye(n), d_names=names,
        )  # fmt: skip
        sensor = np.asarray(plant.x_noise)[:n] ** 2
        W = np.concatenate([sensor, DRIFT * weights.scaled("drift", lin.x_names, sensor)])
        V = weights.sensor * (1.0 if noisy else 1e-2) * sensor
        self.estimator = KalmanFilter(known.with_outputs(lin.x_names), W, V)
        wide = replace(lin, E=np.hstack([lin.E, np.eye(n)]), d_op=np.zeros(1 + n), d_names=("kappa", *names), C_d=None)
        self.law = law(wide, self._look)
        self._d = np.zeros((0, n))
        self._u: np.ndarray | None = None

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Estimate, then plan.

        Args:
            x: states (..., 5).
            reference: must be None.

        Returns:
            Inputs (..., 2).
        """
        refuse_reference(reference)
        states, batch = as_states(x, self.nx)
        last = self._u if same_batch(self._u, len(states)) else None
        estimate = self.estimator.update(states[:, :4], None if last is None else np.hstack([last, self._kappa]))
        self._d = estimate[:, 4:]
        self._kappa = np.asarray(self.plant.curvature(states[:, 4:5]))
        self._u = self.law(states)
        return self._u.reshape(*batch, self.nu).copy()

    def applied(self, u: ArrayLike) -> None:
        """Predict with what was really applied."""
        self._u = np.asarray(u, float).reshape(-1, self.nu)

    def reset(self) -> None:
        """Forget estimate and last input."""
        self._u = None
        self.estimator.reset()
        self.law.reset()

    def _look(self, x: np.ndarray) -> Preview:
        kappa = np.repeat(np.asarray(self.plant.curvature(x[:, 4:5])), self.N, axis=1)
        d = np.repeat(self._d[:, None, :], self.N, axis=1)
        turn = self.plant.v_ref * kappa - d[..., 1] / self.plant.dt
        speed, none = np.full_like(kappa, self.plant.v_ref), np.zeros_like(kappa)
        states = np.stack([none, none, speed, turn], axis=-1)
        return Preview(np.concatenate([kappa[..., None], d], axis=-1), states, np.stack([speed, turn], axis=-1))
