"""The one decorator of the compiled kernels, how they read stored numbers, and what becomes of the machine code.

Numba writes the machine code to `NUMBA_CACHE_DIR` where that is set, else beside the source, else (a read-only package) under the
user's cache folder; where none can be written, every process compiles for itself and is told so once. An entry belongs to one
processor model and one source file, its writes are atomic: many workers of a node, or many nodes of a shared disk, may use
one folder; where many processes start at once, `one_compiles` lets the first do it for all. Kernels call only kernels of their own
file, because numba looks at no other file to see that an entry is stale.

No kernel asks for fast mathematics, with one exception: `compiled_sum` lets a sum of products be taken in the order that the
processor's vectors suggest. Such a sum has the same bits on every run on one kind of processor, and other last bits on another.
"""

import fcntl
import inspect
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


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


def as_numbers(rows: np.ndarray) -> np.ndarray:
    """Rows as the kernels read them: float16 as its bits, because numba knows no float16."""
    return rows.view(np.uint16) if rows.dtype == np.float16 else rows


def _as_single(context: Any, value: Any) -> Any:  # noqa: ARG001  numba's interface
    """The float32 behind a stored value: float16 bits are converted by the processor, float32 passes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        if signature.args[0] == types.float32:
            return arguments[0]
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(value), generate


as_single: Any = intrinsic(_as_single)


def cache_folder() -> Path | None:
    """Where machine code of this file's folder would be kept, None where none can be written."""
    try:
        return Path(str(njit(cache=True)(_nothing).stats.cache_path))
    except RuntimeError:
        return None


def _nothing() -> None:
    pass


@contextmanager
def one_compiles() -> Iterator[None]:
    """For a block that calls kernels for the first time in a process: of the processes of this machine one goes first.

    The others wait until it is through, and then load together what it has compiled.
    """
    lock = os.open(Path(tempfile.gettempdir()) / f"rcnn_dist-compiles-{os.getuid()}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)
