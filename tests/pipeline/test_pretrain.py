"""Pre-training as a user starts it: it learns, goes on where it was stopped, and its weights are taken by a network."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcnn_dist.config import RuntimeSection, make_config
from rcnn_dist.driver import pretrain
from rcnn_dist.errors import BadImageError, ConfigError, DataError
from rcnn_dist.features.networks import NetworkParams, build_network
from rcnn_dist.features.networks.weight_files import MEAN_IMAGE
from rcnn_dist.features.weight_import import verify_weights
from rcnn_dist.stages import pretrain as stage
from rcnn_dist.stages.pretrain import Pretraining
from rcnn_dist.store.tensors import load_tensors

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for image_set, count in (("train", 8), ("val", 3)):
        for name, colour in COLOURS.items():
            (root / image_set / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(np.array(colour) + rng.integers(-40, 40, (50 + 5 * i, 70, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / image_set / name / f"{i}.png")
    return root


def configured(images, run_dir, **pretrain_settings):
    settings = {"iterations": 12, "batch_size": 8, "checkpoint_every": 4, "dropout": 0.2, "loader_threads": 2} | pretrain_settings
    return make_config(
        {
            "run": {"dir": str(run_dir)},
            "data": {"root": str(images), "train": "train", "test": "val"},
            "network": {"name": "tiny", "input_size": 32},
            "pretrain": settings,
            "runtime": {"executor": "in_process"},
        }
    )


def tensors(found):
    return {name: array.tobytes() for name, array in load_tensors(found.weights)[0].items()}


def test_it_learns_and_the_network_takes_the_weights(images, tmp_path):
    found = pretrain(configured(images, tmp_path / "run"))
    folder = Path(found.weights).parent
    assert found.last_row["top1"] == 1.0
    assert found.last_line.startswith("top-1 1.000, top-5 1.000, loss 0.")
    rows = [json.loads(line) for line in (folder / "telemetry.jsonl").read_text().splitlines()]
    assert [row["steps"] for row in rows] == [4, 8, 12]
    assert all(0 <= row["waiting"] <= 1 for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert "top-1 error" in (folder / "curve.svg").read_text()
    assert not list(folder.glob("_checkpoint-*"))
    network = build_network(NetworkParams("tiny", input_size=32, finetuned=found.weights))
    drawn = build_network(NetworkParams("tiny", input_size=32))
    trained = load_tensors(found.weights)[0]
    assert set(trained) == set(network.state_dict())
    assert all((network.state_dict()[name].numpy() == array).all() for name, array in trained.items())
    assert not (network.state_dict()["fc7.0.weight"] == drawn.state_dict()["fc7.0.weight"]).all()
    assert pretrain(configured(images, tmp_path / "run")) == found


def test_two_workers_on_ray_share_each_batch(images, tmp_path):
    settings = {"iterations": 4, "checkpoint_every": 2, "dropout": 0.0}
    alone = pretrain(configured(images, tmp_path / "one", **settings))
    config = configured(images, tmp_path / "two", workers=2, **settings)
    both = pretrain(config.model_copy(update={"runtime": RuntimeSection(workers=2)}))
    assert both.last_row["top1"] == alone.last_row["top1"]
    one, two = (load_tensors(found.weights)[0] for found in (alone, both))
    assert all(np.allclose(one[name], two[name], atol=1e-5) for name in one)
    start = build_network(NetworkParams("tiny", input_size=32)).state_dict()
    assert not np.allclose(one["fc7.0.weight"], start["fc7.0.weight"].numpy(), atol=1e-4)


@pytest.mark.parametrize("crop", ["shift", "scale"])
def test_a_stopped_training_ends_with_the_same_bits(images, tmp_path, crop, monkeypatch):
    whole = pretrain(configured(images, tmp_path / "whole", crop=crop))
    for died_at in (2, 6, 10):
        config = configured(images, tmp_path / f"died{died_at}", crop=crop)
        with monkeypatch.context() as patch:
            step = stage._Process._drawn

            def dying(self, number, died_at=died_at, step=step):
                if number == died_at:
                    raise KeyboardInterrupt
                return step(self, number)

            patch.setattr(stage._Process, "_drawn", dying)
            with pytest.raises(KeyboardInterrupt):
                pretrain(config)
        assert Pretraining(config).steps_done() in (0, 4, 8)
        assert tensors(pretrain(config)) == tensors(whole)


def test_settings_that_shape_the_result_get_a_folder_of_their_own(images, tmp_path):
    folder = Pretraining(configured(images, tmp_path)).folder
    assert Pretraining(configured(images, tmp_path, checkpoint_every=5, loader_threads=1)).folder == folder
    assert Pretraining(configured(images, tmp_path, learning_rate=0.02)).folder != folder
    assert Pretraining(configured(images, tmp_path, workers=2)).folder != folder


def test_the_mean_image_travels_with_the_weights(images, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "_WITH_MEAN_IMAGE", ("tiny",))
    found = pretrain(configured(images, tmp_path, mean_image=True, iterations=1, stretch=36))
    mean = load_tensors(found.weights)[0][MEAN_IMAGE]
    expected = np.mean(
        [np.asarray(Image.open(path)).mean(axis=(0, 1)) for path in (images / "train").rglob("*.png")], axis=0
    )  # of flat colours with noise, stretching keeps the mean nearly
    assert mean.shape == (36, 36, 3)
    assert mean.mean(axis=(0, 1)) == pytest.approx(expected, abs=1.0)


def test_a_file_of_weights_says_what_it_is(images, tmp_path):
    found = pretrain(configured(images, tmp_path, iterations=1))
    about = load_tensors(found.weights)[1]
    assert about["network"] == "tiny"
    assert about["source"]["format"] == "trained here"
    assert about["source"]["iterations"] == 1
    assert about["preprocess"]["channel_order"] == "rgb"
    with pytest.raises(ConfigError):  # tiny has no shapes to verify against; tnet's and onet's have
        verify_weights(found.weights)


def test_mistakes_are_named(images, tmp_path):
    with pytest.raises(ConfigError, match="8 cannot be shared by 3 workers"):
        pretrain(configured(images, tmp_path, workers=3))
    with pytest.raises(ConfigError, match="mean_image is for tnet and onet"):
        pretrain(configured(images, tmp_path, mean_image=True))
    with pytest.raises(ConfigError, match="set runtime.executor to ray"):
        pretrain(configured(images, tmp_path, workers=2))
    with pytest.raises(ConfigError, match="less than the input"):
        pretrain(configured(images, tmp_path, stretch=20))
    with pytest.raises(DataError, match="has no folders"):
        pretrain(configured(tmp_path, tmp_path))
    (tmp_path / "bad" / "train" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "train" / "a" / "x.png").write_bytes(b"no image")
    config = configured(tmp_path / "bad", tmp_path / "out")
    config = config.model_copy(update={"data": config.data.__class__(root=str(tmp_path / "bad"), train="train", test=None)})
    with pytest.raises(BadImageError, match=r"train/a/x\.png"):
        pretrain(config)
