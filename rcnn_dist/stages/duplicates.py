"""Images that two sets share: the same bytes, the same id, or much the same look."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import decode_image, read_file
from rcnn_dist.errors import BadImageError
from rcnn_dist.explore.duplicates import Neighbours, merge_neighbours, nearest_rows, no_neighbours
from rcnn_dist.explore.gist import SIDE, SIZE, gist, shrink
from rcnn_dist.stages.base import Executor, Progress
from rcnn_dist.store import files
from rcnn_dist.store.tensors import load_tensors, save_tensors

_IMAGES_PER_TASK = 256
_TASKS_PER_SEARCH = 16  # so a search holds 4096 descriptors besides those of set B
_SCRATCH = "_descriptors"


@dataclass(frozen=True, slots=True)
class DescribeTask:
    """Some images of a set; `first` is the number of the first one."""

    part: str
    first: int
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DescribeReport:
    task: DescribeTask
    digests: tuple[str | None, ...]  # of each file's bytes; None: it cannot be read
    failures: tuple[tuple[str, str], ...]  # url, reason


@dataclass(frozen=True, slots=True)
class DescribeWork:
    """Reads images and writes their descriptors beside each other, one file per task."""

    scratch: str

    @property
    def heavy(self) -> bool:
        return False

    def make_worker(self) -> "DescribeWork":
        return self

    def run(self, task: DescribeTask) -> DescribeReport:
        digests: list[str | None] = []
        failures, numbers, pixels = [], [], []
        for number, url in enumerate(task.urls, task.first):
            try:
                data = read_file(url)
                small = shrink(decode_image(data))
            except BadImageError as error:
                failures.append((url, str(error)))
                digests.append(None)
                continue
            digests.append(sha256(data).hexdigest())
            numbers.append(number)
            pixels.append(small)
        images = np.array(pixels, np.uint8).reshape(-1, SIDE, SIDE, 3)
        save_tensors(_url(self.scratch, task.part), {"gist": gist(images), "numbers": np.array(numbers, np.int64)}, {})
        return DescribeReport(task, tuple(digests), tuple(failures))


@dataclass(frozen=True, slots=True)
class SearchTask:
    """Descriptor files of set A that are searched in one go."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SearchReport:
    task: SearchTask
    found: Neighbours  # of each described image of set B


@dataclass(frozen=True, slots=True)
class SearchWork:
    """Finds the nearest images of set A to each of set B."""

    scratch: str
    b_parts: tuple[str, ...]
    k: int

    @property
    def heavy(self) -> bool:
        return False

    def make_worker(self) -> "_Searcher":
        return _Searcher(self)


class _Searcher:
    def __init__(self, work: SearchWork) -> None:
        self._work = work
        self._queries, _ = _load(work.scratch, work.b_parts)

    def run(self, task: SearchTask) -> SearchReport:
        rows, numbers = _load(self._work.scratch, task.parts)
        return SearchReport(task, nearest_rows(self._queries, rows, numbers, self._work.k))


@dataclass(frozen=True, slots=True)
class Pair:
    """An image of set A and one of set B. `distance` is that of their descriptors, None where it is not among the nearest."""

    a: str
    b: str
    distance: float | None
    same_bytes: bool
    same_id: bool


@dataclass(frozen=True, slots=True)
class DuplicatesFound:
    """Pairs by distance, those without one last; and the images that could not be read."""

    pairs: tuple[Pair, ...]
    images: tuple[int, int]  # described, of A and of B
    failures: tuple[tuple[str, str], ...]  # url, reason


@dataclass(frozen=True, slots=True)
class ImageSets:
    """The two sets as urls, and what identifies an image: its file's name without ending, where nothing else is said."""

    a: Sequence[str]
    b: Sequence[str]
    ids: Mapping[str, str] = field(default_factory=dict)  # url -> id

    @property
    def common(self) -> frozenset[str]:
        """Urls in both: such an image is no duplicate of itself."""
        return frozenset(self.a) & frozenset(self.b)

    def id_of(self, url: str) -> str:
        return self.ids.get(url, PurePosixPath(url).stem)


def find_duplicates(sets: ImageSets, k: int, out: str, executor: Executor, progress: Progress) -> DuplicatesFound:
    """The k nearest images of A to each of B, and all pairs of the same bytes or the same id.

    The result does not depend on how the work is shared out. Descriptors lie in files below `out` meanwhile, 4 KB per image.

    Paper: App. F.
    """
    scratch = files.join(out, _SCRATCH)
    tasks = {name: list(_tasks(name, urls)) for name, urls in (("a", sets.a), ("b", sets.b))}
    digests: dict[str, list[str | None]] = {"a": [None] * len(sets.a), "b": [None] * len(sets.b)}
    failures: list[tuple[str, str]] = []
    try:
        progress.start("describe", len(sets.a) + len(sets.b))
        for report in executor.map(DescribeWork(scratch), [*tasks["a"], *tasks["b"]]):
            first = report.task.first
            digests[report.task.part[0]][first : first + len(report.digests)] = report.digests
            failures += report.failures
            progress.advance(len(report.digests))
        progress.finish()
        found = _search(scratch, tasks["a"], tasks["b"], k + bool(sets.common), executor, progress)
    finally:
        files.remove_folder(scratch)
    described = [np.flatnonzero([digest is not None for digest in digests[name]]) for name in ("a", "b")]
    pairs = _pairs(sets, digests, found, described[1])
    return DuplicatesFound(tuple(pairs), (len(described[0]), len(described[1])), tuple(sorted(failures)))


def _search(
    scratch: str, a: Sequence[DescribeTask], b: Sequence[DescribeTask], k: int, executor: Executor, progress: Progress
) -> Neighbours:
    work = SearchWork(scratch, tuple(task.part for task in b), k)
    searches = [SearchTask(tuple(t.part for t in a[i : i + _TASKS_PER_SEARCH])) for i in range(0, len(a), _TASKS_PER_SEARCH)]
    progress.start("search", len(searches), "shares")
    found: Neighbours | None = None
    for report in executor.map(work, searches):
        found = report.found if found is None else merge_neighbours(found, report.found)
        progress.advance(1)
    progress.finish()
    return found or no_neighbours(0, k)


def _pairs(sets: ImageSets, digests: Mapping[str, Sequence[str | None]], found: Neighbours, b_numbers: Array) -> list[Pair]:
    near = {
        (int(row), int(b)): float(distance)
        for b, rows, distances in zip(b_numbers, found.rows, found.distances, strict=True)
        for row, distance in zip(rows, distances, strict=True)
        if row >= 0
    }
    same_bytes = _matches(digests["a"], digests["b"])
    same_id = _matches([sets.id_of(url) for url in sets.a], [sets.id_of(url) for url in sets.b])
    pairs: dict[tuple[str, str], Pair] = {}
    common = sets.common
    for a, b in sorted(near.keys() | same_bytes | same_id):
        urls = (sets.a[a], sets.b[b])
        key = (min(urls), max(urls)) if common.issuperset(urls) else urls
        if urls[0] != urls[1] and key not in pairs:
            pairs[key] = Pair(*key, near.get((a, b)), (a, b) in same_bytes, (a, b) in same_id)
    return sorted(pairs.values(), key=lambda pair: (pair.distance is None, pair.distance or 0.0, pair.b, pair.a))


def _matches(a: Sequence[str | None], b: Sequence[str | None]) -> set[tuple[int, int]]:
    """The numbers of all pairs with one value."""
    places = defaultdict(list)
    for number, value in enumerate(a):
        if value is not None:
            places[value].append(number)
    return {(number, other) for other, value in enumerate(b) if value is not None for number in places.get(value, ())}


def _tasks(name: str, urls: Sequence[str]) -> Iterator[DescribeTask]:
    for index, first in enumerate(range(0, len(urls), _IMAGES_PER_TASK)):
        yield DescribeTask(f"{name}-{index:05d}", first, tuple(urls[first : first + _IMAGES_PER_TASK]))


def _url(scratch: str, part: str) -> str:
    return files.join(scratch, f"{part}.safetensors")


def _load(scratch: str, parts: Sequence[str]) -> tuple[Array, Array]:
    """Descriptors float32 [P, 960] of some files, and the numbers of their images."""
    tensors: list[dict[str, Any]] = [load_tensors(_url(scratch, part))[0] for part in parts]
    rows = [np.empty((0, SIZE), np.float32), *(t["gist"] for t in tensors)]
    return np.concatenate(rows), np.concatenate([np.empty(0, np.int64), *(t["numbers"] for t in tensors)])
