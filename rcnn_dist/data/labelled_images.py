"""Whole images with one label each: ImageNet's layout, or any in which folders are classes.

<root>/train/<class>/*.jpg   <root>/val/<class>/*.jpg
<root>/val.txt               or, where an image set is one folder: lines `path label`, labels from 0 in the order of the classes
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Int64
from rcnn_dist.data.images import ENDINGS
from rcnn_dist.errors import DataError
from rcnn_dist.store import files


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """One image set: paths relative to `folder`, and for each the index of its class."""

    folder: str
    paths: tuple[str, ...]
    labels: Int64[Array, "N"]

    def url(self, index: int) -> str:
        return files.join(self.folder, self.paths[index])

    def digest(self) -> str:
        """What changes with the images' names, their order or their labels."""
        listed = "\n".join(f"{path} {label}" for path, label in zip(self.paths, self.labels, strict=True))
        return hashlib.sha256(listed.encode()).hexdigest()


def read_classes(root: str, image_set: str) -> tuple[str, ...]:
    """The classes of the training images: the names of its folders, sorted.

    Raises:
        DataError: there is none.
    """
    folder = files.join(root, image_set)
    classes = tuple(name for name in files.list_names(folder) if files.is_folder(files.join(folder, name)))
    if not classes:
        raise DataError(f"{folder} has no folders, of which each is a class: give the folder that holds {image_set}/ as data.root")
    return classes


def read_labelled_images(root: str, image_set: str, classes: tuple[str, ...]) -> LabelledImages:
    """The images of a set, from `<root>/<image_set>.txt` where there is one, else sorted by class and name.

    Raises:
        DataError: no images, a class that the training images do not have, or a line that is no path and label.
    """
    listing, folder = files.join(root, f"{image_set}.txt"), files.join(root, image_set)
    found = _listed(listing, len(classes)) if files.exists(listing) else _in_folders(folder, classes)
    if not found:
        raise DataError(f"{folder} has no images ({', '.join(ENDINGS)}) in folders of classes, and there is no {listing}")
    return LabelledImages(folder, tuple(path for path, _ in found), np.array([label for _, label in found], np.int64))


def _in_folders(folder: str, classes: tuple[str, ...]) -> list[tuple[str, int]]:
    label_of = {name: label for label, name in enumerate(classes)}
    found = []
    for path in files.list_tree(folder):
        name, _, rest = path.partition("/")
        if not rest or not path.lower().endswith(ENDINGS):
            continue
        if name not in label_of:
            raise DataError(f"{folder}/{name} is a class that the training images do not have: remove it, or add it there")
        found.append((path, label_of[name]))
    return found


def _listed(url: str, n_classes: int) -> list[tuple[str, int]]:
    found = []
    for number, line in enumerate(files.read_text(url).splitlines(), 1):
        path, _, label = line.rpartition(" ")
        if not path or not label.isdigit() or int(label) >= n_classes or path.startswith("/") or ".." in path.split("/"):
            raise DataError(f"{url}, line {number}: {line!r} is no path below the folder and label from 0 to {n_classes - 1}")
        found.append((path, int(label)))
    return found
