"""Data sets with one annotation file per split: what COCO JSON and CSV have in common."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_dist.data.dataset import Objects
from rcnn_dist.data.ids import id_of
from rcnn_dist.data.paths import PathDataset
from rcnn_dist.errors import BadAnnotationError

Annotation = Objects | BadAnnotationError | None  # None: the file says nothing of objects


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """What a split's file says: the images by path, in its order, and a hash of its bytes."""

    images: Mapping[str, Annotation]
    sha256: str


class AnnotatedDataset(PathDataset):
    """Images by path with annotations, as `data.dataset.Dataset` promises it; a split's file is read once per instance."""

    def __init__(self, name: str, base: str, splits: Sequence[str]) -> None:
        super().__init__(name, base, splits)
        self._files: dict[str, AnnotationFile] = {}
        self._by_id: dict[str, Annotation] = {}

    @abstractmethod
    def read(self, split: str) -> AnnotationFile:
        """Reads a split's file.

        Raises:
            DataError: there is none, or it cannot be understood as a whole; what is wrong with one image is that image's annotation.
        """

    def paths(self, split: str) -> list[str]:
        return list(self._file(split).images)

    def objects(self, image_id: str) -> Objects | None:
        """The annotated objects, not clipped.

        Raises:
            BadAnnotationError: those of this image cannot be understood.
        """
        for split in self._splits:
            self._file(split)
        found = self._by_id.get(image_id)
        if isinstance(found, BadAnnotationError):
            raise found
        return found

    def fingerprint(self, split: str) -> str:
        ids = super().fingerprint(split)
        return hashlib.sha256(f"{ids} {self._file(split).sha256}".encode()).hexdigest()

    def _file(self, split: str) -> AnnotationFile:
        if split not in self._files:
            self._files[split] = self.read(split)
            self._by_id |= {id_of(path): annotation for path, annotation in self._files[split].images.items()}
        return self._files[split]


@dataclass(frozen=True, slots=True)
class ParsedObject:
    """One object as a file gives it."""

    box: tuple[float, float, float, float]  # pixels, 0-based, half-open
    name: str
    difficult: bool


def collect_objects(found: Sequence[ParsedObject]) -> Objects:
    """Read-only objects of one image."""
    boxes = np.array([o.box for o in found], dtype=np.float64).reshape(-1, 4)
    difficult, truncated = np.array([o.difficult for o in found], dtype=np.bool_), np.zeros(len(found), dtype=np.bool_)
    for array in (boxes, difficult, truncated):
        array.flags.writeable = False
    return Objects(boxes, tuple(o.name for o in found), difficult, truncated)
