"""The model a certificate is proved for: a difference inclusion with every error in it by name.

    x+ in co_i {A_i x + B_i u + c_i} + W,   W = {d : |d| <= w},   for all (x, u, p) in declared intervals

The A_i, B_i are the corners of the bounded Jacobian; entries that hardly vary go into W instead. W also holds what
the parameters do to the middle of the box, the sensor error and the float error.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.geometry.validation import vector
from yannctl.types import ArrayLike, Float, Int

from .intervals import Pieces
from .sampled_map import Enclosure, SampledMap, enclose_in_pieces

MAX_CORNERS = 64
_SLACK = 1 + 1e-12  # over the rounding of the sums below
_FLOAT_ERROR = 1e-12  # of the filter's lines and of the numbers A, B, c, relative to the box


@dataclass(frozen=True, eq=False)
class Domain:
    """Where a model is stated: intervals of state, input and parameters.

    Args:
        x_min: lower state bounds (nx,) [x_units].
        x_max: upper state bounds (nx,) [x_units].
        u_min: lower input bounds (nu,) [u_units].
        u_max: upper input bounds (nu,) [u_units].
        p_min: lower parameters (np,).
        p_max: upper parameters (np,).
        u_rate: most an input may differ from the one sent a period before (nu,) [u_units], empty for no limit; it takes
            models whose last states are that input (`with_delay`).

    Raises:
        ModelError: sizes that do not fit, or bounds in the wrong order.
    """

    x_min: Float[np.ndarray, " nx"] | Any
    x_max: Float[np.ndarray, " nx"] | Any
    u_min: Float[np.ndarray, " nu"] | Any
    u_max: Float[np.ndarray, " nu"] | Any
    p_min: Float[np.ndarray, " np"] | Any = ()
    p_max: Float[np.ndarray, " np"] | Any = ()
    u_rate: Float[np.ndarray, " nu"] | Any = ()

    def __post_init__(self) -> None:
        for letter in "xup":
            low = np.atleast_1d(np.asarray(getattr(self, f"{letter}_min"), dtype=float))
            high = vector(f"{letter}_max", getattr(self, f"{letter}_max"), low.size)
            if not (np.isfinite(low).all() and np.all(low <= high)):
                raise ModelError(f"{letter}_min", f"{low} is not below {letter}_max = {high}")
            object.__setattr__(self, f"{letter}_min", low)
            object.__setattr__(self, f"{letter}_max", high)
        rate = np.asarray(self.u_rate, dtype=float).reshape(-1)
        if rate.size not in (0, self.u_min.size) or not (np.isfinite(rate).all() and np.all(rate > 0)):
            raise ModelError("u_rate", f"is {rate}, expected {self.u_min.size} positive numbers, or none")
        object.__setattr__(self, "u_rate", rate)

    def low(self) -> Float[np.ndarray, " nz"]:
        """Lower ends of (x, u, p)."""
        return np.concatenate([self.x_min, self.u_min, self.p_min])

    def high(self) -> Float[np.ndarray, " nz"]:
        """Upper ends of (x, u, p)."""
        return np.concatenate([self.x_max, self.u_max, self.p_max])


@dataclass(frozen=True, eq=False)
class Errors:
    """What stands between the model and the loop.

    Args:
        sensor: bound of the measurement error of each state (nx,) [x_units].
        simulation: difference between the certified period and the plant's own step (nx,) [x_units].
    """

    sensor: Float[np.ndarray, " nx"] | Any = 0.0
    simulation: Float[np.ndarray, " nx"] | Any = 0.0


@dataclass(frozen=True, eq=False)
class Inclusion:
    """Models whose hull, widened by W, holds every successor.

    Args:
        A: state matrices (models, nx, nx).
        B: input matrices (models, nx, nu).
        c: constants (models, nx) [x_units], so that x+ = A x + B u + c in physical units.
        w: half widths of W (models, nx) [x_units].
        periods: periods each model spans with the input held (models,); 1 but for lost packets.
        terms: what w is made of, by name, each (models, nx) [x_units].
        sensor: the measurement error inside w (nx,) [x_units].
        delay: 1 where the last state holds the input still on its way, else 0.
    """

    A: Float[np.ndarray, "models nx nx"]
    B: Float[np.ndarray, "models nx nu"]
    c: Float[np.ndarray, "models nx"]
    w: Float[np.ndarray, "models nx"]
    periods: Int[np.ndarray, " models"]
    terms: Mapping[str, Float[np.ndarray, "models nx"]]
    sensor: Float[np.ndarray, " nx"]
    delay: int = 0
    nx: int = field(init=False)
    nu: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nx", self.A.shape[1])
        object.__setattr__(self, "nu", self.B.shape[2])

    def __len__(self) -> int:
        return len(self.A)

    def residual_share(self, x: ArrayLike, u: ArrayLike, x_next: ArrayLike) -> Float[np.ndarray, "..."]:
        """Measure how much of W a transition used: the least, over the one-period models, of max_i |d_i| / w_i.

        An upper bound of the share, since the hull of the models holds more than the models.

        Args:
            x: states (..., nx).
            u: inputs (..., nu).
            x_next: states one period later (..., nx).

        Returns:
            Shares (...); above 1 the transition may lie outside the certified model.
        """
        one = self.periods == 1
        predicted = np.einsum("mij,...j->...mi", self.A[one], np.asarray(x, dtype=float))
        predicted = predicted + np.einsum("mij,...j->...mi", self.B[one], np.asarray(u, dtype=float)) + self.c[one]
        low, high = predicted.min(axis=-2), predicted.max(axis=-2)
        after = np.asarray(x_next, dtype=float)
        gap = np.maximum(np.maximum(low - after, after - high), 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = gap / self.w[one].min(axis=0)
        return np.nan_to_num(share, nan=0.0, posinf=np.inf).max(axis=-1)


def bound_inclusion(
    sampled: SampledMap,
    domain: Domain,
    errors: Errors | None = None,
    pieces: Pieces = 8,
    periods: int = 1,
    max_corners: int = MAX_CORNERS,
) -> Inclusion:
    """Bound a plant's period by linear models and W, by interval arithmetic alone.

    Args:
        sampled: the period (or several periods with the input held).
        domain: intervals of state, input and parameters.
        errors: sensor and simulation error, none when omitted.
        pieces: pieces each coordinate of (x, u, p) is cut into (nz,) or one number.
        periods: how many sample periods `sampled` spans.
        max_corners: most models to make.

    Returns:
        The inclusion.

    Raises:
        ModelError: the period could not be bounded on the domain.
    """
    low, high = domain.low(), domain.high()
    found = enclose_in_pieces(sampled, low, high, pieces)
    if not (np.isfinite(found.jacobian).all() and np.isfinite(found.centre).all()):
        raise ModelError(
            "domain", "no finite bound of the period", remedy="more substeps, more pieces or a smaller box"
        )
    nx, nu = sampled.nx, sampled.nu
    middle = 0.5 * (low + high)
    reach = np.maximum(high - middle, middle - low) * _SLACK
    size = np.maximum(domain.x_max - domain.x_min, 1e-300)
    kept, nominal, radius = _corner_entries(found, reach, size, nx + nu, max_corners)
    AB = np.repeat(nominal[None], 2 ** len(kept), axis=0)
    for model, signs in enumerate(itertools.product((-1.0, 1.0), repeat=len(kept))):
        for (i, j), sign in zip(kept, signs, strict=True):
            AB[model, i, j] += sign * radius[i, j]
    # phi(x, u, p) - phi(x_c, u_c, p) lies in D (x - x_c, u - u_c) for each p, so p on its own moves only the middle.
    moved = enclose_in_pieces(
        sampled,
        np.concatenate([middle[: nx + nu], domain.p_min]),
        np.concatenate([middle[: nx + nu], domain.p_max]),
        np.where(np.arange(low.size) < nx + nu, 1, 2),
    ).image
    inner = 0.5 * (moved[0] + moved[1])
    c = inner - AB @ middle[: nx + nu]
    rest = radius.copy()
    for entry in kept:
        rest[entry] = 0.0
    terms = {
        "nonlinearity": rest @ reach[: nx + nu],
        "parameters": np.maximum(moved[1] - inner, inner - moved[0]),
        "rounding": _FLOAT_ERROR * (size + np.abs(middle[:nx]) + np.abs(AB).max(axis=0) @ reach[: nx + nu]),
    }
    return _with_errors(AB[:, :, :nx], AB[:, :, nx:], c, terms, errors or Errors(), periods)


def join(inclusions: Sequence[Inclusion]) -> Inclusion:
    """Ask for several inclusions at once: of several plants, or of holds of one, two, ... periods.

    Args:
        inclusions: at least one, of the same sizes, sensor error and delay.

    Returns:
        All models together.
    """
    names = list(dict.fromkeys(name for part in inclusions for name in part.terms))

    def stack(name: str) -> np.ndarray:
        return np.concatenate([part.terms.get(name, np.zeros_like(part.w)) for part in inclusions])

    A, B, c, w, periods = (
        np.concatenate([getattr(part, key) for part in inclusions]) for key in ("A", "B", "c", "w", "periods")
    )
    terms = {name: stack(name) for name in names}
    return Inclusion(A, B, c, w, periods, terms, inclusions[0].sensor, inclusions[0].delay)


def with_delay(inclusion: Inclusion) -> Inclusion:
    """Let the input act one period late: state (x, v), x+ = A x + B v + c + d, v+ = u.

    Args:
        inclusion: models without delay.

    Returns:
        Models of the augmented state (nx + nu).
    """
    models, nx, nu = len(inclusion), inclusion.nx, inclusion.nu
    A, B = np.zeros((models, nx + nu, nx + nu)), np.zeros((models, nx + nu, nu))
    A[:, :nx, :nx], A[:, :nx, nx:] = inclusion.A, inclusion.B
    B[:, nx:] = np.eye(nu)

    def extend(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.zeros((*array.shape[:-1], nu))], axis=-1)

    terms = {name: extend(term) for name, term in inclusion.terms.items()}
    return Inclusion(
        A, B, extend(inclusion.c), extend(inclusion.w), inclusion.periods, terms, extend(inclusion.sensor), delay=1
    )


def _with_errors(
    A: np.ndarray, B: np.ndarray, c: np.ndarray, terms: dict[str, np.ndarray], errors: Errors, periods: int
) -> Inclusion:
    """Add the errors: with a reading x + e, |e| <= E, the next reading moves by up to |A| E + E."""
    models, nx = c.shape
    sensor, simulation = vector("sensor", errors.sensor, nx), vector("simulation", errors.simulation, nx)
    whole = {name: np.repeat(term[None], models, axis=0) for name, term in terms.items()}
    if simulation.any():
        whole["simulation"] = np.repeat(simulation[None], models, axis=0)
    if sensor.any():
        whole["sensor"] = np.abs(A) @ sensor + sensor
    whole = {name: term * _SLACK for name, term in whole.items()}
    w = np.sum(list(whole.values()), axis=0) * _SLACK
    return Inclusion(A, B, c, w, np.full(models, periods), whole, np.array(sensor))


def _corner_entries(
    found: Enclosure, reach: np.ndarray, size: np.ndarray, columns: int, max_corners: int
) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray]:
    """Choose the entries of the Jacobian that become corners: those whose spread moves the state most."""
    low, high = found.jacobian[0, :, :columns], found.jacobian[1, :, :columns]
    nominal = 0.5 * (low + high)
    radius = np.maximum(high - nominal, nominal - low) * _SLACK + 1e-300
    effect = radius * reach[:columns] / size[:, None]
    order = np.argsort(-effect, axis=None)[: int(np.log2(max_corners))]
    entries = [tuple(int(k) for k in np.unravel_index(flat, effect.shape)) for flat in order]
    return [(i, j) for i, j in entries if effect[i, j] > 1e-9], nominal, radius
