import csv
import io

import numpy as np
import pytest

from rcnn_dist.report.ablation_table import ResultRow, format_csv, format_markdown, plot_rows
from rcnn_dist.report.warp_samples import draw_warp_samples

ROWS = [
    ResultRow("a|b", "voc07", {"cat": 50.04, "dog": float("nan")}, 50.04, 54.2, {"cat": 51.0, "dog": 57.4}, 49.0),
    ResultRow("c", "voc07", {"cat": 10.0, "bird": 20.0}, 15.0, None, {}),
]


def test_each_variant_and_each_published_row_is_a_line():
    lines = list(csv.reader(io.StringIO(format_csv(ROWS, "Table 2"))))
    assert lines == [
        ["method", "source", "ap", "cat", "dog", "bird", "mAP", "median"],
        ["a|b", "this run", "voc07", "50.0", "", "", "50.0", "50.0"],
        ["a|b", "Table 2", "voc07", "51.0", "57.4", "", "54.2", "49.0"],
        ["c", "this run", "voc07", "10.0", "", "20.0", "15.0", "15.0"],
    ]


def test_markdown_has_the_difference_to_what_was_published():
    lines = format_markdown(ROWS, "Title", "Table 2").splitlines()
    assert lines[0] == "# Title"
    assert lines[4:] == [
        "|  | mAP | published | difference | median | published median | cat | dog | bird |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        "| a\\|b | 50.0 | 54.2 | -4.2 | 50.0 | 49.0 | 50.0 |  |  |",
        "| c | 15.0 |  |  | 15.0 |  | 10.0 |  | 20.0 |",
    ]


def test_the_median_is_of_the_classes_that_have_an_ap():
    row = ResultRow("a", "ilsvrc", {"cat": 1.0, "dog": float("nan"), "bird": 8.0, "ant": 3.0}, 4.0, None, {})
    assert row.median == 3.0 and np.isnan(ResultRow("a", "ilsvrc", {}, float("nan"), None, {}).median)


def test_the_plot_names_every_variant_and_is_the_same_each_time():
    svg = plot_rows(ROWS, "Table 2")
    assert all(text in svg for text in ("a|b", "this run", "Table 2"))
    assert svg == plot_rows(ROWS, "Table 2")
    assert "Table 2" not in plot_rows(ROWS[1:], "Table 2")


def test_samples_are_a_picture_and_rows_of_another_length_are_refused():
    picture = np.zeros((8, 9, 3))
    assert draw_warp_samples({"a": [picture], "b": [picture]}).startswith(b"\x89PNG")
    for rows in ({}, {"a": []}, {"a": [picture], "b": []}):
        with pytest.raises(ValueError, match="equally many wanted"):
            draw_warp_samples(rows)
