"""Caffe's binary files: the layers of a `.caffemodel`, the mean image of a `.binaryproto`.

Only the messages that hold weights are read. Field numbers are those of BVLC/caffe, src/caffe/proto/caffe.proto, which changed its layers
twice: files of early 2014 (the authors' own) nest them as V0, those until late 2014 are V1 (`layers`), later ones are V2 (`layer`).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rcnn_dist.arrays import Array, Float32
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.caffe_import.wire import read_fields, read_varints

_NET_LAYERS, _NET_LAYER = 2, 100  # of NetParameter: V0 or V1, V2
_V0_INSIDE_V1 = 1
_V0, _V1, _V2 = (1, 50), (4, 6), (1, 7)  # the fields name and blobs of a layer
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8  # of BlobProto, whose fields 1 to 4 are the legacy num, channels, height and width


@dataclass(frozen=True, slots=True, eq=False)
class CaffeLayer:
    """A layer and its blobs: weights and biases, or nothing."""

    name: str
    blobs: tuple[Float32[Array, "..."], ...]


def read_caffe_model(path: str) -> list[CaffeLayer]:
    """All layers of a `.caffemodel`, in the network's order; of a blob in legacy form, all four dimensions.

    Raises:
        ConfigError: the file cannot be read, or is no Caffe model.
    """
    try:
        content = memoryview(Path(path).read_bytes())
        layers = [_layer(number, _bytes(value)) for number, value in read_fields(content) if number in (_NET_LAYERS, _NET_LAYER)]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a Caffe model ({error}): is it complete, and a .caffemodel?") from error
    if not any(layer.blobs for layer in layers):
        raise ConfigError(f"{path} has no layer with weights: give the .caffemodel, not the network's definition")
    return layers


def read_mean_image(path: str) -> Float32[Array, "H W 3"]:
    """The mean image of a `.binaryproto` or `.npy` file, in the file's own order of channels, which is BGR where Caffe wrote it.

    Raises:
        ConfigError: the file cannot be read, or holds no image of three channels.
    """
    try:
        if path.endswith(".npy"):
            image = np.load(path, allow_pickle=False).astype(np.float32)
        else:
            image = _blob(memoryview(Path(path).read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the mean image {path} cannot be read ({error}): give Caffe's .binaryproto or a .npy file") from error
    image = image[0] if image.ndim == 4 and len(image) == 1 else image
    if image.ndim == 3 and len(image) == 3 != image.shape[2]:
        image = image.transpose(1, 2, 0)  # Caffe's [3, H, W]
    if image.ndim != 3 or image.shape[2] != 3:
        raise ConfigError(f"the mean image {path} has the shape {image.shape}, expected (height, width, 3)")
    return np.ascontiguousarray(image)


def _layer(number: int, message: memoryview) -> CaffeLayer:
    fields = list(read_fields(message))
    name_field, blobs_field = _V2 if number == _NET_LAYER else _V1
    if number == _NET_LAYERS and (nested := [value for field, value in fields if field == _V0_INSIDE_V1]):
        fields, (name_field, blobs_field) = list(read_fields(_bytes(nested[0]))), _V0
    name = b"".join(bytes(_bytes(value)) for field, value in fields if field == name_field)
    return CaffeLayer(name.decode(), tuple(_blob(_bytes(value)) for field, value in fields if field == blobs_field))


def _blob(message: memoryview) -> Float32[Array, "..."]:
    legacy = {1: 1, 2: 1, 3: 1, 4: 1}
    shape: list[int] | None = None
    floats: list[memoryview] = []
    doubles: list[memoryview] = []
    for number, value in read_fields(message):
        if number in legacy:
            legacy[number] = _integer(value)
        elif number == _SHAPE:
            entries = [entry for field, entry in read_fields(_bytes(value)) if field == 1]
            shape = [size for entry in entries for size in ([entry] if isinstance(entry, int) else read_varints(entry))]
        elif number in (_DATA, _DOUBLE_DATA):
            (floats if number == _DATA else doubles).append(_bytes(value))
    data = np.concatenate([_numbers(floats, "<f4"), _numbers(doubles, "<f8")])
    sizes = list(legacy.values()) if shape is None else shape
    if math.prod(sizes) != len(data):
        raise ValueError(f"a blob of shape {tuple(sizes)} holds {len(data)} values")
    return data.reshape(sizes)


def _numbers(parts: list[memoryview], kind: str) -> Float32[Array, "N"]:
    """Of a packed field, which is one part, or of one that is not, where each number is a part."""
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    return np.frombuffer(data, dtype=kind).astype(np.float32, copy=False)


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message was expected")
    return value


def _integer(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes stand where a number was expected")
    return value
