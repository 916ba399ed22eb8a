"""What a controller with memory keeps from call to call: one row a state of the batch."""

from abc import abstractmethod

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

from .base import AbstractController


class AbstractRecallingController(AbstractController):
    """A controller whose next input depends on the last one that really reached the plant."""

    @abstractmethod
    def applied(self, u: ArrayLike) -> None:
        """Say what was really applied since the last call, where it is not what the controller gave.

        Args:
            u: inputs (..., nu) after limits, rate limit and filter, of the same batch as the last call.
        """


def tell(controller: AbstractController, u: Float[np.ndarray, "*batch nu"]) -> None:
    """Tell a controller what was really applied, if it wants to know.

    Args:
        controller: any controller.
        u: inputs that reached the plant.
    """
    if isinstance(controller, AbstractRecallingController):
        controller.applied(u)


def same_batch(kept: np.ndarray | None, n: int) -> bool:
    """Whether anything is remembered; refuse a batch of another size than the remembered one.

    Args:
        kept: rows remembered, None after a reset.
        n: rows now.

    Returns:
        True where the rows fit.

    Raises:
        ModelError: another number of rows.
    """
    if kept is None:
        return False
    if len(kept) != n:
        raise ModelError("x", f"{n} states after {len(kept)}", remedy="call reset() before another batch")
    return True
