"""Label maps as files: one byte per pixel, PNG in PASCAL VOC's palette."""

import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from rcnn_dist.arrays import Array, UInt8
from rcnn_dist.errors import BadAnnotationError


def voc_palette() -> UInt8[Array, "256 3"]:
    """VOC's colours of the labels 0 to 255: the bits of a label, three at a time, fill red, green and blue from the highest bit down.

    Reference: VOClabelcolormap.m.
    """
    label = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            palette[:, channel] |= (((label >> (3 * place + channel)) & 1) << (7 - place)).astype(np.uint8)
    return palette


def encode_label_map(labels: UInt8[Array, "H W"]) -> bytes:
    """A PNG of label indices in VOC's palette, as its server wants results. Law: decode_label_map(encode_label_map(x)) == x."""
    image = Image.fromarray(labels, "P")
    image.putpalette(voc_palette().tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def decode_label_map(data: bytes, source: str) -> UInt8[Array, "H W"]:
    """The labels of a PNG that holds indices, with a palette or as grey values; `source` names it in errors.

    Raises:
        BadAnnotationError: it is no PNG, is damaged, or holds colours instead of labels.
    """
    try:
        image = PngImageFile(io.BytesIO(data))
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make Pillow raise nearly anything
        raise BadAnnotationError(f"{source} cannot be read as PNG: {error or type(error).__name__}") from error
    if image.mode not in ("P", "L", "1"):
        raise BadAnnotationError(f"{source} holds colours (mode {image.mode}), one label per pixel is wanted: save it with a palette")
    return np.array(image, np.uint8)
