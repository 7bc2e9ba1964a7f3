"""ILSVRC2013's detection set as it lies on disk (paper §4; fact sheet §13)."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from rcnn_dist.arrays import Array, Int64
from rcnn_dist.data.dataset import Objects
from rcnn_dist.data.ids import check_id
from rcnn_dist.data.ilsvrc_lists import (
    TrainPart,
    devkit_list,
    list_bytes,
    parse_set,
    positive_images,
    read_blacklist,
    read_list,
    read_synsets,
)
from rcnn_dist.data.ilsvrc_split import balanced_split
from rcnn_dist.data.voc import parse_annotation, parse_size
from rcnn_dist.store import files

GENERATED = "shapes.json"  # a file that only generated sets have
_ALL = "all"


class IlsvrcDataset:
    """ILSVRC2013's detection set, as `data.dataset.Dataset` promises it.

    Images of val are annotated completely; of a training image only the objects of the classes that it was chosen for are known, so it
    is not exhaustive. Classes have the names of the devkit's synsets. The halves val1 and val2 are read from `lists`, where users put the
    authors' files; without it they are made once in `made`, as is the choice of training images.

    Args:
        root: the folder that holds ILSVRC2013_devkit/, ILSVRC2013_DET_val/ and the others.
        image_sets: those that will be read: they say what was chosen of a training image.
        lists: a folder with val1.txt and val2.txt; None: our own halves.
        made: where the lists that we make are kept.
        seed: of the halves and of the choice of training images.

    Raises:
        DataError: there is no devkit.
    """

    def __init__(self, root: str, image_sets: Sequence[str], lists: str | None, made: str, seed: int) -> None:
        self._root = root
        self.name = "generated ILSVRC2013" if files.exists(files.join(root, GENERATED)) else "ILSVRC2013"
        self._image_sets = image_sets
        self._lists = lists
        self._made = made
        self._seed = seed
        self._val = devkit_list(root, "val")
        self.synsets, self._from_devkit = read_synsets(root)
        self._names = {synset.wnid: synset.name for synset in self.synsets}
        self.class_names: tuple[str, ...] | None = tuple(self._names.values())
        self._blacklist, self._strange = read_blacklist(root, self._val)
        self._chosen: dict[str, dict[str, str]] = {}  # training image -> WordNet id -> how many of its objects, or all
        self._objects: dict[str, Objects | None] = {}
        self._unsaved: dict[str, bytes] = {}  # lists that are made and not yet files

    def image_ids(self, split: str) -> tuple[str, ...]:
        """The images of a sum of parts, such as `val1+train1000`."""
        ids: dict[str, None] = {}
        for part in parse_set(split):
            if isinstance(part, TrainPart):
                ids |= dict.fromkeys(self._choose(part))
            elif part == "val-blacklist":
                ids |= {i: None for i in self._val if i not in self._blacklist}
            elif part in ("val1", "val2"):
                ids |= dict.fromkeys(self._half(part))
            else:
                ids |= dict.fromkeys(self._val if part == "val" else devkit_list(self._root, part))
        return tuple(ids)

    def image_url(self, image_id: str) -> str:
        check_id(image_id)
        return files.join(self._root, f"ILSVRC2013_DET_{_folder(image_id)}", f"{image_id}.JPEG")

    def objects(self, image_id: str) -> Objects | None:
        """The objects that are known to be all of their class; None in test.

        Raises:
            BadAnnotationError: the file cannot be understood.
        """
        if image_id not in self._objects:
            data = self._annotation(image_id)
            self._objects[image_id] = None if data is None else self._known(image_id, parse_annotation(data, self._xml_url(image_id)))
        return self._objects[image_id]

    def stated_size(self, image_id: str) -> tuple[int, int] | None:
        return parse_size(self._annotation(image_id) or b"")

    def fingerprint(self, split: str) -> str:
        digest = hashlib.sha256()
        for image_id in self.image_ids(split):
            content = hashlib.sha256(self._annotation(image_id) or b"none").hexdigest()
            digest.update(f"{image_id} {content} {sorted(self._chosen.get(image_id, {}).items())}\n".encode())
        return digest.hexdigest()

    def exhaustive(self, image_id: str) -> bool:
        return _folder(image_id) != "train"

    def excluded(self, image_id: str) -> frozenset[str]:
        """The blacklist: classes whose objects cannot be told in this image of val."""
        return frozenset(self._names[wnid] for wnid in self._blacklist.get(image_id, ()) if wnid in self._names)

    def quirks(self, image_sets: Sequence[str]) -> list[tuple[Literal["error", "warning"], str, str, str]]:
        found: list[tuple[Literal["error", "warning"], str, str, str]] = []
        if not self._from_devkit:
            unsure = "no meta_det.mat: the order of the ids 28 and 29 (bow, bow tie) is unsure, which matters to a submission"
            found.append(("warning", "synsets", "", unsure))
        found += [("warning", "blacklist", "val", f"its line '{line}' names no image of val.txt") for line in self._strange]
        for name in image_sets:
            ids = [i for i in self.image_ids(name) if i not in self._val and _folder(i) == "val"]
            found += [("error", "list", name, f"{i} is in neither val.txt nor the training lists") for i in ids]
        for name in image_sets[:1]:
            bad = [i for i in self.image_ids(name) if i in self._blacklist]
            found += [("warning", "blacklist", name, f"{i} is blacklisted: the original trains on no such image") for i in bad]
        return found

    def save(self) -> None:
        """Writes the lists that were made, where workers and later runs find them."""
        for url, data in self._unsaved.items():
            files.write_bytes(url, data)
        self._unsaved = {}

    def class_counts(self) -> tuple[tuple[str, ...], Int64[Array, "N C"]]:
        """The images of val without a blacklist entry, and how many objects of each class they show."""
        ids = tuple(i for i in self._val if i not in self._blacklist)
        column = {name: c for c, name in enumerate(self._names.values())}
        counts = np.zeros((len(ids), len(column)), np.int64)
        for row, image_id in enumerate(ids):
            objects = self.objects(image_id)
            for name in objects.classes if objects else ():
                if name in column:
                    counts[row, column[name]] += 1
        return ids, counts

    def make_halves(self, folder: str) -> Array:
        """Makes val1.txt and val2.txt, which `save` writes; which images are in the first half of `class_counts`, bool [N]."""
        ids, counts = self.class_counts()
        first = balanced_split(counts, np.random.default_rng(self._seed))
        for name, half in (("val1", True), ("val2", False)):
            own = [i for i, mine in zip(ids, first, strict=True) if mine == half]
            self._unsaved[files.join(folder, f"{name}.txt")] = list_bytes(own)
        return first

    def _half(self, name: str) -> dict[str, str]:
        folder = self._lists or files.join(self._made, f"seed{self._seed}")
        url = files.join(folder, f"{name}.txt")
        if self._lists is None and url not in self._unsaved and not files.exists(url):
            self.make_halves(folder)
        return read_list(url, self._unsaved.get(url))

    def _choose(self, part: TrainPart) -> list[str]:
        """The training images of a part, and what counts in them, from the list that was made once."""
        url = files.join(self._made, f"seed{self._seed}", f"{part.name}.txt")
        if url not in self._unsaved and not files.exists(url):
            lines = [f"{i} {wnid} {n}\n" for c, s in enumerate(self.synsets, 1) for i, wnid, n in self._draw(part, c, s.wnid)]
            self._unsaved[url] = "".join(lines).encode()
        ids: dict[str, None] = {}
        data = self._unsaved[url] if url in self._unsaved else files.read_bytes(url)
        for line in data.decode().splitlines():
            image_id, wnid, count = line.split()
            ids[image_id] = None
            self._chosen.setdefault(image_id, {})[wnid] = count
        return list(ids)

    def _draw(self, part: TrainPart, class_id: int, wnid: str) -> list[tuple[str, str, str]]:
        """Random positive images of a class: (image, class, how many of its objects in the order of the file, or all)."""
        images = positive_images(self._root, class_id)
        order = np.random.default_rng([self._seed, class_id]).permutation(len(images))
        if part.images:
            return [(images[i], wnid, _ALL) for i in order[: part.count]]
        drawn, missing = [], part.count
        for i in order:
            if missing <= 0:
                break
            data = self._annotation(images[i])
            count = parse_annotation(data, self._xml_url(images[i])).classes.count(wnid) if data else 0
            if count:
                drawn.append((images[i], wnid, str(min(count, missing))))
                missing -= count
        return drawn

    def _known(self, image_id: str, objects: Objects) -> Objects:
        """Objects by class name; of a training image those that it was chosen for."""
        keep = np.ones(len(objects.classes), np.bool_)
        if not self.exhaustive(image_id):
            chosen = self._chosen_of(image_id)
            seen: Counter[str] = Counter()
            for row, wnid in enumerate(objects.classes):
                limit = chosen.get(wnid, "0")
                keep[row] = limit == _ALL or seen[wnid] < int(limit)
                seen[wnid] += 1
        names = tuple(self._names.get(wnid, wnid) for wnid, kept in zip(objects.classes, keep, strict=True) if kept)
        return Objects(objects.boxes[keep], names, objects.difficult[keep], objects.truncated[keep])

    def _chosen_of(self, image_id: str) -> dict[str, str]:
        if not self._chosen:
            for image_set in self._image_sets:
                self.image_ids(image_set)
        return self._chosen.get(image_id, {})

    def _xml_url(self, image_id: str) -> str:
        return files.join(self._root, f"ILSVRC2013_DET_bbox_{_folder(image_id)}", f"{image_id}.xml")

    def _annotation(self, image_id: str) -> bytes | None:
        check_id(image_id)
        try:
            return files.read_bytes(self._xml_url(image_id))
        except FileNotFoundError:
            return None


def _folder(image_id: str) -> str:
    """train, val or test: ids are `n02672831/n02672831_18`, `ILSVRC2012_val_00010706`, `ILSVRC2012_test_00000001`."""
    return "train" if "/" in image_id else "test" if "_test_" in image_id else "val"
