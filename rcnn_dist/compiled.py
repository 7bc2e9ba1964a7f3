"""The one decorator of the compiled kernels, and what becomes of the machine code.

Numba writes the machine code to `NUMBA_CACHE_DIR` where that is set, else beside the source, else (a read-only package) under the
user's cache folder; where none can be written, every process compiles for itself and is told so once. An entry belongs to one
processor model and one source file, its writes are atomic: many workers of a node, or many nodes of a shared disk, may use
one folder. Kernels call only kernels of their own file, because numba looks at no other file to see that an entry is stale.

No kernel asks for fast mathematics: sums that are vectorised are sums of integers, so the order of additions cannot change a bit.
"""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["compiled"]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code, made at its first call and kept on disk, releasing the interpreter while it runs."""
    source = inspect.unwrap(function)  # the tests check shapes by wrapping every function, which numba cannot read
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(source)
    except RuntimeError:
        warnings.warn("no folder for compiled kernels can be written: set NUMBA_CACHE_DIR to one that can", RuntimeWarning, stacklevel=2)
        return njit(nogil=True, error_model="numpy")(source)
