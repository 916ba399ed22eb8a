"""A law for other programs: as a CasADi function or a torch module of theta."""

from importlib import import_module
from typing import Any

import numpy as np

from .law import PwaLaw


def to_casadi(law: PwaLaw, name: str = "law") -> Any:
    """Return a `casadi.Function` theta -> u that follows the evaluation rule, the nearest region outside all.

    v_i = max(H_i theta - k_i), region = argmin_i v_i (lowest index on ties), u = F theta + g of that region.
    Distinct laws are written once; the size of the function grows with the number of region rows.

    Args:
        law: a law with at least one region.
        name: name of the function.

    Returns:
        casadi.Function with one input `theta` (ntheta, 1) and one output `u` (n_out, 1).

    Raises:
        ModelError: the law has no region.
    """
    import casadi as ca

    from yannctl.errors import ModelError

    if law.n_regions == 0:
        raise ModelError("law", "has no region", remedy="solve a feasible program")
    theta = ca.SX.sym("theta", law.ntheta)
    best: Any = None
    number: Any = None
    flat = np.concatenate([law.F.reshape(law.n_regions, -1), law.g], axis=1)
    _, first, numbers = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    for i, (start, end) in enumerate(zip(law.row_start[:-1], law.row_start[1:], strict=True)):
        violation = None
        for row in range(start, end):
            distance = _affine(law.H[row], theta) - float(law.k[row])
            violation = distance if violation is None else ca.fmax(violation, distance)
        violation = -np.inf if violation is None else violation
        if best is None:
            best, number = violation, ca.SX(int(numbers.ravel()[i]))
        else:
            closer = violation < best
            number = ca.if_else(closer, int(numbers.ravel()[i]), number)
            best = ca.if_else(closer, violation, best)
    out = []
    for r in range(law.n_out):
        u = ca.SX(0)
        for position, region in enumerate(first):
            u = ca.if_else(number == position, _affine(law.F[region, r], theta) + float(law.g[region, r]), u)
        out.append(u)
    return ca.Function(name, [theta], [ca.vertcat(*out)], ["theta"], ["u"])


def to_torch(law: PwaLaw, form: str = "gather") -> Any:
    """Return the law as a torch module, `yannctl.yann.encode_actor(law, form)`.

    Args:
        law: a law with at least one region.
        form: "gather", "five_layer" or "lattice".

    Raises:
        ModelError: the law has no region, or the form is unknown or cannot hold this law.
    """
    networks = import_module("yannctl.yann")  # by name, because networks are made from laws and not the other way round
    return networks.encode_actor(law, form)


def _affine(row: np.ndarray, theta: Any) -> Any:
    """Return (row_0 theta_0 + row_1 theta_1) + ..., in column order."""
    total = float(row[0]) * theta[0]
    for j in range(1, len(row)):
        total = total + float(row[j]) * theta[j]
    return total
