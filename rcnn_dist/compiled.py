"""The one decorator of the compiled kernels, and what becomes of the machine code.

Numba writes the machine code to `NUMBA_CACHE_DIR` where that is set, else beside the source, else (a read-only package) under the
user's cache folder; where none can be written, every process compiles for itself and is told so once. An entry belongs to one
processor model and one source file, its writes are atomic: many workers of a node, or many nodes of a shared disk, may use
one folder. Kernels call only kernels of their own file, because numba looks at no other file to see that an entry is stale.

No kernel asks for fast mathematics, with one exception: `compiled_sum` lets a sum of products be taken in the order that the
processor's vectors suggest. Such a sum has the same bits on every run on one kind of processor, and other last bits on another.
"""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["compiled", "compiled_sum"]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code, made at its first call and kept on disk, releasing the interpreter while it runs."""
    return _compiled(function)


def compiled_sum(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a function whose floating-point sums may be reordered and fused, several times faster over long rows."""
    return _compiled(function, fastmath={"reassoc", "contract", "nsz"})


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    source = inspect.unwrap(function)  # the tests check shapes by wrapping every function, which numba cannot read
    try:
        return njit(cache=True, nogil=True, error_model="numpy", **options)(source)
    except RuntimeError:
        warnings.warn("no folder for compiled kernels can be written: set NUMBA_CACHE_DIR to one that can", RuntimeWarning, stacklevel=3)
        return njit(nogil=True, error_model="numpy", **options)(source)
