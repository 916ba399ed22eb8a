"""What the linear feedback at the centre of an optimal control problem is worth: poles and margins.

The loop is broken at the plant's input, L(z) = K (zI - A)^-1 B, S = (I + L)^-1. Near the reference, where no bound is
active, the law is u = u_ref - K (x - x_ref), and these margins are those of the explicit law as well.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.types import Float

if TYPE_CHECKING:
    from .problem import Ocp

FREQUENCIES = 4000  # of the grid, logarithmic up to the Nyquist frequency
LOWEST = 1e-4  # of the grid, as a share of the Nyquist frequency


@dataclass(frozen=True)
class Margins:
    """Robustness of the loop broken at the inputs.

    Args:
        disk: balanced disk margin alpha = 1 / max |S - I/2| over the frequencies of a grid (Seiler, Packard, Gahinet,
            "An introduction to disk margins", 2020); 2 is the best. For several inputs the largest singular value
            takes the place of the modulus, a bound for any simultaneous change of all of them.
        disk_frequency: where it is attained [rad/unit of dt].
        gain_low: lowest factor on every input's gain that the disk allows, (2 - alpha) / (2 + alpha).
        gain_high: highest factor, (2 + alpha) / (2 - alpha).
        phase: change of phase that the disk allows, 2 atan(alpha / 2) [degree].
        delay: added delay that the loop bears [unit of dt]: exact crossings for one input, the disk's bound for more.
        gain_margins: factors on the gain at which the loop of one input becomes unstable (below, above); None for more.
        phase_margin: of the loop of one input [degree]; None for more, or where the loop never crosses 1.
    """

    disk: float
    disk_frequency: float
    gain_low: float
    gain_high: float
    phase: float
    delay: float
    gain_margins: tuple[float, float] | None
    phase_margin: float | None


def poles(ocp: "Ocp") -> tuple[Float[np.ndarray, " nx"] | Any, Float[np.ndarray, " nx"] | Any]:
    """Poles of the model and of the loop closed by the LQR.

    Args:
        ocp: the problem.

    Returns:
        Eigenvalues of A and of A - B K, complex, by falling modulus.
    """
    found = (np.linalg.eigvals(ocp.lin.A), np.linalg.eigvals(ocp.lin.A - ocp.lin.B @ ocp.K))
    opened, closed = (values[np.argsort(-np.abs(values), kind="stable")] for values in found)
    return opened, closed


def loop_margins(ocp: "Ocp") -> Margins:
    """Compute disk, gain, phase and delay margins of the LQR's loop.

    Args:
        ocp: the problem.

    Returns:
        The margins.
    """
    A, B, K, dt, nu = ocp.lin.A, ocp.lin.B, ocp.K, ocp.lin.dt, ocp.nu
    nyquist = np.pi / dt
    omega = np.geomspace(LOWEST * nyquist, nyquist, FREQUENCIES)
    z = np.exp(1j * omega * dt)
    L = K @ np.linalg.solve(z[:, None, None] * np.eye(len(A)) - A, np.broadcast_to(B, (len(z), *B.shape)))
    S = np.linalg.inv(np.eye(nu) + L)
    size = np.linalg.norm(S - np.eye(nu) / 2, 2, axis=(1, 2))
    alphas = 1 / size
    worst = int(np.argmin(alphas))
    alpha = float(alphas[worst])
    allowed = 2 * np.arctan(np.minimum(alphas, 2.0) / 2)
    single = _single(ocp, dt) if nu == 1 else None
    return Margins(
        disk=alpha,
        disk_frequency=float(omega[worst]),
        gain_low=(2 - alpha) / (2 + alpha),
        gain_high=(2 + alpha) / (2 - alpha) if alpha < 2 else np.inf,
        phase=float(np.degrees(2 * np.arctan(alpha / 2))),
        delay=float((allowed / omega).min()) if single is None else single[2],
        gain_margins=None if single is None else single[0],
        phase_margin=None if single is None else single[1],
    )


def _single(ocp: "Ocp", dt: float) -> tuple[tuple[float, float], float | None, float]:
    """Gain, phase and delay margins of the loop of one input, by python-control."""
    import control

    loop = control.ss(ocp.lin.A, ocp.lin.B, ocp.K, np.zeros((1, 1)), dt)
    gains, phases, _, _, crossings, _ = control.stability_margins(loop, returnall=True)
    # At z = 1 and z = -1 the loop is real as well; those crossings are the ends of the frequency axis.
    ends = np.array([complex(loop(z)).real for z in (1 + 1e-9, -1.0)])
    gains = np.concatenate([np.asarray(gains, float), -1 / ends[np.isfinite(ends) & (ends < 0)]])
    below = float(gains[gains < 1].max(initial=0.0))
    above = float(gains[gains > 1].min(initial=np.inf))
    lags = np.radians(np.mod(np.asarray(phases, float), 360.0))
    delay = float((lags / np.asarray(crossings, float)).min(initial=np.inf))
    nearest = float(np.min(np.abs(phases), initial=np.inf))
    return (below, above), nearest if np.isfinite(nearest) else None, delay
