"""What a process may take for one task: the process ends itself when it takes more, so that the machine does not suffer.

The time limit is kept by a thread of the C runtime, which also ends a process that hangs in native code. A process that is stopped
(SIGSTOP) cannot end itself: a guard beside it does, and the cluster reports a death like any other.
"""

import faulthandler
import os
import signal
import subprocess
import sys
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
    stopped_s: float | None = None  # how long the process may be stopped

    @classmethod
    def of(cls, runtime: RuntimeSection) -> "Limits":
        gigabytes = runtime.worker_memory_gb
        return cls(runtime.image_timeout_s, None if gigabytes is None else int(gigabytes * 2**30), runtime.stopped_timeout_s)

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
    start_guard(limits.stopped_s)
    seconds = limits.seconds(images)
    _set_deadline(time.monotonic() + seconds if seconds else None)
    try:
        yield
    except MemoryError:
        _end_process()
    finally:
        _set_deadline(None)


def _set_deadline(when: float | None) -> None:
    """When this thread's task must have ended; the one timer of the process runs for the first of all threads."""
    with _deadlines_lock:
        _deadlines.pop(threading.get_ident(), None)
        if when is not None:
            _deadlines[threading.get_ident()] = when
        if _deadlines:
            left = min(_deadlines.values()) - time.monotonic()
            faulthandler.dump_traceback_later(max(left, _POLL_S), exit=True, file=_STDERR)
        else:
            faulthandler.cancel_dump_traceback_later()


_deadlines: dict[int, float] = {}
_deadlines_lock = threading.Lock()


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def start_guard(stopped_s: float | None) -> None:
    """Starts, once, a process that ends this one when it has been stopped for so long, and itself with this one."""
    if stopped_s and stopped_s not in _guards:
        _guards.add(stopped_s)
        command = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), str(stopped_s)]
        # a session of its own, which no signal to this one's group stops
        subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603  our own text


_guards: set[float] = set()
_GUARD = """
import os, signal, sys, time
process, patience = int(sys.argv[1]), float(sys.argv[2])
pause, stopped = min(1.0, patience / 4), 0.0
while os.getppid() == process:
    time.sleep(pause)
    with open(f"/proc/{process}/stat") as file:
        state = file.read().rsplit(")", 1)[1].split()[0]
    stopped = stopped + pause if state == "T" else 0.0
    if stopped >= patience and os.getppid() == process:
        os.kill(process, signal.SIGKILL)
"""


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
