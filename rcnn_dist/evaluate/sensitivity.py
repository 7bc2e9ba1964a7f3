"""How much a detector's AP depends on what its objects look like: size, aspect ratio, truncation, and what else is noted of them.

Paper: §3.4, Figure 6. Reference: fact sheet §14.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float64, Int64
from rcnn_dist.evaluate.error_modes import ErrorModes, normalised_ap
from rcnn_dist.evaluate.voc import ClassObjects

CHARACTERISTICS = ("occlusion", "truncation", "size", "aspect", "view", "part")  # in the order of Figure 6
MIN_OBJECTS = 5  # a subset with fewer says nothing
_PERCENTILES = (0.1, 0.3, 0.7, 0.9)
SIZES = ("XS", "S", "M", "L", "XL")
ASPECTS = ("XT", "T", "M", "W", "XW")  # tall to wide
_SUBSETS = (
    "XS",
    "S",
    "XT",
    "T",
    "M",
    "L",
    "W",
    "XL",
    "XW",
    "whole",
    "truncated",
    "none",
    "1-10%",
    "10-50%",
    "over 50%",
)  # in the order that they are shown in


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Normalised AP of the least and the most favourable subset, averaged over the classes that have both, beside that of all objects."""

    lowest: float
    highest: float
    overall: float  # mean over the same classes
    classes: int
    subsets: dict[str, float]  # mean over the classes that have the subset

    @property
    def sensitivity(self) -> float:
        """What the best case is ahead of the worst."""
        return self.highest - self.lowest

    @property
    def impact(self) -> float:
        """What would be gained if every object were the best case."""
        return self.highest - self.overall


def characteristics(objects: ClassObjects) -> dict[str, dict[str, Bool[Array, "G"]]]:
    """Characteristic -> subset -> its objects, without difficult ones.

    Size is the box's area, aspect its width over its height, both in bins of the class's own percentiles 10, 30, 70 and 90.
    """
    easy = ~objects.difficult
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    found = {
        "size": _bins(sides.prod(axis=1), easy, SIZES),
        "aspect": _bins(np.divide(sides[:, 0], sides[:, 1], out=np.zeros(len(sides)), where=sides[:, 1] > 0), easy, ASPECTS),
    }
    if objects.truncated is not None:
        found["truncation"] = {"whole": easy & ~objects.truncated, "truncated": easy & objects.truncated}
    found |= {name: {subset: easy & mask for subset, mask in subsets.items()} for name, subsets in objects.noted.items()}
    return found


def subset_ap(modes: ErrorModes, subset: Bool[Array, "G"], n_j: float) -> float:
    """Normalised AP on some objects: right detections of the others do not count, every wrong one does."""
    elsewhere = (modes.matched_object >= 0) & ~subset[modes.matched_object] if len(subset) else np.zeros(len(modes.label), bool)
    label = np.where((modes.label == 1) & elsewhere, 0, modes.label)
    return normalised_ap(label, int(np.count_nonzero(subset)), n_j)


def sensitivities(modes: Mapping[str, ErrorModes], objects: Mapping[str, ClassObjects], n_j: float) -> dict[str, Sensitivity]:
    """Sensitivity and impact of each characteristic; one without a class that has two subsets of MIN_OBJECTS is left out."""
    measured: dict[str, list[tuple[dict[str, float], float]]] = {}
    for name, one in modes.items():
        overall = normalised_ap(one.label, one.n_positives, n_j)
        for characteristic, subsets in characteristics(objects[name]).items():
            large = {subset: rows for subset, rows in subsets.items() if np.count_nonzero(rows) >= MIN_OBJECTS}
            if len(large) > 1:
                values = {subset: subset_ap(one, rows, n_j) for subset, rows in large.items()}
                measured.setdefault(characteristic, []).append((values, overall))
    return {name: _average(measured[name]) for name in CHARACTERISTICS if name in measured}


def sensitivity_json(found: Mapping[str, Sensitivity]) -> dict[str, dict[str, object]]:
    return {
        name: {
            "lowest": s.lowest,
            "highest": s.highest,
            "overall": s.overall,
            "sensitivity": s.sensitivity,
            "impact": s.impact,
            "classes": s.classes,
            "subsets": s.subsets,
        }
        for name, s in found.items()
    }


def _average(classes: Sequence[tuple[dict[str, float], float]]) -> Sensitivity:
    found = dict.fromkeys(subset for values, _ in classes for subset in values)
    names = sorted(found, key=lambda name: _SUBSETS.index(name) if name in _SUBSETS else len(_SUBSETS))
    subsets = {name: float(np.mean([values[name] for values, _ in classes if name in values])) for name in names}
    lowest, highest = (float(np.mean([extreme(values.values()) for values, _ in classes])) for extreme in (min, max))
    return Sensitivity(lowest, highest, float(np.mean([overall for _, overall in classes])), len(classes), subsets)


def _bins(values: Float64[Array, "G"], easy: Bool[Array, "G"], names: Sequence[str]) -> dict[str, Bool[Array, "G"]]:
    """Objects by the percentile of their value among the class's objects that are not difficult; equal values are in one bin."""
    edges = np.quantile(values[easy], _PERCENTILES) if easy.any() else np.zeros(len(_PERCENTILES))
    bins: Int64[Array, G] = np.searchsorted(edges, values, side="left")
    return {name: easy & (bins == index) for index, name in enumerate(names)}
