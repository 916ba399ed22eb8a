"""Offset-free linear MPC: a Kalman filter estimates what the model does not explain, the target moves with it."""

import numpy as np

from yannctl.errors import ModelError
from yannctl.ocp import Ocp
from yannctl.types import ArrayLike, Float

from .base import AbstractController, as_states
from .kalman_filter import KalmanFilter
from .memory import AbstractRecallingController, same_batch
from .online_mpc import OnlineMpc


class OffsetFreeMpc(AbstractRecallingController):
    """MPC of the estimated state and disturbance (Pannocchia and Rawlings, AIChE J. 49(2), 2003).

    The estimator's disturbance is a parameter of the problem, whose target is the steady state it allows for; so the
    tracked outputs come to rest at their reference whatever constant disturbance or model error there is, if the
    estimator has as many disturbances as measured outputs and no limit is in the way.

    Args:
        ocp: problem whose model has the disturbances and, with track="y", tracked outputs.
        estimator: Kalman filter of the same states and disturbances; its outputs are what is measured.
        y_ref: reference of the tracked outputs (n,); None where the problem tracks nothing.
        fallback: controller for states where the program has no solution, called with the parameter.
        d_limit: disturbances are clipped to the problem's own ends `d_min`, `d_max` where this is True.

    Raises:
        ModelError: an estimator of other states or disturbances, or a reference that does not fit.
    """

    def __init__(
        self,
        ocp: Ocp,
        estimator: KalmanFilter,
        y_ref: ArrayLike | None = None,
        fallback: AbstractController | None = None,
        d_limit: bool = True,
    ) -> None:
        if (estimator.lin.x_names, estimator.lin.d_names) != (ocp.lin.x_names, ocp.lin.d_names):
            names = f"{estimator.lin.x_names + estimator.lin.d_names}, not {ocp.lin.x_names + ocp.lin.d_names}"
            raise ModelError("estimator", f"estimates {names}", remedy="build both on one model")
        self.ocp, self.estimator, self.d_limit = ocp, estimator, d_limit
        self.nx, self.nu = ocp.nx, ocp.nu
        n_ref = len(ocp.parameters.names[ocp.parameters.ref])
        if (np.shape(y_ref) if y_ref is not None else (0,)) != (n_ref,):
            raise ModelError("y_ref", f"got {y_ref!r}", remedy=f"give {n_ref} numbers")
        self.y_ref = np.zeros(0) if y_ref is None else np.array(y_ref, float)
        self.program = OnlineMpc(ocp, fallback)
        self.last_estimate: Float[np.ndarray, "..."] = np.zeros(0)
        self._u: np.ndarray | None = None

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Estimate, move the target, solve.

        Args:
            x: states (..., nx), of which only the estimator's outputs C x are used: the others may be anything.
            reference: desired states (..., nx) whose tracked outputs replace `y_ref`.

        Returns:
            Inputs (..., nu).

        Raises:
            ModelError: a batch of another size than the last one without a reset.
        """
        states, batch = as_states(x, self.nx)
        seen = np.abs(self.estimator.lin.C).max(axis=0) > 0
        y = np.where(seen, states, 0.0) @ self.estimator.lin.C.T
        last = self._u if same_batch(self._u, len(states)) else None
        estimate = self.estimator.update(y, last)
        self.last_estimate = estimate.reshape(*batch, -1)
        u = self.program(self._parameters(estimate, batch, reference))
        self._u = u
        return u.reshape(*batch, self.nu)

    def applied(self, u: ArrayLike) -> None:
        """Predict with what was really applied."""
        self._u = np.asarray(u, float).reshape(-1, self.nu)

    def reset(self) -> None:
        """Forget estimate and last input."""
        self._u = None
        self.estimator.reset()
        self.program.reset()

    def _parameters(self, estimate: np.ndarray, batch: tuple[int, ...], reference: ArrayLike | None) -> np.ndarray:
        x, d = estimate[:, : self.nx], estimate[:, self.nx :]
        if self.d_limit and d.shape[1]:
            layout, nx = self.ocp.parameters, self.nx
            ends = slice(layout.d.start - nx, layout.d.stop - nx)
            d = np.clip(d, layout.low[ends], layout.high[ends])
        ref = None
        if len(self.y_ref):
            ref = np.broadcast_to(self.y_ref, (len(x), len(self.y_ref)))
            if reference is not None:
                wanted = np.broadcast_to(np.asarray(reference, float), (*batch, self.nx)).reshape(-1, self.nx)
                ref = wanted @ self.ocp.lin.C.T if self.ocp.track == "y" else wanted
        return self.ocp.theta(x, d=d if d.shape[1] else None, ref=ref)
