"""A linear system as a plant, so that whoever has A, B or a `control.StateSpace` needs to write no formula."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike

from .abstract_plant import AbstractPlant
from .data_sheet import Expression, vector

Bound = ArrayLike | float


@dataclass(frozen=True, eq=False, init=False)
class LinearPlant(AbstractPlant):
    """The system x+ = A x + B u with bounds, and the reward -(x'Q x + u'R u).

    Equilibrium: x = 0, u = 0. Starts uniform in the state bounds, where a state without one starts in -1 to 1. `rhs` of
    a system sampled from dx/dt = A_c x + B_c u is that; of one that is discrete by nature it is (x+ - x) / dt.

    Args:
        A: state matrix of one period (nx, nx).
        B: input matrix of one period (nx, nu).
        u_min: lower input bounds (nu,), below 0.
        u_max: upper input bounds (nu,), above 0.
        x_min: lower state bounds (nx,); None is -inf.
        x_max: upper state bounds (nx,); None is inf.
        Q: state weight (nx, nx), a vector is its diagonal; None is the identity.
        R: input weight (nu, nu), a vector is its diagonal; None is the identity.
        dt: sample period [unit of the system's time].
        x_names: name of each state; empty gives x1, x2, ...
        u_names: name of each input; empty gives u1, u2, ...
        rate: (A_c, B_c) of the continuous system, or None.
        episode_steps: length of an episode.

    Raises:
        ModelError: a wrong shape, an entry that is not finite, or zero not inside the input bounds.
    """

    def __init__(
        self,
        A: ArrayLike,
        B: ArrayLike,
        u_min: Bound,
        u_max: Bound,
        x_min: Bound | None = None,
        x_max: Bound | None = None,
        Q: Bound | None = None,
        R: Bound | None = None,
        dt: float = 1.0,
        x_names: tuple[str, ...] = (),
        u_names: tuple[str, ...] = (),
        rate: tuple[np.ndarray, np.ndarray] | None = None,
        episode_steps: int = 200,
    ) -> None:
        nx = np.atleast_2d(np.asarray(A, dtype=float)).shape[0]
        nu = 1 if np.ndim(B) < 2 else np.shape(B)[1]
        low = _shaped("x_min", -np.inf if x_min is None else x_min, (nx,), True)
        high = _shaped("x_max", np.inf if x_max is None else x_max, (nx,), True)
        u_low, u_high = _shaped("u_min", u_min, (nu,)), _shaped("u_max", u_max, (nu,))
        if not ((u_low < 0) & (u_high > 0)).all():
            raise ModelError("u_min, u_max", f"are {u_low} and {u_high}, expected u_min < 0 < u_max (deviations)")
        matrices = {"A": _shaped("A", A, (nx, nx)), "B": _shaped("B", np.reshape(B, (nx, -1)), (nx, nu))}
        self._declare(
            **matrices,
            Q=_weight("Q", Q, nx),
            R=_weight("R", R, nu),
            rate_matrices=((matrices["A"] - np.eye(nx)) / dt, matrices["B"] / dt) if rate is None else rate,
            x_names=x_names or tuple(f"x{i + 1}" for i in range(nx)),
            u_names=u_names or tuple(f"u{i + 1}" for i in range(nu)),
            x_units=("1",) * nx,
            u_units=("1",) * nu,
            x_min=low,
            x_max=high,
            u_min=u_low,
            u_max=u_high,
            dt=float(dt),
            start_min=np.where(np.isfinite(low), low, -1.0),
            start_max=np.where(np.isfinite(high), high, 1.0),
            x_equilibrium=np.zeros(nx),
            u_equilibrium=np.zeros(nu),
            episode_steps=episode_steps,
        )

    def rhs(self, x: Expression, u: Expression) -> Expression:
        """Rate of the state.

        Args:
            x: state (nx,).
            u: input (nu,).
        """
        import casadi as ca

        Ac, Bc = self.__dict__["rate_matrices"]
        return ca.DM(Ac) @ x + ca.DM(Bc) @ u

    def step_map(self, x: Expression, u: Expression) -> Expression:
        """State after one period, A x + B u.

        Args:
            x: state (nx,).
            u: input (nu,).
        """
        import casadi as ca

        return ca.DM(self.__dict__["A"]) @ x + ca.DM(self.__dict__["B"]) @ u

    def reward(self, x: Expression, u: Expression) -> Expression:
        """Minus x'Q x + u'R u.

        Args:
            x: state (nx,).
            u: input (nu,).
        """
        import casadi as ca

        return -(ca.bilin(ca.DM(self.__dict__["Q"]), x, x) + ca.bilin(ca.DM(self.__dict__["R"]), u, u))


def from_control(
    sys: Any,
    u_min: Bound,
    u_max: Bound,
    x_min: Bound | None = None,
    x_max: Bound | None = None,
    Q: Bound | None = None,
    R: Bound | None = None,
    dt: float | None = None,
    episode_steps: int = 200,
) -> LinearPlant:
    """Make a plant of a `control.StateSpace`; a continuous one is sampled exactly with the input held.

    Args:
        sys: the system; its outputs are left out, the whole state is measured.
        u_min: lower input bounds (nu,).
        u_max: upper input bounds (nu,).
        x_min: lower state bounds (nx,), or None.
        x_max: upper state bounds (nx,), or None.
        Q: state weight of the reward, or None for the identity.
        R: input weight of the reward, or None for the identity.
        dt: sample period; needed for a continuous system, otherwise the system's own.
        episode_steps: length of an episode.

    Returns:
        The plant, with the system's names.

    Raises:
        ModelError: not a StateSpace, or no sample period.
    """
    import control

    if not isinstance(sys, control.StateSpace):
        raise ModelError("sys", f"is a {type(sys).__name__}", remedy="give a StateSpace: control.ss(sys)")
    continuous = sys.isctime(strict=True)
    period = dt if dt is not None else None if continuous or sys.dt in {None, True} else float(sys.dt)
    if period is None or not (np.isfinite(period) and period > 0):
        raise ModelError("dt", f"is {dt}, but the system has no sample period of its own", remedy="give dt=...")
    sampled = sys.sample(period, method="zoh") if continuous else sys
    rate = (np.asarray(sys.A), np.asarray(sys.B)) if continuous else None
    names = tuple(sys.state_labels), tuple(sys.input_labels)
    bounds = u_min, u_max, x_min, x_max
    return LinearPlant(sampled.A, sampled.B, *bounds, Q, R, period, *names, rate, episode_steps)


def _shaped(field: str, value: Bound, shape: tuple[int, ...], infinite: bool = False) -> np.ndarray:
    array = np.asarray(value, dtype=float)
    array = np.full(shape, array) if array.ndim == 0 else array
    if array.shape != shape:
        raise ModelError(field, f"shape {array.shape}, expected {shape}")
    if np.isnan(array).any() or not (infinite or np.isfinite(array).all()):
        raise ModelError(field, "holds an entry that is not a finite number")
    return vector(*array) if array.ndim == 1 else np.array(array)


def _weight(field: str, value: Bound | None, n: int) -> np.ndarray:
    array = np.eye(n) if value is None else np.asarray(value, dtype=float)
    return _shaped(field, np.diag(np.broadcast_to(array, n)) if array.ndim < 2 else array, (n, n))
