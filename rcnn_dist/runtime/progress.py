"""Progress with an estimate of the time left: a bar on a terminal, whole lines where output is kept (job logs, files)."""

import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rcnn_dist.stages.eta import RateEstimator

_LINE_EVERY_S = 5.0
_AT_ONCE_S = 0.05


class LineProgress:
    """One line per stage at its start and end, and every few seconds between."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._name, self._unit = "", "images"
        self._total = self._done = 0
        self._started = self._printed = 0.0
        self._estimator = RateEstimator()

    def start(self, name: str, total: int, unit: str = "images") -> None:
        self._name, self._unit, self._total = name, unit, total
        self._done = 0
        self._started = self._printed = self._clock()
        self._estimator = RateEstimator(self._started)

    def advance(self, count: int) -> None:
        """Counts work; what is reported before any time has passed was already done and does not enter the rate."""
        now = self._clock()
        self._done += count
        if now - self._started >= _AT_ONCE_S:
            self._estimator.add(now, count)
        if now - self._printed >= _LINE_EVERY_S:
            self._printed = now
            rate, left = self._estimator.rate(now), self._estimator.seconds_left(self._total - self._done, now)
            eta = "ETA unknown" if left is None else f"ETA {format_seconds(left)}"
            self._line(f"{self._done}/{self._total} {self._unit}, {rate or 0:.2f}/s, {eta}")

    def finish(self) -> None:
        self._line(f"{self._done}/{self._total} {self._unit} done in {format_seconds(self._clock() - self._started)}")

    def note(self, message: str) -> None:
        print(message, file=self._stream, flush=True)

    def _line(self, text: str) -> None:
        print(f"{self._name}: {text}", file=self._stream, flush=True)


class BarProgress:
    """A bar per stage on a terminal."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console)
        self._task = TaskID(0)

    def start(self, name: str, total: int, unit: str = "images") -> None:
        self._bar.start()
        self._task = self._bar.add_task(f"{name} ({unit})", total=total)

    def advance(self, count: int) -> None:
        self._bar.advance(self._task, count)

    def finish(self) -> None:
        self._bar.stop()

    def note(self, message: str) -> None:
        self._bar.console.print(message, markup=False)


def make_progress(stream: TextIO) -> LineProgress | BarProgress:
    """The kind that fits the stream."""
    return BarProgress(Console(file=stream)) if stream.isatty() else LineProgress(stream)


def format_seconds(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any: 75 -> 1:15."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
