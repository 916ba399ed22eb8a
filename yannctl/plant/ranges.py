"""Fields of a plant that may differ from their nominal value, and the plant's formulas as functions of them.

A plant writes its formulas with its own fields (`self.k0`). To make a field an argument, `specimen` gives a copy of the
plant in which that field holds a CasADi symbol (or another number), and the formulas are written once more.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

if TYPE_CHECKING:
    import yannctl.plant

# What a specimen must not take over from its plant, since it was made from the old values.
_TAPES = "_tape"


@dataclass(frozen=True)
class Range:
    """Interval in which a field of a plant lies; the field itself holds the nominal value.

    Args:
        low: lower end [unit].
        high: upper end [unit].
        unit: unit of the field.
        measured: whether its present value is known to a controller; of use for disturbances.

    Raises:
        ModelError: ends that are not finite or not in order.
    """

    low: float
    high: float
    unit: str = ""
    measured: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low <= self.high):
            raise ModelError("Range", f"from {self.low} to {self.high}", remedy="give finite ends, low <= high")


def specimen(plant: Any, values: Mapping[str, Any]) -> Any:
    """Copy a plant with other values of some fields; it keeps the data sheet of the original as `nominal`.

    Args:
        plant: the plant.
        values: new value of each field, a number or a CasADi symbol.

    Returns:
        The copy.
    """
    twin = copy.copy(plant)
    for name in [name for name in twin.__dict__ if name.endswith(_TAPES)]:
        del twin.__dict__[name]
    twin.__dict__.update(values)
    twin.__dict__["_nominal"] = plant.nominal
    return twin


def values_of(
    field: str, given: "ArrayLike | Mapping[str, float]", names: tuple[str, ...], own: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Read the values of named fields from a vector or from a mapping of some of them.

    Args:
        field: name of the argument, for the error text.
        given: vector (n,), or name -> value for some of the names.
        names: name of each entry.
        own: the values of names that are not given.

    Returns:
        Vector (n,) in the order of the names.

    Raises:
        ModelError: an unknown name, a wrong shape or a value that is not finite.
    """
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise ModelError(field, f"does not know {unknown}", remedy=f"the names are {', '.join(names) or 'none'}")
        array = np.array([given.get(name, value) for name, value in zip(names, own, strict=True)], dtype=float)
    else:
        array = np.array(given, dtype=float)
    if array.shape != (len(names),):
        raise ModelError(field, f"shape {array.shape}, expected {(len(names),)} for {', '.join(names) or 'no names'}")
    if not np.isfinite(array).all():
        i = int(np.argmin(np.isfinite(array)))
        raise ModelError(field, f"{names[i]} is {array[i]}", index=i)
    return array


def field_function(
    plant: "yannctl.plant.AbstractPlant",
    formula: Callable[["yannctl.plant.AbstractPlant", Any, Any], Any],
    names: tuple[str, str],
    groups: Mapping[str, tuple[str, ...]],
) -> Any:
    """Make a casadi.Function of (x, u) and of groups of the plant's fields.

    Args:
        plant: the plant.
        formula: the expression as a function of (specimen, x, u).
        names: name of the function and of its result.
        groups: argument name -> the fields it holds, e.g. {"p": ("k0", "UA")}.

    Returns:
        casadi.Function (x, u, *groups) -> result.
    """
    import casadi as ca

    symbols = {"x": ca.SX.sym("x", plant.nx), "u": ca.SX.sym("u", plant.nu)}
    values = {}
    for letter, fields in groups.items():
        symbols[letter] = ca.SX.sym(letter, len(fields))
        values |= {field: symbols[letter][i] for i, field in enumerate(fields)}
    twin = specimen(plant, values) if values else plant
    result = formula(twin, symbols["x"], symbols["u"])
    name, output = names
    return ca.Function(name, list(symbols.values()), [ca.densify(ca.SX(result))], list(symbols), [output])
