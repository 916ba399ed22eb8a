"""Small checks of a linear model's matrices, vectors and names, and the exact sampling of a continuous one."""

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float


def discretise(
    Ac: Float[np.ndarray, "nx nx"], Bc: Float[np.ndarray, "nx nu"], f: Float[np.ndarray, " nx"], dt: float
) -> tuple[Float[np.ndarray, "nx nx"], Float[np.ndarray, "nx nu"], Float[np.ndarray, " nx"]]:
    """Sample dx/dt = Ac x + Bc u + f exactly, u and f held: exp([[Ac, Bc, f], [0, 0, 0]] dt).

    Args:
        Ac: continuous state matrix (nx, nx) [1/time].
        Bc: continuous input matrix (nx, nu).
        f: constant rate (nx,).
        dt: sample period [time].

    Returns:
        A = exp(Ac dt), B and c = integral of exp(Ac s) ds times Bc and f.
    """
    from scipy.linalg import expm

    nx, nu = Bc.shape
    block = np.zeros((nx + nu + 1, nx + nu + 1))
    block[:nx, :nx], block[:nx, nx : nx + nu], block[:nx, -1] = Ac, Bc, f
    sampled = expm(block * dt)
    return sampled[:nx, :nx], sampled[:nx, nx : nx + nu], sampled[:nx, -1]


def channel(field: str, value: ArrayLike | None, n: int) -> np.ndarray:
    """Make a finite read-only vector of n numbers.

    Args:
        field: name for the error text.
        value: the numbers, None for zeros.
        n: how many.

    Returns:
        Vector (n,).

    Raises:
        ModelError: a wrong shape or an entry that is not finite.
    """
    array = np.zeros(n) if value is None else numbers(field, value)
    if array.shape != (n,):
        raise ModelError(field, f"shape {array.shape}, expected {(n,)}")
    return frozen(array)


def numbers(field: str, value: ArrayLike) -> np.ndarray:
    """Make a fresh array of finite numbers.

    Args:
        field: name for the error text.
        value: the numbers.

    Returns:
        Array of the same shape.

    Raises:
        ModelError: an entry that is not finite.
    """
    array = np.array(value, dtype=float)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ModelError(field, f"is {array[where]}, expected a finite number", index=where)
    return array


def frozen(array: np.ndarray) -> np.ndarray:
    """Make an array read-only.

    Args:
        array: the array, changed in place.

    Returns:
        The same array.
    """
    array.setflags(write=False)
    return array


def table(field: str, value: ArrayLike | None, shape: tuple[int | None, int | None]) -> np.ndarray:
    """Make a finite read-only matrix.

    Args:
        field: name for the error text.
        value: nested numbers; None for zeros, with length zero where the shape is free.
        shape: rows and columns, None where free.

    Returns:
        Matrix of that shape.

    Raises:
        ModelError: a wrong shape or an entry that is not finite.
    """
    array = np.zeros([n or 0 for n in shape]) if value is None else numbers(field, value)
    if array.ndim != 2 or any(n is not None and n != got for n, got in zip(shape, array.shape, strict=True)):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise ModelError(field, f"shape {array.shape}, expected ({expected})")
    return frozen(array)


def labels(field: str, names: tuple[str, ...], n: int) -> tuple[str, ...]:
    """Check n different names.

    Args:
        field: name for the error text.
        names: the names; empty gives the field's first letter and a number.
        n: how many.

    Returns:
        The names.

    Raises:
        ModelError: a wrong number, or a name that repeats.
    """
    found = tuple(names) or tuple(f"{field[0]}{i + 1}" for i in range(n))
    if len(found) != n or len(set(found)) != n:
        raise ModelError(field, f"got {found}, expected {n} different names")
    return found
