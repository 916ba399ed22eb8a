"""The sampled affine model `x+ = x_op + A (x - x_op) + B (u - u_op) + E (d - d_op) + c`, in absolute physical units."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

from .channels import channel, discretise, frozen, labels, numbers, table

if TYPE_CHECKING:
    from .identification import Identification


@dataclass(frozen=True, eq=False, init=False)
class LinearModel:
    """A sampled affine model with optional disturbance channels and outputs.

        x+ = x_op + A (x - x_op) + B (u - u_op) + E (d - d_op) + c,    y = C x + C_d (d - d_op).

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
        E: disturbance matrix (nx, nd), or None for no disturbance.
        d_op: disturbance at the operating point (nd,) [d_units]; None is zero.
        d_names: name of each disturbance; empty gives d1, d2, ...
        C: output matrix (ny, nx), or None for no outputs; y is absolute, `C x`.
        y_names: name of each output; empty gives y1, y2, ...
        C_d: effect of the disturbances on the outputs (ny, nd); None is zero.

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
    E: Float[np.ndarray, "nx nd"]
    d_op: Float[np.ndarray, " nd"]
    d_names: tuple[str, ...]
    C: Float[np.ndarray, "ny nx"]
    y_names: tuple[str, ...]
    C_d: Float[np.ndarray, "ny nd"]

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
        E: ArrayLike | None = None,
        d_op: ArrayLike | None = None,
        d_names: tuple[str, ...] = (),
        C: ArrayLike | None = None,
        y_names: tuple[str, ...] = (),
        C_d: ArrayLike | None = None,
    ) -> None:
        A, B = _matrices(A, B)
        nx, nu = B.shape
        if not (np.isfinite(dt) and dt > 0):
            raise ModelError("dt", f"is {dt}, expected a positive sample period")
        E, C = table("E", E, (nx, None)), table("C", C, (None, nx))
        nd, ny = E.shape[1], C.shape[0]
        values = {
            "A": A,
            "B": B,
            "c": channel("c", c, nx),
            "dt": float(dt),
            "x_op": channel("x_op", x_op, nx),
            "u_op": channel("u_op", u_op, nu),
            "x_names": labels("x_names", x_names, nx),
            "u_names": labels("u_names", u_names, nu),
            "E": E,
            "d_op": channel("d_op", d_op, nd),
            "d_names": labels("d_names", d_names, nd),
            "C": C,
            "y_names": labels("y_names", y_names, ny),
            "C_d": table("C_d", C_d, (ny, nd)),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        parts = [("x", self.x_names), ("u", self.u_names), ("d", self.d_names), ("y", self.y_names)]
        named = ", ".join(f"{letter} = ({', '.join(names)})" for letter, names in parts if names)
        fastest = float(np.abs(np.linalg.eigvals(self.A)).max())
        return f"LinearModel({named}, dt = {self.dt:g}, largest |pole| {fastest:.4g})"

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.B.shape[0]

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return self.B.shape[1]

    @property
    def nd(self) -> int:
        """Number of disturbances."""
        return self.E.shape[1]

    @property
    def ny(self) -> int:
        """Number of outputs."""
        return self.C.shape[0]

    def step(self, x: ArrayLike, u: ArrayLike, d: ArrayLike | None = None) -> Float[np.ndarray, "... nx"]:
        """Evaluate x+ = x_op + A (x - x_op) + B (u - u_op) + E (d - d_op) + c.

        Args:
            x: states (..., nx) [x_units].
            u: inputs (..., nu) [u_units].
            d: disturbances (..., nd) [d_units]; None is d_op.

        Returns:
            Next states (..., nx) [x_units].
        """
        dx, du = np.asarray(x, dtype=float) - self.x_op, np.asarray(u, dtype=float) - self.u_op
        after = self.x_op + dx @ self.A.T + du @ self.B.T + self.c
        return after if d is None else after + (np.asarray(d, dtype=float) - self.d_op) @ self.E.T

    def output(self, x: ArrayLike, d: ArrayLike | None = None) -> Float[np.ndarray, "... ny"]:
        """Evaluate y = C x + C_d (d - d_op).

        Args:
            x: states (..., nx) [x_units].
            d: disturbances (..., nd) [d_units]; None is d_op.

        Returns:
            Outputs (..., ny) [y_units].
        """
        y = np.asarray(x, dtype=float) @ self.C.T
        return y if d is None else y + (np.asarray(d, dtype=float) - self.d_op) @ self.C_d.T

    def to_control(self) -> Any:
        """Give the model in deviations, dx+ = A dx + B du with all states measured, as a control.StateSpace.

        A StateSpace has no operating point: x_op, u_op, the drift c, disturbances and outputs are left out.

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
        """Take A, B and C from a control.StateSpace, with its names.

        Args:
            sys: control.StateSpace; a continuous one is discretised exactly for an input held over dt. Its outputs
                come along if D = 0, and are left out otherwise.
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
        outputs = {} if np.any(sys.D) else {"C": np.asarray(sys.C), "y_names": tuple(sys.output_labels)}
        if sys.isctime(strict=True) or (sys.dt is None and dt is None):
            if dt is None:
                raise ModelError("sys", "is continuous", remedy="give dt=..., or control.c2d(sys, dt) first")
            A, B, _ = discretise(np.asarray(sys.A), np.asarray(sys.B), np.zeros(sys.nstates), dt)
            return cls(A, B, None, dt, x_op, u_op, *names, **outputs)
        period = dt if sys.dt is True or sys.dt is None else sys.dt
        if period is None:
            raise ModelError("sys", "is discrete without a sample period", remedy="give dt=...")
        if dt is not None and not np.isclose(dt, period, rtol=1e-12):
            raise ModelError("dt", f"is {dt}, but the system was sampled at {period}", remedy="leave dt away")
        return cls(np.asarray(sys.A), np.asarray(sys.B), None, float(period), x_op, u_op, *names, **outputs)

    @classmethod
    def identify(
        cls,
        log: Any,
        dt: float,
        x_op: ArrayLike | None = None,
        u_op: ArrayLike | None = None,
        x_names: tuple[str, ...] = (),
        u_names: tuple[str, ...] = (),
        aside: float = 0.25,
    ) -> "Identification":
        """Find the model that explains recorded data best, by least squares; its error estimate is not certified.

        Args:
            log: one run or a list of runs: pairs (x, u) of arrays (T + 1, nx) or (T, nx), and (T, nu), or objects with
                `x` and `u` (or `u_applied`), such as a `Rollout` or the report of the loop. Rows with NaN are left out.
            dt: sample period of the data.
            x_op: operating state (nx,) [x_units]; None for the mean of the data.
            u_op: operating input (nu,) [u_units]; None for the mean of the data.
            x_names: name of each state.
            u_names: name of each input.
            aside: share of the last transitions of each run that is kept aside and only predicted.

        Returns:
            The model with residuals, standard errors and fit; print it for a summary.

        Raises:
            ModelError: shapes, too few transitions, or a channel that the data do not excite.
        """
        from .identification import identify

        return identify(cls, log, dt, x_op, u_op, x_names, u_names, aside)

    def with_outputs(self, C: Any, y_names: tuple[str, ...] = ()) -> "LinearModel":
        """Name what is to be tracked: `y = C x`.

        Args:
            C: output matrix (ny, nx), or names of states, which are then the outputs.
            y_names: name of each output; empty gives the states' names, or y1, y2, ...

        Returns:
            The model with these outputs, and C_d = 0.

        Raises:
            ModelError: an unknown state name or a wrong shape.
        """
        from .augmentation import with_outputs

        return with_outputs(self, C, y_names)

    def with_output_disturbance(self) -> "LinearModel":
        """Add one constant disturbance to each output: `y = C x + p`, p+ = p, named p_<output>.

        Returns:
            The model with ny more disturbances, E = [E, 0] and C_d = [C_d, I].

        Raises:
            ModelError: no outputs.
        """
        from .augmentation import with_output_disturbance

        return with_output_disturbance(self)

    def with_input_disturbance(self) -> "LinearModel":
        """Add one constant disturbance to each input: `x+ = ... + B p`, p+ = p, named p_<input>.

        It is the model for plants that integrate, where an output disturbance cannot be told from the state.

        Returns:
            The model with nu more disturbances, E = [E, B] and C_d = [C_d, 0].
        """
        from .augmentation import with_input_disturbance

        return with_input_disturbance(self)

    def with_integrator(self) -> "LinearModel":
        """Add the integral of each output's error as a state: `q+ = q + dt (y - r)`, r a disturbance.

        Returns:
            The model with ny more states q (named integral_<output>) and ny more disturbances r (named
            y_ref_<output>).

        Raises:
            ModelError: no outputs.
        """
        from .augmentation import with_integrator

        return with_integrator(self)

    def with_disturbance_states(self) -> "LinearModel":
        """Make the disturbances states: `[x; d]+ = [[A, E], [0, I]] [x; d] + [B; 0] u`, `y = [C, C_d] [x; d]`.

        It is the model an observer estimates x and d with; no input reaches d, so it is none for an `Ocp`.

        Returns:
            The model with nx + nd states and no disturbance.
        """
        from .augmentation import with_disturbance_states

        return with_disturbance_states(self)


def _matrices(A: ArrayLike, B: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    A, B = numbers("A", A), numbers("B", B)
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.size == 0:
        raise ModelError("A", f"shape {A.shape}, expected a square matrix")
    if B.ndim != 2 or B.shape[0] != A.shape[0] or B.size == 0:
        raise ModelError("B", f"shape {B.shape}, expected ({A.shape[0]}, number of inputs)")
    return frozen(A), frozen(B)
