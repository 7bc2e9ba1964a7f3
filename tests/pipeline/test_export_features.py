import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from rcnn_dist.cli import app
from rcnn_dist.errors import ConfigError
from rcnn_dist.stages.record import features_folder
from rcnn_dist.store.query import find_regions, matrix


def export(run, form, out):
    return CliRunner().invoke(app, ["runs", "export", str(run), "--format", form, "--out", str(out)], catch_exceptions=False)


def test_the_features_of_every_split_in_both_forms(finished_run, tmp_path):
    run = finished_run.run.dir
    for split in ("train", "test"):
        stored = find_regions(features_folder(run, split))
        done = export(run, "list", tmp_path / "list")
        assert done.exit_code == 0 and f"{tmp_path}/list/{split}/part-00000.parquet" in done.output
        lists = pq.read_table(tmp_path / "list" / split)
        np.testing.assert_array_equal(np.array(lists["fc7"].to_pylist(), np.float16), matrix(stored, "fc7"))
        export(run, "npy", tmp_path / "npy")
        np.testing.assert_array_equal(np.load(tmp_path / "npy" / split / "pool5.npy"), matrix(stored, "pool5"))
        assert np.load(tmp_path / "npy" / split / "image_id.npy").tolist() == stored["image_id"].to_pylist()


def test_a_run_without_features_is_named(tmp_path):
    for form in ("list", "npy"):
        with pytest.raises(ConfigError, match="has no features"):
            export(tmp_path, form, tmp_path)
    with pytest.raises(ConfigError, match="has no features of train images"):
        features_folder(str(tmp_path))
