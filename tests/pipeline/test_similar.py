import json
import shutil
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from rcnn_dist.cli import app
from rcnn_dist.config import load_config
from rcnn_dist.errors import ConfigError
from rcnn_dist.stages.record import features_folder
from rcnn_dist.stages.similar import SimilarRegions, Wanted
from rcnn_dist.store.query import find_regions, matrix
from rcnn_dist.store.tables import boxes_of


@pytest.fixture(scope="module")
def stored(finished_run):
    """All regions of both splits, as the pass sees them: split, image id, region, features."""
    rows = []
    for split in ("train", "test"):
        table = find_regions(features_folder(finished_run.run.dir, split))
        names = zip(table["image_id"].to_pylist(), table["region"].to_pylist(), strict=True)
        rows += [(split, *name, box, f) for name, box, f in zip(names, boxes_of(table), matrix(table, "fc7"), strict=True)]
    return rows


def invoke(*arguments):
    return CliRunner().invoke(app, ["explore", "similar", *map(str, arguments)], catch_exceptions=False)


def test_a_stored_region_finds_itself_then_what_sorting_the_whole_store_finds(finished_run, stored):
    store = SimilarRegions(finished_run.run.dir)
    split, image_id, region, box, own = stored[70]
    found = store.find(Wanted(image_id, box.tolist(), k=25), store.read_image(image_id))
    assert (found[0].split, found[0].image_id, found[0].region) == (split, image_id, region)
    assert found[0].cosine == pytest.approx(1, abs=1e-4)
    assert found[0].box == tuple(box)
    query = own.astype(np.float64)
    features = np.stack([row[4] for row in stored]).astype(np.float64)
    cosines = features @ query / np.linalg.norm(features, axis=1) / np.linalg.norm(query)
    np.testing.assert_allclose([r.cosine for r in found], np.sort(cosines)[::-1][:25], atol=1e-3)
    assert {r.split for r in store.find(Wanted(image_id, box.tolist(), k=len(stored)), store.read_image(image_id))} == {"train", "test"}


def test_an_outside_photo_as_json_and_a_page_at_most_one_region_of_each_image(finished_run, shapes_root, stored, tmp_path):
    photo = str(shutil.copy(shapes_root / "VOC2007" / "JPEGImages" / "test_000000.jpg", tmp_path / "mine.jpg"))
    out = tmp_path / "out"
    done = invoke("--run", finished_run.run.dir, "--image", photo, "--box", "10,12,90.5,80", "--k", 5, "--per-image", 1, "--out", out)
    assert done.exit_code == 0, done.output
    content = json.loads((out / "similar.json").read_text())
    assert content["query"] == {"image": photo, "box": [10.0, 12.0, 90.5, 80.0], "layer": "fc7"}
    images = [region["image_id"] for region in content["regions"]]
    assert len(set(images)) == len(images) == 5
    cosines = [region["cosine"] for region in content["regions"]]
    assert cosines == sorted(cosines, reverse=True)
    assert (out / "index.html").read_text().count("data:image/jpeg;base64,") == 6
    assert len(done.output.splitlines()) == 6


def test_faiss_and_another_layer(finished_run, tmp_path, monkeypatch):
    common = ("--run", finished_run.run.dir, "--image", "test_000001", "--box", "5,5,60,60", "--layer", "pool5", "--out", tmp_path)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"pip install 'rcnn-dist\[faiss\]'"):
        invoke(*common, "--faiss")
    monkeypatch.undo()
    pytest.importorskip("faiss")
    found = []
    for extra in ((), ("--faiss",)):
        invoke(*common, *extra)
        found.append((tmp_path / "similar.json").read_bytes())
    assert found[0] == found[1]
    assert json.loads(found[0])["query"]["layer"] == "pool5"


def test_mistakes_are_named(finished_run, tmp_path):
    run = finished_run.run.dir
    for arguments, message in (
        (("--run", run, "--image", "test_000001", "--box", "1,2,3"), "expected x1,y1,x2,y2"),
        (("--run", run, "--image", "test_000001", "--box", "0,0,9999,5"), "is no part of an image of"),
        (("--run", run, "--image", "test_000001", "--box", "5,5,5,9"), "is no part of an image of"),
        (("--run", run, "--image", "nobody", "--box", "0,0,9,9"), "nobody is neither a file nor an image of VOC2007"),
        (("--run", run, "--image", f"{run}/config.yaml", "--box", "0,0,9,9"), "config.yaml cannot be read: not an image"),
        (("--run", run, "--image", "test_000001", "--box", "0,0,9,9", "--layer", "fc9"), "layer fc9 is not stored: the run has pool5, fc7"),
        (("--run", tmp_path, "--image", "test_000001", "--box", "0,0,9,9"), "holds no config.yaml"),
    ):
        with pytest.raises(ConfigError, match=message):
            invoke(*arguments)


def test_a_configuration_that_its_features_do_not_have_is_refused(finished_run, tmp_path):
    run_dir = shutil.copytree(finished_run.run.dir, tmp_path / "copy")
    config = load_config(run_dir / "config.yaml", ["warp.context_padding=3"])
    (run_dir / "config.yaml").write_text(config.to_yaml())
    with pytest.raises(ConfigError, match=r"warp\.context_padding: 16\S* -> 3"):
        SimilarRegions(str(run_dir))
    (run_dir / "run.json").unlink()
    with pytest.raises(ConfigError, match="has no features"):
        SimilarRegions(str(run_dir))
