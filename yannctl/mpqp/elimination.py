"""Eliminate equalities `E x + e0 + E_θ θ = 0` from a parametric quadratic program, without losing any output.

Gauss-Jordan elimination with complete pivoting writes pivot variables as affine functions of the free ones, auxiliary
variables first. An *output* that becomes dependent, o = G w + g(θ), stays a decision of its own with the extra cost
μ |o − G w − g(θ)|²: no row contains it, so it takes exactly that value at no cost, and H stays positive definite.
"""

from dataclasses import dataclass, replace

import numpy as np

from yannctl.errors import EmptySetError, ModelError
from yannctl.types import Bool, Float

_PIVOT = 1e-10  # relative to the largest coefficient; smaller ones are linearly dependent equations
_ROUNDING = 1e-13


@dataclass(frozen=True)
class ParametricProgram:
    """The program `min x'Px/2 + q(θ)'x + d(θ)  s.t.  E x + e(θ) = 0,  G x <= g(θ)`.

    Columns of q, d, e and g: the constant, then one a parameter.

    Attributes:
        P: Hessian (n, n).
        q: linear cost (n, 1 + ntheta), constant then per parameter.
        d: constant cost (1 + ntheta,).
        E: equalities (p, n).
        e: their constants (p, 1 + ntheta).
        G: inequalities (m, n).
        g: their right-hand sides (m, 1 + ntheta).
    """

    P: Float[np.ndarray, "n n"]
    q: Float[np.ndarray, "n cols"]
    d: Float[np.ndarray, " cols"]
    E: Float[np.ndarray, "p n"]
    e: Float[np.ndarray, "p cols"]
    G: Float[np.ndarray, "m n"]
    g: Float[np.ndarray, "m cols"]


@dataclass(frozen=True)
class Substitution:
    """All variables as an affine function of the free ones: `x = S x[free] + s [1; θ]`.

    Attributes:
        free: which variables are free (n,).
        S: (n, n_free).
        s: (n, 1 + ntheta).
    """

    free: Bool[np.ndarray, " n"]
    S: Float[np.ndarray, "n nfree"]
    s: Float[np.ndarray, "n cols"]


def solve_equalities(
    E: Float[np.ndarray, "p n"], e: Float[np.ndarray, "p cols"], keep: Bool[np.ndarray, " n"]
) -> Substitution:
    """Solve `E x + e [1; θ] = 0` for as many variables as there are independent equations.

    Args:
        E: coefficients (p, n).
        e: constants, then coefficients of θ (p, 1 + ntheta).
        keep: variables that are made dependent only when no other can be.

    Returns:
        The substitution.

    Raises:
        EmptySetError: when the equations contradict each other.
        ModelError: when they restrict the parameters themselves.
    """
    p, n = E.shape
    work = np.hstack([E, e])
    size = np.abs(E).max(axis=1, initial=0.0)
    work /= np.where(size > 0, size, 1.0)[:, None]
    pivots: list[int] = []
    for group in (~keep, keep):
        columns = np.flatnonzero(group)
        while len(pivots) < p and columns.size:
            rest = np.abs(work[len(pivots) :, columns])
            i, j = np.unravel_index(int(rest.argmax()), rest.shape)
            if rest[i, j] <= _PIVOT:
                break
            _pivot(work, len(pivots), len(pivots) + int(i), int(columns[j]))
            pivots.append(int(columns[j]))
            columns = np.delete(columns, j)
    _check_leftover(work[len(pivots) :, n:])
    free = np.ones(n, dtype=bool)
    free[pivots] = False
    S, s = np.zeros((n, int(free.sum()))), np.zeros((n, e.shape[1]))
    S[free] = np.eye(int(free.sum()))
    S[pivots], s[pivots] = -work[: len(pivots), :n][:, free], -work[: len(pivots), n:]
    return Substitution(free, S, s)


def _pivot(work: np.ndarray, row: int, found: int, column: int) -> None:
    work[[row, found]] = work[[found, row]]
    work[row] /= work[row, column]
    factor = work[:, column].copy()
    factor[row] = 0.0
    change = np.outer(factor, work[row])
    before = np.abs(work) + np.abs(change)
    work -= change
    work[np.abs(work) <= 4e-16 * before] = 0.0  # an exact cancellation, up to rounding
    work[:, column] = 0.0
    work[row, column] = 1.0


def _check_leftover(constants: np.ndarray) -> None:
    """What remains of dependent equations reads 0 = constant + coefficients θ."""
    wrong = np.abs(constants) > 1e-9
    if wrong[:, 1:].any():
        text = "the equalities leave a condition on the parameters alone"
        raise ModelError("problem", text, remedy="make one of those parameters an expression of the others")
    if wrong.any():
        raise EmptySetError("problem", "the equalities contradict each other", remedy="remove one of them")


def reduced_program(
    full: ParametricProgram, outputs: Bool[np.ndarray, " n"]
) -> tuple[ParametricProgram, Float[np.ndarray, "ntheta ntheta"]]:
    """Eliminate the equalities; the outputs stay, in order and first, followed by free auxiliary variables.

    Args:
        full: the program.
        outputs: which variables are outputs.

    Returns:
        The program without equalities, and the quadratic part Y of its value in θ.
    """
    sub = solve_equalities(full.E, full.e, outputs)
    S, s = sub.S, sub.s
    P_s = full.P @ s
    Y = s[:, 1:].T @ P_s[:, 1:] + full.q[:, 1:].T @ s[:, 1:] + s[:, 1:].T @ full.q[:, 1:]
    d = full.d + s.T @ full.q[:, 0] + s[:, 0] @ P_s
    d[1:] += full.q[:, 1:].T @ s[:, 0]
    d[0] -= s[:, 0] @ P_s[:, 0] / 2
    H, q = S.T @ full.P @ S, S.T @ (full.q + P_s)
    G = _clean(full.G @ S, np.abs(full.G) @ np.abs(S))
    g = full.g - full.G @ s
    small = ParametricProgram(H, q, d, np.zeros((0, S.shape[1])), np.zeros((0, s.shape[1])), G, g)
    return _with_dependent_outputs(small, Y, sub, outputs)


def _with_dependent_outputs(
    small: ParametricProgram, Y: np.ndarray, sub: Substitution, outputs: np.ndarray
) -> tuple[ParametricProgram, np.ndarray]:
    """Put the dependent outputs back as decisions that follow the free ones, in the order outputs, auxiliaries."""
    n = len(outputs)
    wanted = np.concatenate([np.flatnonzero(outputs), np.flatnonzero(~outputs & sub.free)])
    place = np.full(n, -1)
    place[wanted] = np.arange(len(wanted))
    at_free = place[np.flatnonzero(sub.free)]
    dependent = np.flatnonzero(outputs & ~sub.free)
    lift = np.zeros((len(at_free), len(wanted)))
    lift[np.arange(len(at_free)), at_free] = 1.0
    L = -sub.S[dependent] @ lift
    L[np.arange(len(dependent)), place[dependent]] += 1.0
    r = sub.s[dependent]
    diagonal = np.diag(small.P)
    mu = float(diagonal.mean()) / 2 if diagonal.size and diagonal.max() > 0 else 1.0
    d = small.d + 2 * mu * r.T @ r[:, 0]
    d[0] -= mu * float(r[:, 0] @ r[:, 0])
    program = ParametricProgram(
        lift.T @ small.P @ lift + 2 * mu * L.T @ L,
        lift.T @ small.q - 2 * mu * L.T @ r,
        d,
        np.zeros((0, len(wanted))),
        np.zeros((0, small.e.shape[1])),
        small.G @ lift,
        small.g,
    )
    return program, Y + 2 * mu * r[:, 1:].T @ r[:, 1:]


def without_free_auxiliaries(program: ParametricProgram, n_out: int) -> ParametricProgram:
    """Project out auxiliary variables that cost nothing, such as t in `|x| <= t <= 1` (Fourier and Motzkin).

    Each pair of rows with opposite signs of t is replaced by the combination without t. A variable whose projection
    would need more rows than it saves is left alone.

    Args:
        program: a program without equalities.
        n_out: number of leading variables that stay in any case.

    Returns:
        The same problem in fewer variables.
    """
    G, g = program.G, program.g
    costs = np.logical_or(program.P.any(axis=1), program.q.any(axis=1))
    keep = np.ones(len(program.P), dtype=bool)
    for j in range(n_out, len(program.P)):
        upper, lower = np.flatnonzero(G[:, j] > 0), np.flatnonzero(G[:, j] < 0)
        if costs[j] or len(upper) * len(lower) > len(upper) + len(lower):
            continue
        others = np.flatnonzero(G[:, j] == 0)
        u, v = (index.ravel() for index in np.meshgrid(upper, lower, indexing="ij"))
        a, c = 1.0 / G[u, j][:, None], -1.0 / G[v, j][:, None]
        paired = _clean(a * G[u] + c * G[v], np.abs(a * G[u]) + np.abs(c * G[v]))
        G, g = np.vstack([G[others], paired]), np.vstack([g[others], a * g[u] + c * g[v]])
        keep[j] = False
    return replace(program, P=program.P[keep][:, keep], q=program.q[keep], G=G[:, keep], g=g, E=program.E[:, keep])


def _clean(M: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Set entries that are pure rounding of a cancelled sum to zero."""
    return np.where(np.abs(M) <= _ROUNDING * size, 0.0, M)
