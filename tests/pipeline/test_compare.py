import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rcnn_dist.cli import app
from rcnn_dist.driver import run_stages
from rcnn_dist.errors import ConfigError
from rcnn_dist.stages.compare import compare_runs
from rcnn_dist.stages.record import read_config
from rcnn_dist.store.tensors import load_tensors, save_tensors


@pytest.fixture
def two_runs(finished_run, tmp_path):
    """A run, and a copy with one class less, another AP and no error analysis."""
    other = tmp_path / "other"
    shutil.copytree(finished_run.run.dir, other)
    path = other / "evaluation" / "metrics.json"
    metrics = json.loads(path.read_text())
    gone = metrics["classes"].pop()
    del metrics["ap"][gone]
    metrics["mAP"]["voc07"] = 0.4321
    path.write_text(json.dumps(metrics))
    (other / "evaluation" / "errors.json").unlink()
    return finished_run.run.dir, str(other), gone


def test_runs_stand_side_by_side(two_runs, tmp_path):
    one, other, gone = two_runs
    result = CliRunner().invoke(app, ["runs", "compare", one, other, "--out", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found == json.loads((tmp_path / "out" / "comparison.json").read_text())
    metrics = json.loads(Path(one, "evaluation", "metrics.json").read_text())
    assert found["runs"][one]["mAP"] == metrics["mAP"]["voc07"] and found["runs"][other]["mAP"] == 0.4321
    assert found["runs"][one]["ap"][gone] == metrics["ap"][gone]["voc07"] and found["runs"][other]["ap"][gone] is None
    assert sum(found["runs"][one]["false_positives"].values()) > 0 and found["runs"][other]["false_positives"] == {}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "43.2" in page and "–" in page and "http" not in page.replace("http-equiv", "")


def test_the_table_has_a_column_per_run(two_runs, tmp_path):
    result = CliRunner().invoke(app, ["runs", "compare", *two_runs[:2], "--out", str(tmp_path / "out")])
    assert result.exit_code == 0 and "43.2" in result.output and "localisation" in result.output


@pytest.fixture
def stricter_run(finished_run, tmp_path):
    """The same run with detections that suppress each other sooner."""
    other = tmp_path / "stricter"
    shutil.copytree(finished_run.run.dir, other)
    config = read_config(str(other), ["detect.nms_threshold=0.02"])
    run_stages(config, ["detect", "evaluate"])
    return str(other)


def set_variant(run, variant):
    path = Path(run, "evaluation", "metrics.json")
    metrics = json.loads(path.read_text()) | {"variant": variant}
    path.write_text(json.dumps(metrics))
    return metrics["mAP"][variant]


@pytest.mark.parametrize("variant", ["voc07", "area", "coco"])
def test_a_difference_of_map_has_an_interval(finished_run, stricter_run, tmp_path, variant):
    one = str(shutil.copytree(finished_run.run.dir, tmp_path / "one"))
    difference = set_variant(stricter_run, variant) - set_variant(one, variant)
    found = compare_runs([one, stricter_run], resamples=300)
    assert found == compare_runs([one, stricter_run], resamples=300)  # seeded
    against = found["runs"][stricter_run]["against_first"]
    assert against["mAP"] == pytest.approx(difference) and abs(difference) > 0
    assert against["low"] <= against["mAP"] <= against["high"] and against["low"] < against["high"]
    backwards = compare_runs([stricter_run, one], resamples=300)["runs"][one]["against_first"]
    assert [backwards["low"], backwards["high"]] == pytest.approx([-against["high"], -against["low"]])
    assert found["runs"][one]["against_first"] is None


def test_the_interval_is_shown_and_can_be_left_out(finished_run, stricter_run, tmp_path):
    arguments = ["runs", "compare", finished_run.run.dir, stricter_run, "--out", str(tmp_path / "out"), "--resamples"]
    shown = CliRunner().invoke(app, [*arguments, "50"])
    assert shown.exit_code == 0, shown.output
    assert "95% of 50 draws" in (tmp_path / "out" / "index.html").read_text()
    without = CliRunner().invoke(app, [*arguments, "0", "--json"])
    assert json.loads(without.output)["runs"][stricter_run]["against_first"] is None
    assert "draws" not in (tmp_path / "out" / "index.html").read_text()


def test_a_run_that_an_older_version_evaluated_has_no_interval(finished_run, stricter_run, tmp_path):
    (Path(stricter_run) / "evaluation" / "ranked.safetensors").unlink()
    result = CliRunner().invoke(app, ["runs", "compare", finished_run.run.dir, stricter_run, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0 and "--stages evaluate" in result.output


def test_a_run_that_the_first_runs_rules_did_not_judge_is_refused(finished_run, stricter_run):
    path = Path(stricter_run, "evaluation", "metrics.json")
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps(metrics | {"variant": "ilsvrc", "mAP": metrics["mAP"] | {"ilsvrc": 0.1}}))
    with pytest.raises(ConfigError, match="has no AP ilsvrc"):
        compare_runs([stricter_run, finished_run.run.dir])


def test_other_images_of_the_same_number_are_refused(finished_run, stricter_run):
    url = str(Path(stricter_run) / "evaluation" / "ranked.safetensors")
    tensors, about = load_tensors(url)
    save_tensors(url, tensors, about | {"image_ids_sha256": "0"})
    with pytest.raises(ConfigError, match="other images"):
        compare_runs([finished_run.run.dir, stricter_run])


def test_what_cannot_be_compared_is_refused(two_runs):
    one, other, _ = two_runs
    path = Path(other, "evaluation", "metrics.json")
    with pytest.raises(ConfigError, match="given twice"):
        compare_runs([one, one + "/"])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"images": 7}))
    with pytest.raises(ConfigError, match="images 7"):
        compare_runs([one, other])
    path.unlink()
    with pytest.raises(ConfigError, match="no evaluation"):
        compare_runs([one, other])
