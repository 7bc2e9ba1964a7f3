"""How a worker's memory is handed out and kept, for arrays of many megabytes that come and go with each image."""

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 32 * 2**20  # the most that glibc takes for the second
_KEPT = 256 * 2**20


def tune_memory() -> None:
    """Call it before torch allocates. Freed memory stays in this process, and torch's large arrays lie in huge pages.

    Up to 256 MB are kept for the next image, where the C library is glibc: given back and asked for again, their pages cost the search a
    tenth of its time. A forward's largest maps are more than glibc keeps: to fetch them anew in pages of 4 KB costs a tenth of its time.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it when it first allocates
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
