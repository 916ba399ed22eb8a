"""PID control, one loop an input, with filtered derivative, anti-windup and bumpless hand-over."""

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

from .base import as_states
from .memory import AbstractRecallingController, same_batch


class Pid(AbstractRecallingController):
    """One PID loop an input, y = C x (Astrom and Hagglund, "Advanced PID Control", ISA 2006, ch. 3 and 13).

        u = clip(u_ref + kp (b r - y + (1 - b) y_ref) + I - kd D, u_min, u_max)
        I+ = I + dt (ki (r - y) + (u_applied - u_wanted) / t_track),     dD/dt = (dy/dt - D) / t_filter

    The derivative acts on the measurement, through a first-order filter, sampled by backward differences. The last
    term of the integral is back-calculation: it runs towards the input that was really applied, whatever limited it.

    Args:
        C: output matrix (nu, nx), one row the output of one loop.
        dt: sample period.
        kp: proportional gains (nu,) [input/output].
        ki: integral gains (nu,) [input/(output time)].
        kd: derivative gains (nu,) [input time/output].
        x_ref: reference of the states (nx,), C x_ref that of the outputs; default zero.
        u_ref: input at the reference (nu,); default zero.
        u_min: lower input limits (nu,); default none.
        u_max: upper input limits (nu,); default none.
        setpoint_weight: b of the proportional part, 0 to 1.
        filter_time: t_filter of the derivative; default 2 dt.
        tracking_time: t_track of the anti-windup; default sqrt(kd/ki), or kp/ki, at least dt.

    Raises:
        ModelError: shapes that do not fit or times that are not positive.
    """

    def __init__(
        self,
        C: ArrayLike,
        dt: float,
        kp: ArrayLike | float,
        ki: ArrayLike | float = 0.0,
        kd: ArrayLike | float = 0.0,
        x_ref: ArrayLike | None = None,
        u_ref: ArrayLike | None = None,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        setpoint_weight: float = 1.0,
        filter_time: float | None = None,
        tracking_time: float | None = None,
    ) -> None:
        self.C = np.array(C, float)
        if self.C.ndim != 2 or not np.isfinite(self.C).all():
            raise ModelError("C", f"got shape {self.C.shape}", remedy="give finite numbers (nu, nx)")
        self.nu, self.nx = self.C.shape
        for name, value in (("dt", dt), ("filter_time", filter_time), ("tracking_time", tracking_time)):
            if value is not None and not value > 0:
                raise ModelError(name, f"is {value}", remedy="give a positive time")
        self.dt, self.setpoint_weight = float(dt), float(setpoint_weight)
        self.kp, self.ki, self.kd = (
            _gains(name, value, self.nu) for name, value in (("kp", kp), ("ki", ki), ("kd", kd))
        )
        self.x_ref = np.zeros(self.nx) if x_ref is None else np.array(x_ref, float)
        self.u_ref = _gains("u_ref", 0.0 if u_ref is None else u_ref, self.nu)
        self.u_min = np.broadcast_to(np.asarray(-np.inf if u_min is None else u_min, float), (self.nu,))
        self.u_max = np.broadcast_to(np.asarray(np.inf if u_max is None else u_max, float), (self.nu,))
        self.filter_time = 2 * self.dt if filter_time is None else float(filter_time)
        self.tracking_time = self._default_tracking() if tracking_time is None else np.full(self.nu, tracking_time)
        self.reset()

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Advance every loop by one sample.

        Args:
            x: states (..., nx); only C x counts.
            reference: desired states (..., nx) in place of `x_ref`.

        Returns:
            Inputs (..., nu).

        Raises:
            ModelError: a batch of another size than the last one without a reset.
        """
        states, batch = as_states(x, self.nx)
        y = states @ self.C.T
        target = self.x_ref if reference is None else np.asarray(reference, float)
        r = np.broadcast_to(target, (*batch, self.nx)).reshape(-1, self.nx) @ self.C.T
        if not same_batch(self._y, len(y)):
            started = self._integral is not None and self._integral.shape == y.shape
            self._integral = self._integral if started else np.zeros_like(y)
            self._slope = np.zeros_like(y)
        else:
            self._integral = self._integrated()
            share = self.filter_time / (self.filter_time + self.dt)
            self._slope = share * self._slope + (1 - share) * (y - self._y) / self.dt
        self._y, self._error = y, r - y
        wanted = self._proportional(y, r) + self._integral - self.kd * self._slope
        self._wanted, self._u = wanted, np.clip(wanted, self.u_min, self.u_max)
        return self._u.reshape(*batch, self.nu).copy()

    def applied(self, u: ArrayLike) -> None:
        """Let the integral run towards what was really applied."""
        self._u = np.asarray(u, float).reshape(-1, self.nu)

    def take_over(self, x: ArrayLike, u: ArrayLike, reference: ArrayLike | None = None) -> None:
        """Start without a bump: the next call at x gives u.

        Args:
            x: states (..., nx) at the hand-over.
            u: inputs (..., nu) of whoever was in charge.
            reference: desired states (..., nx) in place of `x_ref`.
        """
        self.reset()
        states, batch = as_states(x, self.nx)
        target = self.x_ref if reference is None else np.asarray(reference, float)
        r = np.broadcast_to(target, (*batch, self.nx)).reshape(-1, self.nx) @ self.C.T
        self._integral = np.asarray(u, float).reshape(-1, self.nu) - self._proportional(states @ self.C.T, r)

    def reset(self) -> None:
        """Empty integral and derivative."""
        self._y: np.ndarray | None = None
        self._integral: np.ndarray | None = None

    def _proportional(self, y: np.ndarray, r: np.ndarray) -> np.ndarray:
        b = self.setpoint_weight
        return self.u_ref + self.kp * (b * r + (1 - b) * (self.C @ self.x_ref) - y)

    def _integrated(self) -> np.ndarray:
        """The integral after the period that has passed."""
        windup = np.where(self.ki != 0, (self._u - self._wanted) / self.tracking_time, 0.0)
        return np.asarray(self._integral) + self.dt * (self.ki * self._error + windup)

    def _default_tracking(self) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            time = np.where(self.kd > 0, np.sqrt(np.abs(self.kd / self.ki)), np.abs(self.kp / self.ki))
        return np.maximum(np.where(np.isfinite(time), time, self.dt), self.dt)


def _gains(name: str, value: ArrayLike | float, n: int) -> np.ndarray:
    array = np.array(value, float)
    if array.shape not in {(), (n,)} or not np.isfinite(array).all():
        raise ModelError(name, f"got {value!r}", remedy=f"give {n} finite numbers")
    return np.broadcast_to(array, (n,))
