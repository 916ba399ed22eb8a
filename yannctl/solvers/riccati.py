"""The discounted Riccati equation, and the Popov-Belevitch-Hautus (PBH) test of what it needs.

    P = Q + γ A'PA − γ A'PB K,   K = (R + γ B'PB)^-1 γ B'PA,

which is the undiscounted equation of (√γ A, √γ B); so stabilisability is asked of that pair.
"""

import numpy as np
import scipy.linalg

from yannctl.errors import ModelError, NotStabilisableError
from yannctl.types import Float

MARGIN = 1e-8  # distance to the unit circle, and scaled size of w'B, below which a mode is refused


def check_stabilisable(A: Float[np.ndarray, "nx nx"], B: Float[np.ndarray, "nx nu"], gamma: float = 1.0) -> None:
    """Refuse a pair with a mode `√γ|λ| >= 1 − 1e-8` that no input reaches.

    Args:
        A: state matrix.
        B: input matrix.
        gamma: discount factor in (0, 1].

    Raises:
        NotStabilisableError: naming the eigenvalue and the states that take part in its mode.
    """
    found = unreachable_mode(A, B, (1.0 - MARGIN) / np.sqrt(gamma))
    if found is None:
        return
    value, left = found
    states = np.flatnonzero(np.abs(left) > 1e-6 * np.abs(left).max())
    text = (
        f"the mode with eigenvalue {_complex_text(value)} (modulus {abs(value):.9g}) is reached by no input; "
        f"states in it: {', '.join(map(str, states))}"
    )
    remedy = "add an actuator, remove the mode from the model"
    raise NotStabilisableError("B", text, remedy=remedy + ("" if gamma < 1 else ", or use gamma < 1"))


def unreachable_mode(
    A: Float[np.ndarray, "nx nx"], B: Float[np.ndarray, "nx nu"], radius: float
) -> tuple[complex, np.ndarray] | None:
    """Find a mode of modulus >= radius with `w'[λI − A, B] = 0` (the PBH test), in balanced coordinates.

    Args:
        A: state matrix.
        B: input matrix.
        radius: modes inside this circle are of no concern.

    Returns:
        The eigenvalue and its left vector, or None.
    """
    n = len(A)
    scale = _balancing(A, B)
    A_s, B_s = A * scale[:n] / scale[:n, None], B * scale[n:] / scale[:n, None]
    size = max(1.0, float(np.linalg.norm(A_s, 2)))
    for value in np.linalg.eigvals(A_s):
        if abs(value) < radius * (1.0 - 1e-3):
            continue
        refined, left, sigma = _refined_mode(A_s, B_s, complex(value))
        if sigma <= MARGIN * size and abs(refined) >= radius:
            return refined, left / scale[:n]
    return None


def solve_riccati(
    A: Float[np.ndarray, "nx nx"],
    B: Float[np.ndarray, "nx nu"],
    Q: Float[np.ndarray, "nx nx"],
    R: Float[np.ndarray, "nu nu"],
    gamma: float = 1.0,
) -> tuple[Float[np.ndarray, "nx nx"], Float[np.ndarray, "nu nx"]]:
    """Solve the discounted equation for its stabilising solution and gain, u = −K x.

    Args:
        A: state matrix.
        B: input matrix.
        Q: state weight, positive semidefinite.
        R: input weight, positive definite.
        gamma: discount factor in (0, 1].

    Returns:
        P (nx, nx) and K (nu, nx).

    Raises:
        NotStabilisableError: when √γ (A, B) is not stabilisable.
        ModelError: when Q does not see a mode on the unit circle, or the solver's residual is too large.
    """
    check_stabilisable(A, B, gamma)
    _check_seen(A, Q, gamma)
    n = len(A)
    units = _balancing(A, B)
    x_unit, u_unit = units[:n], units[n:]
    A_g = np.sqrt(gamma) * A * x_unit / x_unit[:, None]
    B_g = np.sqrt(gamma) * B * u_unit / x_unit[:, None]
    Q, R = Q * np.outer(x_unit, x_unit), R * np.outer(u_unit, u_unit)
    try:
        P = scipy.linalg.solve_discrete_are(A_g, B_g, Q, R)
    except (np.linalg.LinAlgError, ValueError) as cause:
        raise ModelError("Q", f"the Riccati equation has no stabilising solution ({cause})", remedy=_SCALE) from cause
    K = _gain(P, A_g, B_g, R)
    # One Newton step (Kleinman) takes the solver's error to rounding; the closed loop is stable, so it is well defined.
    P_new = _cost_of(A_g - B_g @ K, Q + K.T @ R @ K)
    if _residual(P_new, A_g, B_g, Q, R) <= _residual(P, A_g, B_g, Q, R):
        P, K = P_new, _gain(P_new, A_g, B_g, R)
    error = _residual(P, A_g, B_g, Q, R)
    if not error <= 1e-7:
        raise ModelError("Q", f"the Riccati equation is solved only to {error:.1g} relative", remedy=_SCALE)
    return (P + P.T) / 2 / np.outer(x_unit, x_unit), K * u_unit[:, None] / x_unit


_SCALE = "scale states and inputs to similar sizes, or give Q weight on every mode"


def _cost_of(closed: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Sum `W + M'WM + M²'WM² + …` by doubling; infinite entries where M is not stable."""
    total, power = W, closed
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(60):
            more = power.T @ total @ power
            total, power = total + more, power @ power
            if not np.abs(more).max(initial=0.0) > 1e-18 * np.abs(total).max(initial=0.0):
                break
    return (total + total.T) / 2


def _gain(P: np.ndarray, A: np.ndarray, B: np.ndarray, R: np.ndarray) -> np.ndarray:
    return np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)


def _residual(P: np.ndarray, A: np.ndarray, B: np.ndarray, Q: np.ndarray, R: np.ndarray) -> float:
    """Largest residual of the equation in the units of P's diagonal, so that scales do not hide it."""
    wrong = np.abs(Q + A.T @ P @ A - A.T @ P @ B @ _gain(P, A, B, R) - P)
    size = np.sqrt(np.maximum(np.diag(P), 0.0))
    size = np.where(size > 0, size, max(float(size.max(initial=0.0)), 1e-300))
    return float((wrong / np.outer(size, size)).max(initial=0.0))


def _check_seen(A: np.ndarray, Q: np.ndarray, gamma: float) -> None:
    """A mode on the unit circle that Q does not weigh leaves the equation without a stabilising solution."""
    A_g = np.sqrt(gamma) * A
    for value in np.linalg.eigvals(A_g):
        if abs(abs(value) - 1.0) > MARGIN:
            continue
        size = max(float(np.abs(Q).max(initial=0.0)), np.finfo(float).tiny)
        pbh = np.vstack([value * np.eye(len(A)) - A_g, Q / size])
        if np.linalg.svd(pbh, compute_uv=False)[-1] <= MARGIN:
            original = value / np.sqrt(gamma)
            text = f"the mode with eigenvalue {_complex_text(complex(original))} lies on the circle 1/√γ without weight"
            raise ModelError("Q", text, remedy="give its states a weight")


def _refined_mode(A: np.ndarray, B: np.ndarray, value: complex) -> tuple[complex, np.ndarray, float]:
    """Move λ to the nearest point where [λI − A, B] loses rank: multiple eigenvalues are known only to eps^(1/k).

    Newton's method on the smallest singular value: w'[λI − A, B] = σ v' gives dσ/dλ = w'v_1,
    v_1 the first n entries of v.
    """
    identity = np.eye(len(A))
    for _ in range(8):
        left, sigma, right = np.linalg.svd(np.hstack([value * identity - A, B]), full_matrices=False)
        w, smallest = left[:, -1], float(sigma[-1])
        slope = complex(w.conj() @ right[-1, : len(A)].conj())
        if smallest <= 1e-15 or abs(slope) * 1e-3 * max(1.0, abs(value)) < smallest:
            break
        value -= smallest / slope
    left, sigma, _ = np.linalg.svd(np.hstack([value * identity - A, B]), full_matrices=False)
    return value, left[:, -1], float(sigma[-1])


def _balancing(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Powers of two for states and inputs that make the entries of A and B comparable, whatever the units."""
    n, nu = B.shape
    mirror = np.zeros((nu, n))
    used = B != 0
    mirror.T[used] = 1.0 / np.abs(B[used])
    whole = np.block([[A, B], [mirror, np.zeros((nu, nu))]])
    _, (scale, _) = scipy.linalg.matrix_balance(whole, permute=False, separate=True)
    return np.asarray(scale, dtype=float)


def _complex_text(value: complex) -> str:
    return f"{value.real:.6g}" if abs(value.imag) < 1e-12 else f"{value.real:.6g}{value.imag:+.6g}j"
