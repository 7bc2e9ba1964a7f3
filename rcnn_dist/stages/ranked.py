"""`evaluation/ranked.safetensors`: the verdict on every detection in rank order, for AP on other draws of the test images."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.errors import MissingShardError
from rcnn_dist.evaluate.bootstrap import RankedClass, ranked_class
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects, ClassResult, Variant
from rcnn_dist.store.tensors import load_tensors, save_tensors

RANKED = "ranked.safetensors"
_WRONG, _RIGHT, _IGNORED = range(3)
_SAME_RULES: dict[Variant, Variant] = {"area": "voc07"}  # variant -> the one whose verdicts it shares


@dataclass(frozen=True, slots=True)
class RankedSet:
    """A test set as one variant judges it."""

    n_images: int
    image_ids_sha256: str  # of the ids in set order
    classes: Mapping[str, RankedClass]


def save_ranked(
    url: str,
    image_ids: Sequence[str],
    detections: Mapping[str, ClassDetections],
    objects: Mapping[str, ClassObjects],
    results: Mapping[str, ClassResult],
) -> None:
    tensors: dict[str, Array] = {}
    for name, result in results.items():
        for variant, matches in result.matched.items():
            if variant not in _SAME_RULES:
                ranked = ranked_class(detections[name], objects[name], matches, variant)
                verdict = np.select([ranked.is_true_positive, ranked.is_false_positive], [_RIGHT, _WRONG], _IGNORED)
                tensors[f"{variant}/image/{name}"] = ranked.image.astype(np.int32)
                tensors[f"{variant}/verdict/{name}"] = verdict.astype(np.uint8)
                tensors[f"{variant}/objects/{name}"] = ranked.object_image.astype(np.int32)
    ids = hashlib.sha256("\n".join(image_ids).encode()).hexdigest()
    save_tensors(url, tensors, {"classes": list(results), "images": len(image_ids), "image_ids_sha256": ids})


def load_ranked(url: str, variant: Variant) -> RankedSet | None:
    """None where an older version evaluated.

    Raises:
        DamagedFileError: the file is not one of ours.
    """
    try:
        tensors, about = load_tensors(url)
    except MissingShardError:
        return None
    rules = _SAME_RULES.get(variant, variant)
    classes = {}
    for name in about["classes"]:
        image, verdict, objects = (tensors[f"{rules}/{what}/{name}"] for what in ("image", "verdict", "objects"))
        classes[name] = RankedClass(image.astype(np.int64), verdict == _RIGHT, verdict == _WRONG, objects.astype(np.int64))
    return RankedSet(about["images"], about["image_ids_sha256"], classes)
