"""The one vocabulary of shapes: `nx` states, `nu` inputs, `nz` decision variables, `ntheta` parameters, `m` rows.

Annotations read `Float[np.ndarray, "m nz"]`; the test run checks them at every call, ordinary runs do not.
"""

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Int

ArrayLike = npt.ArrayLike
Array = np.ndarray

Vector = Float[np.ndarray, " n"]
Matrix = Float[np.ndarray, "rows columns"]

__all__ = ["Array", "ArrayLike", "Bool", "Float", "Int", "Matrix", "Vector"]
