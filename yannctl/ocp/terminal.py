"""The terminal set of an optimal control problem: where u = u_ref − K (x − x_ref) keeps all bounds for ever."""

from typing import TYPE_CHECKING

import numpy as np

from yannctl.errors import EmptySetError, ModelError
from yannctl.geometry.invariance import maximal_admissible_set
from yannctl.geometry.polyhedron import Polyhedron

if TYPE_CHECKING:
    from .problem import Ocp

EQUILIBRIUM_TOLERANCE = 1e-7  # drift at the reference, relative to the size of the state, that still counts as none


def maximal_terminal_set(ocp: "Ocp") -> Polyhedron:
    """Compute the maximal output admissible set of u = u_ref − K (x − x_ref) within the bounds.

    Args:
        ocp: the problem.

    Returns:
        The set, in absolute states.

    Raises:
        ModelError: when it cannot be determined.
    """
    states = Polyhedron.box(ocp.x_min - ocp.x_ref, ocp.x_max - ocp.x_ref)
    inputs = Polyhedron.box(ocp.u_min - ocp.u_ref, ocp.u_max - ocp.u_ref)
    admissible = states.intersect(Polyhedron(inputs.A @ -ocp.K, inputs.b))
    closed_loop = ocp.lin.A - ocp.lin.B @ ocp.K
    try:
        found = maximal_admissible_set(closed_loop, admissible)
    except ModelError as cause:
        raise ModelError("terminal", f"no terminal set: {cause}", remedy='use terminal="lqr"') from cause
    return Polyhedron(found.A, found.b + found.A @ ocp.x_ref)


def check_terminal_reference(ocp: "Ocp") -> None:
    """Refuse a reference that no terminal set surrounds: it must be an equilibrium strictly inside the bounds.

    Args:
        ocp: the problem.

    Raises:
        ModelError: naming the reference or the discount.
    """
    moved = np.abs(ocp.drift) > EQUILIBRIUM_TOLERANCE * np.maximum(1.0, np.abs(ocp.x_ref))
    if moved.any():
        i = int(np.argmax(moved))
        text = f'terminal="set" needs an equilibrium, but the reference drifts by {ocp.drift[i]:.3g} a step'
        raise ModelError("x_ref", text, index=i, remedy='give (x_ref, u_ref) with x⁺ = x_ref, or terminal="lqr"')
    for name, ref, low, high in (
        ("x_ref", ocp.x_ref, ocp.x_min, ocp.x_max),
        ("u_ref", ocp.u_ref, ocp.u_min, ocp.u_max),
    ):
        inside = (low < ref) & (ref < high)
        if not inside.all():
            i = int(np.argmin(inside))
            text = f"{ref[i]:.6g} is not strictly inside [{low[i]:.6g}, {high[i]:.6g}], the terminal set is empty"
            raise EmptySetError(name, text, index=i, remedy='move the reference, or use terminal="lqr"')
    radius = float(np.abs(np.linalg.eigvals(ocp.lin.A - ocp.lin.B @ ocp.K)).max())
    if radius >= 1.0:
        text = f"the discounted LQR leaves the spectral radius at {radius:.6g}, so there is no invariant set"
        raise ModelError("gamma", text, remedy='take gamma closer to 1, or terminal="lqr"')
