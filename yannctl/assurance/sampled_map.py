"""Validated bounds of what a plant does in one sample period with the input held.

    x+ = phi(x, u, p) in image,   phi(z) - phi(z_c) in D (z - z_c),   z = (x, u, p)

for every real z of a box: for a discrete map by interval arithmetic on its expression, for dx/dt = f(x, u, p) by a
validated Taylor method. Nothing is sampled.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

from .intervals import BoundedMap, IntervalTape, Pieces, _boxes, split_boxes


@dataclass(frozen=True, eq=False)
class Enclosure:
    """Bounds over one box or a batch of boxes; index 0 of the axis before the last ones is low, 1 is high.

    Args:
        centre: image of the middle of the box (..., 2, nx).
        image: image of the box (..., 2, nx).
        jacobian: derivative in (x, u, p) on the box (..., 2, nx, nz).
        tube: all states during the period (..., 2, nx); for a discrete map those at its ends.
    """

    centre: Float[np.ndarray, "*batch 2 nx"]
    image: Float[np.ndarray, "*batch 2 nx"]
    jacobian: Float[np.ndarray, "*batch 2 nx nz"]
    tube: Float[np.ndarray, "*batch 2 nx"]


@dataclass(frozen=True, eq=False)
class DiscreteMap:
    """A plant whose period is itself a formula x+ = F(x, u, p).

    Args:
        function: casadi.Function (x, u, p) -> x+, without jumps.
    """

    function: Any
    nx: int = field(init=False)
    nu: int = field(init=False)
    _bounds: BoundedMap = field(init=False)

    def __post_init__(self) -> None:
        _check_signature(self.function)
        object.__setattr__(self, "nx", self.function.numel_in(0))
        object.__setattr__(self, "nu", self.function.numel_in(1))
        object.__setattr__(self, "_bounds", BoundedMap(self.function))

    def enclose(self, low: ArrayLike, high: ArrayLike) -> Enclosure:
        """Bound the map and its Jacobian over boxes of (x, u, p).

        Args:
            low: lower ends (..., nz).
            high: upper ends (..., nz).

        Returns:
            The bounds.
        """
        lower, upper = _boxes(low, high, self._bounds.value.n_in)
        middle = 0.5 * (lower + upper)
        centre = np.stack(self._bounds.value.bound(middle, middle), axis=-2)
        image = np.stack(self._bounds.bound(lower, upper), axis=-2)
        jacobian = np.stack(self._bounds.jacobian(lower, upper), axis=-3)
        start = np.stack([lower, upper], axis=-2)[..., : self.nx]
        tube = np.stack(
            [np.minimum(start[..., 0, :], image[..., 0, :]), np.maximum(start[..., 1, :], image[..., 1, :])], axis=-2
        )
        return Enclosure(centre, image, jacobian, tube)


@dataclass(frozen=True, eq=False)
class Flow:
    """A plant dx/dt = f(x, u, p) over a period, the input held.

    Args:
        rate: casadi.Function (x, u, p) -> dx/dt, smooth.
        dt: period [the unit of time of f].
        scale: typical size of each state (nx,) [x_units]; it only makes the bounds tighter.
        order: degree of the Taylor polynomial.
        substeps: validated steps a period.
        slope_order: degree of the polynomial that bounds the sensitivities, None for `order`; a smaller one is quicker
            and wider.

    Raises:
        ModelError: a period or scale that is not positive, or a function of another form.
    """

    rate: Any
    dt: float
    scale: Float[np.ndarray, " nx"] | Any
    order: int = 4
    substeps: int = 1
    slope_order: int | None = None
    nx: int = field(init=False)
    nu: int = field(init=False)
    tapes: tuple[tuple[IntervalTape, IntervalTape], ...] = field(init=False)

    def __post_init__(self) -> None:
        _check_signature(self.rate)
        if not (np.isfinite(self.dt) and self.dt > 0):
            raise ModelError("dt", f"is {self.dt}, expected a positive period")
        scale = np.array(self.scale, dtype=float)
        object.__setattr__(self, "nx", self.rate.numel_in(0))
        object.__setattr__(self, "nu", self.rate.numel_in(1))
        if scale.shape != (self.nx,) or not np.all(scale > 0):
            raise ModelError("scale", f"is {scale}, expected {self.nx} positive numbers")
        object.__setattr__(self, "scale", scale)
        slope_order = self.order if self.slope_order is None else self.slope_order
        object.__setattr__(self, "tapes", _taylor_tapes(self.rate, self.dt / self.substeps, self.order, slope_order))

    def enclose(self, low: ArrayLike, high: ArrayLike) -> Enclosure:
        """Bound the flow over the period and its sensitivities for boxes of (x, u, p).

        Args:
            low: lower ends (..., nz).
            high: upper ends (..., nz).

        Returns:
            The bounds; the whole line where no bound was found (more substeps help).
        """
        from .flow_kernels import enclose_many

        nz = self.tapes[0][0].n_in
        lower, upper = _boxes(low, high, nz)
        batch = lower.shape[:-1]
        zones = np.ascontiguousarray(np.stack([lower, upper], axis=-2).reshape(-1, 2, nz))
        n = len(zones)
        centre, image, tube = (np.empty((n, 2, self.nx)) for _ in range(3))
        jacobian = np.empty((n, 2, self.nx, nz))
        rate, taylor, remainder, sizes, h, scale = self.kernel_data()
        enclose_many(rate, taylor, remainder, sizes, h, scale, zones, centre, image, jacobian, tube)
        shape = (*batch, 2, self.nx)
        return Enclosure(centre.reshape(shape), image.reshape(shape), jacobian.reshape(*shape, nz), tube.reshape(shape))

    def kernel_data(self) -> tuple[Any, ...]:
        """Give the first six arguments of the kernels: three parts with work space, sizes, step and scale."""
        parts = tuple((*_tape_data(whole), *_tape_data(value)) for whole, value in self.tapes)
        return *parts, np.array([self.nx, self.substeps]), self.dt / self.substeps, self.scale


SampledMap = DiscreteMap | Flow


def enclose_in_pieces(
    sampled: SampledMap, low: Float[np.ndarray, " nz"], high: Float[np.ndarray, " nz"], pieces: Pieces
) -> Enclosure:
    """Bound one box by the hull over its pieces, which is tighter; the centre is that of the whole box.

    Args:
        sampled: the period.
        low: lower ends (nz,).
        high: upper ends (nz,).
        pieces: number of pieces along each coordinate (nz,) or one number.

    Returns:
        Bounds over the whole box.
    """
    middle = 0.5 * (low + high)
    parts = sampled.enclose(*split_boxes(low[None], high[None], np.broadcast_to(pieces, low.shape)))

    def hull(array: np.ndarray) -> np.ndarray:
        return np.stack([array[:, 0].min(axis=0), array[:, 1].max(axis=0)])

    return Enclosure(sampled.enclose(middle, middle).centre, hull(parts.image), hull(parts.jacobian), hull(parts.tube))


def value_tapes(rate: Any, h: float, order: int) -> tuple[tuple[Any, ...], ...]:
    """Give rate, Taylor polynomial of a step of h and its remainder for the kernels, without Jacobians.

    Args:
        rate: casadi.Function (x, u, p) -> dx/dt, smooth.
        h: step [the unit of time of the rate].
        order: degree of the polynomial.
    """
    z, terms = _taylor_terms(rate, order)
    x = z[: rate.numel_in(0)]
    made = (terms[0], _polynomial(x, terms, h, order), h ** (order + 1) * terms[order])
    # The place of the tape with the Jacobian is taken by the tape itself.
    return tuple(_tape_data(_tape(z, part)) * 2 for part in made)


def _tape_data(tape: IntervalTape) -> tuple[Any, ...]:
    """Program, constants and work space of a tape."""
    # Unsigned, so that the kernel need not look for indices that count from the end.
    return tape.tape.program.astype(np.uint64), tape.tape.constants, np.empty((2, tape.tape.n_slots))


def _tape(z: Any, outputs: Any) -> IntervalTape:
    import casadi as ca

    return IntervalTape.from_function(ca.Function("part", [z], [ca.densify(outputs)]))


def _taylor_terms(rate: Any, order: int) -> tuple[Any, list[Any]]:
    """Symbols (x, u, p) and the coefficients of a solution's Taylor series from the first on, one beyond `order`."""
    import casadi as ca

    sizes = [rate.numel_in(i) for i in range(rate.n_in())]
    z = ca.SX.sym("z", sum(sizes))
    x, rest = z[: sizes[0]], z[sizes[0] :]
    cuts = np.cumsum(sizes[1:])[:-1].tolist()
    terms = [ca.densify(rate(x, *ca.vertsplit(rest, [0, *cuts, rest.numel()])))]
    for k in range(2, order + 2):
        terms.append(ca.jtimes(terms[-1], x, terms[0]) / k)
    return z, terms


def _polynomial(x: Any, terms: list[Any], h: float, degree: int) -> Any:
    import casadi as ca

    return x + sum((h ** (k + 1) * terms[k] for k in range(degree)), ca.SX.zeros(x.numel()))


def _taylor_tapes(rate: Any, h: float, order: int, slope_order: int) -> tuple[tuple[IntervalTape, IntervalTape], ...]:
    """Rate, Taylor polynomial of the step and its remainder: followed by the Jacobian in (x, u, p), and alone."""
    import casadi as ca

    z, terms = _taylor_terms(rate, max(order, slope_order))
    x = z[: rate.numel_in(0)]

    def tapes(sloped: Any, value: Any) -> tuple[IntervalTape, IntervalTape]:
        return _tape(z, ca.vertcat(sloped, ca.vec(ca.densify(ca.jacobian(sloped, z))))), _tape(z, value)

    def remainder(degree: int) -> Any:
        return h ** (degree + 1) * terms[degree]

    parts = (
        (_polynomial(x, terms, h, slope_order), _polynomial(x, terms, h, order)),
        (remainder(slope_order), remainder(order)),
    )
    return tapes(terms[0], terms[0]), *(tapes(*pair) for pair in parts)


def _check_signature(function: Any) -> None:
    if function.n_in() < 2 or function.n_out() != 1 or function.numel_out(0) != function.numel_in(0):
        raise ModelError(
            "function",
            f"{function.name()} has {function.n_in()} inputs and {function.n_out()} outputs",
            remedy="give a casadi.Function (x, u) -> x+ or (x, u, p) -> x+ with as many rows as x",
        )
