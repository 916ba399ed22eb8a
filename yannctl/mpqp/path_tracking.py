"""The mpQP of following a path with a wheeled robot, in metres of path instead of seconds: one program for all speeds.

In the frame of a path of curvature kappa_r, to first order in offset e_y [m] and heading error e_psi [rad],

    de_y/ds = e_psi,      de_psi/ds = kappa - kappa_r,

with the curvature kappa = omega / v that the robot drives as input [1/m]. Speed does not enter. It enters the limit of
a robot whose wheels run at most at w and are 2 b apart: v (1 + b |kappa|) <= w, that is b |kappa| <= w p - 1, which is
affine in the slowness p = 1 / v [s/m] that is a parameter of the program.
"""

from dataclasses import replace

import numpy as np

from yannctl.errors import ModelError
from yannctl.linear import LinearModel
from yannctl.ocp import Ocp
from yannctl.types import Float

from .condensation import condense
from .problem import MpQp


def path_error_model(spacing: float) -> LinearModel:
    """Sample the spatial error model over `spacing` metres of path, exactly.

        e_y+ = e_y + ds e_psi + ds^2/2 (kappa - kappa_now),  e_psi+ = e_psi + ds (kappa - kappa_now),
        kappa_now+ = kappa_ahead

    Args:
        spacing: ds, length of a step [m].

    Returns:
        Model with states (ey, epsi, kappa_now) [m, rad, 1/m], input kappa [1/m], disturbance kappa_ahead [1/m], the
        path's curvature after the present step, and output ey; its `dt` is in metres.

    Raises:
        ModelError: a spacing that is not positive.
    """
    if not (np.isfinite(spacing) and spacing > 0):
        raise ModelError("spacing", f"is {spacing}, expected a positive length in metres")
    half = spacing**2 / 2
    A = np.array([[1.0, spacing, -half], [0.0, 1.0, -spacing], [0.0, 0.0, 0.0]])
    B, E = np.array([[half], [spacing], [0.0]]), np.array([[0.0], [0.0], [1.0]])
    names = ("ey", "epsi", "kappa_now"), ("kappa",)
    model = LinearModel(A, B, None, spacing, None, None, *names, E=E, d_names=("kappa_ahead",))
    return model.with_outputs(("ey",))


def condense_path_tracking(
    spacing: float = 0.04,
    N: int = 4,
    Q: tuple[float, float] = (400.0, 2.0),
    R: float = 0.05,
    R_rate: float | None = 0.05,
    offset: float = 0.1,
    heading: float = 1.2,
    curvature: float = 6.0,
    slowness: tuple[float, float] = (1 / 0.21, 1 / 0.05),
    wheel_speed: float = 0.22,
    half_track: float = 0.08,
) -> MpQp:
    """Make the program of the cheapest way back to the path; the first move is the law kappa(theta).

        sum_k  Q_1 e_y^2 + Q_2 e_psi^2 + R (kappa - kappa_s)^2 + R_rate (kappa_k - kappa_{k-1})^2  + LQR cost-to-go
        s.t.   half_track |kappa_k| <= wheel_speed p - 1

    kappa_s is the curvature of the path ahead. theta = (ey, epsi, kappa_now, u_last_kappa, kappa_ahead, slowness);
    u_last_kappa, the curvature driven before, only with `R_rate`. Turn rate and speed follow as omega = kappa v.

    Args:
        spacing: length of a step of the prediction [m].
        N: number of steps.
        Q: weights of offset and heading [1/m^2, 1/rad^2].
        R: weight of the curvature beyond the path's [m^2], positive.
        R_rate: weight of its change from step to step [m^2], or None.
        offset: greatest |ey| of the domain [m].
        heading: greatest |epsi| of the domain [rad].
        curvature: greatest curvature of the path [1/m].
        slowness: least and greatest p = 1 / v of the domain [s/m].
        wheel_speed: greatest speed of a wheel, w [m/s].
        half_track: half the distance of the wheels, b [m].

    Returns:
        The program.

    Raises:
        ModelError: an argument out of its sense.
    """
    if not 1 < wheel_speed * slowness[0] < wheel_speed * slowness[1] < np.inf:
        text = f"is {slowness} s/m, expected two finite numbers in order, above 1 / {wheel_speed} s/m"
        raise ModelError("slowness", text, remedy="give 1 / v of the fastest and of the slowest speed")
    sharpest = (wheel_speed * slowness[1] - 1) / half_track
    low = np.array([-offset, -heading, -curvature])
    ocp = Ocp(
        path_error_model(spacing),
        Q=np.array([*Q, 0.0]),
        R=R,
        N=N,
        u_min=-sharpest,
        u_max=sharpest,
        theta_min=low,
        theta_max=-low,
        R_rate=R_rate,
        track="y",
        ref_min=-offset,
        ref_max=offset,
        d_min=-curvature,
        d_max=curvature,
    )
    return _limited_by_wheels(_on_the_path(condense(ocp)), N, slowness, wheel_speed, half_track)


def _on_the_path(mpqp: MpQp) -> MpQp:
    """Fix the last parameter, the wanted offset, at zero."""
    names = mpqp.theta_names[:-1]
    ends = mpqp.theta_min[:-1], mpqp.theta_max[:-1]
    Y, y = mpqp.Y[:-1, :-1], mpqp.y[:-1]
    return replace(
        mpqp, F=mpqp.F[:, :-1], B=mpqp.B[:, :-1], theta_min=ends[0], theta_max=ends[1], Y=Y, y=y, theta_names=names
    )


def _limited_by_wheels(
    mpqp: MpQp, N: int, slowness: tuple[float, float], wheel_speed: float, half_track: float
) -> MpQp:
    """Append the slowness to theta and put the wheels' limit in the place of the input bounds, the first 2 N rows."""
    b, B = mpqp.b.copy(), _with_column(mpqp.B)
    b[: 2 * N] = -1 / half_track
    B[: 2 * N, -1] = wheel_speed / half_track
    Y: Float[np.ndarray, "n n"] = np.pad(mpqp.Y, (0, 1))
    return replace(
        mpqp,
        F=_with_column(mpqp.F),
        b=b,
        B=B,
        Y=Y,
        y=np.append(mpqp.y, 0.0),
        theta_min=np.append(mpqp.theta_min, slowness[0]),
        theta_max=np.append(mpqp.theta_max, slowness[1]),
        theta_names=(*mpqp.theta_names, "slowness"),
    )


def _with_column(M: np.ndarray) -> np.ndarray:
    return np.pad(M, ((0, 0), (0, 1)))
