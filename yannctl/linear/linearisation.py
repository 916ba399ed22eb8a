"""Stage 2, plant to `LinearModel`: x+ = x_op + A (x - x_op) + B (u - u_op) + c, in absolute physical units."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.plant.contract import check_possible
from yannctl.types import ArrayLike

from .channels import channel, discretise
from .linear_model import LinearModel

if TYPE_CHECKING:
    import casadi

__all__ = ["LinearModel", "discretise", "linearise"]


def linearise(
    plant: "AbstractPlant | casadi.Function",
    x: ArrayLike | None = None,
    u: ArrayLike | None = None,
    method: Literal["step", "zoh"] = "step",
    dt: float | None = None,
    d: ArrayLike | None = None,
    x_names: tuple[str, ...] = (),
    u_names: tuple[str, ...] = (),
    d_names: tuple[str, ...] = (),
) -> LinearModel:
    """Linearise a plant, or a CasADi function, about (x, u), which need not be an equilibrium.

    "step": A = ds/dx, B = ds/du, E = ds/dd, c = s(x, u, d) - x of the discrete step s.
    "zoh": the exact discretisation of dx/dt = f + df/dx (x - x_op) + df/du (u - u_op) + df/dd (d - d_op), u, d held.
    Of a plant, s and f are its own. A CasADi function is s itself for "step" and f itself for "zoh".
    Angles are not wrapped and inputs not clipped here, so the model is smooth across both.

    Args:
        plant: the plant, or `casadi.Function` (x, u) -> x+ or dx/dt, or (x, u, d) -> likewise with a disturbance d.
        x: operating state (nx,) [x_units]; None is the plant's equilibrium; needed for a function.
        u: operating input (nu,) [u_units]; None is the plant's equilibrium; needed for a function.
        method: "step" or "zoh".
        dt: sample period of a function, needed for it; a plant has its own.
        d: operating disturbance (nd,) [d_units] of a function with three arguments; None is zero.
        x_names: names of a function's states; empty gives x1, x2, ...
        u_names: names of a function's inputs, likewise.
        d_names: names of a function's disturbances, likewise.

    Returns:
        The model, with the plant's names and period.

    Raises:
        ModelError: a wrong shape, a value that is not finite, no equilibrium to fall back on, a function without dt
            or with other arguments, a state the plant cannot be in.
    """
    if method not in {"step", "zoh"}:
        raise ModelError("method", f"is {method!r}, expected 'step' or 'zoh'")
    if not hasattr(plant, "step_function"):
        return _linearised_function(plant, (x, u, d), method, dt, (x_names, u_names, d_names))
    given = {"dt": dt is not None, "d": d is not None, "x_names": x_names, "u_names": u_names, "d_names": d_names}
    for field, value in given.items():
        if value:
            raise ModelError(field, "belongs to a CasADi function, a plant has its own", remedy=f"leave {field} away")
    x_op = _operating_value("x", x, plant.x_equilibrium, plant.nx)
    if isinstance(plant, AbstractPlant):
        check_possible(plant, x_op)
    u_op = _operating_value("u", u, plant.u_equilibrium, plant.nu)
    if method == "step":
        value, A, B = _jacobians(plant.step_function(bounded=False), x_op, u_op)
        c = value - x_op
    else:
        f, Ac, Bc = _jacobians(plant.rate_function(), x_op, u_op)
        A, B, c = discretise(Ac, Bc, f, plant.dt)
    return LinearModel(A, B, c, plant.dt, x_op, u_op, tuple(plant.x_names), tuple(plant.u_names))


def _linearised_function(
    function: Any, point: tuple[Any, ...], method: str, dt: float | None, names: tuple[tuple[str, ...], ...]
) -> LinearModel:
    """Linearise a `casadi.Function` of (x, u) or (x, u, d)."""
    if not all(hasattr(function, name) for name in ("n_in", "n_out", "size_in", "mx_in")):
        text = f"is a {type(function).__name__}, expected a plant or a casadi.Function"
        raise ModelError("plant", text, remedy="make one with casadi.Function('f', [x, u], [x_next])")
    _check_function(function)
    if dt is None:
        raise ModelError("dt", "a CasADi function has no sample period", remedy="give dt=...")
    sizes = [function.size1_in(i) for i in range(function.n_in())]
    owner = "a CasADi function"
    x_op = _operating_value("x", point[0], None, sizes[0], owner)
    u_op = _operating_value("u", point[1], None, sizes[1], owner)
    d_op = channel("d", point[2], sizes[2] if len(sizes) == 3 else 0)
    point = (x_op, u_op, d_op)[: len(sizes)]
    value, A, *gains = _jacobians(function, *point)
    B = np.hstack(gains)
    if method == "step":
        c = value - x_op
    else:
        A, B, c = discretise(A, B, value, float(channel("dt", [dt], 1)[0]))
    nu = sizes[1]
    E = B[:, nu:] if len(sizes) == 3 else None
    x_names, u_names, d_names = names
    return LinearModel(A, B[:, :nu], c, dt, x_op, u_op, x_names, u_names, E, d_op, d_names)


def _check_function(function: Any) -> None:
    name, nx = function.name(), function.size1_in(0) if function.n_in() else 0
    if function.n_in() not in {2, 3} or function.n_out() != 1:
        text = f"{name} has {function.n_in()} arguments and {function.n_out()} results, expected f(x, u) or f(x, u, d)"
        raise ModelError("plant", text, remedy="make a casadi.Function of these with one result")
    columns = [function.size2_in(i) for i in range(function.n_in())] + [function.size2_out(0)]
    if any(n != 1 for n in columns) or function.size1_out(0) != nx:
        text = f"{name} gives {function.size_out(0)} for {function.size_in(0)} states, expected columns of one length"
        raise ModelError("plant", text, remedy="return the next state (or its rate) as a column")


def _jacobians(function: Any, *point: np.ndarray) -> list[Any]:
    """Value and exact derivatives of a CasADi function (x, u, …) -> column, by each of its arguments."""
    import casadi as ca

    arguments = function.sx_in() if function.is_a("SXFunction") else function.mx_in()
    value = function(*arguments)
    parts = ca.Function("parts", arguments, [value, *(ca.jacobian(value, a) for a in arguments)])(*point)
    found = [part.full() for part in parts]
    if not all(np.isfinite(part).all() for part in found):
        where = ", ".join(f"{name} = {at}" for name, at in zip("xud", point, strict=False))
        fields = ", ".join("xud"[: len(point)])
        raise ModelError(fields, f"{function.name()} has no finite derivative at {where}")
    return [found[0].ravel(), *found[1:]]


def _operating_value(
    field: str, given: ArrayLike | None, default: np.ndarray | None, n: int, owner: str = "the plant"
) -> np.ndarray:
    if given is None and default is None:
        raise ModelError(field, f"{owner} declares no equilibrium", remedy=f"give {field}=...")
    return channel(field, default if given is None else given, n)
