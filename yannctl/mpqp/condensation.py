"""Condense an optimal control problem: eliminate the predicted states, keep the inputs (and slacks).

The stacked inputs are `T z` (T repeats the moves of a block), the stacked states `x = Γ z + Φ θ + offset`, and the
reference is affine in θ. So each part of the cost of `Ocp` is a weighted square of an affine expression,

    Σ_j |M_j z + L_j θ + o_j|²_{W_j},    H = 2 Σ M'W M,  F = 2 Σ M'W L,  f = 2 Σ M'W o,
                                         Y = 2 Σ L'W L,  y = 2 Σ L'W o,  y0 = Σ o'W o,

doubled because `MpQp` halves its quadratic part: its value is the cost itself. The parts are

    W = diag(γ Q, …, γ^{N−1} Q, γ^N P)   x_1 − x_s(θ), …, x_N − x_s(θ)
    W = diag(γ^k R)                      u_k − u_s(θ)
    W = Q                                x_0 − x_s(θ)
    W = diag(γ^k R_rate)                 u_k − u_{k−1}, with u_{−1} in θ

where the LQR with rate replaces the last Q-block: W = γ^N P_rate on (x_N − x_s, u_{N−1} − u_s).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg

from yannctl.errors import ModelError
from yannctl.geometry.validation import vector
from yannctl.ocp import Ocp
from yannctl.types import ArrayLike, Float, Int

from .problem import MpQp
from .quadratic import Square, cost_of_squares
from .soft_penalty import exact_soft_weight


@dataclass(frozen=True)
class Prediction:
    """Predicted states x_1 … x_N, stacked, as an affine function of the parameter and the moves.

    Attributes:
        Phi: effect of θ, (N nx, ntheta); its first nx columns are those of x_0.
        Gamma: effect of the moves z, (N nx, nz): u_0 … u_{N−1}, or one input a block.
        offset: the rest, (N nx,). [state]
    """

    Phi: Float[np.ndarray, "n ntheta"]
    Gamma: Float[np.ndarray, "n nz"]
    offset: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Rows:
    """Rows `A z <= b + B θ` over the moves, and which of them a slack may relax.

    Attributes:
        A: (m, nz).
        b: (m,).
        B: (m, ntheta).
        slack: index of the slack of each row, −1 for hard rows, (m,).
    """

    A: Float[np.ndarray, "m nz"]
    b: Float[np.ndarray, " m"]
    B: Float[np.ndarray, "m ntheta"]
    slack: Int[np.ndarray, " m"]


def condense(ocp: Ocp | Any, theta_min: ArrayLike | None = None, theta_max: ArrayLike | None = None) -> MpQp:
    """Turn the optimal control problem into a multi-parametric QP in θ = (x_0, u_{−1}, d, reference), absolute.

    θ is x_0 alone unless the problem has more (`ocp.parameters`); `theta_names` tells the order. z holds the moves
    u_0 … u_{N−1}, or one input a block (absolute, so the law is z[:nu]), then, with soft bounds, the slacks e_{k,i} in
    state units, step by step. Rows: input bounds, state bounds at k = 1 … N, terminal set, rate bounds, e >= 0; upper
    bounds before lower ones. Rows that no decision enters become rows of Θ. A soft problem without `soft_weight` is
    first solved hard and explicitly, to compute the smallest exact weight.

    Args:
        ocp: the problem.
        theta_min: lower end of the initial states of interest (nx,), default `ocp.theta_min`. [state]
        theta_max: upper end, default `ocp.theta_max`. [state]

    Returns:
        The program; `value` is the cost of `ocp`, `soft_weight` is ρ.

    Raises:
        ModelError: when `ocp` is not an `Ocp`, Θ is not finite, or the soft weight cannot be computed.
    """
    if not isinstance(ocp, Ocp):
        remedy = "it is condensed already, call solve_mpqp" if isinstance(ocp, MpQp) else "state the problem with Ocp"
        raise ModelError("ocp", f"expected an Ocp, got {type(ocp).__name__}", remedy=remedy)
    low = _finite_end("theta_min", ocp.theta_min if theta_min is None else theta_min, ocp)
    high = _finite_end("theta_max", ocp.theta_max if theta_max is None else theta_max, ocp)
    prediction = predict(ocp)
    rows = constraint_rows(ocp, prediction)
    hard = _hard_program(ocp, prediction, rows, (low, high))
    if ocp.soft is None or not ocp.bounded_states.size:
        return _without_empty_rows(hard)
    rho = ocp.soft_weight
    if rho is None:
        # Rows without decisions restrict Θ only: no multiplier of the hard problem belongs to them.
        rho = exact_soft_weight(_without_empty_rows(hard), rows.slack[rows.A.any(axis=1)], ocp)
    return _softened(ocp, hard, rows, rho)


def predict(ocp: Ocp) -> Prediction:
    """Stack the predictions `x_k = A^k x_0 + sum_j A^{k−1−j} (B u_j + E d) + o_k`, k = 1 … N.

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
    Gamma = blocks.transpose(0, 2, 1, 3).reshape(N * nx, N * nu)
    constant = ocp.successor(np.zeros(nx), np.zeros(nu), np.zeros(ocp.lin.nd) if ocp.lin.nd else None)
    offset = np.cumsum(powers[:N] @ constant, axis=0)
    Phi = np.zeros((N * nx, ocp.parameters.n))
    Phi[:, ocp.parameters.x] = powers[1:].reshape(N * nx, nx)
    if ocp.lin.nd:
        Phi[:, ocp.parameters.d] = np.cumsum(powers[:N] @ ocp.lin.E, axis=0).reshape(N * nx, ocp.lin.nd)
    return Prediction(Phi, Gamma if ocp.blocks is None else Gamma @ moves(ocp), offset.reshape(N * nx))


def moves(ocp: Ocp) -> Float[np.ndarray, "n nz"]:
    """The matrix T of `(u_0, …, u_{N−1}) = T z`, which repeats each input over its block; the identity without blocks.

    Args:
        ocp: the problem.

    Returns:
        T (N nu, number of blocks times nu).
    """
    lengths = ocp.blocks or (1,) * ocp.N
    return np.kron(np.repeat(np.eye(len(lengths)), lengths, axis=0), np.eye(ocp.nu))


def rates(ocp: Ocp) -> tuple[Float[np.ndarray, "nz nz"], Float[np.ndarray, "nz ntheta"]]:
    """The matrices of `Δu = D z + D_θ θ`, one rate at the start of each block: within a block it is zero.

    Args:
        ocp: a problem that counts the rate.

    Returns:
        D (nz, nz) and D_θ (nz, ntheta), −1 at u_{−1}.
    """
    n = len(ocp.blocks or (1,) * ocp.N)
    first = np.zeros((n * ocp.nu, ocp.parameters.n))
    first[: ocp.nu, ocp.parameters.u_last] = -np.eye(ocp.nu)
    return np.kron(np.eye(n) - np.eye(n, k=-1), np.eye(ocp.nu)), first


def constraint_rows(ocp: Ocp, prediction: Prediction) -> Rows:
    """Write the bounds and the terminal set as rows over the moves.

    Args:
        ocp: the problem.
        prediction: its predicted states.

    Returns:
        The rows, in the order input bounds, state bounds, terminal set, rate bounds.
    """
    N, nx = ocp.N, ocp.nx
    Phi, Gamma, offset = prediction.Phi, prediction.Gamma, prediction.offset
    nz = Gamma.shape[1]
    n_moves = nz // ocp.nu
    bounded = ocp.bounded_states
    slack_of_state = np.full(nx, -1)
    slack_of_state[bounded] = np.arange(len(bounded))
    slack = np.where(slack_of_state < 0, -1, slack_of_state + len(bounded) * np.arange(N)[:, None]).ravel()
    identity, none = np.eye(nz), np.zeros((nz, Phi.shape[1]))
    hard = np.full(nz, -1)
    parts = [
        (identity, np.tile(ocp.u_max, n_moves), none, hard),
        (-identity, -np.tile(ocp.u_min, n_moves), none, hard),
        (Gamma, np.tile(ocp.x_max, N) - offset, -Phi, slack),
        (-Gamma, -np.tile(ocp.x_min, N) + offset, Phi, slack),
    ]
    terminal = ocp.terminal_set
    if terminal is not None:
        C, last = terminal.A, slice((N - 1) * nx, None)
        parts.append((C @ Gamma[last], terminal.b - C @ offset[last], -C @ Phi[last], np.full(len(C), -1)))
    if ocp.du_min is not None:
        D, D_theta = rates(ocp)
        parts.append((D, np.tile(ocp.du_max, n_moves), -D_theta, hard))
        parts.append((-D, -np.tile(ocp.du_min, n_moves), D_theta, hard))
    A, b, B, index = (np.concatenate(column) for column in zip(*parts, strict=True))
    keep = np.isfinite(b)
    return Rows(A[keep], b[keep], B[keep], index[keep].astype(np.int64))


def _hard_program(ocp: Ocp, prediction: Prediction, rows: Rows, ends: tuple[np.ndarray, np.ndarray]) -> MpQp:
    layout = ocp.parameters
    H, F, f, Y, y, y0 = cost_of_squares(_squares(ocp, prediction))
    return MpQp(
        H=H,
        f=f,
        F=F,
        A=rows.A,
        b=rows.b,
        B=rows.B,
        theta_min=np.concatenate([ends[0], layout.low]),
        theta_max=np.concatenate([ends[1], layout.high]),
        n_out=ocp.nu,
        Y=Y,
        y=y,
        y0=y0,
        theta_names=layout.names,
        out_names=tuple(ocp.lin.u_names),
    )


def _squares(ocp: Ocp, prediction: Prediction) -> list[Square]:
    """The parts of the cost, as in the formulas above."""
    N, nx, gamma, layout, ref = ocp.N, ocp.nx, ocp.gamma, ocp.parameters, ocp.reference
    T, discounts = moves(ocp), gamma ** np.arange(N)
    X = np.zeros((nx, layout.n)) if ref.X is None else ref.X
    Phi = prediction.Phi if ref.X is None else prediction.Phi - np.tile(X, (N, 1))
    U = None if ref.U is None else -np.tile(ref.U, (N, 1))
    r, u_ref = prediction.offset - np.tile(ref.x, N), np.tile(ref.u, N)
    P = ocp.P if ocp.rate_terminal is None else np.zeros_like(ocp.P)
    weights = np.asarray(scipy.linalg.block_diag(*(gamma**k * ocp.Q for k in range(1, N)), gamma**N * P))
    first = np.eye(nx, layout.n) - X
    squares = [
        Square(weights, prediction.Gamma, Phi, r),
        Square(np.kron(np.diag(discounts), ocp.R), T, U, -u_ref),
        Square(ocp.Q, None, first, -ref.x),
    ]
    if ocp.R_rate is not None:
        D, D_theta = rates(ocp)
        starts = np.cumsum((0, *(ocp.blocks or (1,) * N)))[:-1]
        squares.append(Square(np.kron(np.diag(discounts[starts]), ocp.R_rate), D, D_theta, np.zeros(len(D))))
    if ocp.rate_terminal is not None:
        last_u = np.zeros((ocp.nu, layout.n)) if U is None else U[-ocp.nu :]
        squares.append(
            Square(
                gamma**N * ocp.rate_terminal[0],
                np.vstack([prediction.Gamma[-nx:], T[-ocp.nu :]]),
                np.vstack([Phi[-nx:], last_u]),
                np.concatenate([r[-nx:], -u_ref[-ocp.nu :]]),
            )
        )
    return squares


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
