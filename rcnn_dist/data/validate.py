"""What is wrong with a data set, found before hours are spent on it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np

from rcnn_dist.data.dataset import Dataset, Objects, clip_to_image
from rcnn_dist.data.images import decode_image, exif_orientation, read_file
from rcnn_dist.errors import BadAnnotationError, BadImageError, DataError

_THIN = 2  # pixels

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; `subject` is an image id, a class, or empty for an image set as a whole."""

    severity: Severity
    kind: str
    image_set: str
    subject: str
    message: str


@dataclass(slots=True)
class ImageSet:
    """What was found in one image set."""

    name: str
    ids: tuple[str, ...] = ()
    unannotated: list[str] = field(default_factory=list)  # image ids
    objects: dict[str, int] = field(default_factory=dict)  # class -> objects
    difficult: dict[str, int] = field(default_factory=dict)  # class -> those of them that are difficult
    hashes: dict[str, str] = field(default_factory=dict)  # sha256 of an image file -> the first image that has it


@dataclass(frozen=True, slots=True)
class Checks:
    """How images are read, and what they are for."""

    max_pixels: int
    exif_rotation: bool
    classes: tuple[str, ...] | None  # that will be trained; None: all that are annotated
    trains: bool  # whether annotations are needed at all


def validate(
    dataset: Dataset, image_sets: Sequence[str], checks: Checks, threads: int, on_image: Callable[[int, int], None]
) -> tuple[list[ImageSet], list[Problem]]:
    """Reads every image and annotation once and tells all that is wrong with them; `image_sets`: to train on, to test on.

    `on_image` hears the place of each image in its set, from 0, and the size of the set.
    Law: the answer does not depend on `threads`.
    """
    sets, problems = [], []
    for image_set in image_sets:
        found = ImageSet(image_set)
        sets.append(found)
        try:
            found.ids = dataset.image_ids(image_set)
        except DataError as error:
            problems.append(Problem("error", "image set", image_set, "", str(error)))
            continue
        if not found.ids:
            problems.append(Problem("error", "image set", image_set, "", "it is empty"))
        with ThreadPoolExecutor(threads) as pool:
            looked_at = pool.map(lambda i: _read(dataset, i, checks), found.ids)
            for place, (image_id, file) in enumerate(zip(found.ids, looked_at, strict=True)):
                problems += [Problem(s, kind, image_set, image_id, m) for s, kind, m in _of_image(dataset, image_id, file, found, checks)]
                on_image(place, len(found.ids))
    problems += [Problem(severity, kind, name, "", message) for severity, kind, name, message in dataset.quirks(image_sets)]
    problems += _leaks(sets)
    if checks.trains and all(found.ids for found in sets):
        train, *tests = sets
        problems += [*_of_training(train, checks.classes), *(p for test in tests for p in _of_test(test, train, checks.classes))]
    return sets, problems


@dataclass(frozen=True, slots=True)
class _File:
    """An image file, looked at."""

    sha256: str = ""
    size: tuple[int, int] | None = None  # None: no image
    turned: bool = False  # EXIF says so
    problem: str = ""  # why it cannot be used


def _read(dataset: Dataset, image_id: str, checks: Checks) -> _File:
    url = dataset.image_url(image_id)
    try:
        data = read_file(url)
    except BadImageError as error:
        return _File(problem=f"{error}: {url}")
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        height, width = decode_image(data, checks.max_pixels, checks.exif_rotation).shape[:2]
        return _File(sha256, (width, height), exif_orientation(data) != 1)
    except BadImageError as error:
        return _File(sha256, problem=str(error))


_Found = tuple[Severity, str, str]  # severity, kind, message


def _of_image(dataset: Dataset, image_id: str, file: _File, found: ImageSet, checks: Checks) -> Iterator[_Found]:
    """What is wrong with one image; counts it."""
    if file.problem:
        yield "error", "image unreadable", file.problem
    elif (first := found.hashes.setdefault(file.sha256, image_id)) != image_id:
        yield "warning", "duplicate", f"the same bytes as {first}"
    try:
        objects = dataset.objects(image_id)
    except BadAnnotationError as error:
        yield "error", "annotation", str(error)
        return
    if objects is None:
        found.unannotated.append(image_id)
        return
    for name, difficult in zip(objects.classes, objects.difficult.tolist(), strict=True):
        found.objects[name] = found.objects.get(name, 0) + 1
        found.difficult[name] = found.difficult.get(name, 0) + difficult
    yield from _repeated(objects)
    if file.size:
        yield from _against_image(objects, dataset.stated_size(image_id), file, checks)


def _against_image(objects: Objects, stated: tuple[int, int] | None, file: _File, checks: Checks) -> Iterator[_Found]:
    """Where an annotation and the pixels disagree."""
    width, height = file.size or (0, 0)
    if stated and stated != (width, height):
        yield "warning", "size", f"the annotation says {stated[0]} x {stated[1]} pixels, the image has {width} x {height}"
    if file.turned and not checks.exif_rotation and objects.classes:
        yield "warning", "orientation", "EXIF says it is turned, which is ignored: if its boxes were drawn upright, set data.exif_rotation"
    for number, name in enumerate(objects.classes):
        one = Objects(objects.boxes[number : number + 1], (name,), np.zeros(1, bool), np.zeros(1, bool))
        clipped, outside = clip_to_image(one, width, height)
        where = f"object {number + 1} ({name}): box {' '.join(f'{edge:g}' for edge in one.boxes[0])}"
        if outside:
            yield "error", "box outside", f"{where} lies outside the image of {width} x {height}"
        elif not np.array_equal(clipped.boxes, one.boxes):
            yield "warning", "box cut", f"{where} reaches beyond the image of {width} x {height} and is cut"
        if not outside and min(clipped.boxes[0, 2:] - clipped.boxes[0, :2]) < _THIN:
            yield "warning", "box thin", f"{where} is less than {_THIN} pixels wide or high in the image"


def _repeated(objects: Objects) -> Iterator[_Found]:
    first: dict[tuple[str, ...], int] = {}
    for number, (name, box) in enumerate(zip(objects.classes, objects.boxes.tolist(), strict=True), start=1):
        other = first.setdefault((name, *map(str, box)), number)
        if other != number:
            yield "warning", "box repeated", f"objects {other} and {number} ({name}) have the same box"


def _leaks(sets: Sequence[ImageSet]) -> Iterator[Problem]:
    """Images that are in two sets, by name or by bytes."""
    for one, other in combinations(sets, 2):
        shared = set(one.ids) & set(other.ids)
        for image_id in (i for i in other.ids if i in shared):
            yield Problem("error", "leak", other.name, image_id, f"it is in {one.name} too")
        for sha256, image_id in other.hashes.items():
            twin = one.hashes.get(sha256)
            if twin and image_id not in shared:
                yield Problem("error", "leak", other.name, image_id, f"the same bytes as {twin} of {one.name}")


def _of_training(train: ImageSet, classes: tuple[str, ...] | None) -> Iterator[Problem]:
    """What is wrong with the classes to be trained."""
    for image_id in train.unannotated:
        yield Problem("warning", "annotation missing", train.name, image_id, "it counts as an image without objects")
    if not train.objects:
        yield Problem("error", "class", train.name, "", "no object in its annotations: nothing to train on")
        return
    for name in classes or sorted(train.objects):
        if name not in train.objects:
            yield Problem("error", "class", train.name, name, "no object of this class")
        elif train.difficult[name] == train.objects[name]:
            yield Problem("warning", "class", train.name, name, "all its objects are difficult")
    for name in sorted(set(train.objects) - set(classes or train.objects)):
        yield Problem("warning", "class", train.name, name, "annotated, but not in data.classes")
    spellings: dict[str, str] = {}
    for name in sorted(train.objects):
        other = spellings.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            yield Problem("warning", "class", train.name, name, f"it differs from '{other}' only in case or spaces")


def _of_test(test: ImageSet, train: ImageSet, classes: tuple[str, ...] | None) -> Iterator[Problem]:
    """What the images to test on lack for a verdict."""
    if len(test.unannotated) == len(test.ids):
        yield Problem("warning", "annotation missing", test.name, "", "no image is annotated: no AP can be computed")
        return
    for image_id in test.unannotated:
        yield Problem("warning", "annotation missing", test.name, image_id, "what is found in it counts as wrong")
    for name in sorted(set(classes or train.objects) & train.objects.keys()):
        if test.objects.get(name, 0) == test.difficult.get(name, 0):
            yield Problem("warning", "class", test.name, name, "no object of this class that counts: no AP for it")
    for name in sorted(test.objects.keys() - train.objects.keys()):
        yield Problem("warning", "class", test.name, name, f"not in {train.name}: it will not be found")
