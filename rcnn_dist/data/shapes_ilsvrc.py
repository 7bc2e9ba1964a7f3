"""Generated data in the layout of ILSVRC2013's detection set: textured, coloured shapes, with the marks of the real thing.

val is annotated completely, save for what its blacklist names; a training image has boxes of one class only, of some of whose objects
in partial images; some files are grey, some CMYK.
"""

import io
import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import scipy.io
from PIL import Image

from rcnn_dist.arrays import Array
from rcnn_dist.data.dataset import Objects
from rcnn_dist.data.ilsvrc_lists import N_CLASSES, Synset, built_in_synsets
from rcnn_dist.data.shapes_objects import HUES, OUTLINES, TEXTURES
from rcnn_dist.data.shapes_scene import draw_scene
from rcnn_dist.data.voc import write_annotation
from rcnn_dist.errors import ConfigError, DataError
from rcnn_dist.store import files

_VERSION = 1
_DEVKIT = "ILSVRC2013_devkit/data"
_VAL, _TEST, _POSITIVE, _PARTIAL, _NEGATIVE = range(5)  # separate random streams
_BLACKLISTED_EVERY, _GREY_EVERY, _CMYK_EVERY = 29, 17, 23  # images
_MIN_SIZE, _MAX_SIZE = (200, 150), (280, 220)  # width, height
_MAX_OBJECTS = 4
_MAT_TEXT = b"MATLAB 5.0 MAT-file, generated".ljust(116)  # SciPy writes the time there


@dataclass(frozen=True, slots=True)
class IlsvrcShapesParams:
    """A generated set; equal parameters give equal bytes on one platform.

    Raises:
        ConfigError: a number cannot be used.
    """

    classes: int = 200
    val: int = 400
    test: int = 40
    positive: int = 3  # training images of each class
    partial: int = 1
    negative: int = 1
    seed: int = 3

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= N_CLASSES or min(self.val, self.test, self.positive) < 1 or min(self.partial, self.negative) < 0:
            raise ConfigError(f"generated ILSVRC2013: 2 to {N_CLASSES} classes, and one image at least of val, test and each class")


@dataclass(frozen=True, slots=True)
class _Picture:
    folder: str  # val, test, train
    image_id: str
    image: Array
    objects: Objects | None  # None: no annotation file
    blacklisted: tuple[str, ...] = ()  # WordNet ids


def generate_ilsvrc(url: str, params: IlsvrcShapesParams) -> None:
    """Writes the set below `url`; run again it finishes what was interrupted, and otherwise does nothing.

    Law: the files do not depend on interruptions.

    Raises:
        DataError: the folder holds another set.
    """
    record_url = files.join(url, "shapes.json")
    record = {"version": _VERSION, "params": asdict(params), "done": False}
    try:
        found = json.loads(files.read_bytes(record_url))
    except FileNotFoundError:
        found = dict(record)
        if files.exists(files.join(url, _DEVKIT)):
            raise DataError(f"{url} holds an ILSVRC2013 that was not generated here: choose another folder") from None
    if {**found, "done": False} != record:
        raise DataError(f"{url} holds another generated set ({json.dumps(found)[:300]}): choose another folder, or delete it")
    if found["done"]:
        return
    files.write_bytes(record_url, json.dumps(record).encode())
    synsets = built_in_synsets()[: params.classes]
    lists = _write_pictures(url, params, synsets)
    for name, lines in lists.items():
        files.write_bytes(files.join(url, _DEVKIT, name), "".join(f"{line}\n" for line in lines).encode())
    files.write_bytes(files.join(url, _DEVKIT, "meta_det.mat"), _meta(synsets))
    files.write_bytes(record_url, json.dumps({**record, "done": True}).encode())


def shape_of(class_index: int) -> str:
    """The shape that stands for a class: its texture, outline and hue; 216 differ."""
    texture, outline, hue = class_index % 6, (class_index // 6 + class_index) % 6, class_index // 36
    return f"{sorted(TEXTURES)[texture]}_{sorted(OUTLINES)[outline]}_{list(HUES)[hue]}"


def _write_pictures(url: str, params: IlsvrcShapesParams, synsets: tuple[Synset, ...]) -> dict[str, list[str]]:
    """Writes every picture; file name below the devkit's data -> lines of the lists."""
    classes = range(1, len(synsets) + 1)
    names = ["val", "test", *(f"train_{kind}_{c}" for kind in ("pos", "part", "neg") for c in classes)]
    lists: dict[str, list[str]] = {f"det_lists/{name}.txt": [] for name in names}
    lists["ILSVRC2013_det_validation_blacklist.txt"] = []
    for place, (name, picture) in enumerate(_pictures(params, synsets)):
        members = lists[f"det_lists/{name}.txt"]
        members.append(f"{picture.image_id} {len(members) + 1}" if picture.folder != "train" else picture.image_id)
        lists["ILSVRC2013_det_validation_blacklist.txt"] += [f"{len(members)} {wnid}" for wnid in picture.blacklisted]
        height, width = picture.image.shape[:2]
        if picture.objects is not None:
            xml = write_annotation(picture.image_id, width, height, picture.objects)
            files.write_bytes(files.join(url, f"ILSVRC2013_DET_bbox_{picture.folder}", f"{picture.image_id}.xml"), xml)
        files.write_bytes(files.join(url, f"ILSVRC2013_DET_{picture.folder}", f"{picture.image_id}.JPEG"), _jpeg(picture.image, place))
    return lists


def _pictures(params: IlsvrcShapesParams, synsets: tuple[Synset, ...]) -> Iterator[tuple[str, _Picture]]:
    """Each picture and the list that names it."""
    wnids = {shape_of(c): synset.wnid for c, synset in enumerate(synsets)}
    shapes = tuple(wnids)
    for i in range(params.val):
        image, objects = _draw([params.seed, _VAL, i], shapes)
        image_id, objects = f"ILSVRC2012_val_{i + 1:08d}", _named(objects, wnids)
        hidden = objects.classes[:1] if i % _BLACKLISTED_EVERY == 5 else ()
        yield "val", _Picture("val", image_id, image, _without(objects, hidden), hidden)
    for i in range(params.test):
        yield "test", _Picture("test", f"ILSVRC2012_test_{i + 1:08d}", _draw([params.seed, _TEST, i], shapes)[0], None)
    for c, synset in enumerate(synsets):
        others = {other.wnid for other in synsets} - {synset.wnid}
        kinds = (("pos", _POSITIVE, params.positive), ("part", _PARTIAL, params.partial), ("neg", _NEGATIVE, params.negative))
        for kind, stream, count in kinds:
            for i in range(count):
                image, objects = _draw_for(params.seed, stream, c, i, shapes)
                own = _without(_named(objects, wnids), others)
                boxed = own if kind == "pos" else _first_half(own)
                image_id = f"{synset.wnid}/{synset.wnid}_{1000 * stream + i + 1}"
                yield f"train_{kind}_{c + 1}", _Picture("train", image_id, image, boxed if len(boxed.classes) else None)


def _draw(seed: list[int], shapes: tuple[str, ...]) -> tuple[Array, Objects]:
    rng = np.random.default_rng(seed)
    width, height = rng.integers(_MIN_SIZE, _MAX_SIZE, endpoint=True).tolist()
    scene = draw_scene(rng, width, height, shapes, _MAX_OBJECTS)
    return scene.image, scene.objects


def _draw_for(seed: int, stream: int, c: int, i: int, shapes: tuple[str, ...]) -> tuple[Array, Objects]:
    """A picture that shows the class, or in negative ones does not; others may be there, without boxes."""
    others = tuple(shapes[(c + step) % len(shapes)] for step in (1, 7, 19) if (c + step) % len(shapes) != c)
    attempt = 0
    while True:
        image, objects = _draw([seed, stream, c, i, attempt], others if stream == _NEGATIVE else (shapes[c], shapes[c], *others))
        if stream == _NEGATIVE or shapes[c] in objects.classes:
            return image, objects
        attempt += 1


def sample_jpeg(seed: int) -> bytes:
    """A picture of 500 x 375 pixels, as a file, for measurements."""
    names = tuple(shape_of(c) for c in range(20))
    return _jpeg(draw_scene(np.random.default_rng(seed), 500, 375, names, _MAX_OBJECTS).image, 0)


def _named(objects: Objects, wnids: dict[str, str]) -> Objects:
    flags = np.zeros(len(objects.classes), np.bool_)  # ILSVRC has none
    return Objects(objects.boxes, tuple(wnids[name] for name in objects.classes), flags, flags)


def _without(objects: Objects, hidden: Container[str]) -> Objects:
    return _rows(objects, [i for i, name in enumerate(objects.classes) if name not in hidden])


def _first_half(objects: Objects) -> Objects:
    return _rows(objects, range((len(objects.classes) + 1) // 2))


def _rows(objects: Objects, rows: Iterable[int]) -> Objects:
    picked = np.array(list(rows), np.int64)
    return Objects(objects.boxes[picked], tuple(objects.classes[i] for i in picked), objects.difficult[picked], objects.truncated[picked])


def _jpeg(image: Array, place: int) -> bytes:
    picture = Image.fromarray(image)
    if place % _GREY_EVERY == 3:
        picture = picture.convert("L")
    elif place % _CMYK_EVERY == 7:
        picture = picture.convert("CMYK")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _meta(synsets: tuple[Synset, ...]) -> bytes:
    """`meta_det.mat`; as in the devkit, more synsets follow the 200 classes."""
    rows = [(i, s.wnid, s.name) for i, s in enumerate(synsets, start=1)]
    if len(rows) == N_CLASSES:
        rows.append((N_CLASSES + 1, "n00001740", "entity"))
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"synsets": np.array(rows, [(name, object) for name in ("ILSVRC2013_DET_ID", "WNID", "name")])})
    return _MAT_TEXT + buffer.getvalue()[len(_MAT_TEXT) :]
