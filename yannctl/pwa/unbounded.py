"""Is the cost of a program with singular Hessian bounded below? A linear program over the flat directions tells."""

from itertools import islice, product
from typing import Any

import numpy as np

from yannctl.solvers.lp import LinearProgram

_MOST_CORNERS = 64
_DESCENT = 1e-7


def unbounded_direction(mpqp: Any, reduced: Any) -> str:
    """Return "" or a text naming a parameter where the cost falls without limit.

    A direction d with H d = 0, A d <= 0 and (f + F theta)'d < 0 keeps a feasible z feasible and lowers its cost for
    ever. The middle and the corners of the parameter box are checked (the first 64 corners), where feasible.

    Args:
        mpqp: the program.
        reduced: its least-distance form.
    """
    nz = mpqp.H.shape[0]
    eye = np.eye(nz)
    size = np.linalg.norm(mpqp.H, axis=1, keepdims=True)
    flat = mpqp.H / np.where(size > 0, size, 1.0)
    rows = np.vstack([flat, -flat, mpqp.A, eye, -eye])
    right = np.concatenate([np.zeros(2 * nz + len(mpqp.A)), np.ones(2 * nz)])
    directions = LinearProgram(rows, right)
    corners = [np.array(corner) for corner in islice(product((-1.0, 1.0), repeat=len(reduced.centre)), _MOST_CORNERS)]
    for corner in [np.zeros(len(reduced.centre)), *corners]:
        theta = reduced.centre + reduced.half_range * corner
        slope = mpqp.f + mpqp.F @ theta
        result = directions.maximise(-slope)
        if result.value > _DESCENT * max(float(np.abs(slope).max()), 1e-12) and _feasible(mpqp, theta):
            return (
                f"the cost falls without limit at theta = {np.round(theta, 6).tolist()} along z-direction"
                f" {np.round(result.x, 6).tolist()}; bound z or make H positive definite"
            )
    return ""


def _feasible(mpqp: Any, theta: np.ndarray) -> bool:
    """Tell whether A z <= b + B theta has a solution."""
    if not len(mpqp.A):
        return True
    return (
        LinearProgram(np.array(mpqp.A), mpqp.b + mpqp.B @ theta).maximise(np.zeros(mpqp.A.shape[1])).status == "optimal"
    )
