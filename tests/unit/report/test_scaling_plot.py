import re

from rcnn_dist.report.scaling_plot import CLAIMS, plot_scaling

STEPS = {"proposals": 0.01, "features": 0.1, "product": 0.002, "nms": 0.0}
SCALING = {"rows": [{"classes": count, "seconds_per_image": STEPS} for count in (20, 10_000, 100_000)]}


def test_axes_have_numbers_and_every_claim_has_its_mark():
    svg = plot_scaling(SCALING)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"100", "1,000", "10,000", "100,000", "0.001", "1"} <= set(texts) and "$" not in svg, "numbers, no formulas"
    assert {*STEPS, *(claim.who for claim in CLAIMS)} <= set(texts)
    assert svg == plot_scaling(SCALING)
