import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rcnn_dist.cli import app
from rcnn_dist.errors import ConfigError
from rcnn_dist.stages.compare import compare_runs


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
