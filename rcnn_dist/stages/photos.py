"""A trained run on photographs that belong to no data set: the same boxes as the run's detect stage finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import ENDINGS, read_image
from rcnn_dist.errors import ConfigError
from rcnn_dist.stages import extract
from rcnn_dist.stages.detect import ImageDetector
from rcnn_dist.stages.models import load_model
from rcnn_dist.stages.proposal_sources import search
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.trained import TrainedRun
from rcnn_dist.store import files

__all__ = ["PhotoDetections", "PhotoDetector", "find_photos", "read_photo"]


def find_photos(places: Sequence[str]) -> list[str]:
    """Urls of photographs: files as they are named, and all images below folders, sorted; each once.

    Raises:
        ConfigError: a folder holds no image.
    """
    found: dict[str, None] = {}
    for place in places:
        if not files.is_folder(place):
            found[place] = None
            continue
        images = [name for name in files.list_tree(place) if name.lower().endswith(ENDINGS)]
        if not images:
            raise ConfigError(f"{place} holds no image: no file below it ends in {', '.join(ENDINGS)}")
        found |= dict.fromkeys(files.join(place, name) for name in images)
    return list(found)


def read_photo(url: str, trained: TrainedRun) -> Array:
    """The pixels of a photograph, decoded as the run decodes its own.

    Raises:
        BadImageError: it cannot be read; the message is one short reason.
    """
    return read_image(url, trained.config.data.max_pixels, trained.config.data.exif_rotation)


@dataclass(frozen=True, slots=True)
class PhotoDetections:
    """What a photograph shows, ordered by score."""

    classes: list[str]
    scores: Array  # float32 [K]
    boxes: Array  # float64 [K, 4]


class PhotoDetector:
    """Proposes, extracts, scores and suppresses in this process."""

    def __init__(self, trained: TrainedRun, thresholds: Mapping[str, float | None]) -> None:
        """Loads models and network.

        Args:
            thresholds: class -> lowest score that counts; None: the class is left out.
        """
        self._config = trained.config
        self._thresholds = {name: score for name, score in thresholds.items() if score is not None}
        model = load_model(files.join(trained.url, trained.models), tuple(self._thresholds))
        self._detector = ImageDetector(trained.config, model)
        self._extractor = extract.make_extractor(Run(trained.config), trained.finetuned)

    def detect(self, image: Array) -> PhotoDetections:
        """The kept detections of an image (uint8 [H, W, 3]) whose score is at least their class's threshold."""
        boxes = search(image, self._config.proposals)[: self._config.extract.max_proposals]
        boxes = boxes.astype(np.float32).astype(np.float64)  # as tables hold them
        height, width = image.shape[:2]
        found = self._detector.detect((width, height), boxes, self._extractor.extract(image, boxes))
        names = [self._detector.classes[index] for index in found.class_index]
        sure = found.score >= np.array([self._thresholds[name] for name in names])
        rows = np.flatnonzero(found.kept & sure)
        rows = rows[np.argsort(-found.score[rows], kind="stable")]
        return PhotoDetections([names[row] for row in rows], found.score[rows], found.boxes[rows])
