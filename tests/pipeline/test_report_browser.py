"""The pages in a real browser: no error, nothing fetched, filters, keyboard, names for a screen reader, light and dark."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rcnn_dist.benchmarks.report import make_result_set
from rcnn_dist.cli import app
from rcnn_dist.errors import ConfigError
from rcnn_dist.report import render_report
from rcnn_dist.report.browser import browse, find_browser
from rcnn_dist.report.duplicates_page import DuplicatesPage, ShownPair, render_duplicates
from rcnn_dist.report.units_page import UnitRegion, UnitRow, UnitsPage, render_units

try:
    find_browser()
except ConfigError as error:
    pytest.skip(str(error), allow_module_level=True)

SHOWN = "[...document.querySelectorAll('#{0} {1}:not([hidden])')].map(item => item.dataset.{2})"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    path = folder / "index.html"
    path.write_text(render_report(make_result_set(7, str(folder / "data"))))
    return path


def put(section, name, value):
    control = f"document.querySelector('#{section} [name={name}]')"
    return f"{control}.value = '{value}'; {control}.dispatchEvent(new Event('input', {{bubbles: true}}))"


def test_the_report(report):
    async def visit(page):
        await page.open(report)
        await page.evaluate(put("examples", "class", "class 3") + ";" + put("examples", "verdict", "false"))
        assert set(await page.evaluate(SHOWN.format("examples", "figure", "class"))) == {"class 3"}
        assert set(await page.evaluate(SHOWN.format("examples", "figure", "verdict"))) == {"false"}
        assert set(await page.evaluate(SHOWN.format("examples", "tr[data-class]", "class"))) == {"class 3"}
        assert await page.evaluate("document.querySelector('#examples output.count').textContent") == "4 of 84 shown"
        await page.evaluate(put("images", "least", "80"))
        precisions = [float(value) for value in await page.evaluate(SHOWN.format("images", "g", "precision"))]
        assert precisions and min(precisions) >= 0.8
        assert await page.evaluate("document.querySelector('#images [name=least]').getAttribute('aria-valuetext')") == "0.80 or more"
        await page.evaluate(put("images", "by", "score"))
        scores = [float(value) for value in await page.evaluate(SHOWN.format("images", "g", "score"))]
        low, high = await page.evaluate("['low', 'high'].map(name => +document.getElementById('images').dataset[name])")
        assert scores and min(scores) >= low + 0.8 * (high - low)

        await page.evaluate("document.querySelectorAll('#ap thead button')[2].click()")
        values = await page.evaluate(
            "[...document.querySelectorAll('#ap .sortable:not(.published) tbody tr')].map(r => +r.cells[2].dataset.v)"
        )
        assert values == sorted(values, reverse=True) and len(values) == 7

        await page.evaluate("document.querySelector('button.pick').focus()")
        await page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
        picked = await page.evaluate("document.querySelector('#picked b').textContent")
        assert picked == await page.evaluate("document.querySelector('button.pick[aria-pressed=true]').textContent")
        loaded = "Promise.all([...document.querySelectorAll('#picked img')].map(i => i.decode().then(() => i.naturalWidth)))"
        assert (await page.evaluate(loaded))[0] > 0

        tree = (await page.call("Accessibility.getFullAXTree"))["nodes"]
        asking = [n for n in tree if n["role"]["value"] in {"slider", "combobox", "button", "link", "image"} and not n.get("ignored")]
        nameless = [node for node in asking if not node.get("name", {}).get("value", "").strip()]
        assert len(asking) > 50 and nameless == []
        return page.problems

    assert browse(visit) == []


def test_the_pages_of_units_and_duplicates(report, tmp_path):
    picture = make_jpeg()
    units, pairs = tmp_path / "units.html", tmp_path / "pairs.html"
    rows = [UnitRow(n, f"channel {n + 1}, row 3, column 3", 2.5, (UnitRegion(picture, 1.0, f"test photo_{n}"),)) for n in range(12)]
    units.write_text(render_units(UnitsPage("Units", "note", tuple(rows))))
    shown = tuple(ShownPair(f"a{n}", f"b{n}", (picture, None), 0.1 * n, "same id") for n in range(3))
    pairs.write_text(render_duplicates(DuplicatesPage("Pairs", "note", shown)))

    async def visit(page):
        await page.open(units)
        for wanted, expected in (("1", [0, 1]), ("channel 5", [4, 5]), ("photo_7", [7]), ("", list(range(12)))):
            await page.evaluate(f"wanted.value = '{wanted}'; wanted.dispatchEvent(new Event('input'))")
            found = await page.evaluate("[...document.querySelectorAll('section:not([hidden])')].map(s => s.dataset.name.split(' ')[0])")
            assert [int(name) for name in found] == expected
        await page.open(pairs)
        await page.evaluate("document.querySelectorAll('input[value=same]')[1].click()")
        await page.evaluate("document.querySelectorAll('input[value=different]')[2].click()")
        assert await page.evaluate("result.value") == "a1\tb1"
        assert await page.evaluate("count.textContent") == "2 of 3 judged, 1 the same"
        return page.problems

    assert browse(visit) == []


def make_jpeg():
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "#884422").save(stream, "JPEG")
    return stream.getvalue()


def test_a_command_takes_a_screenshot_in_light_and_dark(tmp_path):
    run = tmp_path / "run"
    (run / "report").mkdir(parents=True)
    rows = tuple(UnitRow(n, "", 2.5, (UnitRegion(make_jpeg(), 1.0, "photo"),)) for n in range(12))
    (run / "report" / "index.html").write_text(render_units(UnitsPage("Units", "note", rows)))  # any page of ours
    corners = {}
    for name, extra in (("light", ()), ("dark", ("--dark",))):
        out = tmp_path / f"{name}.png"
        done = CliRunner().invoke(
            app, ["runs", "screenshot", str(run), "--out", str(out), "--width", "900", *extra], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        pixels = np.asarray(Image.open(out).convert("L"))
        assert pixels.shape[1] == 900 and pixels.shape[0] > 1500
        corners[name] = int(pixels[5, 5])
    assert corners["light"] > 200 > 60 > corners["dark"]
    with pytest.raises(ConfigError, match="has no report"):
        CliRunner().invoke(app, ["runs", "screenshot", str(tmp_path), "--out", str(Path(tmp_path) / "x.png")], catch_exceptions=False)
