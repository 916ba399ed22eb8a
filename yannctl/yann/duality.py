"""The value between two bounds that need no solver: any multipliers give a lower one, any feasible point an upper one.

For `min_z z'Hz/2 + (f + F theta)'z + c(theta)  s.t.  A z <= b + B theta`, with the multipliers lam of the region:

    lower = -r'H^-1 r/2 - lam'(b + B theta) + c,   r = f + F theta + A'lam,  for any lam >= 0;
    upper = cost of z = -H^-1 r, where that keeps the rows;
    V     = theta' dV/2 + f'z/2 - b'lam/2 + y'theta/2 + y0,   dV = F'z + Y theta + y - B'lam.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from yannctl.errors import ModelError
from yannctl.pwa import PwaLaw

KEPT = 1e-7  # a row may be exceeded by this, relative to its size, before a point counts as infeasible


@dataclass(frozen=True)
class ValueBounds:
    """What duality says about the optimal cost.

    Args:
        lower: (...,) certified lower bound.
        upper: (...,) cost of a feasible point, inf where the region's point breaks a row.
        identity: (...,) value from its own gradient.
        gradient: (..., ntheta) gradient of the value.
    """

    lower: Float[np.ndarray, "*batch"]
    upper: Float[np.ndarray, "*batch"]
    identity: Float[np.ndarray, "*batch"]
    gradient: Float[np.ndarray, "*batch ntheta"]


def value_bounds(law: PwaLaw, theta: ArrayLike) -> ValueBounds:
    """Bound the optimal cost from both sides at given parameters, independently of `law.value`.

    Args:
        law: explicit law with its program.
        theta: (..., ntheta) parameters [physical units].

    Returns:
        The bounds, NaN where no region holds theta.

    Raises:
        ModelError: the law carries no program.
    """
    if law.mpqp is None:
        raise ModelError("law", "carries no program, so nothing is known about its cost", remedy="solve it again")
    mpqp, points = law.mpqp, np.asarray(theta, dtype=float)
    lam = np.maximum(law.multipliers(points), 0.0)  # (..., m)
    right = mpqp.b + points @ mpqp.B.T
    linear = mpqp.f + points @ mpqp.F.T
    residual = linear + lam @ mpqp.A
    z = -np.linalg.solve(mpqp.H, residual[..., None])[..., 0]
    constant = ((points @ mpqp.Y) * points).sum(axis=-1) / 2 + points @ mpqp.y + mpqp.y0
    lower = (residual * z).sum(axis=-1) / 2 - (lam * right).sum(axis=-1) + constant
    cost = ((z @ mpqp.H) * z).sum(axis=-1) / 2 + (linear * z).sum(axis=-1) + constant
    size = 1.0 + np.abs(mpqp.b) + np.abs(points) @ np.abs(mpqp.B).T
    feasible = np.all(z @ mpqp.A.T - right <= KEPT * size, axis=-1)
    gradient = z @ mpqp.F + points @ mpqp.Y + mpqp.y - lam @ mpqp.B
    identity = (points * (gradient + mpqp.y)).sum(axis=-1) / 2 + (z @ mpqp.f - lam @ mpqp.b) / 2 + mpqp.y0
    upper = np.where(np.isnan(cost), np.nan, np.where(feasible, cost, np.inf))
    return ValueBounds(lower, upper, identity, gradient)
