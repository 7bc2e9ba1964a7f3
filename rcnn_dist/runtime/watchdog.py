"""What a process may take for one task: the process ends itself when it takes more, so that the machine does not suffer.

The time limit is kept by a thread of the C runtime, which also ends a process that hangs in native code.
"""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcnn_dist.config import RuntimeSection

_POLL_S = 0.1
_STDERR = 2
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one worker; None is no limit."""

    image_timeout_s: float | None = None
    memory_bytes: int | None = None

    @classmethod
    def of(cls, runtime: RuntimeSection) -> "Limits":
        gigabytes = runtime.worker_memory_gb
        return cls(runtime.image_timeout_s, None if gigabytes is None else int(gigabytes * 2**30))

    def seconds(self, images: int) -> float | None:
        """The time of a task with so many images; none for tasks of another kind."""
        return self.image_timeout_s * images if self.image_timeout_s and images else None


def images_of(task: Any) -> int:
    """How many images a task computes, 0 where it is not about images."""
    return len(getattr(task, "image_ids", ()))


@contextmanager
def limited(limits: Limits, images: int) -> Iterator[None]:
    """Ends this process if the block takes more than the limits, or more memory than there is."""
    _start_memory_watch(limits.memory_bytes)
    seconds = limits.seconds(images)
    if seconds:
        faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
    try:
        yield
    except MemoryError:
        _end_process()
    finally:
        faulthandler.cancel_dump_traceback_later()


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _start_memory_watch(limit: int | None) -> None:
    if limit and not any(thread.name == _WATCH for thread in threading.enumerate()):
        threading.Thread(target=_watch_memory, args=(limit,), name=_WATCH, daemon=True).start()


_WATCH = "memory watch"


def _watch_memory(limit: int) -> None:
    while resident_bytes(os.getpid()) <= limit:
        time.sleep(_POLL_S)
    _end_process()


def _end_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
