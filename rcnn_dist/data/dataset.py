"""What a data set gives, whatever its layout on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float64


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The annotated objects of one image, in the order of the annotation.

    `boxes` are pixels of the image, 0-based and half-open; `difficult` and `truncated` are the VOC flags. Data sets hand the same arrays
    to every caller, read-only.

    Raises:
        ValueError: the fields differ in length.
    """

    boxes: Float64[Array, "G 4"]
    classes: tuple[str, ...]
    difficult: Bool[Array, " G"]
    truncated: Bool[Array, " G"]

    def __post_init__(self) -> None:
        count = len(self.classes)
        if not (self.boxes.shape == (count, 4) and self.difficult.shape == self.truncated.shape == (count,)):
            raise ValueError(f"objects of one length wanted: {count} classes, boxes {self.boxes.shape}, flags {self.difficult.shape}")


class Dataset(Protocol):
    """Images in splits, each with objects or without an annotation."""

    @property
    def name(self) -> str:
        """Short name for tables and titles."""
        ...

    def image_ids(self, split: str) -> tuple[str, ...]:
        """The ids of a split in their order on disk, without repeats."""
        ...

    def image_url(self, image_id: str) -> str:
        """Where the image should be; that it can be read is not checked."""
        ...

    def objects(self, image_id: str) -> Objects | None:
        """The annotated objects, not yet clipped to the image; None where there is no annotation."""
        ...

    def stated_size(self, image_id: str) -> tuple[int, int] | None:
        """(width, height) of the image as its annotation says, which is often wrong; None where it says nothing."""
        ...

    def fingerprint(self, split: str) -> str:
        """Hex sha256 over the split's ids, in order, and the bytes of their annotations; the pixels take no part.

        Law: equal fingerprints mean equal `image_ids` and equal `objects`.
        """
        ...

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes that the data set is about, in its own order; None: those that its annotations name."""
        ...

    def exhaustive(self, image_id: str) -> bool:
        """Whether every object of every class is annotated. Only such an image has proposals, negatives and regression pairs."""
        ...

    def excluded(self, image_id: str) -> frozenset[str]:
        """Classes for which the image is not judged."""
        ...

    def quirks(self, image_sets: Sequence[str]) -> list[tuple[Literal["error", "warning"], str, str, str]]:
        """What is wrong beyond single images and annotations: severity, kind, image set, message. The first set is trained on."""
        ...

    def save(self) -> None:
        """Writes what the data set has made, such as lists, where other processes find it."""
        ...


class Complete:
    """The answers of a data set whose annotations are complete, and name the classes."""

    class_names: tuple[str, ...] | None = None

    def exhaustive(self, image_id: str) -> bool:  # noqa: ARG002
        return True

    def excluded(self, image_id: str) -> frozenset[str]:  # noqa: ARG002
        return frozenset()

    def quirks(self, image_sets: Sequence[str]) -> list[tuple[Literal["error", "warning"], str, str, str]]:  # noqa: ARG002
        return []

    def save(self) -> None:
        pass


def clip_to_image(objects: Objects, width: int, height: int) -> tuple[Objects, int]:
    """The objects with their boxes cut at the image's border, and how many were dropped because nothing of them was left.

    Law: clip_to_image(clipped, width, height) == (clipped, 0).
    """
    boxes = np.clip(objects.boxes, 0, np.array([width, height, width, height], dtype=np.float64))
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    classes = tuple(name for name, keep in zip(objects.classes, kept, strict=True) if keep)
    clipped = Objects(boxes[kept], classes, objects.difficult[kept], objects.truncated[kept])
    return clipped, int(np.count_nonzero(~kept))
