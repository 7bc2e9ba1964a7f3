"""What a worker does with memory that it has freed."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 32 * 2**20  # the most that glibc takes for the second
_KEPT = 256 * 2**20


def keep_freed_memory() -> None:
    """Keeps up to 256 MB of freed memory in this process for the next image, where the C library is glibc.

    Every image needs arrays of the same few megabytes; given back and asked for again, their pages cost the search a tenth of its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
