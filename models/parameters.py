"""Checks of a plant's constructor arguments."""

from typing import Any

import numpy as np

from yannctl.errors import ModelError

KELVIN = (200.0, 1000.0)  # what a temperature of these plants can be


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


def require_kelvin(plant: Any, names: tuple[str, ...]) -> None:
    """Check that fields of a plant can be temperatures in kelvin: 77 is a degree Celsius that went astray.

    Args:
        plant: the plant.
        names: names of the fields.

    Raises:
        ModelError: the first that cannot.
    """
    for name in names:
        value = getattr(plant, name)
        if not KELVIN[0] <= value <= KELVIN[1]:
            text = f"is {value:g}, but in K it can only be {KELVIN[0]:g} to {KELVIN[1]:g}"
            raise ModelError(name, text, remedy="check its unit (here K)")
