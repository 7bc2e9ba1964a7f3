"""Whether some images kill the process that computes them: tried in a process of its own, which may die.

Run as a module this is that process: work and task come on its standard input, `ready` goes out when the work itself begins.
"""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
import traceback
from typing import Any

from ray import cloudpickle

from rcnn_dist.runtime.threads import set_threads
from rcnn_dist.runtime.watchdog import Limits, images_of, resident_bytes

START_TIMEOUT_S = 600.0  # to import, build a network, compile
_POLL_S = 0.05
_READY = b"ready\n"
_OUT_OF_MEMORY = 71


def probe(work: Any, task: Any, limits: Limits, threads: int) -> str | None:
    """Why the process died that ran a part of a task; None where it lived.

    An exception of the work is no death: the whole task will raise it again, where it can be reported.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "rcnn_dist.runtime.probe"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # noqa: S603  our own module
        try:
            return _watched(child, cloudpickle.dumps((work, task, threads)), limits, images_of(task))
        finally:
            child.kill()


def _watched(child: subprocess.Popen[bytes], message: bytes, limits: Limits, images: int) -> str | None:
    assert child.stdin is not None and child.stdout is not None  # noqa: S101  both are pipes
    memory = limits.memory_bytes or _half_of_this_machine()
    try:
        child.stdin.write(message)
        child.stdin.close()
    except BrokenPipeError:
        pass
    deadline, seconds = time.monotonic() + START_TIMEOUT_S, START_TIMEOUT_S
    with selectors.DefaultSelector() as output:
        output.register(child.stdout, selectors.EVENT_READ)
        while child.poll() is None:
            if resident_bytes(child.pid) > memory:
                return f"needed more than {memory / 2**30:.1f} GB of memory"
            if time.monotonic() > deadline:
                return f"took longer than {seconds:g} s"
            if output.get_map() and output.select(_POLL_S):
                output.unregister(child.stdout)
                seconds = limits.seconds(images) or float("inf")
                deadline = time.monotonic() + seconds
            elif not output.get_map():
                time.sleep(_POLL_S)
    return _cause(child.returncode, memory)


def _cause(code: int, memory: int) -> str | None:
    if code == 0:
        return None
    if code == _OUT_OF_MEMORY:
        return f"needed more memory than there is (limit {memory / 2**30:.1f} GB)"
    if code < 0:
        return f"crashed the process ({signal.Signals(-code).name})"
    return f"ended the process (exit code {code})"


def _half_of_this_machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def main() -> None:
    """Runs the part; ends with 0 where the process lived to the end of it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no orphan goes on
    work, task, threads = cloudpickle.loads(sys.stdin.buffer.read())
    try:
        worker = work.make_worker()
        set_threads(threads)
        sys.stdout.buffer.write(_READY)
        sys.stdout.buffer.flush()
        worker.probe(task)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    except Exception:
        traceback.print_exc()
    os._exit(0)


if __name__ == "__main__":
    main()
