"""Training labels that mean nothing: the control of an experiment, which must end at chance."""

import hashlib
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from rcnn_dist.data.dataset import Dataset, Objects
from rcnn_dist.errors import BadAnnotationError


class ShuffledClasses:
    """A data set whose training objects keep their boxes and are dealt their classes anew, each class as often as before.

    Other images keep theirs. Law: the classes depend on the training annotations and the seed alone.
    """

    def __init__(self, dataset: Dataset, split: str, seed: int) -> None:
        self._dataset = dataset
        self._split = split
        self._seed = seed
        self.name = dataset.name
        self.image_ids = dataset.image_ids
        self.image_url = dataset.image_url
        self.stated_size = dataset.stated_size
        self.class_names = dataset.class_names
        self.exhaustive = dataset.exhaustive
        self.excluded = dataset.excluded
        self.quirks = dataset.quirks
        self.save = dataset.save

    def objects(self, image_id: str) -> Objects | None:
        found = self._dataset.objects(image_id)
        if found is None or image_id not in self._dealt:
            return found
        return Objects(found.boxes, self._dealt[image_id], found.difficult, found.truncated)

    def fingerprint(self, split: str) -> str:
        text = f"{self._dataset.fingerprint(split)} {self._dataset.fingerprint(self._split)} shuffled {self._seed}"
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _dealt(self) -> Mapping[str, tuple[str, ...]]:
        """Image -> its objects' classes."""
        own: dict[str, tuple[str, ...]] = {}
        for image_id in self._dataset.image_ids(self._split):
            try:
                objects = self._dataset.objects(image_id)
            except BadAnnotationError:
                continue
            if objects is not None:
                own[image_id] = objects.classes
        names = np.array([name for classes in own.values() for name in classes], dtype=object)
        dealt = iter(np.random.default_rng(self._seed).permutation(names).tolist())
        return {image_id: tuple(next(dealt) for _ in classes) for image_id, classes in own.items()}
