import io

import numpy as np
from PIL import Image

from rcnn_dist.report.overlay import draw_label_maps
from rcnn_dist.report.run_data import PublishedRow
from rcnn_dist.report.segmentation_page import SegmentationPage, SegmentedPicture, render_segmentation

METHOD = {"mean": 0.25, "pixel_accuracy": 0.5, "accuracy": {"background": 0.5, "a<b>": None}, "background": 0.3, "segments_per_image": 2.0}


def page(**changes):
    metrics = {
        "data": "VOC2011", "split": "val", "images": 2, "annotated": 2, "labels": ["background", "a<b>"], "method": "fg fc6",
        "methods": {"fg fc6": METHOD}, "confusion": [[3, 1], [0, 0]], "archive": "x.tar.gz",
    }  # fmt: skip
    published = [PublishedRow("fg R-CNN fc6", {}, 43.7, "Table 5"), PublishedRow("O2P", {"background": 84.0, "a<b>": 1.5}, 46.4, "Table 7")]
    picture = SegmentedPicture("im<1>", ", 12.0", b"\xff\xd8\xff")
    return SegmentationPage("a run", metrics | changes, published, [picture], [("a<b>", "#800000")], "run: {}")


def test_the_page_shows_ours_beside_the_published_and_all_text_as_text():
    html = render_segmentation(page())
    for text in ("25.0", "43.7", "46.4", "Table 7", "84.0", "75", "a&lt;b&gt;", "im&lt;1&gt;", "data:image/jpeg;base64,"):
        assert text in html
    assert "a<b>" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_without_annotations_there_is_no_accuracy():
    html = render_segmentation(page(annotated=0))
    assert "x.tar.gz" in html
    assert "25.0" not in html


def test_a_label_is_seen_in_its_colour_and_the_background_dimmed():
    image, labels = np.full((40, 60, 3), 200, np.uint8), np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 1
    palette = np.zeros((256, 3), np.uint8)
    palette[1] = (255, 0, 0)
    picture = np.asarray(Image.open(io.BytesIO(draw_label_maps(image, [labels], palette, side=60)))).astype(int)
    assert picture.shape == (40, 124, 3)
    assert abs(picture[20, 20] - 200).max() < 12
    assert abs(picture[20, 74] - 100).max() < 12
    assert abs(picture[20, 110] - (233, 80, 80)).max() < 12
