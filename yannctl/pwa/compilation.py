"""How the kernels are compiled: cached on disk, without the interpreter lock, with IEEE arithmetic as written.

`kernel` can be called from Python; `inner` only from other kernels, which spares the compiler its wrapper; `once` is
for large functions with one caller, whose body goes there instead of being compiled by itself and again in each caller.
Division by zero gives inf as in numpy; no operation is reordered or fused. No kernel allocates, so the run-time that
counts array references is left out (`_nrt`, an option numba does not document).

The cache looks at a kernel's own file only: after editing a kernel delete `yannctl/pwa/__pycache__/*.nb?`, or its
callers keep the old code.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

Decorator = Callable[[Callable[..., Any]], Any]

kernel: Decorator = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)  # pyright: ignore
inner: Decorator = numba.njit(  # pyright: ignore
    nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True
)
once: Decorator = numba.njit(inline="always", nogil=True, error_model="numpy", _nrt=False)  # pyright: ignore


def announce(function: Any) -> None:
    """Say on stderr that a kernel will be compiled, when no compiled version is in the cache.

    Args:
        function: a `kernel` that takes seconds to compile.
    """
    module, name = function.py_func.__module__.rpartition(".")[2], function.py_func.__name__
    if not function.signatures and not any(Path(function._cache.cache_path).glob(f"{module}.{name}-*.nbi")):
        print("compiling kernels (once per machine) ...", file=sys.stderr)
