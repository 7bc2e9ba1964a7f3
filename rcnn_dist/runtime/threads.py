"""One thread count for every library that computes: bits may depend on it, so the configuration sets it."""

import sys

from threadpoolctl import threadpool_limits


def set_threads(count: int) -> None:
    """Limits BLAS and OpenMP, and OpenCV and torch where they are loaded, in this process."""
    threadpool_limits(count)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
