"""Bring a program to least-distance form: min |v|^2/2  s.t.  M v <= D [theta_s; 1],  S theta_s <= s.

theta_s = (theta - centre)/half_range lies in [-1, 1]; the rows of M have unit norm; v is scaled so that |D| <= 1.
With H = R'R after the equality rows are eliminated (z = N y + z_0), v = R y + R'^-1 (f + F theta), so that
z = Z [v; theta_s; 1] and the cost is scale^2 |v|^2/2 + [theta_s; 1]' C [theta_s; 1]/2.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from yannctl.errors import ModelError

from .hessian import inverse_root, raised
from .kernels_presolve import KEPT, ZERO, never_active, scale_rows, tidy

_DEPENDENT = 1e-10  # equality rows whose singular value is below this share of the largest depend on the others


@dataclass(frozen=True)
class PlainProgram:
    """min y'Hy/2 + y'L [theta_s; 1]  s.t.  A y <= R [theta_s; 1], where equalities left z = N y + Z0 [theta_s; 1].

    Args:
        H: (nv, nv) definite Hessian.
        L: (nv, ntheta+1) linear cost.
        A: (rows, nv) rows.
        R: (rows, ntheta+1) right-hand sides.
        N: (nz, nv) part of z that follows y.
        Z0: (nz, ntheta+1) part of z that does not.
        C: (ntheta+1, ntheta+1) cost [theta_s; 1]' C [theta_s; 1]/2 that does not depend on y.
        cancellation: how much larger the minimiser without rows is than the rows allow; the least-distance form loses
            as many digits.
    """

    H: Float[np.ndarray, "nv nv"]
    L: Float[np.ndarray, "nv ntheta_1"]
    A: Float[np.ndarray, "rows nv"]
    R: Float[np.ndarray, "rows ntheta_1"]
    N: Float[np.ndarray, "nz nv"]
    Z0: Float[np.ndarray, "nz ntheta_1"]
    C: Float[np.ndarray, "ntheta_1 ntheta_1"]
    cancellation: float

    def unit_rows(self) -> tuple[Float[np.ndarray, "rows nv"], Float[np.ndarray, "rows ntheta_1"]]:
        """Return A with unit rows, variables in units in which their curvature is the same, and R of largest size 1."""
        rows = self.A / np.sqrt(np.diag(self.H))
        length = np.sqrt((rows * rows).sum(axis=1))[:, None]
        right = self.R / length
        return rows / length, right / (np.abs(right).max(initial=0.0) or 1.0)


@dataclass(frozen=True)
class ReducedProgram:
    """A program in least-distance form, and the way back to the original.

    Args:
        M: (rows, nv) unit rows.
        D: (rows, ntheta+1) right-hand sides as functions of [theta_s; 1].
        plain: the same program as it was before that.
        S: (parameter_rows, ntheta) unit rows of the parameter set, the 2 ntheta box rows first.
        s: (parameter_rows,) their right-hand sides.
        Zv: (nz, nv) part of z that follows v.
        Zt: (nz, ntheta+1) part of z that follows [theta_s; 1].
        C: (ntheta+1, ntheta+1) cost that does not depend on v, less the program's own terms Y, y, y0.
        scale: cost = scale^2 |v|^2/2 + ...
        rows: (rows,) index of each row in the original program.
        equalities: pairs of original rows that together are an equality.
        centre: (ntheta,) middle of the parameter box.
        half_range: (ntheta,) half its width.
        regularisation: by how much a singular H was raised along a flat direction, with z in units of its extent; at
            most this times the number of variables is added to the cost. 0 when H was used as given.
        problem: empty, or why no parameter is feasible.
    """

    M: Float[np.ndarray, "rows nv"]
    D: Float[np.ndarray, "rows ntheta_1"]
    plain: PlainProgram
    S: Float[np.ndarray, "parameter_rows ntheta"]
    s: Float[np.ndarray, " parameter_rows"]
    Zv: Float[np.ndarray, "nz nv"]
    Zt: Float[np.ndarray, "nz ntheta_1"]
    C: Float[np.ndarray, "ntheta_1 ntheta_1"]
    scale: float
    rows: Int[np.ndarray, " rows"]
    equalities: tuple[tuple[int, int], ...]
    centre: Float[np.ndarray, " ntheta"]
    half_range: Float[np.ndarray, " ntheta"]
    regularisation: float = 0.0
    problem: str = ""


def presolve(
    mpqp: Any, duplicate_tolerance: float = 1e-12, regularisation: float = 1e-6, condition_limit: float = 1e13
) -> ReducedProgram:
    """Scale a program, take out rows that never matter and eliminate equality pairs.

    Args:
        mpqp: the program, an `MpQp`.
        duplicate_tolerance: normalised rows closer than this are one row.
        regularisation: what is added to a singular H along flat directions, relative to the linear cost there.
        condition_limit: Hessians with a larger condition number count as singular.

    Raises:
        ModelError: the parameter box has no width, or H is not positive semidefinite.
    """
    centre = (mpqp.theta_max + mpqp.theta_min) / 2
    half = (mpqp.theta_max - mpqp.theta_min) / 2
    if not (half > 0).all():
        index = int(np.argmin(half))
        raise ModelError("theta_min", "must lie below theta_max", index=index, remedy="leave out fixed parameters")
    A, R = np.array(mpqp.A, dtype=float, order="C"), in_scaled(mpqp.B, mpqp.b, centre, half)
    L = in_scaled(mpqp.F, mpqp.f, centre, half)
    S, s, problem = _parameter_set(mpqp, centre, half)
    A, R, rows, S, s, pairs, row_problem = _tidy_rows(A, R, np.arange(len(A)), S, s, duplicate_tolerance)
    N, Z0 = np.eye(A.shape[1]), np.zeros((A.shape[1], R.shape[1]))
    equalities, problems = [(i, j) for _, i, j in pairs], [problem, row_problem]
    while pairs:  # rows may have become constant, or equalities, once others are gone
        equal = [position for position, _, _ in pairs]
        unit = _natural_units(np.einsum("ij,ik,kj->j", N, mpqp.H, N), A)
        basis, offset, contradiction = _solve_equalities(A[equal], R[equal], rows[equal], unit)
        N, Z0 = N @ basis, Z0 + N @ offset
        keep = np.setdiff1d(np.arange(len(rows)), equal)
        A, R, rows = np.ascontiguousarray(A[keep] @ basis), R[keep] - A[keep] @ offset, rows[keep]
        A, R, rows, S, s, pairs, row_problem = _tidy_rows(A, R, rows, S, s, duplicate_tolerance)
        equalities += [(i, j) for _, i, j in pairs]
        problems += [contradiction, row_problem]
    A, R, rows = _drop_never_active(A, R, rows)
    form = _least_distance(mpqp.H, L, N, Z0, A, R, regularisation, condition_limit)
    return ReducedProgram(
        **form, S=S, s=s, rows=rows, equalities=tuple(equalities), centre=centre, half_range=half,
        problem=next(filter(None, problems), ""),
    )  # fmt: skip


def in_scaled(slope: np.ndarray, constant: np.ndarray, centre: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Return slope theta + constant as a function of [theta_s; 1].

    Args:
        slope: (rows, ntheta).
        constant: (rows,).
        centre: (ntheta,) middle of the parameter box.
        half: (ntheta,) half its width.
    """
    result = np.empty((len(constant), len(half) + 1))
    result[:, :-1] = slope * half
    result[:, -1] = constant + slope @ centre
    return result


def _parameter_set(mpqp: Any, centre: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the parameter rows S theta_s <= s: the box, then theta_A theta <= theta_b."""
    S, s = _box(len(half)).copy(), np.ones(2 * len(half))
    if getattr(mpqp, "theta_A", None) is None:
        return S, s, ""
    extra, right = mpqp.theta_A * half, mpqp.theta_b - mpqp.theta_A @ centre
    return _append_parameter_rows(S, s, extra, right)


@cache
def _box(n: int) -> np.ndarray:
    return np.vstack([np.eye(n), -np.eye(n)])


def _append_parameter_rows(
    S: np.ndarray, s: np.ndarray, extra: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """Append rows to the parameter set, without those that hold on the whole box."""
    norm = np.linalg.norm(extra, axis=1)
    flat = norm <= 1e-14 * np.maximum(np.abs(right), 1e-300)
    reach = np.abs(extra).sum(axis=1)
    if (right[flat] < 0).any() or (right < -reach).any():
        return S, s, "a row that holds no decision variable excludes the whole parameter box"
    cuts = ~flat & (right < reach)
    if cuts.any():
        S = np.vstack([S, extra[cuts] / norm[cuts, None]])
        s = np.concatenate([s, right[cuts] / norm[cuts]])
    return S, s, ""


def _tidy_rows(
    A: np.ndarray, R: np.ndarray, rows: np.ndarray, S: np.ndarray, s: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[tuple[int, int, int]], str]:
    """Normalise the rows in place; move those without a decision variable to the parameter set, drop implied ones.

    Returns A, R, rows, S, s, the equalities among the rows left as (position, row, opposite row), and a problem or "".
    """
    state, found = np.empty(len(A), dtype=np.int64), np.zeros((len(A) + 1, 2), dtype=np.int64)
    count = tidy(A, R, tolerance, state, found)
    first, second = found[-1].tolist()
    problem = ""
    if second:
        problem = f"rows {rows[first]} and {rows[second]} of A contradict each other on the whole parameter box"
    if not state.any():
        return A, R, rows, S, s, [], problem
    zero, kept = state == ZERO, state == KEPT
    if zero.any():
        S, s, zero_problem = _append_parameter_rows(S, s, -R[zero, :-1], R[zero, -1])
        problem = zero_problem or problem
    place = np.cumsum(kept) - 1
    pairs = [(int(place[i]), int(rows[i]), int(rows[j])) for i, j in found[:count].tolist()]
    return A[kept], R[kept], rows[kept], S, s, pairs, problem


def _natural_units(curvature: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Return for each variable the unit in which its curvature, or else its largest coefficient, is about one."""
    largest = np.abs(A).max(axis=0, initial=0.0)
    size = np.where(curvature > 1e-12 * curvature.max(initial=0.0), np.sqrt(np.maximum(curvature, 0.0)), largest)
    return np.exp2(-np.round(np.log2(np.where(size > 0, size, 1.0))))


def _solve_equalities(
    A: np.ndarray, R: np.ndarray, rows: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return N, Z0 of z = N y + Z0 [theta_s; 1] where A z = R [theta_s; 1], and "" or how the rows contradict.

    Rows that follow from others are left out. When no variable is free, y is one number that z does not depend on.
    """
    nz = A.shape[1]
    A = A * unit
    norm = np.linalg.norm(A, axis=1, keepdims=True)
    A, R = A / norm, R / norm
    U, sigma, Vt = np.linalg.svd(A)
    rank = int((sigma > _DEPENDENT * sigma[0]).sum())
    left = U[:, rank:].T @ R
    contradiction = ""
    if np.abs(left).max(initial=0.0) > 1e-9 * (1.0 + np.abs(R).max()):
        contradiction = (
            f"the equality rows {sorted(rows.tolist())} of A depend on each other and hold together at no parameter, or"
            " in a set of parameters without interior; remove or correct them"
        )
    Z0 = Vt[:rank].T @ ((U[:, :rank].T @ R) / sigma[:rank, None])
    N = Vt[rank:].T if rank < nz else np.zeros((nz, 1))
    return unit[:, None] * N, unit[:, None] * Z0, contradiction


def _drop_never_active(A: np.ndarray, R: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop rows that the bounds on single variables keep strictly inactive for all parameters."""
    drop = np.empty(len(A), dtype=bool)
    if not never_active(A, R, np.empty(A.shape[1]), np.empty(A.shape[1]), drop):
        return A, R, rows
    keep = ~drop
    return A[keep], R[keep], rows[keep]


def _least_distance(
    H: np.ndarray, L: np.ndarray, N: np.ndarray, Z0: np.ndarray, A: np.ndarray, R: np.ndarray, regularisation: float,
    condition_limit: float,
) -> dict[str, Any]:  # fmt: skip
    """Return the fields M, D, Zv, Zt, C, scale and regularisation of the least-distance form."""
    plain = N.shape[0] == N.shape[1] and N.any()  # no equalities: N is the identity and Z0 zero
    linear = L if plain else N.T @ (L + H @ Z0)
    Hy = H if plain else N.T @ H @ N if N.any() else np.eye(1)
    added = 0.0
    inverse = inverse_root(Hy, condition_limit)  # y = inverse v + shift, inverse inverse' = Hy^-1
    if inverse is None:
        Hy, linear, added = raised(Hy, linear, A, R, regularisation)
        inverse = np.linalg.inv(np.linalg.cholesky(Hy)).T
    shift = -inverse @ (inverse.T @ linear)
    M, D, unbounded = np.ascontiguousarray(A @ inverse), R.copy(), np.ascontiguousarray(A @ shift)
    scale, largest_unbounded, largest = scale_rows(M, D, unbounded)
    C = linear.T @ shift
    C0 = np.zeros(C.shape) if plain else Z0.T @ H @ Z0 + L.T @ Z0 + Z0.T @ L
    C = C + C0
    return {
        "plain": PlainProgram(Hy, linear, A, R, N, Z0, C0, cancellation=largest_unbounded / (largest or 1.0)),
        "M": M, "D": D, "Zv": (inverse if plain else N @ inverse) * scale, "Zt": shift if plain else Z0 + N @ shift,
        "C": (C + C.T) / 2, "scale": scale, "regularisation": added,
    }  # fmt: skip
