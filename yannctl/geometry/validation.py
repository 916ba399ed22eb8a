"""Turn what a caller wrote into arrays, or raise a `ModelError` that names the field and the index.

Every datum of the pipeline checks itself with these functions, so texts and tolerances are the same everywhere.
"""

from typing import Any

import numpy as np

from yannctl.errors import EmptySetError, ModelError
from yannctl.types import Bool, Float

ASYMMETRY = 1e-9  # relative asymmetry of a weight that counts as rounding and is averaged away
_EPS = float(np.finfo(float).eps)


def as_array(field: str, value: Any, *, infinite: bool = False) -> Float[np.ndarray, "..."]:
    """Convert numbers, nested lists or arrays to a new float64 array and refuse everything else.

    Args:
        field: name for the error text.
        value: what the caller gave.
        infinite: whether ±inf is allowed; NaN never is.

    Returns:
        A fresh read-only array of any shape.

    Raises:
        ModelError: for text, objects, complex numbers, ragged lists, NaN, and inf where it is not allowed.
    """
    try:
        raw = np.asarray(value)
    except ValueError as cause:
        raise ModelError(field, f"not a rectangular array ({cause})", remedy="give rows of equal length") from cause
    if raw.dtype.kind not in "biuf":
        raise ModelError(field, f"expected real numbers, got {_kind(raw)}", remedy="give floats")
    array = np.array(raw, dtype=np.float64)
    bad = np.isnan(array) if infinite else ~np.isfinite(array)
    if bad.any():
        index = first_index(bad)
        what = float(array[tuple(np.argwhere(bad)[0])])
        raise ModelError(field, f"{what} is not a usable number", index=index, remedy="give a finite value")
    array.flags.writeable = False
    return array


def first_index(mask: Bool[np.ndarray, "..."] | np.bool) -> int | tuple[int, ...] | None:
    """Index of the first true entry: an integer for vectors, a tuple for matrices, None for scalars.

    Args:
        mask: truth values, at least one of them true.

    Returns:
        The index, as `ModelError` wants it.
    """
    where = tuple(int(i) for i in np.argwhere(mask)[0])
    if not where:
        return None
    return where[0] if len(where) == 1 else where


def vector(field: str, value: Any, n: int, *, infinite: bool = False) -> Float[np.ndarray, " n"]:
    """Convert to a vector of length `n`; a scalar is repeated.

    Args:
        field: name for the error text.
        value: scalar or sequence.
        n: expected length.
        infinite: whether ±inf is allowed.

    Returns:
        Read-only vector (n,).

    Raises:
        ModelError: when the length is another one or a number is unusable.
    """
    array = as_array(field, value, infinite=infinite)
    if array.ndim == 0:
        array = np.full(n, float(array))
        array.flags.writeable = False
    if array.shape != (n,):
        raise ModelError(field, f"expected shape ({n},), got {array.shape}", remedy=f"give {n} numbers, or one for all")
    return array


def matrix(field: str, value: Any, rows: int, columns: int) -> Float[np.ndarray, "rows columns"]:
    """Convert to a matrix of the given shape; the scalar 0 stands for the zero matrix, an empty list for no rows.

    Args:
        field: name for the error text.
        value: nested sequence, array, or 0.
        rows: expected number of rows.
        columns: expected number of columns.

    Returns:
        Read-only matrix (rows, columns).

    Raises:
        ModelError: when the shape is another one or a number is unusable.
    """
    array = as_array(field, value)
    if (array.ndim == 0 and float(array) == 0.0) or (array.size == 0 and rows * columns == 0):
        array = np.zeros((rows, columns))
        array.flags.writeable = False
    if array.shape != (rows, columns):
        raise ModelError(field, f"expected shape ({rows}, {columns}), got {array.shape}", remedy="check the dimensions")
    return array


def symmetric(field: str, value: Any, n: int) -> Float[np.ndarray, "n n"]:
    """Convert to a symmetric matrix: a scalar means `s I`, a vector the diagonal; rounding asymmetry is averaged away.

    Args:
        field: name for the error text.
        value: scalar, vector (n,) or matrix (n, n).
        n: expected dimension.

    Returns:
        Read-only symmetric matrix (n, n).

    Raises:
        ModelError: when the shape is wrong or the asymmetry exceeds 1e-9 of the largest entry.
    """
    array = as_array(field, value)
    if array.ndim == 0:
        array = float(array) * np.eye(n)
    elif array.ndim == 1 and array.shape == (n,):
        array = np.diag(array)
    if array.shape != (n, n):
        raise ModelError(field, f"expected shape ({n}, {n}), got {array.shape}", remedy="check the dimensions")
    gap = np.abs(array - array.T)
    if gap.size and gap.max() > ASYMMETRY * np.abs(array).max():
        i, j = (int(k) for k in np.unravel_index(int(gap.argmax()), gap.shape))
        text = f"{array[i, j]:.6g} differs from its mirror {array[j, i]:.6g}: the matrix is not symmetric"
        raise ModelError(field, text, index=(i, j), remedy="give (M + M') / 2")
    out = (array + array.T) / 2
    out.flags.writeable = False
    return out


def smallest_scaled_eigenvalue(M: Float[np.ndarray, "n n"]) -> float:
    """Smallest eigenvalue of `D^-1/2 M D^-1/2`, D the diagonal of M: its sign is that of M and units do not matter.

    Args:
        M: symmetric matrix.

    Returns:
        The eigenvalue; -inf when a zero on the diagonal has a non-zero row or a diagonal entry is negative.
    """
    diagonal = np.diag(M)
    if not diagonal.size:
        return np.inf
    zero = diagonal == 0.0
    if diagonal.min() < 0 or np.any(M[zero]):
        return -np.inf
    scale = np.where(zero, 1.0, 1.0 / np.sqrt(np.where(zero, 1.0, diagonal)))
    return float(np.linalg.eigvalsh(scale[:, None] * M * scale)[0])


def check_definite(
    field: str, M: Float[np.ndarray, "n n"], *, strictly: bool = False, tolerance: float | None = None
) -> None:
    """Refuse an indefinite matrix, and a singular one when `strictly`, naming the eigenvalue.

    Args:
        field: name for the error text.
        M: symmetric matrix.
        strictly: ask for positive definite instead of positive semidefinite.
        tolerance: relative size of a negative eigenvalue that counts as zero (default 10 n eps).

    Raises:
        ModelError: with the smallest eigenvalue in the text.
    """
    tolerance = 10 * max(1, len(M)) * _EPS if tolerance is None else tolerance
    smallest = smallest_scaled_eigenvalue(M)
    if smallest > tolerance or (not strictly and smallest >= -tolerance):
        return
    value = float(np.linalg.eigvalsh(M)[0])
    diagonal = np.diag(M)
    low = diagonal <= 0 if strictly else diagonal < 0
    index = (int(np.argmax(low)),) * 2 if low.any() else None
    wanted = "positive definite" if strictly else "positive semidefinite"
    text = f"not {wanted}: smallest eigenvalue {value:.6g} (scaled by the diagonal: {smallest:.3g})"
    raise ModelError(field, text, index=index, remedy=f"give a {wanted} matrix")


def check_order(low_field: str, low: Float[np.ndarray, " n"], high: Float[np.ndarray, " n"], high_field: str) -> None:
    """Refuse bounds that are reversed, equal, or infinite on the wrong side.

    Args:
        low_field: name of the lower bound.
        low: lower bounds.
        high: upper bounds.
        high_field: name of the upper bound.

    Raises:
        EmptySetError: with the first offending index and both numbers.
    """
    bad = ~(low < high)
    if bad.any():
        i = int(np.argmax(bad))
        what = "reversed" if low[i] > high[i] else "equal, so the set has no interior"
        text = f"{low[i]:.6g} and {high_field}[{i}] = {high[i]:.6g} are {what}"
        raise EmptySetError(low_field, text, index=i, remedy=f"make {low_field} smaller than {high_field}")
    if np.any(low == np.inf) or np.any(high == -np.inf):  # pragma: no cover - implied by low < high
        raise EmptySetError(low_field, "a bound is infinite on the wrong side")


def unique_names(field: str, names: Any, n: int, prefix: str) -> tuple[str, ...]:
    """Check names, or make `prefix0, prefix1, …` when there are none.

    Args:
        field: name for the error text.
        names: sequence of distinct texts, or None.
        n: how many are needed.
        prefix: start of made-up names.

    Returns:
        Tuple of n texts.

    Raises:
        ModelError: for a wrong count, an entry that is not text, or a repeated name.
    """
    if names is None:
        return tuple(f"{prefix}{i}" for i in range(n))
    if isinstance(names, str) or not isinstance(names, (list, tuple)):
        raise ModelError(field, f"expected a sequence of {n} texts, got {type(names).__name__}", remedy="give a tuple")
    if len(names) != n:
        raise ModelError(field, f"expected {n} names, got {len(names)}", remedy="give one name an entry")
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise ModelError(field, f"expected text, got {name!r}", index=i, remedy="give a non-empty text")
        if name in names[:i]:
            raise ModelError(field, f"{name!r} is used twice", index=i, remedy="give distinct names")
    return tuple(names)


def _kind(raw: np.ndarray) -> str:
    return {"c": "complex numbers", "U": "text", "S": "bytes", "O": "objects", "M": "dates", "m": "durations"}.get(
        raw.dtype.kind, str(raw.dtype)
    )
