"""The PASCAL VOC layout: image sets, annotations, and the only crossing from its 1-based pixels to ours."""

import hashlib
import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from defusedxml import ElementTree

from rcnn_dist.data.dataset import Complete, Objects
from rcnn_dist.data.ids import check_id
from rcnn_dist.errors import BadAnnotationError, DataError
from rcnn_dist.geometry.boxes import half_open_from_voc, voc_from_half_open
from rcnn_dist.store import files

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element  # noqa: TID251  the type's name only, defusedxml does the reading

_EXTENSIONS = (".jpg", ".jpeg", ".JPEG", ".JPG", ".png")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = {"": False, "0": False, "1": True}


class VocDataset(Complete):
    """A data set in the VOC layout, as `data.dataset.Dataset` promises it; each annotation is parsed once per instance.

    `root` holds the folder named by `year` (`VOC2007`), or holds a folder `VOCdevkit` that does; the lists of images are those of
    `ImageSets/<task>`, such as Main or Segmentation.

    Raises:
        DataError: there are no image sets below `root`; the message says where they were looked for.

    Reference: fact sheet §2.
    """

    def __init__(self, root: str, year: str = "VOC2007", task: str = "Main") -> None:
        check_id(year, "year")
        check_id(task, "task")
        tried = [files.join(root, year), files.join(root, "VOCdevkit", year)]
        found = next((folder for folder in tried if files.list_names(_image_sets(folder, task))), None)
        if found is None:
            places = " and ".join(_image_sets(folder, task) for folder in tried)
            raise DataError(f"no VOC data set at {root}: looked for image sets in {places}; give the folder that holds {year}/")
        self.name = year
        self.folder = found
        self._image_sets = _image_sets(found, task)
        self._objects: dict[str, Objects | None] = {}

    def image_ids(self, split: str) -> tuple[str, ...]:
        """The first column of `ImageSets/<task>/<split>.txt`, in its order; blank lines do not count.

        Raises:
            DataError: no such list, an id twice, or an id that `check_id` refuses.
        """
        check_id(split, "split")
        url = files.join(self._image_sets, f"{split}.txt")
        try:
            lines = files.read_text(url).splitlines()
        except FileNotFoundError:
            names = [name for name in files.list_names(self._image_sets) if name.endswith(".txt") and "_" not in name]
            raise DataError(f"no split {split!r}: {url} does not exist; the folder has {', '.join(names) or 'no lists'}") from None
        first_line: dict[str, int] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            image_id = line.split()[0]
            check_id(image_id, f"{url}, line {number}: image id")
            if image_id in first_line:
                raise DataError(f"{url} lists {image_id} twice, lines {first_line[image_id]} and {number}; remove one")
            first_line[image_id] = number
        return tuple(first_line)

    def image_url(self, image_id: str) -> str:
        """`JPEGImages/<id>.jpg`, or another usual extension where only that exists; the .jpg where nothing does."""
        check_id(image_id)
        urls = [files.join(self.folder, "JPEGImages", image_id + extension) for extension in _EXTENSIONS]
        return next((url for url in urls if files.exists(url)), urls[0])

    def objects(self, image_id: str) -> Objects | None:
        """The objects of `Annotations/<id>.xml`, not clipped (the sizes in VOC files are often wrong); None without that file.

        Raises:
            BadAnnotationError: the file cannot be understood.
        """
        if image_id not in self._objects:
            data = self._annotation(image_id)
            self._objects[image_id] = None if data is None else parse_annotation(data, self._annotation_url(image_id))
        return self._objects[image_id]

    def stated_size(self, image_id: str) -> tuple[int, int] | None:
        """The element `size`; None where there is no annotation, none that can be read, or no whole numbers in it."""
        return parse_size(self._annotation(image_id) or b"")

    def fingerprint(self, split: str) -> str:
        """Hex sha256 over the split's ids, in order, and the bytes of their annotations; the pixels take no part."""
        digest = hashlib.sha256()
        for image_id in self.image_ids(split):
            data = self._annotation(image_id)
            content = "none" if data is None else hashlib.sha256(data).hexdigest()
            digest.update(f"{image_id} {content}\n".encode())
        return digest.hexdigest()

    def _annotation_url(self, image_id: str) -> str:
        return files.join(self.folder, "Annotations", f"{image_id}.xml")

    def _annotation(self, image_id: str) -> bytes | None:
        check_id(image_id)
        try:
            return files.read_bytes(self._annotation_url(image_id))
        except FileNotFoundError:
            return None


def _image_sets(folder: str, task: str) -> str:
    return files.join(folder, "ImageSets", task)


def parse_annotation(data: bytes, source: str) -> Objects:
    """The objects of a VOC annotation; `source` names it in errors.

    VOC's corners are 1-based and inclusive: half-open boxes are those with 1 taken off xmin and ymin. Missing flags are false; the size
    that the file gives for the image is not read.
    Law: parse_annotation(write_annotation(..., objects), ...) equals objects.

    Raises:
        BadAnnotationError: no XML, XML with a DTD or entities, not an annotation, or an object without a name or a proper box.

    Reference: fact sheet §1, §2.
    """
    try:
        root = ElementTree.fromstring(data, forbid_dtd=True)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # defusedxml refuses with a ValueError, a codec with a LookupError
        raise BadAnnotationError(f"{source} is no XML that can be read: {error}") from error
    if root.tag != "annotation":
        raise BadAnnotationError(f"{source} is no VOC annotation: it starts with <{root.tag}>, <annotation> is wanted")
    parsed = [_parse_object(node, f"{source}, object {number}") for number, node in enumerate(root.iterfind("object"), start=1)]
    boxes = half_open_from_voc(np.array([box for box, *_ in parsed], dtype=np.float64).reshape(-1, 4))
    difficult = np.array([flag for _, _, flag, _ in parsed], dtype=np.bool_)
    truncated = np.array([flag for _, _, _, flag in parsed], dtype=np.bool_)
    for array in (boxes, difficult, truncated):
        array.flags.writeable = False
    return Objects(boxes, tuple(name for _, name, _, _ in parsed), difficult, truncated)


def parse_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) as an annotation says; None where it cannot be read, or there are no whole numbers in it."""
    try:
        node = ElementTree.fromstring(data, forbid_dtd=True).find("size")
        return None if node is None else (int(node.findtext("width") or ""), int(node.findtext("height") or ""))
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _parse_object(node: "Element", where: str) -> tuple[list[float], str, bool, bool]:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise BadAnnotationError(f"{where}: it has no name")
    where = f"{where} ({name})"
    bndbox = node.find("bndbox")
    if bndbox is None:
        raise BadAnnotationError(f"{where}: it has no bndbox")
    box = [_parse_corner(bndbox, corner, where) for corner in _CORNERS]
    for low, high in ((0, 2), (1, 3)):
        if box[low] > box[high]:
            raise BadAnnotationError(f"{where}: {_CORNERS[low]} {box[low]:g} lies beyond {_CORNERS[high]} {box[high]:g}")
    return box, name, _parse_flag(node, "difficult", where), _parse_flag(node, "truncated", where)


def _parse_corner(bndbox: "Element", corner: str, where: str) -> float:
    text = (bndbox.findtext(corner) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadAnnotationError(f"{where}: {corner} is {text!r}, a number is wanted")
    return value


def _parse_flag(node: "Element", flag: str, where: str) -> bool:
    text = (node.findtext(flag) or "").strip()
    if text not in _FLAGS:
        raise BadAnnotationError(f"{where}: {flag} is {text!r}, 0 or 1 is wanted")
    return _FLAGS[text]


def write_annotation(image_id: str, width: int, height: int, objects: Objects) -> bytes:
    """A VOC annotation of an image of this size, in VOC's 1-based inclusive pixels."""
    lines = ["<annotation>", f"\t<filename>{escape(image_id)}.jpg</filename>"]
    lines.append(f"\t<size><width>{width}</width><height>{height}</height><depth>3</depth></size>")
    rows = zip(objects.classes, voc_from_half_open(objects.boxes), objects.difficult, objects.truncated, strict=True)
    for name, box, difficult, truncated in rows:
        corners = "".join(f"<{corner}>{value:.17g}</{corner}>" for corner, value in zip(_CORNERS, box.tolist(), strict=True))
        lines.append("\t<object>")
        lines.append(f"\t\t<name>{escape(name)}</name>")
        lines.append("\t\t<pose>Unspecified</pose>")
        lines.append(f"\t\t<truncated>{truncated:d}</truncated>")
        lines.append(f"\t\t<difficult>{difficult:d}</difficult>")
        lines.append(f"\t\t<bndbox>{corners}</bndbox>")
        lines.append("\t</object>")
    return "\n".join([*lines, "</annotation>", ""]).encode()
