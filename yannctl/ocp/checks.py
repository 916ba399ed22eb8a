"""The scalar arguments of `Ocp`, checked: numbers, choices and move blocks."""

from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.geometry.validation import as_array, check_order, vector


def horizon(value: Any) -> int:
    """Check an integer of at least 1.

    Args:
        value: what the caller gave as N.

    Returns:
        The horizon.

    Raises:
        ModelError: when the argument is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ModelError("N", f"expected an integer, got {value!r}", remedy="give a horizon of at least 1")
    if value < 1:
        raise ModelError("N", f"expected at least 1, got {value}", remedy="give a horizon of at least 1")
    return int(value)


def discount(value: Any) -> float:
    """Check a number in (0, 1].

    Args:
        value: what the caller gave as gamma.

    Returns:
        The factor.

    Raises:
        ModelError: when the argument is anything else.
    """
    result = number("gamma", value)
    if not 0.0 < result <= 1.0:
        raise ModelError("gamma", f"expected 0 < gamma <= 1, got {result:g}", remedy="use 1.0 for no discount")
    return result


def positive(name: str, value: Any) -> float:
    """Check a number above zero.

    Args:
        name: name for the error text.
        value: what the caller gave.

    Returns:
        The number.

    Raises:
        ModelError: when the argument is anything else.
    """
    result = number(name, value)
    if not result > 0.0:
        raise ModelError(name, f"expected a positive number, got {result:g}", remedy="give None for the default")
    return result


def number(name: str, value: Any) -> float:
    """Check one finite number.

    Args:
        name: name for the error text.
        value: what the caller gave.

    Returns:
        The number.

    Raises:
        ModelError: when the argument is anything else.
    """
    array = as_array(name, value)
    if array.size != 1:
        raise ModelError(name, f"expected one number, got shape {array.shape}", remedy="give a float")
    return float(array.reshape(()))


def check_choice(name: str, value: Any, allowed: tuple) -> None:
    """Refuse what is not one of the allowed values.

    Args:
        name: name for the error text.
        value: what the caller gave.
        allowed: the values.

    Raises:
        ModelError: when the argument is anything else.
    """
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in allowed):
        texts = ", ".join(repr(choice) for choice in allowed)
        raise ModelError(name, f"expected one of {texts}, got {value!r}", remedy="choose one of these")


def move_blocks(value: Any, N: int) -> tuple[int, ...] | None:
    """Check the lengths of the blocks over which the input is held, which add up to the horizon.

    Args:
        value: the lengths, None for no blocks.
        N: the horizon.

    Returns:
        The lengths, or None.

    Raises:
        ModelError: when the argument is anything else.
    """
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, (list, tuple, np.ndarray)):
        remedy = "give a list of integers, such as [1, 1, 2]"
        raise ModelError("blocks", f"expected a list of lengths, got {value!r}", remedy=remedy)
    for i, length in enumerate(value):
        if isinstance(length, bool) or not isinstance(length, (int, np.integer)) or length < 1:
            text = f"expected an integer of at least 1, got {length!r}"
            raise ModelError("blocks", text, index=i, remedy="count steps")
    if sum(value) != N:
        text = f"the lengths add up to {sum(value)}, expected the horizon N = {N}"
        raise ModelError("blocks", text, remedy="change the last length, or N")
    return tuple(int(length) for length in value)


def rate_bounds(du_min: Any, du_max: Any, nu: int) -> tuple[np.ndarray, np.ndarray]:
    """Check bounds of the input's rate, `du_min <= 0 <= du_max`.

    Args:
        du_min: lower bound (nu,), scalar, or None for −inf. [input]
        du_max: upper bound, likewise. [input]
        nu: number of inputs.

    Returns:
        Both bounds (nu,).

    Raises:
        ModelError: when the argument is anything else.
    """
    low = vector("du_min", -np.inf if du_min is None else du_min, nu, infinite=True)
    high = vector("du_max", np.inf if du_max is None else du_max, nu, infinite=True)
    check_order("du_min", low, high, "du_max")
    for name, wrong in (("du_min", low > 0), ("du_max", high < 0)):
        if wrong.any():
            remedy = "give du_min <= 0 <= du_max"
            raise ModelError(name, "forbids to hold the input", index=int(np.argmax(wrong)), remedy=remedy)
    return low, high


def check_input_reference(u_ref: np.ndarray, u_min: np.ndarray, u_max: np.ndarray) -> None:
    """Refuse an input reference outside the input bounds.

    Args:
        u_ref: reference (nu,). [input]
        u_min: lower bounds (nu,). [input]
        u_max: upper bounds (nu,). [input]

    Raises:
        ModelError: when the argument is anything else.
    """
    outside = (u_ref < u_min) | (u_ref > u_max)
    if outside.any():
        i = int(np.argmax(outside))
        text = f"{u_ref[i]:.6g} is outside the input bounds [{u_min[i]:.6g}, {u_max[i]:.6g}]"
        raise ModelError("u_ref", text, index=i, remedy="move it inside, or widen the bounds")
