"""One run: its configuration, its data set, and where its files lie."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from rcnn_dist.config import RunConfig
from rcnn_dist.data.dataset import Dataset, Objects, clip_to_image
from rcnn_dist.data.layouts import LAYOUTS, Source
from rcnn_dist.data.segmentation import SegmentationReader
from rcnn_dist.data.shuffled import ShuffledClasses
from rcnn_dist.data.voc import VocDataset
from rcnn_dist.errors import BadAnnotationError, ConfigError, DataError
from rcnn_dist.features.networks import located
from rcnn_dist.store import files
from rcnn_dist.store.box_tables import content_digest


class Run:
    """What every stage asks for. Splits are "train" and "test"; the configuration says which image sets they are.

    On its way to another process it keeps the digests of its data, so that no worker reads all ids and annotations again, and the file of
    the network's weights that was found here.
    """

    def __init__(self, config: RunConfig, digests: dict[str, str] | None = None) -> None:
        self.config = config
        self.url = config.run.dir.rstrip("/")
        self._ids: dict[str, tuple[str, ...]] = {}
        self._digests = digests or {}

    def __reduce__(self) -> tuple[type["Run"], tuple[RunConfig, dict[str, str]]]:
        return Run, (self.config.model_copy(update={"network": located(self.config.network)}), self._digests)

    @cached_property
    def dataset(self) -> Dataset:
        data, layout = self.config.data, LAYOUTS[self.config.data.layout]
        if data.root is None:
            raise ConfigError(f"data.root is not set: add --set data.root=PATH, {layout.root}")
        image_sets = tuple(self.image_set(split) for split in self.splits)
        made = files.join(self.url, "lists")
        dataset = layout.open(Source(data.root, image_sets, data.year, data.column, data.task, data.lists, made, data.seed))
        return dataset if data.shuffle_classes is None else ShuffledClasses(dataset, data.train, data.shuffle_classes)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the run has."""
        return ("train",) if self.config.data.test is None else ("train", "test")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names: the configured ones (which may be none), else the data set's own, else those of the training annotations, sorted."""
        configured = self.config.data.classes
        return configured if configured is not None else self.dataset.class_names or self.annotated_classes

    @cached_property
    def annotated_classes(self) -> tuple[str, ...]:
        """Class names of the training annotations, sorted."""
        names: set[str] = set()
        for image_id in self.image_ids("train"):
            try:
                objects = self.dataset.objects(image_id)
            except BadAnnotationError:
                continue  # a row of the failures table once its features are due
            names.update(objects.classes if objects else ())
        if not names:
            raise DataError(f"{self.dataset.name}: no object in the annotations of {self.config.data.train}: nothing to train on")
        return tuple(sorted(names))

    def with_classes(self, classes: tuple[str, ...]) -> "Run":
        """The same run with other classes."""
        return Run(self.config.model_copy(update={"data": replace(self.config.data, classes=classes)}), self._digests)

    def image_set(self, split: str) -> str:
        return self.config.data.train if split == "train" else str(self.config.data.test)

    def image_ids(self, split: str) -> tuple[str, ...]:
        """Image ids of a split in set order."""
        if split not in self._ids:
            self._ids[split] = self.dataset.image_ids(self.image_set(split))
        return self._ids[split]

    def objects(self, image_id: str, width: int, height: int) -> Objects | None:
        """Annotated objects of an image, clipped to it; None without annotation."""
        objects = self.dataset.objects(image_id)
        return None if objects is None else clip_to_image(objects, width, height)[0]

    @cached_property
    def segmentation(self) -> SegmentationReader:
        """The annotated masks.

        Raises:
            ConfigError: the layout has none.
        """
        if not isinstance(self.dataset, VocDataset):
            raise ConfigError(f"data.layout is '{self.config.data.layout}', which has no masks that are read here: voc has")
        return SegmentationReader(self.dataset.folder, self.config.data.sbd)

    def masks_digest(self, split: str) -> str:
        """What changes with the ids of a split or their annotated masks."""
        return self._digest(f"masks {split}", lambda: self.segmentation.fingerprint(self.image_ids(split)))

    def ids_digest(self, split: str) -> str:
        """What changes with the ids of a split or their order."""
        return self._digest(f"ids {split}", lambda: hashlib.sha256("\n".join(self.image_ids(split)).encode()).hexdigest())

    def annotations_digest(self, split: str) -> str:
        """What changes with the ids of a split or their annotations."""
        return self._digest(f"annotations {split}", lambda: self.dataset.fingerprint(self.image_set(split)))

    def files_digest(self, urls: Sequence[str]) -> str:
        """What changes with the bytes of some input files."""
        return self._digest(f"files {' '.join(urls)}", lambda: content_digest(urls))

    def _digest(self, key: str, compute: Callable[[], str]) -> str:
        if key not in self._digests:
            self._digests[key] = compute()
        return self._digests[key]

    def folder(self, kind: str, name: str, digest: str) -> str:
        """Folder of one version of a table or model, whatever the name: `features/lite-1a2b3c4d`."""
        return files.join(self.url, kind, f"{re.sub(r'[^A-Za-z0-9_.-]', '.', name)}-{digest}")

    def relative(self, folder: str) -> str:
        """A folder below the run, without the run's own place, so that moved runs keep their fingerprints."""
        return folder.removeprefix(self.url + "/")

    def section(self, name: str) -> dict[str, Any]:
        """A section of the configuration as plain values, for fingerprints."""
        return asdict(getattr(self.config, name))
