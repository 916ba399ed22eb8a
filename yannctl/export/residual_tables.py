"""The learned part of a controller as bare arrays, and the evaluation rule its C text follows.

`u = min(max(law + reach tanh f(phi(x)), low), high)` with `low = min(u_min, law)`, `high = max(u_max, law)`; the
features phi are cosine and sine of each angle, then `(x - centre) scale` of the other states. Sums run in column order
and without fused multiply-add. An angle beyond 1000 rad, or anything else that is not finite, leaves the law's input.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import Float

from .activations import activation, odd_table, quarter_turns

ACTIVATIONS = ("relu", "tanh", "gelu")


@dataclass(frozen=True, eq=False)
class ResidualTables:
    """Weights, features and limits of a learned residual, in the precision they are evaluated in.

    Args:
        weights: one matrix a layer (n_out, n_in).
        biases: one vector a layer (n_out,).
        kind: activation of the hidden layers: "relu", "tanh" or "gelu".
        angles: indices of the states that enter as cosine and sine, rising.
        centre: centre of the other states' ranges.
        scale: one over half of the other states' ranges.
        reach: largest change of each input, authority (u_max - u_min) (n_out,) [input unit].
        u_min: lower limits of the inputs (n_out,).
        u_max: upper limits (n_out,).

    Raises:
        ModelError: an unknown activation, shapes that do not fit together, or a number that is not finite.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    kind: str
    angles: tuple[int, ...]
    centre: Float[np.ndarray, " n_others"]
    scale: Float[np.ndarray, " n_others"]
    reach: Float[np.ndarray, " n_out"]
    u_min: Float[np.ndarray, " n_out"]
    u_max: Float[np.ndarray, " n_out"]

    def __post_init__(self) -> None:
        if self.kind not in ACTIVATIONS:
            raise ModelError("extension.activation", f"got {self.kind!r}, expected one of {ACTIVATIONS}")
        n_in = 2 * len(self.angles) + len(self.centre)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if weight.ndim != 2 or weight.shape[1] != n_in or bias.shape != weight.shape[:1]:
                raise ModelError("extension.weights", f"has shape {weight.shape}, expected (.., {n_in})", index=i)
            n_in = weight.shape[0]
        if n_in != len(self.reach):
            raise ModelError("extension.weights", f"ends with {n_in} outputs, the law has {len(self.reach)}")
        for field in ("weights", "biases", "centre", "scale", "reach", "u_min", "u_max"):
            value = getattr(self, field)
            if not all(np.all(np.isfinite(array)) for array in (value if isinstance(value, tuple) else (value,))):
                raise ModelError(f"extension.{field}", "is not finite", remedy="train again, or use double precision")

    @classmethod
    def of(cls, actor: Any, precision: str) -> "ResidualTables":
        """Take the learned part of an extended actor.

        Args:
            actor: a `yannctl.yann.ExtendedActor` of kind "residual" without layer norm, or such tables already.
            precision: "double" or "float".

        Returns:
            The tables, rounded to the precision.

        Raises:
            ModelError: another module, or a layer that has no C form.
        """
        if isinstance(actor, ResidualTables):
            return actor.rounded(precision)
        from yannctl.yann import ExtendedActor

        if not isinstance(actor, ExtendedActor):
            text = f"expected an ExtendedActor, got {type(actor).__name__}"
            raise ModelError("extension", text, remedy="make one with yann.extend(actor, plant)")
        weights, biases, kind = _layers(actor.learned)
        u_min, u_max = (bound.numpy().astype(float) for bound in (actor.u_min, actor.u_max))
        features = actor.features
        if features.periods:
            text = f"sees state {features.periods[0][0]} by its period, which has no C form yet"
            raise ModelError("extension", text, remedy="export a policy of states without periods")
        return cls(
            weights=weights, biases=biases, kind=kind, angles=features.angles,
            centre=features.centre.numpy().astype(float), scale=1.0 / features.half_range.numpy().astype(float),
            reach=actor.authority * (u_max - u_min), u_min=u_min, u_max=u_max,
        ).rounded(precision)  # fmt: skip

    def rounded(self, precision: str) -> "ResidualTables":
        """Round every number to a precision.

        Args:
            precision: "double" or "float".

        Returns:
            The same tables in float64 or float32.
        """
        dtype = np.float64 if precision == "double" else np.float32

        def to(array: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):
                return np.ascontiguousarray(array, dtype)

        return ResidualTables(
            tuple(map(to, self.weights)), tuple(map(to, self.biases)), self.kind, self.angles,
            *map(to, (self.centre, self.scale, self.reach, self.u_min, self.u_max)),
        )  # fmt: skip

    @property
    def nx(self) -> int:
        """Number of states seen."""
        return len(self.angles) + len(self.centre)

    @property
    def others(self) -> tuple[int, ...]:
        """Indices of the states that are not angles."""
        return tuple(i for i in range(self.nx) if i not in self.angles)

    @property
    def precision(self) -> Literal["double", "float"]:
        """Name of the number type, "double" or "float"."""
        return "double" if self.reach.dtype == np.float64 else "float"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of features, hidden units and outputs."""
        return (self.weights[0].shape[1], *(len(bias) for bias in self.biases))

    def change(self, x: Float[np.ndarray, "n nx"]) -> Float[np.ndarray, "n n_out"]:
        """Evaluate the proposed change reach tanh f(phi(x)), before the limits.

        Args:
            x: states (n, nx), in the precision of the tables.

        Returns:
            Changes (n, n_out); NaN where a feature is not finite.
        """
        turns = quarter_turns(self.precision)
        columns = [part for i in self.angles for part in turns(x[:, i])]
        columns += [(x[:, i] - c) * s for i, c, s in zip(self.others, self.centre, self.scale, strict=True)]
        seen = np.stack(columns, axis=1)
        act = activation(self.kind, self.precision)
        with np.errstate(over="ignore", invalid="ignore"):
            for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
                seen = act(_dense(weight, bias, seen))
            raw = _dense(self.weights[-1], self.biases[-1], seen)
            return self.reach * odd_table("tanh", self.precision)(raw)

    def extend(
        self, law: Float[np.ndarray, "n n_out"], x: Float[np.ndarray, "n nx"]
    ) -> tuple[Float[np.ndarray, "n n_out"], np.ndarray]:
        """Add the change to the law's input within the limits.

        Args:
            law: the law's inputs (n, n_out).
            x: states (n, nx).

        Returns:
            Inputs (n, n_out), and whether the learned part gave finite numbers (n,).
        """
        with np.errstate(over="ignore", invalid="ignore"):
            value = law + self.change(x)
        good = np.asarray(np.isfinite(value).all(axis=1))
        low, high = np.where(law < self.u_min, law, self.u_min), np.where(law > self.u_max, law, self.u_max)
        value = np.where(value >= low, value, low)
        value = np.where(value <= high, value, high)
        return np.where(good[:, None], value, law), good


def _dense(weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Weight x + bias, the products added column by column."""
    total = x[:, :1] * weight[:, 0]
    for column in range(1, weight.shape[1]):
        total = total + x[:, column : column + 1] * weight[:, column]
    return total + bias


def _layers(learned: Any) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], str]:
    """Weights, biases and activation of a residual network."""
    from torch import nn

    names = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.GELU: "gelu"}
    if not isinstance(learned, nn.Sequential):
        raise ModelError("extension", f"{type(learned).__name__} has no C form", remedy='use kind="residual"')
    linear = [layer for layer in learned if isinstance(layer, nn.Linear)]
    others = [layer for layer in learned if not isinstance(layer, nn.Linear)]
    kinds = {names.get(type(layer), "") for layer in others} or {"relu"}
    if len(kinds) != 1 or "" in kinds or len(others) != len(linear) - 1:
        found = ", ".join(type(layer).__name__ for layer in learned)
        raise ModelError(
            "extension", f"{found} has no C form", remedy="use linear layers with one activation, without layer norm"
        )
    return (
        tuple(layer.weight.detach().numpy().astype(float) for layer in linear),
        tuple(layer.bias.detach().numpy().astype(float) for layer in linear),
        kinds.pop(),
    )


def random_residual(
    sizes: Sequence[int], kind: str, u_max: float, seed: int, precision: str = "float"
) -> ResidualTables:
    """Draw a residual whose every layer is filled, to measure and to try the C form.

    Args:
        sizes: numbers of states, hidden units and outputs.
        kind: activation.
        u_max: limit of each input, both ways [input unit].
        seed: of the draw.
        precision: "double" or "float".

    Returns:
        The tables.
    """
    generator = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(sizes))
    weights = tuple(generator.uniform(-1, 1, (m, n)) * np.sqrt(3 / n) for n, m in pairs)
    biases = tuple(generator.uniform(-0.3, 0.3, m) for _, m in pairs)
    limit = np.full(sizes[-1], float(u_max))
    nx = sizes[0]
    return ResidualTables(
        weights, biases, kind, (), np.zeros(nx), np.full(nx, 0.2), 0.5 * limit, -limit, limit
    ).rounded(precision)
