"""Segmentation annotations: PASCAL VOC's label maps, and those that SBD adds for further images of VOC."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array, Int64, UInt8
from rcnn_dist.data.ids import check_id
from rcnn_dist.data.label_maps import decode_label_map
from rcnn_dist.errors import BadAnnotationError
from rcnn_dist.store import files

_BACKGROUND, _VOID = 0, 255


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Who owns each pixel of an image: 0 nobody, 255 void (border or not to be judged), else object k (1 to G) of label `labels[k - 1]`.

    Objects that no pixel shows are kept, so that k stays the number of the file.
    """

    class_map: UInt8[Array, "H W"]
    object_map: UInt8[Array, "H W"]
    labels: Int64[Array, "G"]  # 0: an object whose label no pixel tells


class SegmentationReader:
    """Annotations of a VOC folder (`SegmentationClass`, `SegmentationObject`); where it has none, those of SBD, if that is given.

    Args:
        voc: the folder that holds `SegmentationClass/`.
        sbd: the folder that holds `cls/` and `inst/`, or `dataset/` with them.
    """

    def __init__(self, voc: str, sbd: str | None = None) -> None:
        self._voc = voc
        self._sbd = sbd

    def read(self, image_id: str) -> Segmentation | None:
        """The annotation of an image; None where there is none.

        Raises:
            BadAnnotationError: it cannot be understood, or its two maps contradict each other.
        """
        if (maps := self._find(self._voc_urls(image_id))) is not None:
            class_map, object_map = (decode_label_map(data, url) for url, data in maps)
            return parse_voc(class_map, object_map, maps[0][0])
        found = next((found for urls in self._sbd_urls(image_id) if (found := self._find(urls)) is not None), None)
        return None if found is None else parse_sbd(found[0][1], found[1][1], found[0][0])

    def fingerprint(self, image_ids: Sequence[str]) -> str:
        """Hex sha256 over the ids, in order, and the bytes of their annotations."""
        digest = hashlib.sha256()
        for image_id in image_ids:
            found = next((f for urls in (self._voc_urls(image_id), *self._sbd_urls(image_id)) if (f := self._find(urls)) is not None), [])
            digest.update(f"{image_id} {[hashlib.sha256(data).hexdigest() for _, data in found]}\n".encode())
        return digest.hexdigest()

    def _voc_urls(self, image_id: str) -> list[str]:
        check_id(image_id)
        return [files.join(self._voc, f"Segmentation{kind}", f"{image_id}.png") for kind in ("Class", "Object")]

    def _sbd_urls(self, image_id: str) -> list[list[str]]:
        roots = [] if self._sbd is None else [files.join(self._sbd, "dataset"), self._sbd]
        return [[files.join(root, kind, f"{image_id}.mat") for kind in ("cls", "inst")] for root in roots]

    @staticmethod
    def _find(urls: Sequence[str]) -> list[tuple[str, bytes]] | None:
        """Both files of an annotation; None where the first does not exist."""
        try:
            first = files.read_bytes(urls[0])
        except FileNotFoundError:
            return None
        try:
            return [(urls[0], first), (urls[1], files.read_bytes(urls[1]))]
        except FileNotFoundError:
            raise BadAnnotationError(f"{urls[0]} has no {urls[1]} beside it: both are needed") from None


def parse_voc(class_map: UInt8[Array, "H W"], object_map: UInt8[Array, "h w"], source: str) -> Segmentation:
    """An annotation from VOC's two maps: an object has the label that most of its pixels have, void ones apart.

    Raises:
        BadAnnotationError: the maps differ in size.
    """
    if class_map.shape != object_map.shape:
        raise BadAnnotationError(f"{source} has {class_map.shape} pixels, its map of objects {object_map.shape}")
    void = (class_map == _VOID) | (object_map == _VOID)
    objects = np.where(void, 0, object_map)
    labels = np.zeros(int(objects.max(initial=0)), np.int64)
    for k in range(1, len(labels) + 1):
        counts = np.bincount(class_map[objects == k], minlength=1)
        labels[k - 1] = counts.argmax() if counts.sum() else 0
    return _frozen(np.where(void, _VOID, class_map), np.where(void, _VOID, object_map), labels)


def parse_sbd(cls: bytes, inst: bytes, source: str) -> Segmentation:
    """An annotation from SBD's two MATLAB files: `GTcls.Segmentation`, `GTinst.Segmentation` and `GTinst.Categories`.

    Raises:
        BadAnnotationError: they are not such files, or do not fit each other.
    """
    class_map, object_map = _mat_map(cls, "GTcls", source), _mat_map(inst, "GTinst", source)
    labels = np.asarray(_mat_struct(inst, "GTinst", source)["Categories"], np.int64).reshape(-1)
    void = (class_map == _VOID) | (object_map == _VOID)
    count = int(np.where(void, 0, object_map).max(initial=0))
    if class_map.shape != object_map.shape or count > len(labels):
        raise BadAnnotationError(f"{source} and its file of instances do not fit: {count} instances, {len(labels)} categories")
    return _frozen(np.where(void, _VOID, class_map), np.where(void, _VOID, object_map), labels)


def _mat_map(data: bytes, name: str, source: str) -> Array:
    found = np.asarray(_mat_struct(data, name, source)["Segmentation"])
    if found.ndim != 2 or found.dtype.kind not in "uif" or found.min(initial=0) < 0 or found.max(initial=0) > _VOID:
        raise BadAnnotationError(f"{source}: {name}.Segmentation is {found.dtype} {found.shape}, labels from 0 to 255 [H, W] are wanted")
    return found.astype(np.uint8)


def _mat_struct(data: bytes, name: str, source: str) -> dict[str, Any]:
    from scipy.io import loadmat  # slow to load, and few data sets have such files

    try:
        struct = loadmat(io.BytesIO(data), variable_names=[name])[name][0, 0]
        return {field: struct[field] for field in struct.dtype.names}
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make the reader raise nearly anything
        raise BadAnnotationError(f"{source}: no MATLAB file with a structure {name}: {error or type(error).__name__}") from error


def _frozen(class_map: Array, object_map: Array, labels: Array) -> Segmentation:
    arrays = class_map.astype(np.uint8), object_map.astype(np.uint8), labels
    for array in arrays:
        array.flags.writeable = False
    return Segmentation(*arrays)
