import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from rcnn_dist.cli import app
from rcnn_dist.errors import ConfigError, DataError
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


def test_the_results_of_a_part_of_the_test_images_are_those_lines_of_all(finished_run, tmp_path):
    run = finished_run.run.dir
    whole = Path(run) / "evaluation" / "comp4" / "comp4_det_test_striped_disc.txt"
    lines = whole.read_text().splitlines()
    chosen = {lines[0].split()[0], lines[-1].split()[0]}
    (tmp_path / "ids.txt").write_text("".join(f"{name} 1\n" for name in chosen))
    arguments = ["runs", "export", run, "--format", "voc", "--out", str(tmp_path / "voc"), "--images", str(tmp_path / "ids.txt")]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.output == f"{tmp_path}/voc/results.tar.gz\n"
    part = (tmp_path / "voc" / "comp4" / whole.name).read_text().splitlines()
    assert part == [line for line in lines if line.split()[0] in chosen]
    with tarfile.open(tmp_path / "voc" / "results.tar.gz") as archive:
        assert f"results/VOC2010/Main/{whole.name}" in archive.getnames()
    (tmp_path / "ids.txt").write_text("somebody\n")
    with pytest.raises(DataError, match="lists somebody, which is not among the run's 4 test images"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    with pytest.raises(ConfigError, match="there is no nowhere"):
        CliRunner().invoke(app, [*arguments[:-1], "nowhere"], catch_exceptions=False)
