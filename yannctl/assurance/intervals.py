"""Bounds of a CasADi expression over boxes, by interval arithmetic with outward rounding (Moore, 1966).

    f(x) lies in [low, high] for every real x in the box.

Three forms: direct evaluation, the mean-value form f(c) + J(box)(x - c), and either of them after bisection of the box.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.tape import ExpressionTape
from yannctl.tape.opcodes import Op
from yannctl.types import ArrayLike, Float

# The mean-value theorem needs a Lipschitz function; these jump.
_JUMPS = frozenset(
    {Op.FLOOR, Op.CEIL, Op.SIGN, Op.IF_ELSE_ZERO, Op.NOT, Op.LT, Op.LE, Op.EQ, Op.NE, Op.AND, Op.OR, Op.FMOD}
    | {Op.COPYSIGN, Op.ATAN2}
)


# Pieces along each coordinate, or one number for all.
Pieces = int | tuple[int, ...] | list[int] | np.ndarray


@dataclass(frozen=True, eq=False)
class IntervalTape:
    """An expression that is evaluated on boxes.

    Args:
        tape: the expression as instructions.
    """

    tape: ExpressionTape

    @classmethod
    def from_function(cls, function: Any) -> "IntervalTape":
        """Flatten a CasADi Function.

        Args:
            function: casadi.Function; its inputs are stacked into one vector, and so are its outputs.

        Returns:
            The interval tape.

        Raises:
            ModelError: an operation that is not known.
        """
        return cls(ExpressionTape.from_function(function))

    @property
    def n_in(self) -> int:
        """Number of stacked inputs."""
        return self.tape.n_in

    @property
    def n_out(self) -> int:
        """Number of stacked outputs; matrices are stacked column by column."""
        return self.tape.n_out

    def bound(self, low: ArrayLike, high: ArrayLike) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Bound all outputs on boxes.

        Args:
            low: lower ends (..., n_in).
            high: upper ends (..., n_in).

        Returns:
            Lower and upper bounds, each (..., n_out); infinite where the expression is not defined on a whole box.

        Raises:
            ModelError: shapes that do not fit, or an end that is NaN or in the wrong order.
        """
        from .interval_kernels import bound_many

        lower, upper = _boxes(low, high, self.n_in)
        batch = lower.shape[:-1]
        lower, upper = lower.reshape(-1, self.n_in), upper.reshape(-1, self.n_in)
        results = np.empty((2, len(lower), self.n_out))
        bound_many(self.tape.program, self.tape.constants, self.tape.n_slots, lower, upper, results[0], results[1])
        return results[0].reshape(*batch, self.n_out), results[1].reshape(*batch, self.n_out)


@dataclass(frozen=True, eq=False)
class BoundedMap:
    """A map and its Jacobian on boxes, for the mean-value form.

    Args:
        function: casadi.Function with one output.

    Raises:
        ModelError: the map jumps (floor, comparisons, ...), so that its Jacobian says nothing about differences.
    """

    function: Any
    value: IntervalTape = field(init=False)
    slope: IntervalTape = field(init=False)

    def __post_init__(self) -> None:
        stacked, slope = stack_and_differentiate(self.function)
        object.__setattr__(self, "value", IntervalTape.from_function(stacked))
        object.__setattr__(self, "slope", IntervalTape.from_function(slope))
        jumps = sorted(
            {Op(code).name.lower() for code in self.value.tape.program[:, 0]} & {o.name.lower() for o in _JUMPS}
        )
        if jumps:
            raise ModelError(
                "function", f"uses {', '.join(jumps)}, which jump", remedy="bound the smooth map (bounded=False)"
            )

    def jacobian(self, low: ArrayLike, high: ArrayLike) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Bound the Jacobian on boxes.

        Args:
            low: lower ends (..., n_in).
            high: upper ends (..., n_in).

        Returns:
            Lower and upper bounds, each (..., n_out, n_in).
        """
        lower, upper = self.slope.bound(low, high)
        shape = (*lower.shape[:-1], self.value.n_in, self.value.n_out)
        return lower.reshape(shape).swapaxes(-1, -2), upper.reshape(shape).swapaxes(-1, -2)

    def bound(self, low: ArrayLike, high: ArrayLike) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Bound the map on boxes by the intersection of direct evaluation and mean-value form.

        Args:
            low: lower ends (..., n_in).
            high: upper ends (..., n_in).

        Returns:
            Lower and upper bounds, each (..., n_out).
        """
        lower, upper = _boxes(low, high, self.value.n_in)
        direct = self.value.bound(lower, upper)
        centre = 0.5 * (lower + upper)
        middle = self.value.bound(centre, centre)
        J_low, J_high = self.jacobian(lower, upper)
        reach = np.maximum(upper - centre, centre - lower) * (1 + 1e-15)
        spread = np.matmul(np.maximum(np.abs(J_low), np.abs(J_high)), reach[..., None])[..., 0] * (1 + 1e-14) + 1e-300
        with np.errstate(invalid="ignore"):
            return np.fmax(direct[0], middle[0] - spread), np.fmin(direct[1], middle[1] + spread)


def stack_and_differentiate(function: Any) -> tuple[Any, Any]:
    """Give a function of one stacked vector, and its dense Jacobian.

    Args:
        function: casadi.Function with one output.

    Returns:
        casadi.Functions z -> f and z -> df/dz.
    """
    import casadi as ca

    parts = [ca.SX.sym(function.name_in(i), *function.size_in(i)) for i in range(function.n_in())]
    z = ca.SX.sym("z", sum(part.numel() for part in parts))
    arguments, start = [], 0
    for part in parts:
        arguments.append(ca.reshape(z[start : start + part.numel()], *part.shape))
        start += part.numel()
    value = ca.vec(ca.densify(function(*arguments)))
    return ca.Function("value", [z], [value]), ca.Function("slope", [z], [ca.densify(ca.jacobian(value, z))])


def split_boxes(
    low: Float[np.ndarray, "boxes n"], high: Float[np.ndarray, "boxes n"], pieces: Pieces
) -> tuple[Float[np.ndarray, "more n"], Float[np.ndarray, "more n"]]:
    """Cut boxes into equal pieces; neighbours share their ends, so nothing is lost between them.

    Args:
        low: lower ends (boxes, n).
        high: upper ends (boxes, n).
        pieces: number of pieces along each coordinate (n,).

    Returns:
        Lower and upper ends of all pieces.
    """
    for axis, count in enumerate(np.broadcast_to(np.asarray(pieces, dtype=int), low.shape[1:])):
        cuts = np.linspace(low[:, axis], high[:, axis], int(count) + 1, axis=1)
        cuts[:, 0], cuts[:, -1] = low[:, axis], high[:, axis]
        low, high = np.repeat(low, count, axis=0), np.repeat(high, count, axis=0)
        low[:, axis], high[:, axis] = cuts[:, :-1].ravel(), cuts[:, 1:].ravel()
    return low, high


def _boxes(low: ArrayLike, high: ArrayLike, n: int) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = np.broadcast_arrays(np.asarray(low, dtype=float), np.asarray(high, dtype=float))
    if lower.shape[-1:] != (n,):
        raise ModelError("low", f"has shape {lower.shape}, expected (..., {n})")
    if not np.all(lower <= upper):
        where = tuple(int(i) for i in np.argwhere(~(lower <= upper))[0])
        raise ModelError("low", f"{lower[where]} is not below high = {upper[where]}", index=where)
    return np.ascontiguousarray(lower), np.ascontiguousarray(upper)
