import io

import numpy as np
from PIL import Image

from rcnn_dist.report.similar_page import Hit, SimilarPage, draw_region, render_similar

IMAGE = np.full((100, 200, 3), 90, np.uint8)


def picture(box):
    return Image.open(io.BytesIO(draw_region(IMAGE, np.array(box, float))))


def test_a_region_is_shown_with_its_surroundings_inside_the_image():
    assert picture([50, 30, 70, 50]).size == (300, 300), "7 px on each side, as far as there are any"
    assert picture([0, 0, 200, 100]).size == (300, 150)
    assert picture([199, 99, 200, 100]).size == (300, 300), "one pixel in the corner and the one beside it"


def test_the_page_needs_nothing_else_and_shows_text_as_text():
    region = draw_region(IMAGE, np.array([10.0, 10, 60, 60]))
    hits = (Hit(region, 0.98765, "cat (0.71)", "train <b>"), Hit(None, -0.1, "", "test 7"))
    html = render_similar(SimilarPage("<script>.jpg", "two regions", region, hits))
    assert html.count("data:image/jpeg;base64,") == 2
    assert "<script>" not in html and "train &lt;b&gt;" in html
    assert "1. 0.9877" in html and "2. -0.1000" in html
    assert "its image cannot be read" in html
    assert "http" not in html.replace("http-equiv", "")
