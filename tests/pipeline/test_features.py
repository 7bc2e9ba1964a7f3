"""Features of images without annotations: whole runs over folders, lists and Parquet columns."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rcnn_dist import driver
from rcnn_dist.config import load_config
from rcnn_dist.errors import ConfigError
from rcnn_dist.stages import extract
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.summary import print_summary

SETTINGS = ["network.name=tiny", "network.input_size=null", "extract.layers=[pool5,fc7]", "extract.max_proposals=30", "run.shard_images=3"]


@pytest.fixture
def photos(shapes_root, tmp_path):
    """A tree of eight images without annotations, and a file that is none."""
    images = sorted((shapes_root / "VOC2007" / "JPEGImages").glob("*.jpg"))[:8]
    for index, image in enumerate(images):
        folder = tmp_path / "photos" / ("", "a", "a/b c")[index % 3]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.fixture
def features_config(photos, tmp_path):
    def make(name="run", root=photos, executor="in_process", **data):
        settings = [f"data.{key}={value}" for key, value in {"root": root, **data}.items()]
        settings += [f"run.dir={tmp_path / name}", f"runtime.executor={executor}", "runtime.workers=2"]
        return load_config(driver.config_file("features.yaml"), [*SETTINGS, *settings])

    return make


def tables(config):
    return sorted((path.name, path.read_bytes()) for path in _folder(config).glob("*.parquet"))


def _folder(config):
    return Path(extract.folder(Run(config))) / "train"


def test_a_folder_becomes_features_and_failures(features_config, tmp_path, capsys):
    config = features_config()
    print_summary(driver.run_stages(config), config.run.stages)
    table = pq.read_table(_folder(config))
    assert set(table.column_names) >= {"image_id", "x1", "pool5", "fc7"}
    ids = sorted(set(table["image_id"].to_pylist()))
    assert len(ids) == 8 and any(i.startswith("a/b=20c/") for i in ids)
    assert table.num_rows == 8 * 30 and not any(table["is_ground_truth"].to_pylist())
    failures = pq.read_table(tmp_path / "run" / "failures" / "extract-train.parquet").to_pylist()
    assert [(f["image_id"], f["reason"]) for f in failures] == [("broken.jpg", "not an image, the bytes look like text")]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"features of 240 regions of 8 images: {_folder(config)}; 1 failed, see {tmp_path}/run/failures/")
    assert not (tmp_path / "run" / "report").exists()


def test_a_list_and_a_parquet_column_give_the_same_rows_as_the_folder(features_config, photos, tmp_path):
    names = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.jpg"))
    (photos / "list.txt").write_text("\n".join(names))
    pq.write_table(pa.table({"where": names}), photos / "list.parquet")
    configs = [
        features_config("folder"),
        features_config("list", photos / "list.txt", layout="list"),
        features_config("parquet", photos / "list.parquet", layout="parquet", column="where"),
    ]
    for config in configs:
        driver.run_stages(config)
    assert tables(configs[0]) == tables(configs[1]) == tables(configs[2])


def test_the_cluster_gives_the_same_bytes(features_config):
    here, ray = features_config("here"), features_config("ray", executor="ray")
    for config in (here, ray):
        driver.run_stages(config, ["propose"])
    assert verify_run(here.run.dir).digest == verify_run(ray.run.dir).digest


def test_workers_do_not_list_the_folder(features_config, photos, monkeypatch):
    here = features_config()
    stage = extract.ExtractStage(Run(here))
    stage.plan()
    open_again, arguments = stage.context.__reduce__()
    monkeypatch.setattr("rcnn_dist.data.folder.files.list_tree", None)
    worker_run = open_again(*arguments)
    assert extract.folder(worker_run) == extract.folder(stage.context)
    assert worker_run.dataset.image_url("broken.jpg") == f"{photos}/broken.jpg"


def test_what_such_a_run_does_not_have_is_refused(features_config):
    with pytest.raises(ConfigError, match=r"this run has the stages propose, extract: add train to run\.stages"):
        driver.run_stages(features_config(), ["train"])
