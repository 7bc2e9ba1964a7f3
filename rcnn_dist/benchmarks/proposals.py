"""Our selective search against OpenCV's fast mode: the same images, in turn, on one core, in one process."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import decode_image
from rcnn_dist.data.voc import VocDataset
from rcnn_dist.errors import BadImageError, ConfigError, DataError
from rcnn_dist.evaluate.proposal_recall import SIZE_BANDS, ObjectOverlaps, object_overlaps, pool_overlaps, proposal_recall, recall_json
from rcnn_dist.proposals import selective_search as ours
from rcnn_dist.runtime.memory import tune_memory
from rcnn_dist.store import files

_BUDGETS = (None, 2000, 1000, 500)
_NAMES = tuple(str(budget or "all") for budget in _BUDGETS)
_MEASURES = ("recall_50", "recall_70", "mabo")
_LEAST_OBJECTS = 100  # of a size band that is compared
_RESAMPLES = 2000
_STEPS = {
    "resample": ("resample",),
    "colour_spaces": ("colour_planes",),
    "smooth": ("smooth",),
    "sort_edges": ("sorted_edges",),
    "graph_segmentation": ("segment", "coarsen"),
    "descriptors": ("pixel_codes", "describe", "join_regions", "adjacent_pairs", "joined_pairs"),
    "similarities": ("neighbours",),
    "grouping": ("group",),
    "ordering": ("region_steps", "order_boxes"),
}


@dataclass
class _Side:
    """What one searcher did on the images so far."""

    ms: list[float] = field(default_factory=list)
    boxes: list[int] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    overlaps: list[ObjectOverlaps] = field(default_factory=list)

    def add(self, found: tuple[Array, float, dict[str, float]], objects: tuple[Array, Array]) -> None:
        boxes, seconds, stages = found
        self.ms.append(1e3 * seconds)
        self.boxes.append(len(boxes))
        self.stages.append(stages)
        self.overlaps.append(object_overlaps(boxes, *objects, _BUDGETS))

    def figures(self) -> dict[str, Any]:
        stages = {name: round(float(np.median([s.get(name, 0.0) for s in self.stages])), 3) for name in self.stages[0]}
        table = recall_json(proposal_recall(pool_overlaps(self.overlaps), _BUDGETS))
        return {"ms": float(np.median(self.ms)), "boxes": float(np.mean(self.boxes)), "stages_ms": stages, **table}


def run(roots: Sequence[str], split: str, limit: int | None, preset: str) -> dict[str, Any]:
    """The figures: `speed_ratio`, `ours`, `opencv`, and `difference` (ours - OpenCV's) with 95% intervals of a paired bootstrap.

    OpenCV's boxes come as it orders them, unfiltered. Both are warm, on one thread of a process on one core; times are those of the
    thread's own work, which others on a busy machine disturb less than the clock's.
    """
    if preset not in ours.PRESETS:
        raise ConfigError(f"no preset is called '{preset}': choose from {', '.join(ours.PRESETS)}")
    params = ours.PRESETS[preset]
    mine, theirs = _Side(), _Side()
    tune_memory()
    with _one_core():
        for image, *objects in _images(roots, split, limit):
            if not mine.ms:
                ours.selective_search(image, params)
            mine.add(_timed(lambda image: ours.selective_search(image, params), image, _STEPS), (objects[0], objects[1]))
            theirs.add(_timed_opencv(image), (objects[0], objects[1]))
    if not mine.ms:
        raise DataError(f"no image of '{split}' in {', '.join(roots)} has an annotation and can be read")
    ratio = np.percentile(np.array(theirs.ms) / np.array(mine.ms), [10, 50, 90])
    return {
        "images": len(mine.ms),
        "preset": preset,
        "speed_ratio": dict(zip(("p10", "median", "p90"), ratio.tolist(), strict=True)),
        "ours": mine.figures(),
        "opencv": theirs.figures(),
        "difference": _differences(mine.overlaps, theirs.overlaps),
    }


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as a table."""
    ratio = figures["speed_ratio"]
    mine, theirs = figures["ours"], figures["opencv"]
    speed = f"x{ratio['median']:.1f} (10% {ratio['p10']:.1f}, 90% {ratio['p90']:.1f})"
    out = [f"{figures['images']} images: {mine['ms']:.1f} ms against {theirs['ms']:.0f} ms, {speed}"]
    out += [f"{mine['boxes']:.0f} boxes against {theirs['boxes']:.0f}", f"{'':24}{'ours':>8}{'OpenCV':>8}   ours - OpenCV, 95%"]
    for group, budgets in figures["difference"].items():
        for name, measures in budgets.items():
            for measure, (low, high) in measures.items():
                a, b = ((side[name] if group == "everything" else side[name]["by_size"][group])[measure] for side in (mine, theirs))
                out.append(f"{group:11}{name:>5} {measure:9}{a:7.3f}{b:8.3f}   [{low:+.3f}, {high:+.3f}]")
    return out


@contextmanager
def _one_core() -> Iterator[None]:
    cores, threads = os.sched_getaffinity(0), cv2.getNumThreads()
    os.sched_setaffinity(0, {max(cores)})
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        cv2.setNumThreads(threads)


def _images(roots: Sequence[str], split: str, limit: int | None) -> Iterator[tuple[Array, Array, Array]]:
    """Image, boxes and classes of its objects that are not difficult; images that cannot be read are passed over."""
    numbers: dict[tuple[int, str], int] = {}
    for r, root in enumerate(roots):
        data = VocDataset(root, "VOC2007")
        for image_id in data.image_ids(split)[:limit]:
            objects = data.objects(image_id)
            try:
                image = decode_image(files.read_bytes(data.image_url(image_id)))
            except (BadImageError, FileNotFoundError):
                continue
            if objects is None:
                continue
            easy = ~objects.difficult
            classes = [numbers.setdefault((r, c), len(numbers)) for c, keep in zip(objects.classes, easy, strict=True) if keep]
            yield image, objects.boxes[easy], np.array(classes, np.int64)


def _timed(search: Callable[[Array], Array], image: Array, steps: dict[str, tuple[str, ...]]) -> tuple[Array, float, dict[str, float]]:
    """Boxes and seconds of one search, and from a second search the milliseconds of its steps."""
    start = time.thread_time()
    boxes = search(image)
    seconds = time.thread_time() - start
    with _clocked(ours, steps) as spent:
        search(image)
    return boxes, seconds, dict(spent)


@contextmanager
def _clocked(module: Any, steps: dict[str, tuple[str, ...]]) -> Iterator[dict[str, float]]:
    """Adds up the milliseconds in functions of a module."""
    spent: dict[str, float] = defaultdict(float)

    def clock(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.thread_time()
            result = function(*arguments)
            spent[step] += 1e3 * (time.thread_time() - start)
            return result

        return timed

    originals = {name: getattr(module, name) for names in steps.values() for name in names}
    try:
        for step, names in steps.items():
            for name in names:
                setattr(module, name, clock(step, originals[name]))
        yield spent
    finally:
        for name, function in originals.items():
            setattr(module, name, function)


def _timed_opencv(image: Array) -> tuple[Array, float, dict[str, float]]:
    marks = [time.thread_time()]
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    search.switchToSelectiveSearchFast()
    marks.append(time.thread_time())
    found = np.asarray(search.process(), np.float64).reshape(-1, 4)
    marks.append(time.thread_time())
    boxes = np.hstack([found[:, :2], found[:, :2] + found[:, 2:]])
    start, prepared, end = marks
    return boxes, end - start, {"prepare": 1e3 * (prepared - start), "process": 1e3 * (end - prepared)}


def _differences(mine: Sequence[ObjectOverlaps], theirs: Sequence[ObjectOverlaps]) -> dict[str, Any]:
    """For all objects, and for each size with enough of them, budget -> measure -> 95% interval over resampled images."""
    bands = {"everything": (0.0, np.inf), **SIZE_BANDS}
    return {
        name: _intervals(mine, theirs, low, high)
        for name, (low, high) in bands.items()
        if name == "everything" or sum(int(_in_band(o, low, high).sum()) for o in mine) >= _LEAST_OBJECTS
    }


def _in_band(overlaps: ObjectOverlaps, low: float, high: float) -> Array:
    return (overlaps.sizes >= low) & (overlaps.sizes < high)


def _intervals(mine: Sequence[ObjectOverlaps], theirs: Sequence[ObjectOverlaps], low: float, high: float) -> dict[str, Any]:
    sums = np.stack([_class_sums(side, low, high) for side in (mine, theirs)])  # [2, images, classes, budgets, measures]
    counts = _class_counts(mine, low, high)  # [images, classes]
    drawn = np.random.default_rng(0).multinomial(len(mine), np.full(len(mine), 1 / len(mine)), _RESAMPLES)
    objects = drawn @ counts
    totals = np.tensordot(drawn, sums, (1, 1)).transpose(1, 0, 2, 3, 4)  # [2, resamples, classes, budgets, measures]
    shown = objects > 0
    recalls = totals[..., :2].sum(axis=2) / np.maximum(objects.sum(axis=1), 1)[:, None, None]
    within = np.divide(totals[..., 2], objects[..., None], out=np.zeros_like(totals[..., 2]), where=shown[..., None])
    mabo = within.sum(axis=2) / np.maximum(shown.sum(axis=1), 1)[:, None]
    values = np.concatenate([recalls, mabo[..., None]], axis=-1)  # [2, resamples, budgets, measures]
    bounds = np.percentile(values[0] - values[1], [2.5, 97.5], axis=0)
    return {budget: {measure: bounds[:, b, m].tolist() for m, measure in enumerate(_MEASURES)} for b, budget in enumerate(_NAMES)}


def _n_classes(images: Sequence[ObjectOverlaps]) -> int:
    return 1 + max((int(o.classes.max()) for o in images if len(o.classes)), default=0)


def _class_counts(images: Sequence[ObjectOverlaps], low: float, high: float) -> Array:
    n = _n_classes(images)
    return np.stack([np.bincount(o.classes[_in_band(o, low, high)], minlength=n) for o in images])


def _class_sums(images: Sequence[ObjectOverlaps], low: float, high: float) -> Array:
    """Per image, class and budget: objects found at 0.5, at 0.7, and the sum of best overlaps."""
    sums = np.zeros((len(images), _n_classes(images), len(_BUDGETS), len(_MEASURES)))
    for i, o in enumerate(images):
        chosen = _in_band(o, low, high)
        best = o.best[chosen]
        np.add.at(sums[i], o.classes[chosen], np.stack([best >= 0.5, best >= 0.7, best], axis=-1))
    return sums
