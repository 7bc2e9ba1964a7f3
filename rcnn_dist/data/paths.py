"""Data sets whose images are named by path or URL: the part that is the same for folders, lists and annotation tables."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

from rcnn_dist.data.dataset import Complete, Objects
from rcnn_dist.data.ids import id_of, path_of
from rcnn_dist.errors import DataError
from rcnn_dist.store import files

ALL = "all"  # the one image set of a layout that knows no sets


class PathDataset(Complete, ABC):
    """Images by path or URL, without annotations, as `data.dataset.Dataset` promises it.

    An image's id is its path as `ids.id_of` writes it, so that a worker finds the image without reading the list of all. Paths are
    relative to `base`.
    """

    def __init__(self, name: str, base: str, splits: Sequence[str]) -> None:
        self.name = name
        self._base = base
        self._splits = splits
        self._ids: dict[str, tuple[str, ...]] = {}
        self._cut: dict[str, str] = {}  # ids that `path_of` cannot turn back -> path

    @abstractmethod
    def paths(self, split: str) -> Sequence[str]:
        """Paths and URLs of a split in their order on disk, without repeats.

        Raises:
            DataError: no such split, or its list cannot be read.
        """

    def image_ids(self, split: str) -> tuple[str, ...]:
        if split not in self._ids:
            paths = self.paths(split)
            self._ids[split] = tuple(id_of(path) for path in paths)
            self._cut |= {i: path for i, path in zip(self._ids[split], paths, strict=True) if path_of(i) is None}
        return self._ids[split]

    def image_url(self, image_id: str) -> str:
        path = path_of(image_id)
        if path is None:
            for split in self._splits:
                self.image_ids(split)
            path = self._cut[image_id]
        return path if "://" in path or path.startswith("/") else files.join(self._base, path)

    def objects(self, image_id: str) -> Objects | None:  # noqa: ARG002
        return None

    def stated_size(self, image_id: str) -> tuple[int, int] | None:  # noqa: ARG002
        return None

    def fingerprint(self, split: str) -> str:
        return hashlib.sha256("\n".join(self.image_ids(split)).encode()).hexdigest()


def refuse_split(layout: str, split: str) -> None:
    """Passes the one set of a layout without sets.

    Raises:
        DataError: another set is asked for.
    """
    if split != ALL:
        raise DataError(f"no image set {split!r}: data.layout={layout} has the one set '{ALL}'; set data.train={ALL} and data.test=null")


def last_name(url: str) -> str:
    """What a file or folder is called: the end of its url."""
    return url.rstrip("/").rsplit("/", 1)[-1]


def folder_of(url: str) -> str:
    """The folder that a file lies in."""
    return url.rpartition("/")[0] or ("/" if url.startswith("/") else ".")
