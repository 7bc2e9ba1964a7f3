import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from scipy.io import savemat

from rcnn_dist.errors import DataError
from rcnn_dist.proposals.mask_files import decode_coco, parse_coco, read_cpmc, read_png_mask


def random_masks(count=20, seed=0):
    """Masks of few and of many runs, empty and full ones among them."""
    rng = np.random.default_rng(seed)
    masks = [rng.random((rng.integers(1, 90), rng.integers(1, 90))) < share for share in np.linspace(0, 1, count)]
    wide = np.zeros((300, 400), bool)
    wide[100:200, 20:350] = True
    return [*masks, wide]


def mat(**content):
    stream = io.BytesIO()
    savemat(stream, content)
    return stream.getvalue()


def png(pixels):
    stream = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("packed", [True, False])
def test_coco_masks_are_those_of_pycocotools(packed):
    for mask in random_masks():
        encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        counts = encoded["counts"].decode()
        if not packed:
            columns = mask.T.ravel()
            changes = np.flatnonzero(np.diff(np.r_[False, columns].astype(int)))
            counts = np.diff(np.r_[0, changes, len(columns)]).tolist()
        (found,) = decode_coco([{"size": encoded["size"], "counts": counts}], "x.json")
        assert (found == mask).all()
    assert decode_coco([], "x.json") == []


def test_coco_entries_are_ordered_by_score_where_all_have_one():
    entries = [{"image_id": 7, "segmentation": {"n": n}, "score": s} for n, s in ((0, 0.1), (1, 0.9), (2, 0.5))]
    assert [found["n"] for found in parse_coco(json.dumps(entries).encode(), "x.json")["7"]] == [1, 2, 0]
    del entries[1]["score"]
    assert [found["n"] for found in parse_coco(json.dumps(entries).encode(), "x.json")["7"]] == [0, 1, 2]
    assert parse_coco(b"[]", "x.json") == {}


@pytest.mark.parametrize("content", [b"{", b"3", b"[3]", b"[{}]", b'[{"image_id": 1, "segmentation": [[1, 2, 3, 4]]}]'])
def test_other_json_is_named(content):
    with pytest.raises(DataError, match=r"x\.json"):
        parse_coco(content, "x.json")


@pytest.mark.parametrize("counts", ["", "zz", "03", [5], [-1, 5], None])
def test_run_lengths_that_do_not_fit_are_named(counts):
    with pytest.raises(DataError, match=r"x\.json, mask 0"):
        decode_coco([{"size": [2, 2], "counts": counts}], "x.json")


def test_cpmc_masks_come_in_their_order():
    masks = np.random.default_rng(0).random((5, 7, 3)) < 0.5
    for kind in (np.uint8, np.float64, bool):
        found = read_cpmc(mat(masks=masks.astype(kind)), "x.mat")
        assert len(found) == 3
        assert all((mask == masks[..., i]).all() for i, mask in enumerate(found))
    assert len(read_cpmc(mat(masks=masks[..., :1]), "x.mat")) == 1
    for content in (mat(other=masks), mat(masks="text"), b"no file"):
        with pytest.raises(DataError, match=r"x\.mat"):
            read_cpmc(content, "x.mat")


def test_a_png_mask_is_what_is_not_black():
    mask = np.random.default_rng(0).random((5, 7)) < 0.5
    palette = Image.fromarray(mask.astype(np.uint8) * 3, "P")
    palette.putpalette([200] * 768)
    pictures = [mask, mask.astype(np.uint8), np.repeat(mask[..., None] * np.uint8(9), 3, axis=2), palette]
    pictures.append(np.dstack([np.repeat(mask[..., None] * np.uint8(9), 3, axis=2), np.full((5, 7), 255, np.uint8)]))
    for picture in pictures:
        assert (read_png_mask(png(picture), "x.png") == mask).all()
    with pytest.raises(DataError, match=r"x\.png"):
        read_png_mask(b"no file", "x.png")
