"""Condense an optimal control problem: eliminate the predicted states, keep the inputs (and slacks).

With x_k = Φ_k θ + Γ_k z + o_k the cost of `Ocp` becomes, for Q̄ = diag(γ Q, …, γ^{N−1} Q, γ^N P), R̄ = diag(γ^k R)
and r = o − x_ref,

    H = 2 (Γ'Q̄Γ + R̄),  F = 2 Γ'Q̄Φ,  f = 2 (Γ'Q̄ r − R̄ u_ref),
    Y = 2 (Q + Φ'Q̄Φ),  y = 2 (Φ'Q̄ r − Q x_ref),  y0 = r'Q̄ r + u_ref'R̄ u_ref + x_ref'Q x_ref,

doubled because `MpQp` halves its quadratic part: its value is the cost itself.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from yannctl.errors import ModelError
from yannctl.geometry.validation import vector
from yannctl.ocp import Ocp
from yannctl.types import ArrayLike, Float, Int

from .problem import MpQp
from .soft_penalty import exact_soft_weight


@dataclass(frozen=True)
class Prediction:
    """Predicted states x_1 … x_N, stacked, as an affine function of the first state and the inputs.

    Attributes:
        Phi: effect of x_0, (N nx, nx).
        Gamma: effect of u_0 … u_{N−1}, (N nx, N nu), block lower triangular.
        offset: the rest, (N nx,). [state]
    """

    Phi: Float[np.ndarray, "n nx"]
    Gamma: Float[np.ndarray, "n nz"]
    offset: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Rows:
    """Rows `A u <= b + B θ` over the stacked inputs, and which of them a slack may relax.

    Attributes:
        A: (m, N nu).
        b: (m,).
        B: (m, nx).
        slack: index of the slack of each row, −1 for hard rows, (m,).
    """

    A: Float[np.ndarray, "m nz"]
    b: Float[np.ndarray, " m"]
    B: Float[np.ndarray, "m nx"]
    slack: Int[np.ndarray, " m"]


def condense(ocp: Ocp, theta_min: ArrayLike | None = None, theta_max: ArrayLike | None = None) -> MpQp:
    """Turn the optimal control problem into a multi-parametric QP in θ = x_0, absolute.

    z holds u_0 … u_{N−1} (absolute, so the law is z[:nu]), then, with soft bounds, the slacks e_{k,i} in state units,
    step by step. Rows: input bounds, state bounds at k = 1 … N, terminal set, e >= 0; upper bounds before lower ones.
    Rows that no decision enters become rows of Θ. A soft problem without `soft_weight` is first solved hard and
    explicitly, to compute the smallest exact weight.

    Args:
        ocp: the problem.
        theta_min: lower end of the initial states of interest (nx,), default `ocp.theta_min`. [state]
        theta_max: upper end, default `ocp.theta_max`. [state]

    Returns:
        The program; `value` is the cost of `ocp`, `soft_weight` is ρ.

    Raises:
        ModelError: when Θ is not finite, or the soft weight cannot be computed.
    """
    low = _finite_end("theta_min", ocp.theta_min if theta_min is None else theta_min, ocp)
    high = _finite_end("theta_max", ocp.theta_max if theta_max is None else theta_max, ocp)
    prediction = predict(ocp)
    rows = constraint_rows(ocp, prediction)
    hard = _hard_program(ocp, prediction, rows, low, high)
    if ocp.soft is None or not ocp.bounded_states.size:
        return _without_empty_rows(hard)
    rho = ocp.soft_weight
    if rho is None:
        # Rows without decisions restrict Θ only: no multiplier of the hard problem belongs to them.
        rho = exact_soft_weight(_without_empty_rows(hard), rows.slack[rows.A.any(axis=1)], ocp)
    return _softened(ocp, hard, rows, rho)


def predict(ocp: Ocp) -> Prediction:
    """Stack the predictions `x_k = A^k θ + sum_j A^{k−1−j} B u_j + o_k`, k = 1 … N.

    Args:
        ocp: the problem.

    Returns:
        The matrices Φ, Γ and the offset.
    """
    A, B, N, nx, nu = ocp.lin.A, ocp.lin.B, ocp.N, ocp.nx, ocp.nu
    powers = np.empty((N + 1, nx, nx))
    powers[0] = np.eye(nx)
    for k in range(N):
        powers[k + 1] = powers[k] @ A
    responses = powers[:N] @ B
    age = np.arange(N)[:, None] - np.arange(N)
    blocks = np.where((age >= 0)[:, :, None, None], responses[np.maximum(age, 0)], 0.0)
    constant = ocp.successor(np.zeros(nx), np.zeros(nu))
    offset = np.cumsum(powers[:N] @ constant, axis=0)
    return Prediction(
        powers[1:].reshape(N * nx, nx), blocks.transpose(0, 2, 1, 3).reshape(N * nx, N * nu), offset.reshape(N * nx)
    )


def constraint_rows(ocp: Ocp, prediction: Prediction) -> Rows:
    """Write the bounds and the terminal set as rows over the stacked inputs.

    Args:
        ocp: the problem.
        prediction: its predicted states.

    Returns:
        The rows, in the order input bounds, state bounds, terminal set.
    """
    N, nx, nz = ocp.N, ocp.nx, ocp.N * ocp.nu
    bounded = ocp.bounded_states
    slack_of_state = np.full(nx, -1)
    slack_of_state[bounded] = np.arange(len(bounded))
    slack = np.where(slack_of_state < 0, -1, slack_of_state + len(bounded) * np.arange(N)[:, None]).ravel()
    identity, none = np.eye(nz), np.zeros((nz, nx))
    Phi, Gamma, offset = prediction.Phi, prediction.Gamma, prediction.offset
    hard = np.full(nz, -1)
    parts = [
        (identity, np.tile(ocp.u_max, N), none, hard),
        (-identity, -np.tile(ocp.u_min, N), none, hard),
        (Gamma, np.tile(ocp.x_max, N) - offset, -Phi, slack),
        (-Gamma, -np.tile(ocp.x_min, N) + offset, Phi, slack),
    ]
    terminal = ocp.terminal_set
    if terminal is not None:
        C, last = terminal.A, slice((N - 1) * nx, None)
        parts.append((C @ Gamma[last], terminal.b - C @ offset[last], -C @ Phi[last], np.full(len(C), -1)))
    A, b, B, index = (np.concatenate(column) for column in zip(*parts, strict=True))
    keep = np.isfinite(b)
    return Rows(A[keep], b[keep], B[keep], index[keep].astype(np.int64))


def _hard_program(ocp: Ocp, prediction: Prediction, rows: Rows, low: np.ndarray, high: np.ndarray) -> MpQp:
    N, gamma = ocp.N, ocp.gamma
    Phi, Gamma = prediction.Phi, prediction.Gamma
    weights = [gamma**k * ocp.Q for k in range(1, N)] + [gamma**N * ocp.P]
    Q_bar = scipy.linalg.block_diag(*weights)
    R_bar = np.kron(np.diag(gamma ** np.arange(N)), ocp.R)
    r = prediction.offset - np.tile(ocp.x_ref, N)
    u_ref = np.tile(ocp.u_ref, N)
    return MpQp(
        H=2 * _symmetrised(Gamma.T @ Q_bar @ Gamma + R_bar),
        f=2 * (Gamma.T @ (Q_bar @ r) - R_bar @ u_ref),
        F=2 * Gamma.T @ Q_bar @ Phi,
        A=rows.A,
        b=rows.b,
        B=rows.B,
        theta_min=low,
        theta_max=high,
        n_out=ocp.nu,
        Y=2 * _symmetrised(ocp.Q + Phi.T @ Q_bar @ Phi),
        y=2 * (Phi.T @ (Q_bar @ r) - ocp.Q @ ocp.x_ref),
        y0=float(r @ Q_bar @ r + u_ref @ R_bar @ u_ref + ocp.x_ref @ ocp.Q @ ocp.x_ref),
        theta_names=tuple(ocp.lin.x_names),
        out_names=tuple(ocp.lin.u_names),
    )


def _softened(ocp: Ocp, hard: MpQp, rows: Rows, rho: float) -> MpQp:
    """Append the slacks: `A u − e <= b + B θ`, `e >= 0`, cost `γ^k (ρ e + s e²)`."""
    n_slack = ocp.N * len(ocp.bounded_states)
    discount = np.repeat(ocp.gamma ** np.arange(1, ocp.N + 1), len(ocp.bounded_states))
    relax = np.zeros((hard.n_rows, n_slack))
    soft = np.flatnonzero(rows.slack >= 0)
    relax[soft, rows.slack[soft]] = -1.0
    return replace(
        hard,
        H=scipy.linalg.block_diag(hard.H, np.diag(2.0 * ocp.soft_quadratic * discount)),
        f=np.concatenate([hard.f, rho * discount]),
        F=np.vstack([hard.F, np.zeros((n_slack, hard.n_theta))]),
        A=np.block([[hard.A, relax], [np.zeros((n_slack, hard.n_z)), -np.eye(n_slack)]]),
        b=np.concatenate([hard.b, np.zeros(n_slack)]),
        B=np.vstack([hard.B, np.zeros((n_slack, hard.n_theta))]),
        soft_weight=rho,
    )


def _without_empty_rows(mpqp: MpQp) -> MpQp:
    """Rows `0'z <= b + B θ` restrict the parameter only, so they belong to Θ."""
    empty = ~mpqp.A.any(axis=1)
    if not empty.any():
        return mpqp
    return replace(
        mpqp,
        A=mpqp.A[~empty],
        b=mpqp.b[~empty],
        B=mpqp.B[~empty],
        theta_A=-mpqp.B[empty],
        theta_b=mpqp.b[empty],
    )


def _finite_end(name: str, value: ArrayLike, ocp: Ocp) -> Float[np.ndarray, " nx"]:
    end = vector(name, value, ocp.nx, infinite=True)
    if not np.isfinite(end).all():
        i = int(np.argmin(np.isfinite(end)))
        remedy = "bound that state, or give theta_min and theta_max"
        raise ModelError(name, f"{end[i]} leaves the set of initial states unbounded", index=i, remedy=remedy)
    return end


def _symmetrised(M: np.ndarray) -> np.ndarray:
    return (M + M.T) / 2
