"""A parametric cost as a sum of weighted squares of affine expressions, multiplied out."""

from dataclasses import dataclass

import numpy as np

from yannctl.types import Float


@dataclass(frozen=True)
class Square:
    """The square `|M z + L θ + o|²_W = (M z + L θ + o)'W (M z + L θ + o)`.

    Attributes:
        W: weight (n, n), symmetric.
        M: effect of the decisions (n, nz), None for none.
        L: effect of the parameters (n, ntheta), None for none.
        o: constant (n,).
    """

    W: Float[np.ndarray, "n n"]
    M: Float[np.ndarray, "n nz"] | None
    L: Float[np.ndarray, "n ntheta"] | None
    o: Float[np.ndarray, " n"]


def cost_of_squares(squares: list[Square]) -> tuple[np.ndarray, ...]:
    """Multiply out `Σ |M z + L θ + o|²_W = z'Hz/2 + (f + F θ)'z + θ'Yθ/2 + y'θ + y0`.

    Args:
        squares: the squares; at least one has M, one L, and one both.

    Returns:
        H (nz, nz), F (nz, ntheta), f (nz,), Y (ntheta, ntheta), y (ntheta,) and y0.
    """
    H = sum(s.M.T @ s.W @ s.M for s in squares if s.M is not None)
    Y = sum(s.L.T @ s.W @ s.L for s in squares if s.L is not None)
    F = sum(2 * s.M.T @ s.W @ s.L for s in squares if s.M is not None and s.L is not None)
    f = sum(s.M.T @ (s.W @ s.o) for s in squares if s.M is not None)
    y = sum(s.L.T @ (s.W @ s.o) for s in squares if s.L is not None)
    y0 = sum(float(s.o @ s.W @ s.o) for s in squares)
    H, Y = np.asarray(H), np.asarray(Y)
    return H + H.T, np.asarray(F), 2 * np.asarray(f), Y + Y.T, 2 * np.asarray(y), np.asarray(y0)
