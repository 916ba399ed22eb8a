"""The maximal output admissible set of an autonomous linear system (Gilbert and Tan, 1991).

    O = {x : C A^t x <= d for all t >= 0},   d > 0,   A with spectral radius below one,

grown row by row until A maps it into itself; with d > 0 and A stable that takes finitely many steps.
"""

import numpy as np

from yannctl.errors import EmptySetError, ModelError
from yannctl.solvers.lp import LinearProgram
from yannctl.types import Float

from .polyhedron import Polyhedron

CUT = 1e-9  # a row must cut deeper than this, relative to its right-hand side


def maximal_admissible_set(A: Float[np.ndarray, "n n"], admissible: Polyhedron, max_steps: int = 500) -> Polyhedron:
    """Compute the largest set inside `admissible` that `x+ = A x` never leaves.

    Args:
        A: closed-loop matrix, spectral radius below one.
        admissible: constraints with the origin strictly inside.
        max_steps: number of powers of A to look at before giving up.

    Returns:
        The set, without redundant rows.

    Raises:
        ModelError: when A is not stable, or `max_steps` powers are not enough.
        EmptySetError: when the origin is not strictly inside `admissible`.
    """
    radius = float(np.abs(np.linalg.eigvals(A)).max(initial=0.0))
    if radius >= 1.0:
        raise ModelError("A", f"spectral radius {radius:.6g} is not below one", remedy="give a stabilising gain")
    if np.any(admissible.b <= 0):
        i = int(np.argmin(admissible.b))
        text = f"the origin is on or outside row {i} ({admissible.A[i]} x <= {admissible.b[i]:.3g})"
        raise EmptySetError("admissible", text, index=i, remedy="move the reference inside the bounds")
    C = admissible.A / admissible.b[:, None]
    rows, power = C, C
    for _ in range(max_steps):
        power = power @ A
        cuts = _cutting_rows(rows, power)
        if not cuts.any():
            return Polyhedron(rows, np.ones(len(rows))).reduced()
        rows = np.vstack([rows, power[cuts]])
    text = f"not determined after {max_steps} steps (spectral radius {radius:.6g})"
    raise ModelError("max_steps", text, remedy="give more weight Q, wider bounds or a larger max_steps")


def _cutting_rows(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Which candidates c'x <= 1 cut off a part of {rows x <= 1}."""
    program = LinearProgram(rows, np.ones(len(rows)))
    return np.array([program.maximise(c).value > 1.0 + CUT for c in candidates], dtype=bool)
