"""The learned policy in numpy: law plus residual network, whose weights are exchanged as one vector between two ticks.

u = clip(law(x) + reach tanh f(x)), f a GELU network on the features of `yannctl.yann.features`. No torch is loaded;
its answers agree with the torch module's to rounding, which the parity check holds before weights enter.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import erf

from yannctl.controllers.base import AbstractController, as_states, refuse_reference
from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

PARITY = 1e-9  # of the input range: what rounding in another order may differ by


@dataclass(frozen=True)
class PolicyShape:
    """What stays when weights change.

    Args:
        sizes: widths of the network, features first, inputs last.
        angles: states seen as cos and sin.
        others: the other states.
        centre: middle of the others' ranges.
        half_range: half of them.
        u_min: lower input limits (nu,).
        u_max: upper input limits (nu,).
        reach: largest change of the input (nu,).
    """

    sizes: tuple[int, ...]
    angles: tuple[int, ...]
    others: tuple[int, ...]
    centre: Float[np.ndarray, " n"]
    half_range: Float[np.ndarray, " n"]
    u_min: Float[np.ndarray, " nu"]
    u_max: Float[np.ndarray, " nu"]
    reach: Float[np.ndarray, " nu"]

    @property
    def n_weights(self) -> int:
        """Length of the vector of weights."""
        return sum((n + 1) * m for n, m in zip(self.sizes, self.sizes[1:], strict=False))


class NetworkPolicy(AbstractController):
    """The law with a learned change.

    Args:
        law: the exact law.
        shape: what stays.
        weights: weights and biases, layer by layer (n_weights,); None for zeros, which make it the law.
    """

    def __init__(
        self, law: AbstractController, shape: PolicyShape, weights: Float[np.ndarray, " n"] | None = None
    ) -> None:
        self.law, self.shape, self.nx, self.nu = law, shape, law.nx, law.nu
        self.weights = np.zeros(shape.n_weights)
        self._layers: list[tuple[np.ndarray, np.ndarray]] = []
        place = 0
        for n, m in zip(shape.sizes, shape.sizes[1:], strict=False):
            W = self.weights[place : place + n * m].reshape(m, n)
            self._layers.append((W, self.weights[place + n * m : place + n * m + m]))
            place += (n + 1) * m
        if weights is not None:
            self.load(weights)

    def load(self, weights: Float[np.ndarray, " n"]) -> None:
        """Take other weights, in one copy.

        Args:
            weights: (n_weights,).

        Raises:
            ModelError: another length, or a number that is not finite.
        """
        if weights.shape != self.weights.shape or not np.all(np.isfinite(weights)):
            raise ModelError("weights", f"are {weights.shape} numbers, not {self.weights.shape} finite ones")
        self.weights[:] = weights

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Evaluate the policy.

        Args:
            x: states (..., nx).
            reference: must be None.

        Returns:
            Inputs (..., nu).
        """
        refuse_reference(reference)
        states, batch = as_states(x, self.nx)
        base = self.law(states)
        low, high = np.minimum(self.shape.u_min, base), np.maximum(self.shape.u_max, base)
        return np.clip(base + self.residual(states), low, high).reshape(*batch, self.nu)

    def residual(self, states: Float[np.ndarray, "n nx"]) -> Float[np.ndarray, "n nu"]:
        """Evaluate the proposed change, reach tanh f(x).

        Args:
            states: (n, nx).

        Returns:
            (n, nu) [input units].
        """
        shape = self.shape
        angle = states[:, shape.angles]
        seen = [np.cos(angle), np.sin(angle), (states[:, shape.others] - shape.centre) / shape.half_range]
        values = np.concatenate(seen if shape.angles else seen[2:], axis=1)
        for W, b in self._layers[:-1]:
            values = values @ W.T + b
            values = values * 0.5 * (1.0 + erf(values * np.sqrt(0.5)))
        W, b = self._layers[-1]
        return shape.reach * np.tanh(values @ W.T + b)

    def reset(self) -> None:
        """Nothing is remembered."""


def shape_of(record: Mapping[str, Any]) -> PolicyShape:
    """Read a shape from what `yannctl.rl.deployment.shape_record` wrote.

    Args:
        record: JSON values.

    Returns:
        The shape.
    """
    sizes, angles, others = (tuple(int(number) for number in record[name]) for name in ("sizes", "angles", "others"))
    centre, half = np.array(record["centre"], float), np.array(record["half_range"], float)
    u_min, u_max, reach = (np.array(record[name], float) for name in ("u_min", "u_max", "reach"))
    return PolicyShape(sizes, angles, others, centre, half, u_min, u_max, reach)


def weights_number(weights: Float[np.ndarray, " n"]) -> int:
    """Give the number of weights: the first 32 bits of the SHA-256 of their bytes.

    Args:
        weights: (n,).

    Returns:
        The number.
    """
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(weights).tobytes()).digest()[:4], "big")


def parity(policy: NetworkPolicy, probes: Float[np.ndarray, "n nx"], answers: Float[np.ndarray, "n nu"]) -> float:
    """Measure how far a policy is from the answers it must give.

    Args:
        policy: with the weights to check.
        probes: states (n, nx).
        answers: inputs of the module it was taken from (n, nu).

    Returns:
        Largest difference as a share of the input range; infinite where something is not finite or does not fit.
    """
    if probes.shape[1:] != (policy.nx,) or answers.shape != (len(probes), policy.nu) or not len(probes):
        return float("inf")
    with np.errstate(all="ignore"):
        share = np.abs(policy(probes) - answers) / (policy.shape.u_max - policy.shape.u_min)
    return float(np.max(share)) if np.all(np.isfinite(share)) else float("inf")
