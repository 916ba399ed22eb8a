"""How the kernels are compiled: cached on disk, without the interpreter lock, with IEEE arithmetic as written.

`kernel` can be called from Python; `inner` only from other kernels, which spares the compiler its wrapper; `once` is
for large functions with one caller, whose body goes there instead of being compiled by itself and again in each caller.
Division by zero gives inf as in numpy; no operation is reordered or fused. No kernel allocates, so the run-time that
counts array references is left out (`_nrt`, an option numba does not document).

The cache looks at a kernel's own file only: after editing a kernel delete `yannctl/pwa/__pycache__/*.nb?`, or its
callers keep the old code.
"""

from collections.abc import Callable
from typing import Any

import numba

Decorator = Callable[[Callable[..., Any]], Any]

kernel: Decorator = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)  # pyright: ignore
inner: Decorator = numba.njit(  # pyright: ignore
    nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True
)
once: Decorator = numba.njit(inline="always", nogil=True, error_model="numpy", _nrt=False)  # pyright: ignore
