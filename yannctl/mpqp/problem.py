"""The multi-parametric quadratic program: the datum between `condense` (or `from_cvxpy`) and `solve_mpqp`.

    V(θ) = min_z  z'Hz/2 + (f + F θ)'z + θ'Yθ/2 + y'θ + y0   s.t.  A z <= b + B θ,   θ in Θ,

with Θ = {θ_min <= θ <= θ_max, θ_A θ <= θ_b}. The law is z[:n_out].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.errors import EmptySetError, ModelError
from yannctl.geometry.polyhedron import Polyhedron
from yannctl.geometry.validation import as_array, check_definite, check_order, matrix, symmetric, unique_names, vector
from yannctl.solvers.qp import QpResult, QpSettings, QuadraticProgram
from yannctl.types import ArrayLike, Float

SINGULAR = 1e-12  # relative size of a negative eigenvalue of H that counts as zero; the explicit solver asks for more


@dataclass(frozen=True, eq=False)
class MpQp:
    """One multi-parametric quadratic program, checked once; arrays are read-only float64.

    Args:
        H: Hessian (nz, nz), positive semidefinite; the explicit solver needs it definite and says so.
        f: linear cost (nz,), a scalar is repeated.
        F: linear cost per parameter (nz, ntheta), or 0.
        A: rows (m, nz); m = 0 is allowed.
        b: right-hand sides (m,).
        B: right-hand sides per parameter (m, ntheta), or 0.
        theta_min: lower end of the parameter domain (ntheta,), finite. [parameter]
        theta_max: upper end. [parameter]
        n_out: number of leading entries of z that make the law.
        Y: quadratic part of the value (ntheta, ntheta), or 0. It does not affect the law and may be indefinite.
        y: linear part of the value (ntheta,), or 0.
        y0: constant part of the value.
        theta_names: names of the parameters, default theta0, theta1, …
        out_names: names of the outputs, default z0, z1, …
        soft_weight: L1 weight ρ of the slacks this program was condensed with, None without slacks. [cost/state]
        theta_A: further rows of the domain (p, ntheta), or None.
        theta_b: their right-hand sides (p,), or None.

    Raises:
        ModelError: naming the field and the index of what is wrong.
        EmptySetError: when Θ is reversed, flat or empty.
    """

    H: Float[np.ndarray, "nz nz"] | Any
    f: Float[np.ndarray, " nz"] | Any
    F: Float[np.ndarray, "nz ntheta"] | Any
    A: Float[np.ndarray, "m nz"] | Any
    b: Float[np.ndarray, " m"] | Any
    B: Float[np.ndarray, "m ntheta"] | Any
    theta_min: Float[np.ndarray, " ntheta"] | Any
    theta_max: Float[np.ndarray, " ntheta"] | Any
    n_out: int | Any
    Y: Float[np.ndarray, "ntheta ntheta"] | Any = 0
    y: Float[np.ndarray, " ntheta"] | Any = 0
    y0: float | Any = 0.0
    theta_names: tuple[str, ...] | Any = None
    out_names: tuple[str, ...] | Any = None
    soft_weight: float | Any = None
    theta_A: Float[np.ndarray, "p ntheta"] | Any = None
    theta_b: Float[np.ndarray, " p"] | Any = None

    def __repr__(self) -> str:
        names = f"({', '.join(self.theta_names)}) -> ({', '.join(self.out_names)})"
        return f"MpQp({len(self.f)} decisions, {len(self.b)} rows, {len(self.theta_min)} parameters, {names})"

    def __post_init__(self) -> None:
        nz, m, ntheta = _length("H", self.H), _length("b", self.b), _length("theta_min", self.theta_min)
        H = symmetric("H", self.H, nz)
        check_definite("H", H, tolerance=SINGULAR)
        self._set(
            H=H,
            f=vector("f", self.f, nz),
            F=matrix("F", self.F, nz, ntheta),
            A=matrix("A", self.A, m, nz),
            b=vector("b", self.b, m),
            B=matrix("B", self.B, m, ntheta),
            theta_min=vector("theta_min", self.theta_min, ntheta),
            theta_max=vector("theta_max", self.theta_max, ntheta),
            Y=symmetric("Y", self.Y, ntheta),
            y=vector("y", self.y, ntheta),
            y0=float(vector("y0", self.y0, 1)[0]),
        )
        check_order("theta_min", self.theta_min, self.theta_max, "theta_max")
        self._set(n_out=_count("n_out", self.n_out, nz))
        self._set(
            theta_names=unique_names("theta_names", self.theta_names, ntheta, "theta"),
            out_names=unique_names("out_names", self.out_names, self.n_out, "z"),
        )
        if self.soft_weight is not None:
            self._set(soft_weight=float(vector("soft_weight", self.soft_weight, 1)[0]))
        self._set_domain_rows(ntheta)

    @property
    def n_z(self) -> int:
        """Number of decision variables nz."""
        return self.H.shape[0]

    @property
    def n_theta(self) -> int:
        """Number of parameters ntheta."""
        return self.F.shape[1]

    @property
    def n_rows(self) -> int:
        """Number of constraint rows m."""
        return self.A.shape[0]

    def value_of(self, z: ArrayLike, theta: ArrayLike) -> Float[np.ndarray, "..."]:
        """Evaluate `z'Hz/2 + (f + F θ)'z + θ'Yθ/2 + y'θ + y0`, feasible or not.

        Args:
            z: decisions (..., nz).
            theta: parameters (..., ntheta). [parameter]

        Returns:
            Costs (...).
        """
        decision, parameter = np.asarray(z, dtype=float), np.asarray(theta, dtype=float)
        linear = self.f + parameter @ self.F.T
        cost = ((decision @ self.H) * decision).sum(-1) / 2 + (linear * decision).sum(-1)
        return np.asarray(cost + self._parameter_value(parameter))

    def solve_qp(self, theta: ArrayLike, settings: QpSettings | None = None) -> QpResult:
        """Solve the quadratic program at one parameter, online.

        Args:
            theta: parameter (ntheta,); points outside the box Θ are allowed. [parameter]
            settings: solver tolerances.

        Returns:
            z (nz,), value V(θ), multipliers (m,) >= 0 of the rows of A, and status.
        """
        parameter = vector("theta", theta, self.n_theta)
        return self._solve_one(QuadraticProgram(self.H, self.A, settings), parameter)

    def solve_qp_batch(self, theta: ArrayLike, settings: QpSettings | None = None) -> QpResult:
        """Solve the quadratic program at many parameters, with one factorisation.

        Args:
            theta: parameters (n, ntheta). [parameter]
            settings: solver tolerances.

        Returns:
            z (n, nz), values (n,), multipliers (n, m) and an array of n status texts.
        """
        parameters = as_array("theta", theta)
        if parameters.ndim != 2 or parameters.shape[1] != self.n_theta:
            text = f"expected shape (n, {self.n_theta}), got {parameters.shape}"
            raise ModelError("theta", text, remedy="give one row a parameter")
        program = QuadraticProgram(self.H, self.A, settings)
        results = [self._solve_one(program, parameter) for parameter in parameters]
        return QpResult(
            np.array([r.z for r in results], dtype=float).reshape(len(results), self.n_z),
            np.array([r.value for r in results], dtype=float),
            np.array([r.multipliers for r in results], dtype=float).reshape(len(results), self.n_rows),
            np.array([r.status for r in results], dtype=object),
        )

    def _solve_one(self, program: QuadraticProgram, theta: np.ndarray) -> QpResult:
        if self.theta_A is not None:
            norms = np.linalg.norm(self.theta_A, axis=1)
            if np.any(self.theta_A @ theta - self.theta_b > program.settings.primal_tolerance * norms):
                return QpResult(np.full(self.n_z, np.nan), np.inf, np.full(self.n_rows, np.nan), "infeasible")
        result = program.solve(self.f + self.F @ theta, self.b + self.B @ theta)
        value = result.value + float(self._parameter_value(theta))
        return QpResult(result.z, value, result.multipliers, result.status)

    def _parameter_value(self, theta: np.ndarray) -> np.ndarray:
        return np.asarray(((theta @ self.Y) * theta).sum(-1) / 2 + theta @ self.y + self.y0)

    def _set_domain_rows(self, ntheta: int) -> None:
        if (self.theta_A is None) != (self.theta_b is None):
            missing = "theta_A" if self.theta_A is None else "theta_b"
            raise ModelError(missing, "theta_A and theta_b go together, one is missing", remedy="give both or neither")
        if self.theta_A is None:
            return
        rows = _length("theta_b", self.theta_b)
        self._set(theta_A=matrix("theta_A", self.theta_A, rows, ntheta), theta_b=vector("theta_b", self.theta_b, rows))
        if not rows:
            self._set(theta_A=None, theta_b=None)
            return
        half = (self.theta_max - self.theta_min) / 2
        centre = (self.theta_max + self.theta_min) / 2
        scaled = Polyhedron(self.theta_A * half, self.theta_b - self.theta_A @ centre)
        if not scaled.intersect(Polyhedron.box(-np.ones(ntheta), np.ones(ntheta))).chebyshev()[1] > 0.0:
            text = "the rows and the box leave no interior for the parameter"
            raise EmptySetError("theta_b", text, remedy="widen theta_min, theta_max or the rows")

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _length(name: str, value: Any) -> int:
    """Leading dimension of an argument that fixes a size; a scalar counts as length one."""
    array = as_array(name, value)
    return array.shape[0] if array.ndim else 1


def _count(name: str, value: Any, largest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= largest:
        raise ModelError(name, f"expected an integer from 1 to {largest}, got {value!r}", remedy="count the outputs")
    return int(value)
