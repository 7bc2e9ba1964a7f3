import io

import numpy as np
import pytest
from PIL import Image

from rcnn_dist.data.label_maps import decode_label_map, encode_label_map, voc_palette
from rcnn_dist.errors import BadAnnotationError


def test_colours_of_the_devkit():
    palette = voc_palette()
    assert palette[[0, 1, 2, 3, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip
    assert len(np.unique(palette, axis=0)) == 256


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 1)])
def test_labels_come_back(shape):
    labels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    data = encode_label_map(labels)
    np.testing.assert_array_equal(decode_label_map(data, "a.png"), labels)
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG" and image.mode == "P"
    assert image.convert("RGB").getpixel((0, 0)) == tuple(voc_palette()[labels[0, 0]].tolist())


def test_what_is_no_label_map_is_refused():
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "PNG")
    with pytest.raises(BadAnnotationError, match="x.png holds colours"):
        decode_label_map(stream.getvalue(), "x.png")
    for data in (b"", b"no png", encode_label_map(np.zeros((40, 40), np.uint8))[:60]):
        with pytest.raises(BadAnnotationError, match="x.png cannot be read as PNG"):
            decode_label_map(data, "x.png")
