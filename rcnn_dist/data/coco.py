"""The COCO layout: images and boxes of a split in one JSON file of instances."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rcnn_dist.data.annotated import AnnotatedDataset, Annotation, AnnotationFile, ParsedObject, collect_objects
from rcnn_dist.data.ids import check_id
from rcnn_dist.data.paths import last_name
from rcnn_dist.errors import BadAnnotationError, DataError
from rcnn_dist.store import files

Tree = dict[str, Any]
Number = int | str  # COCO's own ids
_FAR = 1e9  # no pixel lies there


class CocoDataset(AnnotatedDataset):
    """A data set in COCO's layout.

    The file of a split, say `train2017`, is `annotations/instances_train2017.json`, `train2017/_annotations.coco.json` or
    `train2017.json` below `root`, the first that exists; its images lie in `train2017/`, `images/train2017/`, `images/` or `root` itself,
    the first that holds the first image.
    """

    def __init__(self, root: str, splits: tuple[str, ...]) -> None:
        super().__init__(last_name(root), root, splits)
        self._sizes: dict[str, tuple[Any, Any]] | None = None

    def read(self, split: str) -> AnnotationFile:
        url = self._url(split)
        data = files.read_bytes(url)
        images = parse_instances(data, url)
        folders = [f"{split}/", f"images/{split}/", "images/", ""]
        first = next(iter(images), "")
        folder = next((f for f in folders if files.exists(files.join(self._base, f + first))), folders[0])
        return AnnotationFile({folder + name: found for name, found in images.items()}, hashlib.sha256(data).hexdigest())

    def numbers(self, split: str) -> tuple[dict[str, Number], dict[str, Number]]:
        """The file's own ids: of the images by our id, of the categories by name."""
        url = self._url(split)
        tree = _load(files.read_bytes(url), url)
        categories = _unique(tree, "categories", "name", url) if "categories" in tree else {}
        images = zip(self.image_ids(split), _unique(tree, "images", "file_name", url), strict=True)
        return dict(images), {name: number for number, name in categories.items()}

    def stated_size(self, image_id: str) -> tuple[int, int] | None:
        if self._sizes is None:
            self._sizes = {}
            for split in self._splits:
                entries = _load(files.read_bytes(url := self._url(split)), url)["images"]
                self._sizes |= dict(zip(self.image_ids(split), ((e.get("width"), e.get("height")) for e in entries), strict=True))
        width, height = self._sizes.get(image_id, (None, None))
        return (width, height) if isinstance(width, int) and isinstance(height, int) else None

    def _url(self, split: str) -> str:
        check_id(split, "split")
        names = [f"annotations/instances_{split}.json", f"{split}/_annotations.coco.json", f"{split}.json"]
        url = next((url for name in names if files.exists(url := files.join(self._base, name))), None)
        if url is None:
            raise DataError(f"no split {split!r}: {self._base} has none of {', '.join(names)}")
        return url


def parse_instances(data: bytes, source: str) -> dict[str, Annotation]:
    """File name -> objects of every image of an instances file, in its order; `source` names it in errors.

    A bbox [x, y, width, height] is 0-based and half-open already. Segmentations are not read: an object is its bbox, and one without is
    refused. Crowds (`iscrowd`) are `difficult`: left out of training, and neither right nor wrong to detect. A file without
    `annotations`, as test sets have it, says nothing of objects.

    Raises:
        DataError: no JSON of this kind, an image or a category twice, or an annotation of an image that is not listed.

    Reference: cocodataset.org, data format.
    """
    tree = _load(data, source)
    categories = _unique(tree, "categories", "name", source) if "annotations" in tree else {}
    images = _unique(tree, "images", "file_name", source)
    if "annotations" not in tree:
        return dict.fromkeys(images.values())
    by_image: dict[Any, list[Tree]] = {image: [] for image in images}
    for annotation in _entries(tree, "annotations", source):
        if annotation.get("image_id") not in by_image:
            raise DataError(f"{source}, annotation {annotation.get('id')}: no image has the id {annotation.get('image_id')!r}")
        by_image[annotation["image_id"]].append(annotation)
    return {images[image]: _objects(found, categories, source) for image, found in by_image.items()}


def _load(data: bytes, source: str) -> Tree:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is no JSON that can be read: {error}") from error
    if not isinstance(tree, dict) or "images" not in tree:
        raise DataError(f"{source} is no COCO instances file: an object with 'images', 'annotations' and 'categories' is wanted")
    return tree


def _entries(tree: Tree, key: str, source: str) -> list[Tree]:
    entries = tree.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{source}: '{key}' must be a list of objects")
    if any(not isinstance(entry.get(name), int | str | None) for entry in entries for name in ("id", "image_id", "category_id")):
        raise DataError(f"{source}: every id in '{key}' must be a number or a text")
    return entries


def _unique(tree: Tree, key: str, name: str, source: str) -> dict[Number, str]:
    """Id -> name of the entries of a list, both without repeats."""
    found: dict[Number, str] = {}
    names: set[str] = set()
    for entry in _entries(tree, key, source):
        if "id" not in entry or not isinstance(entry.get(name), str) or not entry[name].strip():
            raise DataError(f"{source}: every entry of '{key}' needs an 'id' and a '{name}', found {json.dumps(entry)[:100]}")
        if entry["id"] in found or entry[name] in names:
            raise DataError(f"{source}: '{key}' holds {entry[name]} (id {entry['id']}) twice; remove one")
        found[entry["id"]] = entry[name]
        names.add(entry[name])
    return found


def _objects(annotations: list[Tree], categories: Mapping[Any, str], source: str) -> Annotation:
    try:
        return collect_objects([_object(a, categories, f"{source}, annotation {a.get('id')}") for a in annotations])
    except BadAnnotationError as error:
        return error


def _object(annotation: Tree, categories: Mapping[Any, str], where: str) -> ParsedObject:
    name = categories.get(annotation.get("category_id"))
    if name is None:
        raise BadAnnotationError(f"{where}: no category has the id {annotation.get('category_id')!r}")
    bbox = annotation.get("bbox")
    if bbox is None:
        raise BadAnnotationError(f"{where} ({name}): it has no bbox; write the box of its segmentation there")
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(_is_number(value) for value in bbox)):
        raise BadAnnotationError(f"{where} ({name}): bbox is {json.dumps(bbox)[:60]}, [x, y, width, height] is wanted")
    x, y, width, height = map(float, bbox)
    if width <= 0 or height <= 0:
        raise BadAnnotationError(f"{where} ({name}): bbox is {width:g} wide and {height:g} high, it must have an area")
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise BadAnnotationError(f"{where} ({name}): iscrowd is {crowd!r}, 0 or 1 is wanted")
    return ParsedObject((x, y, x + width, y + height), name, bool(crowd))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FAR
