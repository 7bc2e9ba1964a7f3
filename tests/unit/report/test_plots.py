import re

import matplotlib
import numpy as np
import pytest
from defusedxml import ElementTree

from rcnn_dist.report.curve_plot import MAX_POINTS, plot_precision_recall
from rcnn_dist.report.plots import (
    format_duration,
    order_phases,
    plot_ap_boxes,
    plot_average_precision,
    plot_mining,
    plot_proposal_recall,
    plot_stage_times,
)

SVG = "{http://www.w3.org/2000/svg}"
EVIL = ("<script>alert(1)</script>", "$\\frac{$", "\u202eevil\x00\udcff", "苹果", "تفاحة", "x" * 500, "", "a & b")
NOTHING = np.zeros(0)


def texts(svg):
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(SVG + "text")]


def paths(svg):
    """The corners [n, 2] of every path, in units of the axes that `plot_precision_recall` draws."""
    found = []
    for node in ElementTree.fromstring(svg).iter(SVG + "path"):
        words = node.get("d").replace("M", "").replace("L", "").replace("z", "").split()
        found.append((np.array(words, float).reshape(-1, 2) - (31.104, 0)) / (155.52, 108 / 1.03))
    return found


def area_below(corners):
    """Shoelace formula."""
    x, y = corners.T
    return abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


def samples():
    recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])
    return {
        "curve": plot_precision_recall(recall, precision),
        "no curve": plot_precision_recall(NOTHING, NOTHING),
        "ap": plot_average_precision(EVIL, {"voc07": [0.5, np.nan] * 4, "area": [0.4, np.nan] * 4}),
        "time": plot_stage_times(EVIL, [float(k) for k in range(8)], [{"read": 1.0, EVIL[0]: 2.0}, {}] * 4),
        "mining": plot_mining(np.array([1, 2]), np.array([10, 5000]), np.array([10, 4995]), np.array([0.1, 0.7])),
    }


@pytest.mark.parametrize("name", samples())
def test_figures_are_inert_xml_that_follows_the_theme_and_repeats(name):
    svg = samples()[name]
    tree = ElementTree.fromstring(svg)
    assert {node.tag.removeprefix(SVG) for node in tree.iter()} <= {
        "svg",
        "defs",
        "style",
        "g",
        "path",
        "text",
        "tspan",
        "use",
        "clipPath",
        "rect",
    }
    for node in tree.iter():
        for key, value in node.attrib.items():
            assert not key.startswith("on")
            assert "href" not in key or value.startswith("#")
    assert "currentColor" in svg
    assert "prefers-color-scheme" in svg
    assert svg == samples()[name]
    svg.encode("utf-8")


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    samples()
    assert dict(matplotlib.rcParams) == before


def test_curve_goes_through_its_detections():
    recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 0.75])
    line = next(path for path in paths(plot_precision_recall(recall, precision)) if len(path) == 3)
    height = line[:, 1] - line[0, 1]
    np.testing.assert_allclose(line[:, 0], recall, atol=1e-4)
    # pixels of an SVG grow downwards
    np.testing.assert_allclose(height, 1 - precision, atol=2e-4)


def test_shaded_area_is_the_area_ap():
    hits = np.random.default_rng(1).random(60) < 0.5
    found = np.cumsum(hits)
    recall, precision = found / 50, found / np.arange(1, 61)
    ap = sum((recall[k] - (recall[k - 1] if k else 0)) * max(precision[k:]) for k in range(60))
    areas = [area_below(path) for path in paths(plot_precision_recall(recall, precision)) if len(path) > 2]
    assert any(abs(area - ap) < 1e-4 for area in areas)


def test_curve_keeps_few_points_of_many():
    hits = np.random.default_rng(0).random(50_000) < 0.3
    found = np.cumsum(hits)
    recall, precision = found / found[-1], found / np.arange(1, found.size + 1)
    assert MAX_POINTS / 2 < max(len(path) for path in paths(plot_precision_recall(recall, precision))) < 9 * MAX_POINTS


def test_curve_without_detections_says_so():
    nan = np.array([np.nan])
    assert "no curve" in texts(plot_precision_recall(NOTHING, NOTHING))
    assert "no curve" in texts(plot_precision_recall(nan, np.zeros(1)))
    assert "no curve" not in texts(plot_precision_recall(np.ones(1), np.ones(1)))


def test_classes_are_ordered_by_ap_and_those_without_objects_come_last():
    drawn = texts(plot_average_precision(["a", "none", "b", "c"], {"area": [0.1, np.nan, 0.9, 0.5]}))
    assert [text for text in drawn if text in {"a", "none", "b", "c"}] == ["b", "c", "a", "none"]
    assert drawn.count("no objects") == 1
    assert "mean of area" in drawn


def test_boxes_have_a_row_for_each_that_has_a_class():
    rows = {"this run, voc07": [10.0, 40.0, np.nan, 90.0], "nothing": [np.nan], "R-CNN fc7 (Table 2, voc07)": [57.6, 20.0]}
    drawn = texts(plot_ap_boxes(rows))
    assert "this run, voc07" in drawn and "R-CNN fc7 (Table 2, voc07)" in drawn and "nothing" not in drawn


def test_coordinates_are_rounded_and_names_are_not():
    svg = plot_average_precision(["size 1.23456"], {"voc07": [0.5]})
    assert "size 1.23456" in svg and not re.search(r'"[^"]*\d\.\d{3}', re.sub(r"<text.*?</text>", "", svg))


def test_a_mean_without_its_classes_is_no_box():
    def lines(values):
        return len(list(ElementTree.fromstring(plot_ap_boxes({"a": values})).iter("{http://www.w3.org/2000/svg}path")))

    many, alone = lines([1.0, 2.0, 3.0]), lines([2.0])
    assert many - alone == 6, "box, median, two whiskers and two caps"


def test_long_legends_wrap_and_make_the_figure_higher():
    def height(variants):
        svg = plot_average_precision(["a"], {variant: [0.5] for variant in variants})
        return float(ElementTree.fromstring(svg).get("height").removesuffix("pt"))

    assert height(["voc07", "area"]) == height(["voc07"])
    assert height(["voc07", "area", "voc07 without regression"]) > height(["voc07", "area"])


def test_all_nan_has_no_mean():
    drawn = texts(plot_average_precision(["only"], {"voc07": [np.nan]}))
    assert "no objects" in drawn
    assert "mean of voc07" not in drawn


def test_names_are_text_and_never_formulas():
    drawn = texts(samples()["ap"])
    assert "$\\frac{$" in drawn
    assert "<script>alert(1)</scr…" in drawn
    assert "�evil��" in drawn


@pytest.mark.parametrize(
    ("seconds", "unit"), [([0.0, 0.0], "seconds"), ([3.0, 119.0], "seconds"), ([120.0, 1.0], "minutes"), ([7200.0, 5.0], "hours")]
)
def test_stage_times_choose_a_unit_and_write_each_time(seconds, unit):
    drawn = texts(plot_stage_times(["propose", "extract"], seconds, [{"read": 1.0}, {}]))
    assert unit in drawn
    assert all(format_duration(value) in drawn for value in seconds)


def test_bar_ends_where_the_stage_does_whatever_its_phases_sum_to():
    one = plot_stage_times(["a"], [10.0], [{"read": 1.0, "compute": 3.0}])
    assert one == plot_stage_times(["a"], [10.0], [{"compute": 30.0, "read": 10.0}])
    assert one != plot_stage_times(["a"], [10.0], [{"compute": 10.0, "read": 10.0}])


def test_one_refit_and_an_unknown_objective_are_drawn():
    drawn = texts(plot_mining(np.array([1]), np.array([12]), np.array([12]), np.array([np.nan])))
    assert {"negatives, and bars: newly found", "objective", "wave"} <= set(drawn)


def test_phases_in_the_order_of_the_work():
    assert order_phases([{"zip", "wait"}, {"compute", "read"}, {}, {"alpha"}]) == ["read", "compute", "wait", "alpha", "zip"]
    assert order_phases([]) == []


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.00 s"), (0.424, "0.42 s"), (9.996, "10.0 s"), (12.34, "12.3 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"), (7620, "2 h 07 min"), (360_000, "100 h 00 min"),
    ],
)  # fmt: skip
def test_format_duration(seconds, expected):
    assert format_duration(seconds) == expected


def recall_row(value):
    sizes = {"small": None, "large": value}
    return {"recall_50": value, "recall_70": value / 2, "average_recall": value / 3, "mabo": value / 4} | {
        "by_size": {name: {"recall_50": own} for name, own in sizes.items()}
    }


def test_proposal_recall_names_its_curves_and_leaves_out_sizes_without_objects():
    words = texts(plot_proposal_recall({"100": recall_row(0.4), "1000": recall_row(0.8), "all": recall_row(0.9)}, 450.0))
    assert {"recall at 0.5", "at 0.7", "best overlap", "large", "100", "1000"} <= set(words)
    assert "small" not in words
