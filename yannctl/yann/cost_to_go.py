"""The cost-to-go V_{N-1} behind the critic, as an explicit law over the successors that the plant can reach.

Everything is in deviations from an origin: the reference where it is fixed, the operating point where it moves. Near
the reference the value is small, and its digits would drown in absolute coordinates (350 K squared against 1e-6).
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
    weight = _soft_weight(ocp)
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


def at_origin(ocp: Ocp) -> tuple[Ocp, np.ndarray, np.ndarray]:
    """Move a problem to its origin.

    Args:
        ocp: the optimal control problem.

    Returns:
        The same problem in deviations, and the origin of its parameters (ntheta,) and of its inputs (nu,).
    """
    if ocp.parameters.n == ocp.nx:
        return in_deviations(ocp), ocp.x_ref, ocp.u_ref
    lin, layout = ocp.lin, ocp.parameters
    zero = {"x_op": np.zeros(lin.nx), "u_op": np.zeros(lin.nu), "d_op": np.zeros(lin.nd)}
    ref = {None: np.zeros(0), "x": lin.x_op, "y": lin.C @ lin.x_op}[ocp.track]
    origin = np.zeros(layout.n)
    for columns, value in ((layout.x, lin.x_op), (layout.u_last, lin.u_op), (layout.d, lin.d_op), (layout.ref, ref)):
        if columns.stop > columns.start:
            origin[columns] = value
    ends: dict[str, np.ndarray | None] = {
        "x_min": ocp.x_min - lin.x_op,
        "x_max": ocp.x_max - lin.x_op,
        "u_min": ocp.u_min - lin.u_op,
        "u_max": ocp.u_max - lin.u_op,
        "theta_min": ocp.theta_min - lin.x_op if np.all(np.isfinite(ocp.theta_min)) else None,
        "theta_max": ocp.theta_max - lin.x_op if np.all(np.isfinite(ocp.theta_max)) else None,
    }
    ends |= {name: getattr(ocp, name) - ref for name in ("ref_min", "ref_max") if getattr(ocp, name) is not None}
    ends |= {name: getattr(ocp, name) - lin.d_op for name in ("d_min", "d_max") if getattr(ocp, name) is not None}
    moved = replace(
        ocp,
        lin=replace(lin, **zero),
        x_ref=ocp.x_ref - lin.x_op,
        u_ref=ocp.u_ref - lin.u_op,
        soft_weight=_soft_weight(ocp),
        **ends,
    )
    return moved, origin, lin.u_op


def _soft_weight(ocp: Ocp) -> float | None:
    """Return the soft weight that the whole horizon needs; a shorter one may need less."""
    return condense(ocp).soft_weight if ocp.soft is not None and ocp.soft_weight is None else ocp.soft_weight


def held_steps(ocp: Ocp) -> int:
    """Return how many steps the first input is held.

    Args:
        ocp: the optimal control problem.
    """
    return 1 if ocp.blocks is None else ocp.blocks[0]


def successor_box(ocp: Ocp) -> tuple[np.ndarray, np.ndarray]:
    """Bound the successors: the hard state bounds, else all that the parameter box and the input bounds reach.

    `A c + B v + E w + drift +- (|A| h + |B| h_u + |E| h_d)` with centres c, v, w and half ranges h.

    Args:
        ocp: the problem in deviations.

    Returns:
        (nx,) lower and (nx,) upper corner, after the steps the first input is held.

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
    lin, layout = ocp.lin, ocp.parameters
    skip = layout.d.start - ocp.nx, layout.d.stop - ocp.nx
    d_low, d_high = layout.low[slice(*skip)], layout.high[slice(*skip)]
    shift = lin.B @ (ocp.u_max + ocp.u_min) / 2 + lin.E @ (d_high + d_low) / 2 + lin.c
    spread = np.abs(lin.B) @ (ocp.u_max - ocp.u_min) / 2 + np.abs(lin.E) @ (d_high - d_low) / 2
    centre, half = (ocp.theta_max + ocp.theta_min) / 2, (ocp.theta_max - ocp.theta_min) / 2
    least = 1e-6 * 2 * half  # a state that forgets everything has no width
    for _ in range(held_steps(ocp)):
        centre, half = lin.A @ centre + shift, np.maximum(np.abs(lin.A) @ half + spread, least)
    if hard:
        return np.where(np.isfinite(lower), lower, centre - half), np.where(np.isfinite(upper), upper, centre + half)
    return centre - half, centre + half


def cost_to_go(ocp: Ocp, settings: Settings | None = None, n_jobs: int = 1, progress: bool = False) -> PwaLaw:
    """Compile the value after the first input has been held, V_{N-1} without blocks, over the successors.

    Args:
        ocp: the problem in deviations, with its soft weight.
        settings: tolerances of the solver, or None for the defaults.
        n_jobs: processes for the solver.
        progress: show a progress bar on a terminal.

    Returns:
        Explicit law in the successor's parameters (x+, u, d, reference) whose value it is.

    Raises:
        ModelError: if the explicit solution is not complete.
    """
    lower, upper = successor_box(ocp)
    settings = settings or Settings()
    held = held_steps(ocp)
    if held == ocp.N:
        return _terminal_value(ocp, lower, upper, settings)
    blocks = None if ocp.blocks is None else ocp.blocks[1:]
    shorter = replace(ocp, N=ocp.N - held, blocks=blocks, theta_min=lower, theta_max=upper)
    law = solve_mpqp(condense(shorter), settings=settings, n_jobs=n_jobs, progress=progress)
    if law.status != "complete":
        raise ModelError("ocp", f"its cost-to-go is {law.status}: {law.message}")
    return law


def _terminal_value(ocp: Ocp, lower: np.ndarray, upper: np.ndarray, settings: Settings) -> PwaLaw:
    """Write V_0 = d'P d over the box, within the terminal set if there is one, as a law of one region.

    d is the deviation of x, and with a weight on the rate of u_last, from the reference at this parameter.
    """
    layout, reference, nx, n = ocp.parameters, ocp.reference, ocp.nx, ocp.parameters.n
    theta_min, theta_max = np.concatenate([lower, layout.low]), np.concatenate([upper, layout.high])
    M, offset, P = np.eye(nx, n), -reference.x, ocp.P
    if reference.X is not None:
        M = M - reference.X
    if ocp.rate_terminal is not None:
        last = np.zeros((ocp.nu, n))
        last[:, layout.u_last] = np.eye(ocp.nu)
        M = np.vstack([M, last if reference.U is None else last - reference.U])
        offset, P = np.concatenate([offset, -reference.u]), ocp.rate_terminal[0]
    H, k = np.vstack([np.eye(n), -np.eye(n)]), np.concatenate([theta_max, -theta_min])
    if ocp.terminal_set is not None:
        H, k = np.vstack([H, ocp.terminal_set.A]), np.concatenate([k, ocp.terminal_set.b])
    length = np.linalg.norm(H * (theta_max - theta_min) / 2, axis=1)
    return PwaLaw(
        row_start=np.array([0, len(k)]),
        H=H / length[:, None],
        k=k / length,
        F=np.zeros((1, ocp.nu, n)),
        g=np.zeros((1, ocp.nu)),
        theta_min=theta_min,
        theta_max=theta_max,
        P=2 * (M.T @ P @ M)[None],
        p=2 * (M.T @ P @ offset)[None],
        c=np.array([offset @ P @ offset]),
        settings=settings,
    )
