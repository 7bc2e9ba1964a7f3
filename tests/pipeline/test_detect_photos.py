import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rcnn_dist import driver
from rcnn_dist.cli import app
from rcnn_dist.config import load_config
from rcnn_dist.errors import ConfigError, MissingShardError
from rcnn_dist.stages import detect, evaluate
from rcnn_dist.stages.photos import PhotoDetector, find_photos, read_photo
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.trained import open_trained, scores_at_precision
from rcnn_dist.store.query import detections_by_class


def invoke(*arguments):
    return CliRunner().invoke(app, ["detect", *map(str, arguments)])


def copied(finished_run, tmp_path):
    """A copy of the run that a test may change."""
    return shutil.copytree(finished_run.run.dir, tmp_path / "copy")


def test_a_photo_gets_the_boxes_that_the_run_s_detect_stage_found(finished_run):
    run = Run(finished_run)
    image_ids = run.image_ids("test")
    stored = detections_by_class(f"{detect.folder(run)}/test", run.classes, image_ids)
    trained = open_trained(run.url)
    detector = PhotoDetector(trained, dict.fromkeys(run.classes, -np.inf))
    for index, image_id in enumerate(image_ids):
        found = detector.detect(read_photo(run.dataset.image_url(image_id), trained))
        assert len(found.scores) > 0
        for name, rows in stored.items():
            own = (rows.image == index) & rows.kept
            picked = np.array([n == name for n in found.classes])
            np.testing.assert_array_equal(found.scores[picked], rows.scores[own])
            np.testing.assert_array_equal(found.boxes[picked].astype(np.float32), rows.boxes[own])


def test_detections_as_json_and_pictures_and_what_cannot_be_read(finished_run, shapes_root, tmp_path):
    images = sorted((shapes_root / "VOC2007" / "JPEGImages").glob("test_*.jpg"))
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(images[0], folder / "a.jpg")
    shutil.copy(images[1], folder / "deep" / "a.jpg")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no image by its name")
    out = tmp_path / "out"
    done = invoke("--run", finished_run.run.dir, folder, tmp_path / "none.jpg", "--score", -1.2, "--out", out)
    assert done.exit_code == 3, done.output
    found = json.loads((out / "detections.json").read_text())
    assert [photo["file"] for photo in found["photos"]] == [f"{folder}/a.jpg", f"{folder}/deep/a.jpg"]
    assert [failed["file"] for failed in found["failed"]] == [f"{folder}/broken.png", f"{tmp_path}/none.jpg"]
    assert found["failed"][1]["reason"] == "no such file"
    assert [photo["picture"] for photo in found["photos"]] == ["pictures/a.jpg", "pictures/a-2.jpg"]
    for photo in found["photos"]:
        picture = Image.open(io.BytesIO((out / photo["picture"]).read_bytes()))
        assert picture.width / picture.height == pytest.approx(photo["width"] / photo["height"], rel=0.02)
        scores = [detection["score"] for detection in photo["detections"]]
        assert scores == sorted(scores, reverse=True)
        assert min(scores) >= -1.2
        for detection in photo["detections"]:
            x1, y1, x2, y2 = detection["box"]
            assert 0 <= x1 < x2 <= photo["width"] and 0 <= y1 < y2 <= photo["height"]
    assert "broken.png: left out: not an image, the bytes look like text" in done.output
    assert invoke("--run", finished_run.run.dir, folder / "a.jpg", "--score", 0, "--out", out).exit_code == 0


def test_a_precision_is_the_one_of_the_test_images(finished_run):
    run = Run(finished_run)
    found = evaluate.evaluate(run)
    wanted = max(np.nanmax(result.precision) for result in found.results.values()) / 2
    thresholds = scores_at_precision(open_trained(run.url), wanted)
    assert set(thresholds) == set(run.classes)
    for name, threshold in thresholds.items():
        result, scores = found.results[name], found.detections[name].scores
        right = np.zeros(len(scores), bool)
        right[result.matches.order] = result.matches.is_true_positive
        reaching = [score for score in scores if np.mean(right[scores >= score]) >= wanted]
        assert threshold == min(reaching, default=None)
    assert any(threshold is not None for threshold in thresholds.values())


def test_a_class_without_the_precision_is_left_out_and_named(finished_run, tmp_path):
    run_dir = copied(finished_run, tmp_path)
    path = run_dir / "evaluation" / "operating_points.json"
    points = json.loads(path.read_text())
    points["classes"] = {"dotted_triangle": [[-1.0, 0.25]], "striped_disc": [[-0.5, 0.4], [0.5, 0.9]]}
    path.write_text(json.dumps(points))
    assert scores_at_precision(open_trained(str(run_dir)), 0.5) == {"dotted_triangle": None, "striped_disc": 0.5}
    photo = f"{finished_run.data.root}/VOC2007/JPEGImages/test_000000.jpg"
    done = invoke("--run", run_dir, photo, "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "class dotted_triangle is left out: on the run's test images it never reaches a precision of 0.5" in done.output
    assert "class striped_disc counts from a score of 0.500 on" in done.output
    del points["classes"]["dotted_triangle"]
    path.write_text(json.dumps(points))
    done = invoke("--run", run_dir, photo, "--out", tmp_path / "out")
    assert "class dotted_triangle is left out: it is trained but not evaluated" in done.output
    assert set(json.loads((tmp_path / "out" / "detections.json").read_text())["thresholds"]) == {"striped_disc"}
    with pytest.raises(ConfigError, match=r"no class reaches a precision of 0\.95"):
        CliRunner().invoke(app, ["detect", "--run", str(run_dir), photo, "--precision", "0.95"], catch_exceptions=False)


def test_mistakes_are_named(finished_run, tmp_path):
    with pytest.raises(ConfigError, match="holds no run.json"):
        open_trained(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="holds no image"):
        find_photos([str(tmp_path)])
    with pytest.raises(ConfigError, match="give one of them"):
        CliRunner().invoke(
            app, ["detect", "--run", finished_run.run.dir, "x.jpg", "--score", "0", "--precision", "0.5"], catch_exceptions=False
        )
    run_dir = copied(finished_run, tmp_path)
    other = json.loads((run_dir / "evaluation" / "operating_points.json").read_text()) | {"models": "models/fc7-00000000"}
    (run_dir / "evaluation" / "operating_points.json").write_text(json.dumps(other))
    with pytest.raises(MissingShardError, match="is about models/fc7-00000000, but the run's models are"):
        scores_at_precision(open_trained(str(run_dir)), 0.5)
    (run_dir / "evaluation" / "operating_points.json").write_text(json.dumps({"models": open_trained(str(run_dir)).models, "classes": {}}))
    with pytest.raises(MissingShardError, match="have no annotations"):
        scores_at_precision(open_trained(str(run_dir)), 0.5)
    shutil.rmtree(run_dir / "evaluation")
    with pytest.raises(MissingShardError, match="is not evaluated, so no precision is known"):
        scores_at_precision(open_trained(str(run_dir)), 0.5)


def test_a_run_that_is_not_trained_says_so(small_config):
    driver.run_stages(small_config(), ("propose",))
    with pytest.raises(MissingShardError, match=r"is not trained: rcnn-dist run .*/config\.yaml goes on with it"):
        open_trained(small_config().run.dir)


def test_the_configuration_is_that_of_the_models_save_for_detection(finished_run, tmp_path):
    run_dir = copied(finished_run, tmp_path)
    config = load_config(run_dir / "config.yaml", ["warp.context_padding=3", "detect.nms_threshold=0.4"])
    (run_dir / "config.yaml").write_text(config.to_yaml())
    opened = open_trained(str(run_dir)).config
    assert opened.warp == finished_run.warp
    assert opened.detect.nms_threshold == 0.4
    assert opened.run.dir == str(run_dir)
