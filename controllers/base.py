"""The contract of everything that closes the loop: `u = controller(x)`, numpy in, numpy out, physical units."""

from abc import ABC, abstractmethod

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.types import ArrayLike, Float

BOUND_TOLERANCE = 1e-9  # relative to the input range: rounding of a law at its bound
BATCH_TOLERANCE = 1e-9  # relative to the input range: sums may run in another order in a batch


class AbstractController(ABC):
    """A feedback law u = controller(x).

    Args:
        nx: number of states.
        nu: number of inputs.
    """

    nx: int
    nu: int

    @abstractmethod
    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Compute the inputs of one state or of a batch of states.

        Args:
            x: states (..., nx), physical units.
            reference: desired state (..., nx); None for the one the controller was built with.

        Returns:
            Inputs (..., nu), physical units; NaN where the controller has none and says so in its documentation.

        Raises:
            ModelError: a shape that does not fit, or a reference this controller cannot follow.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget everything remembered from earlier calls: the next call starts a new run."""


def as_states(x: ArrayLike, nx: int) -> tuple[Float[np.ndarray, "n nx"], tuple[int, ...]]:
    """Check states and list them one a row.

    Args:
        x: states (..., nx).
        nx: number of states.

    Returns:
        The states (n, nx) and the batch shape.

    Raises:
        ModelError: the last axis is not nx long.
    """
    states = np.asarray(x, float)
    if states.shape[-1:] != (nx,):
        raise ModelError("x", f"has shape {states.shape}, expected (..., {nx})")
    return states.reshape(-1, nx), states.shape[:-1]


def refuse_reference(reference: ArrayLike | None) -> None:
    """Raise where a reference is given to a controller whose reference is built in.

    Args:
        reference: what the caller gave.

    Raises:
        ModelError: it is not None.
    """
    if reference is not None:
        raise ModelError("reference", "this controller has its reference built in", remedy="give None, or rebuild it")


def check_controller(controller: AbstractController, plant: AbstractPlant, n: int = 8, seed: int = 0) -> None:
    """Check that a controller keeps the contract on the starts of a plant.

    Sizes, batches of any shape, finite inputs inside the plant's bounds, unchanged arguments, the same answer after
    `reset()`, and a typed error for a state of the wrong length.

    Args:
        controller: the controller.
        plant: the plant it is for.
        n: starts to try.
        seed: of the starts.

    Raises:
        ModelError: naming the part of the contract that does not hold.
    """
    if (controller.nx, controller.nu) != (plant.nx, plant.nu):
        raise ModelError(
            "controller", f"has nx, nu = {controller.nx}, {controller.nu}; the plant {plant.nx}, {plant.nu}"
        )
    x = np.asarray(plant.sample_starts(n, seed), float)
    kept = x.copy()
    controller.reset()
    u = controller(x)
    if not np.array_equal(x, kept):
        raise ModelError("controller", "changes the states it is given", remedy="work on a copy")
    _check_inputs(u, plant, n)
    span = np.asarray(plant.u_max, float) - np.asarray(plant.u_min, float)
    _check_batches(controller, x, u, BATCH_TOLERANCE * np.where(np.isfinite(span), span, 1.0))
    try:
        controller(np.zeros(plant.nx + 1))
    except ModelError:
        return
    raise ModelError("controller", f"accepts a state of length {plant.nx + 1}", remedy="call as_states first")


def _check_inputs(u: np.ndarray, plant: AbstractPlant, n: int) -> None:
    """Shape, type, finite, inside the bounds."""
    if not isinstance(u, np.ndarray) or u.shape != (n, plant.nu) or u.dtype != np.float64:
        found = f"{type(u).__name__} of shape {np.shape(u)}"
        raise ModelError("controller", f"returns {found}, expected a float64 array of shape {(n, plant.nu)}")
    if not np.all(np.isfinite(u)):
        bad = int(np.argmin(np.isfinite(u).all(axis=1)))
        raise ModelError(
            "controller", f"gives {u[bad]} at a start of the plant", index=bad, remedy="give it a fallback"
        )
    low, high = np.asarray(plant.u_min, float), np.asarray(plant.u_max, float)
    slack = BOUND_TOLERANCE * np.maximum(1.0, np.minimum(high - low, 1e9))
    if np.any(u < low - slack) or np.any(u > high + slack):
        bad = int(np.argmax(np.any((u < low - slack) | (u > high + slack), axis=1)))
        raise ModelError("controller", f"gives {u[bad]} outside the input bounds", index=bad, remedy="saturate it")


def _check_batches(controller: AbstractController, x: np.ndarray, u: np.ndarray, tolerance: np.ndarray) -> None:
    """One state at a time and a batch with more axes give the same inputs after a reset."""
    for i, state in enumerate(x):
        controller.reset()
        alone = controller(state)
        if np.shape(alone) != u[i].shape or np.any(np.abs(alone - u[i]) > tolerance):
            raise ModelError("controller", f"gives {alone} alone and {u[i]} in a batch", index=i)
    controller.reset()
    folded = controller(np.stack([x, x]))
    if np.shape(folded) != (2, *u.shape) or np.any(np.abs(folded - u) > tolerance):
        raise ModelError("controller", "does not take a batch of shape (2, n, nx)")
    controller.reset()
