"""Checks of a plant's constructor arguments."""

from typing import Any

import numpy as np

from yannctl.errors import ModelError


def require_positive(plant: Any, names: tuple[str, ...]) -> None:
    """Check that fields of a plant are positive finite numbers.

    Args:
        plant: the plant.
        names: names of the fields.

    Raises:
        ModelError: the first that is not.
    """
    for name in names:
        value = getattr(plant, name)
        if not (np.isfinite(value) and value > 0):
            raise ModelError(name, f"is {value}, expected a positive number")
