"""What an optimal control problem may depend on besides its first state, and how: the layout of θ and the reference.

    θ = (x_0, u_{-1}, d, r):   the last input applied if its rate counts, the disturbances if the model has them,
                              and the reference if it is tracked.

The reference of the cost is affine in θ, `x_s(θ) = X θ + x_c`, `u_s(θ) = U θ + u_c`:

* not tracked: x_s = x_ref, u_s = u_ref, both constant;
* track="x": x_s = r, u_s = u_ref;
* track="y": the steady state with output r under the disturbance d,

      [A − I, B; C, 0] [x_s − x_op; u_s − u_op] = [−c − E (d − d_op); r − C x_op − C_d (d − d_op)],

  and where that leaves a choice the one of least `dx'Q dx + du'R du`, dx and du its deviations from (x_ref, u_ref).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from yannctl.errors import ModelError
from yannctl.geometry.validation import check_order, vector
from yannctl.solvers.riccati import solve_riccati
from yannctl.types import Float

if TYPE_CHECKING:
    from .problem import Ocp

RANK = 1e-9  # singular values below this, relative to the largest, count as zero


@dataclass(frozen=True)
class Parameters:
    """The layout of θ = (x_0, u_{-1}, d, r).

    Attributes:
        names: name of each entry.
        x: columns of the first state.
        u_last: columns of the last applied input, empty unless its rate counts.
        d: columns of the disturbances.
        ref: columns of the reference.
        low: lower end of each entry after x_0. [parameter]
        high: upper end of each entry after x_0. [parameter]
    """

    names: tuple[str, ...]
    x: slice
    u_last: slice
    d: slice
    ref: slice
    low: Float[np.ndarray, " n_extra"]
    high: Float[np.ndarray, " n_extra"]

    @property
    def n(self) -> int:
        """Number of parameters."""
        return len(self.names)


class Following(np.ndarray):
    """An end of Θ that nobody gave and that follows a bound; whatever is computed from it is an ordinary array."""

    @classmethod
    def of(cls, bound: Float[np.ndarray, " n"]) -> "Following":
        """Mark a bound.

        Args:
            bound: the bound.

        Returns:
            The same numbers, marked.
        """
        return bound.view(cls)

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain


@dataclass(frozen=True)
class Reference:
    """The reference as an affine function of θ: `x_s = X θ + x`, `u_s = U θ + u`.

    Attributes:
        x: constant part (nx,). [state]
        X: per parameter (nx, ntheta), None if there is no dependence.
        u: constant part (nu,). [input]
        U: per parameter (nu, ntheta), None if there is no dependence.
    """

    x: Float[np.ndarray, " nx"]
    X: Float[np.ndarray, "nx ntheta"] | None
    u: Float[np.ndarray, " nu"]
    U: Float[np.ndarray, "nu ntheta"] | None


def parameters_of(ocp: "Ocp") -> Parameters:
    """Lay out θ, with names and ends.

    Args:
        ocp: the problem, its own fields checked.

    Returns:
        The layout; the ends of x_0 are `ocp.theta_min` and `ocp.theta_max`.

    Raises:
        ModelError: an end that is missing, infinite, reversed or of the wrong length, fields that do not combine.
    """
    check_supported(ocp)
    lin = ocp.lin
    tracked = {None: (), "x": lin.x_names, "y": lin.y_names}[ocp.track]
    groups = (
        ("u_min", "u_max", ocp.u_min, ocp.u_max, [f"u_last_{name}" for name in lin.u_names if ocp.counts_rate]),
        ("d_min", "d_max", ocp.d_min, ocp.d_max, list(lin.d_names)),
        ("ref_min", "ref_max", *_reference_ends(ocp), [f"{ocp.track}_ref_{name}" for name in tracked]),
    )
    names, low, high, starts = list(lin.x_names), [], [], [0, lin.nx]
    for low_field, high_field, *given, labels in groups:
        names += labels
        starts.append(len(names))
        if labels:
            below, above = _end(low_field, given[0], labels), _end(high_field, given[1], labels)
            check_order(low_field, below, above, high_field)
            low.append(below)
            high.append(above)
        elif low_field != "u_min" and any(end is not None for end in given):
            field = low_field if given[0] is not None else high_field
            remedy = "leave it away, or give the model a disturbance E" if low_field == "d_min" else 'give track="x"'
            raise ModelError(field, "there is no such parameter", remedy=remedy)
    if len(set(names)) != len(names):
        raise ModelError("lin", f"the parameters {names} need different names", remedy="rename a state or disturbance")
    x, u_last, d, ref = (slice(*pair) for pair in pairwise(starts))
    return Parameters(tuple(names), x, u_last, d, ref, np.concatenate([[], *low]), np.concatenate([[], *high]))


def reference_of(ocp: "Ocp") -> Reference:
    """Write the reference of the cost as an affine function of θ (formulas above).

    Args:
        ocp: the problem with its layout.

    Returns:
        The reference.

    Raises:
        ModelError: when some output reference cannot be held by any steady state.
    """
    layout = ocp.parameters
    X, U = np.zeros((ocp.nx, layout.n)), np.zeros((ocp.nu, layout.n))
    if ocp.track is None:
        return Reference(ocp.x_ref, None, ocp.u_ref, None)
    if ocp.track == "x":
        X[:, layout.ref] = np.eye(ocp.nx)
        return Reference(np.zeros(ocp.nx), X, ocp.u_ref, None)
    lin, nx = ocp.lin, ocp.nx
    right = np.zeros((nx + lin.ny, 1 + layout.n))
    right[:nx, 0] = -lin.c + lin.E @ lin.d_op
    right[nx:, 0] = -lin.C @ lin.x_op + lin.C_d @ lin.d_op
    right[:nx, 1:][:, layout.d] = -lin.E
    right[nx:, 1:][:, layout.d] = -lin.C_d
    right[nx:, 1:][:, layout.ref] = np.eye(lin.ny)
    wanted = np.concatenate([ocp.x_ref - lin.x_op, ocp.u_ref - lin.u_op])
    steady = _nearest_steady_state(ocp, right, wanted)
    X, U = steady[:nx, 1:], steady[nx:, 1:]
    return Reference(lin.x_op + steady[:nx, 0], X, lin.u_op + steady[nx:, 0], U)


def rate_lqr(ocp: "Ocp") -> tuple[np.ndarray, np.ndarray]:
    """Solve the discounted LQR whose cost has the rate term, on the state (dx, du_last).

        cost  dx'Q dx + du'R du + (du − du_last)'S (du − du_last),   (dx, du_last)+ = (A dx + B du, du).

    The substitution `v = du − (R + S)^-1 S du_last` removes the product of state and input.

    Args:
        ocp: the problem with R_rate = S.

    Returns:
        Cost-to-go (nx + nu, nx + nu) and gain (nu, nx + nu), `du = −K (dx, du_last)`.
    """
    nx, nu, S = ocp.nx, ocp.nu, ocp.R_rate
    both = ocp.R + S
    pull = np.linalg.solve(both, S)
    A = np.block([[ocp.lin.A, ocp.lin.B @ pull], [np.zeros((nu, nx)), pull]])
    rest = S - S @ pull
    Q = np.asarray(scipy.linalg.block_diag(ocp.Q, (rest + rest.T) / 2))
    P, K = solve_riccati(A, np.vstack([ocp.lin.B, np.eye(nu)]), Q, both, ocp.gamma)
    return P, K - np.hstack([np.zeros((nu, nx)), pull])


def stacked(layout: Parameters, parts: dict[str, Any]) -> Float[np.ndarray, "... ntheta"]:
    """Put θ together from its parts; see `Ocp.theta`.

    Args:
        layout: the layout.
        parts: x, u_last, d and ref, each (..., its length) or None.

    Returns:
        Parameters (..., ntheta).

    Raises:
        ModelError: a part that is missing, that is not a parameter, or of the wrong length.
    """
    found = []
    for field, value in parts.items():
        columns = getattr(layout, field)
        names = layout.names[columns]
        if value is None and names:
            raise ModelError(field, f"missing, expected {', '.join(names)}", remedy=f"give {field}=...")
        array = np.zeros(0) if value is None else np.asarray(value, dtype=float)
        if array.shape[-1:] != (len(names),):
            text = f"shape {array.shape}, expected (..., {len(names)})"
            raise ModelError(field, text, remedy="give one number each of " + (", ".join(names) or "no parameter"))
        found.append(array)
    batch = np.broadcast_shapes(*(array.shape[:-1] for array in found))
    return np.concatenate([np.broadcast_to(array, (*batch, array.shape[-1])) for array in found], axis=-1)


def check_supported(ocp: "Ocp") -> None:
    """Refuse combinations without a meaning, naming the field and the remedy.

    Args:
        ocp: the problem.

    Raises:
        ModelError: output tracking without outputs, a terminal set without a fixed equilibrium.
    """
    if ocp.track == "y" and not ocp.lin.ny:
        remedy = 'give lin.with_outputs(("a state\'s name",)), or C to LinearModel'
        raise ModelError("track", "the model has no outputs to track", remedy=remedy)
    if ocp.terminal != "set":
        return
    moving = {
        "track": ocp.track is not None,
        "R_rate, du_min or du_max": ocp.counts_rate,
        "a disturbance in lin": ocp.lin.nd > 0,
    }
    found = [name for name, there in moving.items() if there]
    if found:
        text = f'"set" surrounds one fixed equilibrium, which does not exist with {" and ".join(found)}'
        raise ModelError("terminal", text, remedy='use terminal="lqr" and a longer N')


def _reference_ends(ocp: "Ocp") -> tuple[Any, Any]:
    if ocp.track != "x":
        return ocp.ref_min, ocp.ref_max
    return ocp.x_min if ocp.ref_min is None else ocp.ref_min, ocp.x_max if ocp.ref_max is None else ocp.ref_max


def _end(field: str, value: Any, labels: list[str]) -> np.ndarray:
    if value is None:
        raise ModelError(field, f"missing, but {', '.join(labels)} became parameters", remedy=f"give a finite {field}")
    end = vector(field, value, len(labels), infinite=True)
    if not np.isfinite(end).all():
        i = int(np.argmin(np.isfinite(end)))
        text = f"{end[i]} leaves the parameter {labels[i]} unbounded"
        raise ModelError(field, text, index=i, remedy=f"give a finite {field}")
    return end


def _nearest_steady_state(ocp: "Ocp", right: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Solve `M s = right` column by column, nearest to `wanted` in the weights of the cost, in deviations."""
    lin = ocp.lin
    M = np.block([[lin.A - np.eye(lin.nx), lin.B], [lin.C, np.zeros((lin.ny, lin.nu))]])
    row = np.linalg.norm(M, axis=1)
    M, right = M / np.where(row > 0, row, 1.0)[:, None], right / np.where(row > 0, row, 1.0)[:, None]
    left, sizes, right_vectors = np.linalg.svd(M)
    rank = int((sizes > RANK * sizes[0]).sum())
    if rank < len(M):
        worst = np.abs(left[lin.nx :, -1]).argmax()
        text = f"no steady state holds every reference of output {lin.y_names[worst]} (rank {rank} of {len(M)})"
        raise ModelError("track", text, remedy="track at most as many independent outputs as there are inputs")
    particular = right_vectors[:rank].T @ ((left.T @ right) / sizes[:rank, None])
    free = right_vectors[rank:].T
    if free.size:
        aim = np.zeros_like(particular)
        aim[:, 0] = wanted
        weighted = free.T @ scipy.linalg.block_diag(ocp.Q, ocp.R)
        particular += free @ np.linalg.lstsq(weighted @ free, weighted @ (aim - particular), rcond=None)[0]
    return particular
