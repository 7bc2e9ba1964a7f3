import base64
import hashlib
import io
import math
import re
from dataclasses import fields, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from defusedxml import ElementTree
from PIL import Image

from rcnn_dist.report import (
    Curve,
    DrawnBox,
    DrawnImage,
    Example,
    Failure,
    FalsePositive,
    ProposalRecall,
    PublishedRow,
    Refit,
    ReportData,
    StageTiming,
    draw_detections,
    render_report,
)

EVIL = [
    "<script>alert(1)</script>",
    '" onerror="alert(2)" x=\'',
    "</style></title></textarea><img src=x onerror=alert(3)>",
    "{{ 7 * 191 }}{% raw %}",
    "\u202ehctac\u202c العربية",
    "x" * 3000,
    "a\udcffb\x00\x1b",
    "javascript:alert(4)//https://example.org",
]
CURVE = Curve(np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3]))
BOX = np.array([5.0, 5, 20, 20])
RECALL = {"recall_50": 0.9, "recall_70": 0.7, "average_recall": 0.5, "mabo": 0.8, "by_size": {"large": {"recall_50": 1.0}}}
PICTURE = draw_detections(np.full((30, 40, 3), 90, np.uint8), np.array([[5.0, 5, 20, 20]]), ["apple 0.91"], ["true"], 64)


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, text outside and inside of scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.scripts, self.styles, self._open = [], [], [], [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag if tag in {"script", "style"} else ""

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        {"script": self.scripts, "style": self.styles}.get(self._open, self.text).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def make(names=("apple", "pear"), text="plain", published=True):
    """A small run; every free text of it is `text`."""
    return ReportData(
        title=text,
        data_name=text,
        classes=tuple(names),
        ap={"voc07": dict.fromkeys(names, 0.75), "area": dict.fromkeys(names, 0.5)},
        curves=dict.fromkeys(names, CURVE),
        n_objects=dict.fromkeys(names, 1200),
        stages=(StageTiming(text, 61.0, 30, 1, 2, {"wait": 1.0, "read": 2.0, text: 3.0}), StageTiming("evaluate", 0.5, 0, 0, 1, {})),
        config_yaml=f"title: {text}\nroot: here\n",
        versions={"numpy": text, "Ray": "2"},
        examples=tuple(Example(text, names[0], 0.914, verdict, PICTURE, text, 0.75, "") for verdict in ("true", "false", "missed")),
        images=(DrawnImage(text, 40, 30, PICTURE, (DrawnBox(names[0], 0.9, 0.75, "true", "", BOX),), BOX[None]),),
        false_positives=(FalsePositive(text, names[0], 0.8, 0.5, "other", text),),
        proposals=ProposalRecall({"100": RECALL, "all": RECALL}, 2345.6),
        failures=(Failure(text, text, text),),
        telemetry=tuple(Refit(name, wave, 7, 1000 * wave, 900 * wave, 100, 0.5, 0.25) for name in names for wave in (1, 4)),
        published=(PublishedRow(text, dict.fromkeys(names, 58.4), 58.4, "Table 9"),) if published else (),
        errors=errors_of(names, text),
    )


def errors_of(names, text):
    """What errors.json says of a small run."""
    kinds = {"localisation": 4, "similar": 0, "other": 3, "background": 9}
    shares = {"localisation": 0.5, "similar": 0.0, "other": 0.25, "background": 0.25}
    causes = {"proposals": 5, "classifier": 3, "suppression": 2}
    extremes = {
        "lowest": 0.1,
        "highest": 0.5,
        "overall": 0.3,
        "sensitivity": 0.4,
        "impact": 0.2,
        "classes": 2,
        "subsets": {"XS": 0.1, "M": 0.5},
    }
    return {
        "modes": {name: {"false_positives": kinds, "top": {"right": 17, **kinds}, "normalised_ap": 0.321} for name in names},
        "groups": {text: {"classes": list(names), "top": {"right": 17, **kinds}, "trend": {25: shares, 50: shares}}},
        "cost": {"variant": "voc07", "classification": {"count": 1234, "mAP_gain": 0.042}, "missed": {"count": 8, "mAP_gain": -0.001}},
        "normalised_ap": {"n_j": 742.8, "mean": 0.321},
        "sensitivity": {"size": extremes},
        "missed": {"objects": 90, "missed": 10, "causes": causes, "classes": dict.fromkeys(names, causes)},
    }


def source(image):
    """What an image shows, at once or as soon as the page stands."""
    return image.get("src") or image["data-src"]


def section(html, name):
    return Page(html.split(f'<section id="{name}"')[1].split(">", 1)[1].split("</section>")[0]).words


@pytest.fixture(scope="module")
def plain():
    return render_report(make())


@pytest.fixture(scope="module", params=range(len(EVIL)))
def hostile(request):
    evil = EVIL[request.param]
    return evil, render_report(make((evil, "pear"), evil))


def assert_self_contained(page):
    for tag, attributes in page.tags:
        assert tag not in {"iframe", "object", "embed", "base", "link", "form", "audio", "video"}
        assert not [name for name in attributes if name.startswith("on") or name in {"srcset", "style", "background", "action", "srcdoc"}]
        assert attributes.get("href", "#").startswith("#")
        assert all(attributes.get(name, "data:image/").startswith("data:image/") for name in ("src", "data-src"))
    assert all(attributes["alt"].strip() for attributes in page.all("img"))
    assert len(page.styles) == len(page.scripts) == 1
    assert not re.search(r"url\(|@import|expression\(", page.styles[0])
    assert not re.search(r"fetch|XMLHttp|import|innerHTML|eval|http", page.scripts[0])


def test_page_is_self_contained(plain):
    page = Page(plain)
    assert_self_contained(page)
    assert {"h1", "h2", "h3", "main", "nav", "header", "footer"} <= {tag for tag, _ in page.tags}
    assert len(page.all("h1")) == 1
    assert page.all("html") == [{"lang": "en"}]
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {link["href"][1:] for link in page.all("a")} <= set(identifiers)


def test_the_only_script_is_the_one_that_the_policy_allows(plain):
    page = Page(plain)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_hostile_text_is_inert(hostile, plain):
    evil, html = hostile
    page, reference = Page(html), Page(plain)
    assert_self_contained(page)
    assert page.scripts == reference.scripts
    assert page.styles == reference.styles
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in reference.tags]
    html.encode("utf-8")
    shown = evil.encode("utf-8", "replace").decode().replace("\x00", "")
    assert "".join(page.text).replace("\x00", "").count(shown) >= 10


def test_hostile_names_in_figures_are_inert(hostile):
    for image in Page(hostile[1]).all("img"):
        kind, content = source(image).split(";base64,")
        if kind == "data:image/svg+xml":
            for node in ElementTree.fromstring(base64.b64decode(content)).iter():
                assert node.tag.split("}")[1] not in {"script", "foreignObject", "image", "a"}
                assert all(value.startswith("#") for name, value in node.attrib.items() if "href" in name)


def test_equal_data_give_equal_text_whatever_the_order_of_dictionaries(plain):
    def turn(value):
        if isinstance(value, dict):
            return {key: turn(value[key]) for key in reversed(value)}
        if isinstance(value, tuple):
            return tuple(turn(item) for item in value)
        return replace(value, phases=turn(value.phases)) if isinstance(value, StageTiming) else value

    data = make()
    turned = replace(data, **{field.name: turn(getattr(data, field.name)) for field in fields(data) if field.name != "errors"})
    assert list(turned.ap) == ["area", "voc07"]
    assert render_report(turned) == plain == render_report(make())


def test_the_run_s_own_variant_comes_first():
    heads = {variant: section(render_report(replace(make(), variant=variant)), "overview")[:40] for variant in ("area", "coco")}
    assert "mAP (area)" in heads["area"] and "mAP (voc07)" in heads["coco"], "where the run's own is not there, the first"


def test_hand_example_of_numbers(plain):
    assert "mAP (voc07) 75.0 % mean of 2 classes mAP (area) 50.0 % mean of 2 classes" in section(plain, "overview")
    assert "Objects 2,400" in section(plain, "overview")
    assert "Images 30" in section(plain, "overview")
    assert "Total time 1 min 02 s 2 stages" in section(plain, "overview")
    assert "apple 1,200 75.0 50.0 pear 1,200 75.0 50.0 Mean 75.0 50.0 Median 75.0 50.0" in section(plain, "ap")
    assert "This run voc07 75.0 75.0 75.0 75.0 This run area 50.0 50.0 50.0 50.0 plain Table 9 58.4 58.4 58.4 58.4" in section(plain, "ap")
    assert "apple 2 4 7 4,500 200 4,000 0.5 0.50 s" in section(plain, "mining"), "a row per class"
    assert "apple 1 900 1,000 100 0.5 0.25 s apple 4 3,600 4,000 100 0.5 0.25 s" in section(plain, "mining"), "a row per refit"
    assert "plain 1 min 01 s 30 0.492 2 1 2.00 s 1.00 s 3.00 s evaluate 0.50 s 0 – 1 0 – – –" in section(plain, "time")
    assert "plain plain plain" in section(plain, "failures")
    assert "title: plain root: here" in section(plain, "setup")
    assert "Ray 2 numpy plain" in section(plain, "setup")


def test_examples_say_class_score_verdict_and_reason(plain):
    words = section(plain, "examples")
    for mark in ("✓ true", "✗ false", "○ missed"):
        assert f"{mark} apple 0.91 plain plain" in words
    assert "apple plain 0.80 0.50 other plain" in words, "the list of false positives"


def test_five_classes_or_more_have_a_box_plot():
    for names, boxes in (("abcd", 0), ("abcde", 1)):
        page = Page(render_report(make(tuple(names))))
        assert sum("Boxes of the AP" in image["alt"] for image in page.all("img")) == boxes


def test_what_filters_ask_for_is_on_every_item(plain):
    page = Page(plain)
    items = [attributes for tag, attributes in page.tags if tag in {"figure", "g", "tr"} and "data-class" in attributes]
    assert [(item["data-verdict"], item["data-kind"], item["data-score"], item["data-precision"]) for item in items] == [
        ("true", "", "0.9", "0.75"),
        ("true", "", "0.914", "0.75"),
        ("false", "", "0.914", "0.75"),
        ("missed", "", "0.914", "0.75"),
        ("false", "other", "0.8", "0.5"),
    ]
    assert [option["value"] for option in page.all("option")].count("pear") == 2
    assert "An image has 2,346 proposals on average" in section(plain, "proposals")


def test_missed_object_without_a_score_shows_none():
    example = Example("picture 4", "apple", math.nan, "missed", PICTURE, "nothing near", math.nan, "")
    words = section(render_report(replace(make(), examples=(example,))), "examples")
    assert "○ missed apple nothing near picture 4" in words
    assert "nan" not in words


def test_pictures_are_embedded_byte_for_byte():
    stream = io.BytesIO()
    Image.new("RGB", (3, 2)).save(stream, "PNG")
    examples = (replace(make().examples[0], picture_png_or_jpeg=stream.getvalue()), make().examples[1])
    images = [source(image) for image in Page(render_report(replace(make(), examples=examples))).all("img")]
    assert f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}" in images
    assert f"data:image/jpeg;base64,{base64.b64encode(PICTURE).decode()}" in images


def test_a_picture_of_another_kind_is_refused_by_name():
    bad = replace(make().examples[0], image_id="apple_7", picture_png_or_jpeg=b"<svg onload=alert(1)>")
    with pytest.raises(ValueError, match=r"apple_7.*draw_detections"):
        render_report(replace(make(), examples=(bad,)))


def test_mean_leaves_out_classes_without_objects():
    values = np.random.default_rng(2).random(5)
    values[3] = np.nan
    ap = {"ilsvrc": dict(zip("abcde", values.tolist(), strict=True))}
    html = render_report(replace(make(tuple("abcde")), ap=ap))
    assert f"mAP (ilsvrc) {100 * np.nanmean(values):.1f} % mean of 4 classes" in section(html, "overview")
    assert "1 class has no objects in this test set and counts in no mean" in section(html, "ap")
    assert "nan" not in Page(html).words.lower()


def test_run_without_annotations_shows_no_ap_and_names_the_archive():
    page = Page(render_report(replace(make(), ap={}, curves={}, n_objects={}, examples=(), errors={})))
    assert "submission archive" in page.words
    assert "mAP" not in page.words
    assert "#ap" not in [link["href"] for link in page.all("a")]
    assert "Hard negative mining" in page.words
    assert_self_contained(page)


EMPTY = np.zeros(0)


@pytest.mark.parametrize(
    "changes",
    [
        {"curves": dict.fromkeys(("apple", "pear"), Curve(EMPTY, EMPTY)), "examples": ()},
        {"curves": {}, "n_objects": {}},
        {"ap": {"voc07": {"apple": math.nan, "pear": math.nan}}},
        {"ap": {"voc07": {}}},
        {"classes": ("apple",)},
        {"classes": ()},
        {"stages": ()},
        {"stages": (StageTiming("none", 0.0, 0, 0, 0, {}),)},
        {"telemetry": (), "failures": (), "published": (), "versions": {}, "config_yaml": ""},
        {"telemetry": (Refit("unlisted", 1, 0, 0, 0, 0, math.nan, 0.0),)},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_empties_render(changes):
    page = Page(render_report(replace(make(), **changes)))
    assert_self_contained(page)
    assert "Overview" in page.words
    assert "nan" not in page.words


def test_no_failures_and_no_false_detections_are_said():
    html = render_report(replace(make(), failures=(), examples=(), false_positives=(), images=()))
    assert section(html, "failures") == "Failed images None."
    assert section(html, "examples").endswith("None.")
    assert "Failed images 0 none was left out" in section(html, "overview")


def test_numbers_carry_their_sorting_key_and_unknown_ones_an_empty_key():
    html = render_report(replace(make(), ap={"voc07": {"apple": 0.125, "pear": math.nan}}, published=()))
    table = html.split('<section id="ap">')[1].split("<tbody>")[1].split("</tbody>")[0]
    assert [cell["data-v"] for cell in Page(table).all("td")] == ["1200", "0.125", "1200", ""]


def test_mistakes_are_shown_with_their_costs_and_causes():
    words = section(render_report(make()), "errors")
    assert "1,234" in words and "4.2" in words and "742.8" in words
    assert "10 objects of 90 have no right detection" in words and "All 5 3 2" in words
    page = Page(render_report(make()).split('<section id="errors">')[1].split("</section>")[0])
    assert len(page.all("img")) == 4


def test_mistakes_that_cannot_be_measured_leave_no_plot():
    few = errors_of(("apple",), "apple") | {"sensitivity": {}, "missed": None}
    few["cost"] = {"variant": "area", "missed": {"count": 0, "mAP_gain": None}}
    few["groups"] = {"apple": {"classes": ["apple"], "top": {"right": 0}, "trend": {}}}
    html = render_report(replace(make(("apple",)), errors=few))
    assert "No class has two subsets" in section(html, "errors") and "no right detection" not in html
    assert 'id="errors"' not in render_report(replace(make(), errors={}))
