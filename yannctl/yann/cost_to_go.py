"""The cost-to-go V_{N-1} behind the critic, as an explicit law over the successors that the plant can reach.

Everything is in deviations from the reference: near it the value is small, and its digits would drown in absolute
coordinates (350 K squared against 1e-6).
"""

from dataclasses import replace

import numpy as np

from yannctl.errors import ModelError
from yannctl.mpqp import condense
from yannctl.ocp import Ocp
from yannctl.pwa import PwaLaw, Settings, solve_mpqp

ROUNDING = 16 * np.finfo(float).eps


def reference_drift(ocp: Ocp) -> np.ndarray:
    """Evaluate `x+(x_ref, u_ref) - x_ref`, exactly 0 where only rounding is left of it.

    Args:
        ocp: the optimal control problem.

    Returns:
        (nx,) drift [state].
    """
    size = np.maximum(np.abs(ocp.x_ref), np.abs(ocp.lin.x_op))
    return np.where(np.abs(ocp.drift) <= ROUNDING * size, 0.0, ocp.drift)


def in_deviations(ocp: Ocp) -> Ocp:
    """Rewrite a problem in deviations from its reference, `d+ = A d + B e + drift`, with its soft weight fixed.

    Args:
        ocp: the optimal control problem.

    Returns:
        The same problem with operating point and reference 0.
    """
    weight = ocp.soft_weight
    if ocp.soft is not None and weight is None:
        weight = condense(ocp).soft_weight
    x_ref, u_ref = ocp.x_ref, ocp.u_ref
    zero_x, zero_u = np.zeros_like(x_ref), np.zeros_like(u_ref)
    return replace(
        ocp,
        lin=replace(ocp.lin, c=reference_drift(ocp), x_op=zero_x, u_op=zero_u),
        x_ref=zero_x,
        u_ref=zero_u,
        x_min=ocp.x_min - x_ref,
        x_max=ocp.x_max - x_ref,
        u_min=ocp.u_min - u_ref,
        u_max=ocp.u_max - u_ref,
        theta_min=ocp.theta_min - x_ref if np.all(np.isfinite(ocp.theta_min)) else None,
        theta_max=ocp.theta_max - x_ref if np.all(np.isfinite(ocp.theta_max)) else None,
        soft_weight=weight,
    )


def successor_box(ocp: Ocp) -> tuple[np.ndarray, np.ndarray]:
    """Bound the successors: the hard state bounds, else all that the parameter box and the input bounds reach.

    `A c + B v + drift +- (|A| h + |B| w)` with centres c, v and half ranges h, w.

    Args:
        ocp: the problem in deviations.

    Returns:
        (nx,) lower and (nx,) upper corner.

    Raises:
        ModelError: if an input bound or the parameter box is missing where it is needed.
    """
    lower, upper = ocp.x_min.copy(), ocp.x_max.copy()
    hard = ocp.soft is None
    if hard and np.all(np.isfinite(lower)) and np.all(np.isfinite(upper)):
        return lower, upper
    for name in ("u_min", "u_max", "theta_min", "theta_max"):
        if not np.all(np.isfinite(getattr(ocp, name))):
            raise ModelError(f"ocp.{name}", "the exact critic needs it finite", remedy='give it, or use kind="lqr"')
    lin = ocp.lin
    centre = lin.A @ (ocp.theta_max + ocp.theta_min) / 2 + lin.B @ (ocp.u_max + ocp.u_min) / 2 + lin.c
    half = np.abs(lin.A) @ (ocp.theta_max - ocp.theta_min) / 2 + np.abs(lin.B) @ (ocp.u_max - ocp.u_min) / 2
    half = np.maximum(half, 1e-6 * (ocp.theta_max - ocp.theta_min))  # a state that forgets everything has no width
    reach_low, reach_high = centre - half, centre + half
    if hard:
        return np.where(np.isfinite(lower), lower, reach_low), np.where(np.isfinite(upper), upper, reach_high)
    return reach_low, reach_high


def cost_to_go(ocp: Ocp, settings: Settings | None = None, n_jobs: int = 1, progress: bool = False) -> PwaLaw:
    """Compile V_{N-1} over the successors.

    Args:
        ocp: the problem in deviations, with its soft weight.
        settings: tolerances of the solver, or None for the defaults.
        n_jobs: processes for the solver.
        progress: show a progress bar on a terminal.

    Returns:
        Explicit law whose value is V_{N-1}.

    Raises:
        ModelError: if the explicit solution is not complete.
    """
    lower, upper = successor_box(ocp)
    settings = settings or Settings()
    if ocp.N == 1:
        return _terminal_value(ocp, lower, upper, settings)
    shorter = replace(ocp, N=ocp.N - 1, theta_min=lower, theta_max=upper)
    law = solve_mpqp(condense(shorter), settings=settings, n_jobs=n_jobs, progress=progress)
    if law.status != "complete":
        raise ModelError("ocp", f"its cost-to-go is {law.status}: {law.message}")
    return law


def _terminal_value(ocp: Ocp, lower: np.ndarray, upper: np.ndarray, settings: Settings) -> PwaLaw:
    """Write V_0 = d'P d over the box, within the terminal set if there is one, as a law of one region."""
    nx = ocp.nx
    H, k = np.vstack([np.eye(nx), -np.eye(nx)]), np.concatenate([upper, -lower])
    if ocp.terminal_set is not None:
        H, k = np.vstack([H, ocp.terminal_set.A]), np.concatenate([k, ocp.terminal_set.b])
    length = np.linalg.norm(H * (upper - lower) / 2, axis=1)
    return PwaLaw(
        row_start=np.array([0, len(k)]),
        H=H / length[:, None],
        k=k / length,
        F=np.zeros((1, ocp.nu, nx)),
        g=np.zeros((1, ocp.nu)),
        theta_min=lower,
        theta_max=upper,
        P=2 * ocp.P[None],
        p=np.zeros((1, nx)),
        c=np.zeros(1),
        settings=settings,
    )
