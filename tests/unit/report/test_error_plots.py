from defusedxml import ElementTree

from rcnn_dist.report.error_plots import plot_costs, plot_error_modes, plot_missed, plot_sensitivity

SHARES = {"localisation": 0.5, "similar": 0.1, "other": 0.2, "background": 0.2}
TOP = {"right": 6, "localisation": 2, "similar": 0, "other": 1, "background": 1}
ONE = {"lowest": 0.1, "highest": 0.5, "overall": 0.3, "subsets": {"XS": 0.1, "M": 0.5}}


def words(svg):
    return " ".join(" ".join(ElementTree.fromstring(svg, forbid_dtd=True).itertext()).split())


def test_the_kinds_are_named_and_the_pie_says_its_shares():
    text = words(plot_error_modes({25: SHARES, 50: SHARES}, TOP))
    assert all(kind in text for kind in TOP) and "60%" in text and "the 10 surest" in text


def test_too_little_for_a_trend_or_a_pie_is_said():
    text = words(plot_error_modes({25: SHARES}, dict.fromkeys(TOP, 0)))
    assert "too few" in text and "no detections" in text


def test_numbers_stand_beside_their_bars():
    assert "+4.2" in words(plot_costs({"classification": 0.042, "missed": -0.001})) and "-0.1" in words(plot_costs({"missed": -0.001}))
    assert "3 (75%)" in words(plot_missed({"proposals": 3, "classifier": 1})) and "0 (0%)" in words(plot_missed({"proposals": 0}))


def test_each_characteristic_has_its_panel():
    text = words(plot_sensitivity({"size": ONE, "aspect": ONE}))
    assert "size" in text and "aspect" in text and text.count("range") == 2


def test_equal_arguments_give_equal_bytes():
    assert plot_sensitivity({"size": ONE}) == plot_sensitivity({"size": ONE})
    assert plot_error_modes({25: SHARES, 50: SHARES}, TOP) == plot_error_modes({25: SHARES, 50: SHARES}, TOP)
