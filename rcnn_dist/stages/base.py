"""What a stage is: shards planned before the work starts, a worker that does one at a time, a manifest at the end.

No stage imports ray: an executor carries `Work` to processes and brings reports back.
"""

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Protocol

from rcnn_dist.errors import DamagedFileError, MissingShardError, TooManyFailuresError
from rcnn_dist.stages.plan import Plan, write_plan
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files, tables
from rcnn_dist.store.manifest import MANIFEST, ImageFailure, Marker, read_signed, write_signed
from rcnn_dist.store.shards import finish_forgetting, marked_parts, part_name, read_markers, remove_scratch


class Worker(Protocol):
    """Heavy state (a network, models) and the work on one task, whose report holds no data."""

    def run(self, task: Any) -> Any: ...


class Work(Protocol):
    """What an executor carries to its processes."""

    @property
    def heavy(self) -> bool:
        """Whether its worker is worth keeping: one actor per GPU, instead of short tasks on any CPU."""

    def make_worker(self) -> Worker:
        """Builds, in the process that will compute, what `run` needs."""


class Executor(Protocol):
    """Runs tasks somewhere; reports come back in any order."""

    def map(self, work: Work, tasks: Sequence[Any]) -> Iterator[Any]: ...

    def gang(self, work: Callable[[], None], workers: int, storage: str) -> None:
        """Runs `work` in so many processes at once, which find each other by torch.distributed; `storage` is for bookkeeping."""


class Progress(Protocol):
    def start(self, name: str, total: int, unit: str = "images") -> None: ...
    def advance(self, count: int) -> None: ...
    def finish(self) -> None: ...
    def note(self, message: str) -> None: ...
    def event(self, event: str, /, **fields: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard: which images of which split."""

    split: str
    index: int
    image_ids: tuple[str, ...]
    quarantined: tuple[tuple[str, str], ...] = ()  # (image id, reason) of images that no process survives
    lane: str = ""  # a node works on shards of one lane at a time

    @property
    def part(self) -> str:
        return part_name(self.index)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The images that may be computed, in order."""
        left_out = {image_id for image_id, _ in self.quarantined}
        return tuple(image_id for image_id in self.image_ids if image_id not in left_out)

    def only(self, items: Iterable[int]) -> "ShardTask":
        """The shard with a part of its images, by their position, to be probed."""
        return replace(self, image_ids=tuple(self.image_ids[i] for i in items))

    def without(self, reasons: Mapping[int, str]) -> "ShardTask":
        """The shard with some images, by their position, counted as failures from the start."""
        return replace(self, quarantined=tuple((self.image_ids[i], reasons[i]) for i in sorted(reasons)))


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What became of a shard: counts, never data."""

    task: ShardTask
    worker: str
    failures: tuple[ImageFailure, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)  # by phase


def worker_name() -> str:
    """The process that computes, as telemetry and markers name it."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Stage(Protocol):
    """A step of the loop as the driver sees it."""

    def run(self, executor: Executor, progress: Progress) -> None: ...


class ShardStage(ABC):
    """A stage whose output is one table of Parquet shards per split."""

    name: ClassVar[str]
    VERSION: ClassVar[int]

    def __init__(self, run: Run) -> None:
        self.context = run

    @property
    @abstractmethod
    def url(self) -> str:
        """The folder of its tables, one per split; its name carries the fingerprint."""

    def folder(self, split: str) -> str:
        """The folder of a split's table."""
        return files.join(self.url, split)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits ("train", "test") whose tables this stage writes."""
        return self.context.splits

    @property
    def heavy(self) -> bool:
        return False

    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """All that shapes the rows: what the fingerprint in the folder's name is made of."""

    @abstractmethod
    def make_worker(self) -> Worker:
        """As in `Work`."""

    def image_ids(self, split: str) -> tuple[str, ...]:
        """The images of a split in set order."""
        return self.context.image_ids(split)

    def tasks(self, split: str) -> list[ShardTask]:
        """All shards of a split: consecutive images in set order."""
        ids, size = self.image_ids(split), self.context.config.run.shard_images
        return [ShardTask(split, i // size, ids[i : i + size]) for i in range(0, len(ids), size)]

    def plan(self) -> list[ShardTask]:
        """The shards that are not complete, once what they hold is written down.

        Raises:
            DamagedFileError: a table was planned or written with other images.
        """
        return [task for split in self.splits for task in self._missing(split, self._done(split))]

    def is_complete(self, split: str) -> bool:
        """Whether the split's manifest stands.

        Raises:
            DamagedFileError: the manifest belongs to another fingerprint than its folder's name says, or names other shards than
                have markers.
        """
        url = files.join(self.folder(split), MANIFEST)
        try:
            manifest = read_signed(url)
        except FileNotFoundError:
            return False
        expected = self.folder(split).split("/")[-2]
        if manifest["folder"] != expected:
            raise DamagedFileError(
                f"{url} was written for '{manifest['folder']}' but lies in '{expected}': move the folder back or delete it"
            )
        promised, marked = {entry["part"] for entry in manifest["parts"]}, set(marked_parts(self.folder(split)))
        if promised != marked:
            raise DamagedFileError(
                f"{url} and the markers disagree on {min(promised ^ marked)}: delete the manifest and run {self.name} again"
            )
        return True

    def require(self, split: str) -> None:
        """Refuses to go on from a part of a table.

        Raises:
            MissingShardError: the split is not complete.
        """
        if not self.is_complete(split):
            raise MissingShardError(f"{self.folder(split)} is not complete: run the stage {self.name} first")

    def run(self, executor: Executor, progress: Progress) -> None:
        """Computes what is missing and publishes the manifests.

        Raises:
            TooManyFailuresError: as `compute`.
        """
        self.compute(executor, progress)
        for split in self.splits:
            if not self.is_complete(split):
                self._publish(split)
            remove_scratch(self.folder(split))

    def compute(self, executor: Executor, progress: Progress) -> None:
        """Computes what is missing.

        Raises:
            TooManyFailuresError: as soon as more images failed than the limit allows.
        """
        planned = sum(len(self.image_ids(split)) for split in self.splits)
        done = {split: self._done(split) for split in self.splits}
        tasks = [task for split in self.splits for task in self._missing(split, done[split])]
        failed = {split: [f for marker in done[split].values() for f in marker.failures] for split in self.splits}
        progress.start(self.name, planned)
        progress.advance(planned - sum(len(task.image_ids) for task in tasks))
        for report in executor.map(self, tasks):
            progress.advance(len(report.task.image_ids))
            progress.event(
                "shard_done",
                split=report.task.split,
                part=report.task.part,
                worker=report.worker,
                images=len(report.task.image_ids),
                failures=len(report.failures),
                seconds=dict(report.seconds),
            )
            failed[report.task.split] += report.failures
            self._check_limit(report.task.split, failed[report.task.split])
        progress.finish()

    def failures(self) -> list[tuple[str, ImageFailure]]:
        """The images that could not be used, with their split."""
        return [(split, f) for split in self.splits for marker in read_markers(self.folder(split)) for f in marker.failures]

    def _publish(self, split: str) -> None:
        markers = list(self._done(split).values())
        failures = [f for m in markers for f in m.failures]
        tables.write_failures(files.join(self.context.url, "failures", f"{self.name}-{split}.parquet"), split, failures)
        self._check_limit(split, failures)
        phases = sorted({phase for m in markers for phase in m.seconds})
        write_signed(
            files.join(self.folder(split), MANIFEST),
            {
                "stage": self.name,
                "version": self.VERSION,
                "folder": self.folder(split).split("/")[-2],
                "split": split,
                "images": sum(len(m.images) for m in markers),
                "rows": sum(m.rows for m in markers),
                "failures": [asdict(f) for f in failures],
                "parts": [{"part": m.part, "rows": m.rows, "sha256": m.sha256} for m in markers],
                "seconds": {phase: round(sum(m.seconds.get(phase, 0.0) for m in markers), 3) for phase in phases},
                "workers": sorted({m.worker for m in markers}),
            },
        )

    def _check_limit(self, split: str, failures: list[ImageFailure]) -> None:
        run = self.context.config.run
        limit = max(run.max_failed_images, int(run.max_failed_fraction * len(self.image_ids(split))))
        if len(failures) > limit:
            shown = "\n".join(f"  {f.image_id}: {f.reason}" for f in failures[:20])
            raise TooManyFailuresError(
                f"{self.name}: {len(failures)} images of {split} failed, more than run.max_failed_images and run.max_failed_fraction "
                f"allow ({limit}); the first:\n{shown}\nmend them or raise a limit, then run the same command again"
            )

    def _missing(self, split: str, done: Mapping[str, Marker]) -> list[ShardTask]:
        """The tasks without a marker, after the split's plan stands."""
        tasks, folder = self.tasks(split), self.folder(split)
        shards = tuple(task.image_ids for task in tasks)
        write_plan(folder, Plan(self.name, self.VERSION, folder.split("/")[-2], split, self.inputs(), shards))
        return [task for task in tasks if task.part not in done]

    def _done(self, split: str) -> dict[str, Marker]:
        """Part -> marker of the complete shards; each must account for every planned image.

        Raises:
            DamagedFileError: one does not.
        """
        folder = self.folder(split)
        finish_forgetting(folder)
        planned = {task.part: task.image_ids for task in self.tasks(split)}
        markers = {marker.part: marker for marker in read_markers(folder)}
        for part, marker in markers.items():
            if sorted([i for i, _ in marker.images] + [f.image_id for f in marker.failures]) != sorted(planned.get(part, ())):
                raise DamagedFileError(f"{folder}: the marker of {part} is about other images; delete it and run again")
        return markers
