"""What Hoiem, Chodpathumwan and Dai noted of the objects of seven classes in VOC2007 test: occlusion, visible sides, visible parts.

One text file per class, `gt_ved_<class>.txt` of their tool: a line of names, then one line per object that is not difficult, in the order
of the image set and of the annotation files.

Reference: fact sheet §14; src/updateRecordAnnotations.m.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.errors import BadAnnotationError
from rcnn_dist.store import files

OCCLUSION = ("none", "1-10%", "10-50%", "over 50%")
_SIDES = {"diningtable": ("side", "top"), "bicycle": ("bottom", "front", "rear", "top", "side")}
_ALL_SIDES = ("bottom", "front", "rear", "side", "top")
_PARTS = {
    "aeroplane": ("body", "head", "tail", "wing"),
    "bicycle": ("body", "handlebars", "seat", "wheel"),
    "bird": ("body", "face", "beak", "leg", "tail", "wing"),
    "boat": ("body", "cabin", "mast", "paddle", "sail", "window"),
    "cat": ("body", "ear", "face", "leg", "tail"),
    "chair": ("backrest", "cushion", "handrest", "leg"),
    "diningtable": ("tableleg", "tabletop"),
}


@dataclass(frozen=True, slots=True)
class Notes:
    """Of G objects that are not difficult: characteristic -> subset -> bool [G], and the areas that tell which objects they are."""

    subsets: dict[str, dict[str, Array]]
    areas: Array  # int64 [G], pixels of the box


def read_notes(folder: str, class_name: str) -> Notes | None:
    """The notes of a class; None where there are none.

    Raises:
        BadAnnotationError: the file has other columns than theirs.
    """
    url = files.join(folder, f"gt_ved_{class_name}.txt")
    if class_name not in _PARTS or not files.exists(url):
        return None
    header, *lines = (line.split() for line in files.read_bytes(url).decode("ascii", "replace").splitlines() if line.strip())
    parts, sides = _PARTS[class_name], _SIDES.get(class_name, _ALL_SIDES)
    if any(len(line) != 5 + len(parts) + len(sides) for line in lines) or header[:3] != ["det", "conf", "occ"]:
        raise BadAnnotationError(f"{url}: expected det, conf, occ, {len(parts)} parts, {len(sides)} sides, size, ratio in each line")
    try:
        values = np.array(lines, np.float64).reshape(len(lines), 5 + len(parts) + len(sides))
    except ValueError as error:
        raise BadAnnotationError(f"{url}: {error}") from error
    first_side = 3 + len(parts)
    subsets = {
        "occlusion": {name: values[:, 2] == level for level, name in enumerate(OCCLUSION)},
        "view": _visible(sides, values[:, first_side:-2]),
        "part": _visible(parts, values[:, 3:first_side]),
    }
    return Notes(subsets, values[:, -2].astype(np.int64))


def subsets_of(notes: Notes, boxes: Array, difficult: Array, class_name: str) -> dict[str, dict[str, Array]]:
    """The notes for all objects of a class, in set order; a difficult object is in no subset.

    Raises:
        BadAnnotationError: they are about other objects.
    """
    easy = np.flatnonzero(~difficult)
    areas = np.round((boxes[easy, 2] - boxes[easy, 0]) * (boxes[easy, 3] - boxes[easy, 1])).astype(np.int64)
    if len(areas) != len(notes.areas):
        raise BadAnnotationError(
            f"notes of {class_name}: {len(notes.areas)} objects, but the test set has {len(areas)}: they are of VOC2007 test"
        )
    if len(wrong := np.flatnonzero(areas != notes.areas)):
        row = int(wrong[0])
        raise BadAnnotationError(
            f"notes of {class_name}: object {row + 1} has {notes.areas[row]} pixels, but {areas[row]} in the test set: "
            "they are of VOC2007 test"
        )
    return {name: {subset: _spread(mask, easy, len(difficult)) for subset, mask in one.items()} for name, one in notes.subsets.items()}


def _visible(names: Sequence[str], values: Array) -> dict[str, Array]:
    return {f"{name}: {word}": values[:, k] == flag for k, name in enumerate(names) for flag, word in ((0, "no"), (1, "yes"))}


def _spread(mask: Array, rows: Array, count: int) -> Array:
    whole = np.zeros(count, bool)
    whole[rows] = mask
    return whole
