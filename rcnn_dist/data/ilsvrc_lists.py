"""The lists of ILSVRC2013's devkit: which images a set has, which pairs are not judged, which classes there are."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources

from rcnn_dist.data.ids import check_id
from rcnn_dist.errors import DataError
from rcnn_dist.store import files

N_CLASSES = 200
_META = "ILSVRC2013_devkit/data/meta_det.mat"
_BLACKLIST = "ILSVRC2013_devkit/data/ILSVRC2013_det_validation_blacklist.txt"
_LISTS = "ILSVRC2013_devkit/data/det_lists"
_TRAIN = re.compile(r"train(\d+)(images)?")


@dataclass(frozen=True, slots=True)
class Synset:
    """A class: its id is its place, from 1."""

    wnid: str
    name: str


@dataclass(frozen=True, slots=True)
class TrainPart:
    """`train1000`: up to that many boxes of each class, as the paper says; `train1000images`: images, as the authors' code does.

    Paper: §4.3. Reference: imdb_from_ilsvrc13.m, README-ilsvrc2013.
    """

    count: int
    images: bool

    @property
    def name(self) -> str:
        return f"train{self.count}{'images' if self.images else ''}"


def parse_set(name: str) -> list[str | TrainPart]:
    """The parts of an image set such as `val1+train1000`: lists of the devkit or of a split, and a part of the training images.

    Raises:
        DataError: a part is none of those.
    """
    parts: list[str | TrainPart] = []
    for part in name.split("+"):
        found = _TRAIN.fullmatch(part)
        if not found and part not in ("val", "val1", "val2", "test", "val-blacklist"):
            known = "val, val1, val2, test, val-blacklist (without its blacklisted images), train1000 (boxes per class), train1000images"
            raise DataError(f"image set {name!r}: {part!r} is none of {known}")
        parts.append(TrainPart(int(found[1]), bool(found[2])) if found else part)
    return parts


def read_synsets(root: str) -> tuple[tuple[Synset, ...], bool]:
    """The classes in the devkit's order, and whether the devkit said so; else the 200 as printed in the paper's Table 8.

    `meta_det.mat` has more synsets than classes: the first 200 are the classes.

    Raises:
        DataError: the file has no list of synsets.

    Reference: fact sheet §13.1.
    """
    from scipy.io.matlab import MatReadError, loadmat  # slow to load, and few data sets have such files

    url = files.join(root, _META)
    try:
        content = loadmat(io.BytesIO(files.read_bytes(url)), simplify_cells=True)
    except FileNotFoundError:
        return built_in_synsets(), False
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError) as error:
        raise DataError(f"{url} cannot be read: {error}; take it from the devkit again, or remove it to use the built-in list") from error
    rows = content.get("synsets", [])
    rows = [rows] if isinstance(rows, dict) else list(rows)
    if not rows or not all(isinstance(row, dict) and {"WNID", "name"} <= row.keys() for row in rows):
        raise DataError(f"{url} has no 'synsets' with WNID and name: take it from the devkit again, or remove it to use the built-in list")
    return tuple(Synset(str(row["WNID"]), str(row["name"])) for row in rows[:N_CLASSES]), True


def built_in_synsets() -> tuple[Synset, ...]:
    """The 200 classes, in the order of the paper's Table 8."""
    text = resources("rcnn_dist.data").joinpath("ilsvrc2013_synsets.csv").read_text(encoding="utf-8")
    return tuple(Synset(row["wnid"], row["name"]) for row in csv.DictReader(io.StringIO(text)))


def read_list(url: str, made: bytes | None = None) -> dict[str, str]:
    """Image id -> the rest of its line, in the order of the file, or of the bytes that it will have.

    Raises:
        DataError: no such list, an id twice, or an id that `check_id` refuses.
    """
    try:
        lines = (files.read_text(url) if made is None else made.decode()).splitlines()
    except FileNotFoundError:
        raise DataError(f"there is no list {url}: data.root is the folder that holds ILSVRC2013_devkit/ and ILSVRC2013_DET_val/") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        image_id, _, rest = line.strip().partition(" ")
        if not image_id:
            continue
        check_id(image_id, f"{url}, line {number}: image id")
        if image_id in found:
            raise DataError(f"{url} lists {image_id} twice, the second time in line {number}; remove one")
        found[image_id] = rest.strip()
    return found


def devkit_list(root: str, name: str) -> dict[str, str]:
    """A list of the devkit, as `read_list`."""
    return read_list(files.join(root, _LISTS, f"{name}.txt"))


def positive_images(root: str, class_id: int) -> list[str]:
    """Ids of the training images in which every object of a class is boxed, as `<wnid>/<wnid>_<n>`."""
    ids = devkit_list(root, f"train_pos_{class_id}")
    return [image_id if "/" in image_id else f"{image_id.rsplit('_', 1)[0]}/{image_id}" for image_id in ids]


def read_blacklist(root: str, val: Mapping[str, str]) -> tuple[dict[str, set[str]], list[str]]:
    """Image id -> WordNet ids for which it is not judged, and the lines that name no image of val.

    A line is `<index of the image in val.txt> <WordNet id>`.
    """
    url = files.join(root, _BLACKLIST)
    try:
        lines = files.read_text(url).splitlines()
    except FileNotFoundError:
        return {}, []
    by_index = {index or str(place): image_id for place, (image_id, index) in enumerate(val.items(), start=1)}
    found: dict[str, set[str]] = {}
    strange = []
    for line in filter(str.strip, lines):
        index, _, wnid = line.strip().partition(" ")
        if index in by_index and wnid:
            found.setdefault(by_index[index], set()).add(wnid.strip())
        else:
            strange.append(line.strip())
    return found, strange


def list_bytes(image_ids: Sequence[str]) -> bytes:
    """A list as the authors' val1.txt and val2.txt: id and place, from 1."""
    return "".join(f"{image_id} {place}\n" for place, image_id in enumerate(image_ids, start=1)).encode()
