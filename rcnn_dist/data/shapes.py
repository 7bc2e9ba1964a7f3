"""Generated data sets in the VOC layout: textured shapes in cluttered pictures, for trying whole runs at any scale."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
from PIL import Image

from rcnn_dist.arrays import Array, UInt8
from rcnn_dist.data.dataset import Objects
from rcnn_dist.data.label_maps import encode_label_map
from rcnn_dist.data.shapes_objects import OUTLINES, TEXTURES
from rcnn_dist.data.shapes_scene import Scene, draw_scene
from rcnn_dist.data.voc import write_annotation
from rcnn_dist.errors import ConfigError, DataError
from rcnn_dist.store import files

_VERSION = 1  # raise it when the pictures change
_YEAR = "VOC2007"
_MASKS = "SegmentationClass"
_SETS = ("train", "test")
_CLASSES = ("checkered_square", "dotted_triangle", "ringed_star", "spoked_ring", "striped_disc", "wavy_cross")
OTHER_CLASSES = tuple(sorted({f"{texture}_{outline}" for texture in TEXTURES for outline in OUTLINES} - set(_CLASSES)))
_SMALLEST_SIDE = 64
_OF_SCENE, _OF_JPEG = 1, 2  # separate random streams


@dataclass(frozen=True, slots=True)
class ShapesParams:
    """A generated set; equal parameters give equal bytes on one platform.

    A class is a texture and an outline, such as `striped_disc`: any of 6 x 6. Sizes are (width, height), each drawn between the two.

    Raises:
        ConfigError: a field cannot be used; the message says which and why.
    """

    # train: images of trainval, every second one is in train and the others in val
    images: Mapping[str, int] = field(default_factory=lambda: {"train": 60, "test": 30})
    classes: tuple[str, ...] = _CLASSES
    min_size: tuple[int, int] = (240, 180)
    max_size: tuple[int, int] = (320, 240)
    max_objects: int = 4  # per image, at least one is drawn
    jpeg_quality: tuple[int, int] = (75, 95)
    seed: int = 3

    def __post_init__(self) -> None:
        if sorted(self.images) != sorted(_SETS) or min(self.images.values()) < 0:
            raise ConfigError(f"shapes: images is {dict(self.images)}, give a number for each of {', '.join(_SETS)}")
        known = sorted(f"{texture}_{outline}" for texture in TEXTURES for outline in OUTLINES)
        unknown = sorted(set(self.classes) - set(known))
        if unknown or not self.classes or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"shapes: classes {list(self.classes)} must be distinct and out of {', '.join(known)}")
        sizes = (*self.min_size, *self.max_size)
        if min(sizes) < _SMALLEST_SIDE or any(low > high for low, high in zip(self.min_size, self.max_size, strict=True)):
            raise ConfigError(f"shapes: sizes from {self.min_size} to {self.max_size} must rise and be {_SMALLEST_SIDE} at least")
        low, high = self.jpeg_quality
        if self.max_objects < 1 or not 1 <= low <= high <= 100 or self.seed < 0:
            raise ConfigError("shapes: max_objects starts at 1, jpeg_quality lies in 1 to 100 and rises, seed is not negative")


def draw_image(params: ShapesParams, split: str, index: int) -> tuple[UInt8[Array, "H W 3"], Objects]:
    """Image `index` of split "train" or "test" and its objects, before JPEG.

    Law: it depends on no other image, so a set with more images begins with the same ones.
    """
    scene = _draw(params, split, index)
    return scene.image, scene.objects


def _draw(params: ShapesParams, split: str, index: int) -> Scene:
    rng = _rng(params, split, index, _OF_SCENE)
    width, height = rng.integers(params.min_size, params.max_size, endpoint=True).tolist()
    return draw_scene(rng, width, height, params.classes, params.max_objects)


def generate_shapes(url: str, params: ShapesParams) -> None:
    """Writes the set as `<url>/VOC2007/{Annotations,JPEGImages,ImageSets}`, with the lists train, val, trainval and test, and masks.

    The masks are `SegmentationClass` (label i + 1 is the i-th class, sorted), `SegmentationObject` and the lists of
    `ImageSets/Segmentation`. `<url>/shapes.json` holds the parameters and whether all is written. Run again it finishes what was
    interrupted, gives a set without masks its masks, and otherwise does nothing.
    Law: the files do not depend on interruptions.

    Raises:
        DataError: the folder holds another set.
    """
    record_url = files.join(url, "shapes.json")
    record = json.loads(json.dumps({"version": _VERSION, "params": asdict(params), "done": False}))
    if _already_done(url, record_url, record):
        return
    files.write_bytes(record_url, _as_json(record))
    names = {split: [f"{split}_{index:06d}" for index in range(params.images[split])] for split in _SETS}
    for split, image_ids in names.items():
        for index, image_id in enumerate(image_ids):
            _write_image(files.join(url, _YEAR), image_id, params, split, index)
    trainval = names["train"]
    lists = {"trainval": trainval, "train": trainval[::2], "val": trainval[1::2], "test": names["test"]}
    for split, image_ids in lists.items():
        text = "".join(f"{image_id}\n" for image_id in image_ids)
        for kind in ("Main", "Segmentation"):
            files.write_bytes(files.join(url, _YEAR, "ImageSets", kind, f"{split}.txt"), text.encode())
    files.write_bytes(record_url, _as_json({**record, "done": True}))


def _already_done(url: str, record_url: str, record: dict[str, object]) -> bool:
    try:
        found = json.loads(files.read_bytes(record_url))
    except FileNotFoundError:
        if files.exists(files.join(url, _YEAR)):
            raise DataError(f"{url} holds a {_YEAR} that was not generated here: choose another folder") from None
        return False
    except ValueError as error:
        raise DataError(f"{record_url} cannot be read ({error}): choose another folder, or delete {url}") from error
    if not isinstance(found, dict) or {**found, "done": False} != record:
        raise DataError(f"{url} holds another generated set ({json.dumps(found)[:400]}): choose another folder, or delete it")
    return found["done"] is True and files.exists(files.join(url, _YEAR, "ImageSets", "Segmentation", f"{_SETS[-1]}.txt"))


def _write_image(folder: str, image_id: str, params: ShapesParams, split: str, index: int) -> None:
    annotation_url, mask_url = (files.join(folder, *parts) for parts in (("Annotations", f"{image_id}.xml"), (_MASKS, f"{image_id}.png")))
    has_image, has_masks = files.exists(annotation_url), files.exists(mask_url)  # each is written last of its kind
    if has_image and has_masks:
        return
    scene = _draw(params, split, index)
    if not has_masks:
        files.write_bytes(files.join(folder, "SegmentationObject", f"{image_id}.png"), encode_label_map(scene.object_map))
        files.write_bytes(mask_url, encode_label_map(_class_map(scene, params.classes)))
    if not has_image:
        quality = int(_rng(params, split, index, _OF_JPEG).integers(*params.jpeg_quality, endpoint=True))
        buffer = io.BytesIO()
        Image.fromarray(scene.image).save(buffer, "JPEG", quality=quality)
        files.write_bytes(files.join(folder, "JPEGImages", f"{image_id}.jpg"), buffer.getvalue())
        files.write_bytes(annotation_url, write_annotation(image_id, scene.image.shape[1], scene.image.shape[0], scene.objects))


def _class_map(scene: Scene, classes: tuple[str, ...]) -> UInt8[Array, "H W"]:
    """Labels in place of the objects' numbers; void stays."""
    label = np.arange(256, dtype=np.uint8)
    label[1 : len(scene.objects.classes) + 1] = [sorted(classes).index(name) + 1 for name in scene.objects.classes]
    return label[scene.object_map]


def _rng(params: ShapesParams, split: str, index: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([params.seed, _SETS.index(split), index, purpose])


def _as_json(record: dict[str, object]) -> bytes:
    return (json.dumps(record, indent=2) + "\n").encode()
