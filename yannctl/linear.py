"""Stage 2, plant to `LinearModel`: x+ = x_op + A (x - x_op) + B (u - u_op) + c, in absolute physical units."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

from .plant import AbstractPlant


@dataclass(frozen=True, eq=False, init=False)
class LinearModel:
    """A sampled affine model x+ = x_op + A (x - x_op) + B (u - u_op) + c.

    c is the drift of the operating point in one period, zero at an equilibrium.

    Args:
        A: state matrix (nx, nx).
        B: input matrix (nx, nu).
        c: drift (nx,) [x_units]; None is zero.
        dt: sample period [unit of the plant's time].
        x_op: operating state (nx,) [x_units]; None is zero.
        u_op: operating input (nu,) [u_units]; None is zero.
        x_names: name of each state; empty gives x1, x2, ...
        u_names: name of each input; empty gives u1, u2, ...

    Raises:
        ModelError: a wrong shape, an entry that is not finite, dt not positive, names that repeat.
    """

    A: Float[np.ndarray, "nx nx"]
    B: Float[np.ndarray, "nx nu"]
    c: Float[np.ndarray, " nx"]
    dt: float
    x_op: Float[np.ndarray, " nx"]
    u_op: Float[np.ndarray, " nu"]
    x_names: tuple[str, ...]
    u_names: tuple[str, ...]

    def __init__(
        self,
        A: ArrayLike,
        B: ArrayLike,
        c: ArrayLike | None = None,
        dt: float = 1.0,
        x_op: ArrayLike | None = None,
        u_op: ArrayLike | None = None,
        x_names: tuple[str, ...] = (),
        u_names: tuple[str, ...] = (),
    ) -> None:
        A, B = _numbers("A", A), _numbers("B", B)
        if A.ndim != 2 or A.shape[0] != A.shape[1] or A.size == 0:
            raise ModelError("A", f"shape {A.shape}, expected a square matrix")
        if B.ndim != 2 or B.shape[0] != A.shape[0] or B.size == 0:
            raise ModelError("B", f"shape {B.shape}, expected ({A.shape[0]}, number of inputs)")
        nx, nu = B.shape
        if not (np.isfinite(dt) and dt > 0):
            raise ModelError("dt", f"is {dt}, expected a positive sample period")
        x_names = tuple(x_names) or tuple(f"x{i + 1}" for i in range(nx))
        u_names = tuple(u_names) or tuple(f"u{i + 1}" for i in range(nu))
        for field, names, n in (("x_names", x_names, nx), ("u_names", u_names, nu)):
            if len(names) != n or len(set(names)) != n:
                raise ModelError(field, f"got {names}, expected {n} different names")
        values = {
            "A": _frozen(A),
            "B": _frozen(B),
            "c": _channel("c", c, nx),
            "dt": float(dt),
            "x_op": _channel("x_op", x_op, nx),
            "u_op": _channel("u_op", u_op, nu),
            "x_names": x_names,
            "u_names": u_names,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.B.shape[0]

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return self.B.shape[1]

    def step(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "... nx"]:
        """Evaluate x+ = x_op + A (x - x_op) + B (u - u_op) + c.

        Args:
            x: states (..., nx) [x_units].
            u: inputs (..., nu) [u_units].

        Returns:
            Next states (..., nx) [x_units].
        """
        dx, du = np.asarray(x, dtype=float) - self.x_op, np.asarray(u, dtype=float) - self.u_op
        return self.x_op + dx @ self.A.T + du @ self.B.T + self.c

    def to_control(self) -> Any:
        """Give the model in deviations, dx+ = A dx + B du with all states measured, as a control.StateSpace.

        A StateSpace has no operating point: x_op, u_op and the drift c are left out.

        Returns:
            Discrete control.StateSpace with the model's names.
        """
        import control

        nx, nu = self.nx, self.nu
        return control.ss(
            self.A,
            self.B,
            np.eye(nx),
            np.zeros((nx, nu)),
            self.dt,
            states=list(self.x_names),
            inputs=list(self.u_names),
        )

    @classmethod
    def from_control(
        cls, sys: Any, dt: float | None = None, x_op: ArrayLike | None = None, u_op: ArrayLike | None = None
    ) -> "LinearModel":
        """Take A and B from a control.StateSpace; its outputs (C, D) are not part of the model.

        Args:
            sys: control.StateSpace; a continuous one is discretised exactly for an input held over dt.
            dt: sample period; needed for a continuous system and for a discrete one of unspecified period.
            x_op: operating state (nx,) [x_units]; None is zero.
            u_op: operating input (nu,) [u_units]; None is zero.

        Returns:
            The model with c = 0.

        Raises:
            ModelError: not a StateSpace, a continuous system without dt, or a dt other than the system's.
        """
        import control

        if not isinstance(sys, control.StateSpace):
            raise ModelError("sys", f"is a {type(sys).__name__}", remedy="give a StateSpace: control.ss(sys)")
        names = tuple(sys.state_labels), tuple(sys.input_labels)
        if sys.isctime(strict=True) or (sys.dt is None and dt is None):
            if dt is None:
                raise ModelError("sys", "is continuous", remedy="give dt=..., or control.c2d(sys, dt) first")
            A, B, _ = discretise(np.asarray(sys.A), np.asarray(sys.B), np.zeros(sys.nstates), dt)
            return cls(A, B, None, dt, x_op, u_op, *names)
        period = dt if sys.dt is True or sys.dt is None else sys.dt
        if period is None:
            raise ModelError("sys", "is discrete without a sample period", remedy="give dt=...")
        if dt is not None and not np.isclose(dt, period, rtol=1e-12):
            raise ModelError("dt", f"is {dt}, but the system was sampled at {period}", remedy="leave dt away")
        return cls(np.asarray(sys.A), np.asarray(sys.B), None, float(period), x_op, u_op, *names)


def linearise(
    plant: AbstractPlant,
    x: ArrayLike | None = None,
    u: ArrayLike | None = None,
    method: Literal["step", "zoh"] = "step",
) -> LinearModel:
    """Linearise a plant about (x, u), which need not be an equilibrium.

    "step": A = ds/dx, B = ds/du, c = s(x, u) - x of the discrete step s.
    "zoh": the exact discretisation of dx/dt = f + df/dx (x - x_op) + df/du (u - u_op), the input held.
    Angles are not wrapped and inputs not clipped here, so the model is smooth across both.

    Args:
        plant: the plant.
        x: operating state (nx,) [x_units]; None is the plant's equilibrium.
        u: operating input (nu,) [u_units]; None is the plant's equilibrium.
        method: "step" or "zoh".

    Returns:
        The model, with the plant's names and period.

    Raises:
        ModelError: a wrong shape, a value that is not finite, or no equilibrium to fall back on.
    """
    x_op = _operating_value("x", x, plant.x_equilibrium, plant.nx)
    u_op = _operating_value("u", u, plant.u_equilibrium, plant.nu)
    if method == "step":
        value, A, B = _jacobians(plant.step_function(bounded=False), x_op, u_op)
        c = value - x_op
    elif method == "zoh":
        f, Ac, Bc = _jacobians(plant.rate_function(), x_op, u_op)
        A, B, c = discretise(Ac, Bc, f, plant.dt)
    else:
        raise ModelError("method", f"is {method!r}, expected 'step' or 'zoh'")
    return LinearModel(A, B, c, plant.dt, x_op, u_op, tuple(plant.x_names), tuple(plant.u_names))


def discretise(
    Ac: Float[np.ndarray, "nx nx"], Bc: Float[np.ndarray, "nx nu"], f: Float[np.ndarray, " nx"], dt: float
) -> tuple[Float[np.ndarray, "nx nx"], Float[np.ndarray, "nx nu"], Float[np.ndarray, " nx"]]:
    """Sample dx/dt = Ac x + Bc u + f exactly, u and f held: exp([[Ac, Bc, f], [0, 0, 0]] dt).

    Args:
        Ac: continuous state matrix (nx, nx) [1/time].
        Bc: continuous input matrix (nx, nu).
        f: constant rate (nx,).
        dt: sample period [time].

    Returns:
        A = exp(Ac dt), B and c = integral of exp(Ac s) ds times Bc and f.
    """
    from scipy.linalg import expm

    nx, nu = Bc.shape
    block = np.zeros((nx + nu + 1, nx + nu + 1))
    block[:nx, :nx], block[:nx, nx : nx + nu], block[:nx, -1] = Ac, Bc, f
    sampled = expm(block * dt)
    return sampled[:nx, :nx], sampled[:nx, nx : nx + nu], sampled[:nx, -1]


def _jacobians(function: Any, x: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value and exact derivatives of a CasADi function (x, u) -> column."""
    import casadi as ca

    xs, us = function.sx_in()
    value = function(xs, us)
    parts = ca.Function("parts", [xs, us], [value, ca.jacobian(value, xs), ca.jacobian(value, us)])(x, u)
    found = [part.full() for part in parts]
    if not all(np.isfinite(part).all() for part in found):
        raise ModelError("x, u", f"{function.name()} has no finite derivative at x = {x}, u = {u}")
    return found[0].ravel(), found[1], found[2]


def _operating_value(field: str, given: ArrayLike | None, default: np.ndarray | None, n: int) -> np.ndarray:
    if given is None and default is None:
        raise ModelError(field, "the plant declares no equilibrium", remedy=f"give {field}=...")
    return _channel(field, default if given is None else given, n)


def _channel(field: str, value: ArrayLike | None, n: int) -> np.ndarray:
    array = np.zeros(n) if value is None else _numbers(field, value)
    if array.shape != (n,):
        raise ModelError(field, f"shape {array.shape}, expected {(n,)}")
    return _frozen(array)


def _numbers(field: str, value: ArrayLike) -> np.ndarray:
    array = np.array(value, dtype=float)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ModelError(field, f"is {array[where]}, expected a finite number", index=where)
    return array


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
