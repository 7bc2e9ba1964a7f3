"""What happens in a run, told to everybody who listens: the progress that people see, a log of one JSON object per line, and metrics.

The log is `events/<start>-<process>.jsonl` in the run's directory, one file per start of the driver.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from rcnn_dist.errors import StoreError
from rcnn_dist.store import files

FOLDER = "events"
_FLUSH_S = 30.0


class EventSink(Protocol):
    """Takes one event: its name and its fields."""

    def __call__(self, event: str, /, **fields: Any) -> None: ...


class Shown(Protocol):
    """Progress as people see it."""

    def start(self, name: str, total: int, unit: str = "images") -> None: ...
    def advance(self, count: int) -> None: ...
    def finish(self) -> None: ...
    def note(self, message: str) -> None: ...


class EventLog:
    """Writes events as they come; on an object store, which cannot append, the file is replaced every half a minute and at the end.

    A log that cannot be written ends no run and hides no other error.
    """

    def __init__(self, run_url: str, clock: Callable[[], float] = time.time) -> None:
        started = time.strftime("%Y%m%dT%H%M%S", time.gmtime(clock()))
        self.url = files.join(run_url, FOLDER, f"{started}-{os.getpid()}.jsonl")
        self._clock = clock
        self._lines: list[str] = []
        self._flushed = clock()
        self._path = files.local_path(self.url)
        if self._path:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, event: str, /, **fields: Any) -> None:
        now = self._clock()
        line = json.dumps({"time": round(now, 3), "event": event, **fields}) + "\n"
        if self._path:
            with contextlib.suppress(OSError), self._path.open("a") as file:
                file.write(line)
            return
        self._lines.append(line)
        if now - self._flushed >= _FLUSH_S:
            self.close()

    def close(self) -> None:
        if self._lines:
            self._flushed = self._clock()
            with contextlib.suppress(StoreError, OSError):
                files.write_bytes(self.url, "".join(self._lines).encode())


def read_events(run_url: str) -> list[dict[str, Any]]:
    """The events of all starts of a run, in the order of their times."""
    folder = files.join(run_url, FOLDER)
    lines = [line for name in files.list_names(folder) for line in files.read_bytes(files.join(folder, name)).splitlines()]
    return sorted(filter(None, map(_parsed, lines)), key=lambda event: float(event["time"]))


def _parsed(line: bytes) -> dict[str, Any] | None:
    """An event; None for a line that a dying driver did not end."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return None


class Observed:
    """A progress that also tells every sink what it is told."""

    def __init__(self, progress: Shown, log: EventSink) -> None:
        self._progress = progress
        self._sinks = [log]
        self._stage = ""

    def listen(self, sink: EventSink) -> None:
        """Another sink is told all events from now on."""
        self._sinks.append(sink)

    def start(self, name: str, total: int, unit: str = "images") -> None:
        self._stage = name
        self.event("stage_started", total=total, unit=unit)
        self._progress.start(name, total, unit)

    def advance(self, count: int) -> None:
        self._progress.advance(count)
        self.event("advanced", count=count)

    def finish(self) -> None:
        self._progress.finish()
        self.event("stage_finished")

    def note(self, message: str) -> None:
        self._progress.note(message)

    def event(self, event: str, /, **fields: Any) -> None:
        for sink in self._sinks:
            sink(event, stage=self._stage, **fields)


@contextlib.contextmanager
def observed(progress: Shown, run_url: str) -> Iterator[Observed]:
    """Logs a run's events for the length of a block, its start and how it ended among them."""
    log = EventLog(run_url)
    found = Observed(progress, log)
    found.event("run_started", process=os.getpid())
    try:
        yield found
    except BaseException as error:
        found.event("run_stopped", reason=f"{type(error).__name__}: {error}"[:500])
        raise
    else:
        found.event("run_finished")
    finally:
        log.close()
