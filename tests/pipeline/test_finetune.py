import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from rcnn_dist import driver
from rcnn_dist.cli import app
from rcnn_dist.config import RuntimeSection
from rcnn_dist.errors import ConfigError, DataError
from rcnn_dist.features.networks import build_network
from rcnn_dist.finetune.trainer import Trainer
from rcnn_dist.runtime.cluster import connected
from rcnn_dist.stages import detect, extract, finetune, train
from rcnn_dist.stages.models import load_model
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.stages.windows import read_windows
from rcnn_dist.store.query import matrix
from rcnn_dist.store.shards import read_images

STAGES = ["propose", "finetune", "extract", "train", "detect", "evaluate", "report"]
SETTINGS = {"iterations": 6, "batch_size": 16, "learning_rate": 0.01, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with connected(RuntimeSection(workers=2)):
            yield


@pytest.fixture
def tuned_config(small_config, tmp_path):
    """Makes a configuration of a run with fine-tuning, in a folder of its own."""

    def make(name, runtime=None, data=None, **settings):
        run = {"dir": str(tmp_path / name), "shard_images": 3, "stages": STAGES}
        return small_config(run=run, finetune=SETTINGS | settings, runtime=runtime or {}, data=data or {})

    return make


def tune(config):
    driver.run_stages(config, ("propose", "finetune"))
    folder = Path(finetune.folder(Run(config)))
    return [(folder / name).read_bytes() for name in (finetune.NETWORK, finetune.CLASSIFIER)]


def test_a_run_with_fine_tuning_uses_the_new_weights_and_is_verified(tuned_config):
    config = tuned_config("run")
    driver.run_stages(config)
    run = Run(config)
    folder = Path(finetune.folder(run))
    assert sorted(path.name for path in folder.iterdir()) == [
        "_manifest.json",
        "classifier.safetensors",
        "network.safetensors",
        "telemetry.jsonl",
    ]
    rows = [json.loads(line) for line in (folder / finetune.TELEMETRY).read_text().splitlines()]
    assert [row["steps"] for row in rows] == [2, 4, 6]
    assert all(row["waiting"] == pytest.approx(row["seconds"]["wait"] / sum(row["seconds"].values()), abs=0.01) for row in rows)
    assert 0 < finetune.waiting_share(run) < 1
    assert "% of the time waiting for pixels" in CliRunner().invoke(app, ["runs", "status", config.run.dir]).output
    shutil.copytree(folder, folder / "_checkpoint-00000006")  # as a stop between the manifest and the tidying leaves it
    (folder / "_checkpoint-00000006" / "network.safetensors").rename(folder / "_checkpoint-00000006" / "state.safetensors")
    driver.run_stages(config, ("finetune",))
    assert not (folder / "_checkpoint-00000006").exists()
    found = verify_run(config.run.dir)
    assert (found.damaged, found.unfinished) == ([], [])
    frozen = config.model_copy(update={"run": replace(config.run, stages=tuple(s for s in STAGES if s != "finetune"))})
    assert extract.folder(Run(frozen)) != extract.folder(run)
    by_hand = replace(config.network, finetuned=str(folder / finetune.NETWORK))
    used, tuned = extract.make_extractor(run, extract.finetuned_folder(run))._network, build_network(by_hand)
    assert all((tensor == tuned.state_dict()[name]).all() for name, tensor in used.state_dict().items())
    assert not all((tensor == used.state_dict()[name]).all() for name, tensor in build_network(config.network).state_dict().items())


def test_a_training_that_is_stopped_three_times_ends_with_the_same_bytes(tuned_config, monkeypatch):
    undisturbed = tune(tuned_config("undisturbed"))
    assert tune(tuned_config("one checkpoint", checkpoint_every=100)) == undisturbed
    config = tuned_config("stopped")
    step = Trainer.step
    for stop in (1, 2, 5):

        def die(self, iteration, pixels, labels, stop=stop):
            if iteration == stop:
                raise KeyboardInterrupt
            return step(self, iteration, pixels, labels)

        monkeypatch.setattr(Trainer, "step", die)
        with pytest.raises(KeyboardInterrupt):
            tune(config)
        assert finetune.steps_done(Run(config)) == stop // 2 * 2
    assert finetune.waiting_share(Run(config)) is None
    assert "finetune: 4/6 steps, finetuned/tiny-" in CliRunner().invoke(app, ["runs", "status", config.run.dir]).output
    monkeypatch.setattr(Trainer, "step", step)
    assert tune(config) == undisturbed


class DyingWork(finetune.FinetuneWork):
    """Work whose last process is killed after the first checkpoint."""

    def make_worker(self):
        worker = super().make_worker()
        segment, died = worker._segment, Path(self._run.url) / "died"

        def dying(first, last):
            if first and worker._number == worker._count - 1 and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return segment(first, last)

        worker._segment = dying
        return worker


def test_a_ray_worker_that_dies_is_replaced_and_the_network_is_the_same(cluster, tuned_config, monkeypatch):
    config = tuned_config("ray", runtime={"executor": "ray", "workers": 1})
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["DyingWork"]))
    monkeypatch.setattr(finetune, "FinetuneWork", DyingWork)
    found = tune(config)
    monkeypatch.undo()
    assert (Path(config.run.dir) / "died").exists()
    rows = [json.loads(line) for line in (Path(finetune.folder(Run(config))) / finetune.TELEMETRY).read_text().splitlines()]
    assert [row["steps"] for row in rows] == [2, 4, 6]
    assert rows[0]["worker"] != rows[1]["worker"] == rows[2]["worker"]
    assert found == tune(tuned_config("here"))


def test_two_workers_share_each_batch_and_go_on_from_their_checkpoint(cluster, tuned_config, monkeypatch):
    alone, config = tuned_config("alone", dropout=0.0), tuned_config("both", {"executor": "ray", "workers": 2}, dropout=0.0, workers=2)
    tune(alone)
    driver.run_stages(config, ("propose",))
    with monkeypatch.context() as patch:
        patch.setattr(finetune.FinetuneStage, "_publish", stop)
        with pytest.raises(KeyboardInterrupt):
            tune(config)
    folder = Path(finetune.folder(Run(config)))
    assert [path.name for path in folder.iterdir()] == ["_checkpoint-00000006"]
    tune(config)
    assert way_apart(alone, config) < 0.01
    one = load_file(Path(finetune.folder(Run(alone))) / finetune.NETWORK)
    start = build_network(config.network).state_dict()
    assert not np.allclose(one["fc7.0.weight"], start["fc7.0.weight"].numpy(), atol=1e-4)
    losses = [[json.loads(line)["loss"] for line in Path(finetune.folder(Run(c)), finetune.TELEMETRY).open()] for c in (alone, config)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_one_of_two_workers_dies_and_both_go_on_from_their_checkpoint(tuned_config, monkeypatch):
    alone, config = tuned_config("alone", dropout=0.0), tuned_config("both", {"executor": "ray", "workers": 2}, dropout=0.0, workers=2)
    tune(alone)
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["DyingWork"]))
    monkeypatch.setattr(finetune, "FinetuneWork", DyingWork)
    tune(config)
    assert (Path(config.run.dir) / "died").exists()
    assert way_apart(alone, config) < 0.01
    folder = Path(finetune.folder(Run(config)))
    rows = [json.loads(line) for line in (folder / finetune.TELEMETRY).read_text().splitlines()]
    assert [row["steps"] for row in rows] == [2, 4, 6]
    assert rows[0]["worker"] != rows[1]["worker"] == rows[2]["worker"]
    assert sorted(path.name for path in folder.iterdir()) == ["_manifest.json", finetune.CLASSIFIER, finetune.NETWORK, finetune.TELEMETRY]


def way_apart(one, two):
    """How far two trained networks lie apart, as a share of the way that the first has come.

    Rounding may put a ReLU's input on the other side of zero, which moves all weights of that unit by more than rounding does.
    """
    start = {name: tensor.numpy() for name, tensor in build_network(one.network).state_dict().items()}
    ends = [load_file(Path(finetune.folder(Run(config))) / finetune.NETWORK) for config in (one, two)]
    apart, way = (np.concatenate([(a[name] - b[name]).ravel() for name in ends[0]]) for a, b in (ends, (ends[0], start)))
    return np.linalg.norm(apart) / np.linalg.norm(way)


def stop(self, done):
    raise KeyboardInterrupt


def test_every_setting_that_shapes_the_network_changes_its_folder(tuned_config):
    base = finetune.folder(Run(tuned_config("run")))
    for change in ({"seed": 4}, {"iterations": 7}, {"batch_size": 8}, {"dropout": 0.0}):
        assert finetune.folder(Run(tuned_config("run", **change))) != base
    for change in ({"checkpoint_every": 3}, {"image_cache_mb": 0}):
        assert finetune.folder(Run(tuned_config("run", **change))) == base


def test_images_that_do_not_fit_into_the_cache_change_nothing(tuned_config):
    assert tune(tuned_config("cached")) == tune(tuned_config("read again", image_cache_mb=0))


def test_an_image_that_is_mended_is_learned_from_and_all_that_follows_is_made_again(tuned_config, shapes_root, tmp_path):
    root = tmp_path / "bad"
    shutil.copytree(shapes_root, root)
    image = sorted((root / "VOC2007" / "JPEGImages").glob("train*"))[4]
    good = image.read_bytes()
    image.write_bytes(b"")
    config, whole = (tuned_config(name, data={"root": str(root)}) for name in ("mended", "whole"))
    driver.run_stages(config)
    image.write_bytes(good)
    driver.run_stages(whole)
    output = CliRunner().invoke(app, ["runs", "retry", config.run.dir]).output
    assert "again: 1 network of finetune, 2 classes of train, 2 shards of detect, 6 shards of extract, 1 shards of propose" in output
    assert verify_run(config.run.dir).digest == verify_run(whole.run.dir).digest


def test_a_window_file_that_was_exported_gives_the_same_windows_but_for_its_rounding(tuned_config, tmp_path):
    config = tuned_config("run")
    driver.run_stages(config, ("propose",))
    output = CliRunner().invoke(app, ["runs", "export", config.run.dir, "--format", "windows", "--out", str(tmp_path / "out")]).output
    path = str(tmp_path / "out" / "windows.txt")
    assert output == f"{path}\n"
    from_file = tuned_config("from file", window_file=path)
    (own, urls), (read, same_urls) = (read_windows(Run(c)) for c in (config, from_file))
    assert urls == same_urls
    assert len(urls) == 12
    np.testing.assert_array_equal(read.image, own.image)
    np.testing.assert_array_equal(read.label, own.label)
    np.testing.assert_allclose(read.boxes, own.boxes, atol=0.5)
    driver.run_stages(from_file, ("finetune",))
    assert (Path(finetune.folder(Run(from_file))) / finetune.NETWORK).is_file()
    before = finetune.folder(Run(from_file))
    Path(path).write_text(Path(path).read_text() + "more")
    assert finetune.folder(Run(from_file)) != before
    with pytest.raises(DataError, match="no window file"):
        read_windows(Run(from_file))
    with pytest.raises(ConfigError, match=r"there is no .*nowhere"):
        read_windows(Run(tuned_config("run", window_file="/nowhere")))


def test_a_set_without_foreground_is_refused(tuned_config):
    with pytest.raises(DataError, match="no foreground windows"):
        tune(tuned_config("run", data={"classes": ["zebra"]}))


def test_the_softmax_of_the_fine_tuned_network_detects_and_boxes_are_regressed_as_ever(tuned_config):
    by_svm = tuned_config("run")
    by_softmax = by_svm.model_copy(update={"classify": replace(by_svm.classify, method="softmax")})
    driver.run_stages(by_svm)
    run = Run(by_softmax)
    assert extract.folder(run) == extract.folder(Run(by_svm))
    driver.run_stages(by_softmax)
    (folder,) = Path(detect.folder(run)).glob("test")
    rows = pq.read_table(folder).to_pandas()
    image = sorted(rows["image_id"].unique())[0]
    (task,) = [t for t in extract.ExtractStage(run).tasks("test") if image in t.image_ids]
    (stored,) = [table for name, table in read_images(extract.folder(run) + "/test", task.part) if name == image]
    layer = {name: torch.from_numpy(a) for name, a in load_file(Path(finetune.folder(run)) / finetune.CLASSIFIER).items()}
    features = torch.from_numpy(matrix(stored, "fc7").astype(np.float32))
    expected = (features @ layer["weight"].T + layer["bias"]).softmax(1)[:, 1:].numpy()
    for index, name in enumerate(run.classes):
        found = rows[(rows["image_id"] == image) & (rows["class"] == name)]
        np.testing.assert_allclose(found["score"], expected[found["region"], index], rtol=1e-4)
        np.testing.assert_allclose(found["score"], np.sort(expected[:, index])[::-1][: len(found)], rtol=1e-4)
    assert (rows["x1"] != rows["proposal_x1"]).any()
    assert verify_run(run.url).damaged == []


def test_both_steps_learn_from_the_labels_of_the_other(tuned_config):
    swapped = tuned_config("run", foreground_iou=1.0, background_iou=0.3, batch_size=8)
    driver.run_stages(swapped, ("propose",))
    labels = read_windows(Run(swapped))[0].label
    own = read_windows(Run(tuned_config("run")))[0].label
    assert 0 < np.count_nonzero(labels) < np.count_nonzero(own)
    assert 0 < len(labels) < len(own)
    config = swapped.model_copy(update={"mining": replace(swapped.mining, positive_iou=0.5, negative_iou=0.5)})
    driver.run_stages(config)
    few = tuned_config("run", foreground_iou=1.0, background_iou=0.3, batch_size=8)
    driver.run_stages(few)
    counts = [[json.loads(line)["positives"] for line in Path(train.folder(Run(c)), "telemetry.jsonl").open()] for c in (config, few)]
    assert min(counts[0]) > max(counts[1])


def test_one_regressor_may_serve_all_classes(tuned_config):
    config = tuned_config("run")
    config = config.model_copy(update={"regress": replace(config.regress, shared=True)})
    driver.run_stages(config)
    regressors = load_model(train.folder(Run(config)), Run(config).classes).detector.regressors
    np.testing.assert_array_equal(regressors[0].weights, regressors[1].weights)
    own = tuned_config("run")
    driver.run_stages(own)
    assert (load_model(train.folder(Run(own)), Run(own).classes).detector.regressors[0].weights != regressors[0].weights).any()
