"""What a hostile data set or file could do to a run, tried."""

import io
import pickle
import shutil
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcnn_dist import driver
from rcnn_dist.config import make_config
from rcnn_dist.data.dataset import Objects
from rcnn_dist.data.voc import write_annotation
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks import NetworkParams, build_network
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.verify import verify_run

CLASSES = ("../../outside", "/etc/outside", "..", "<script>alert(1)</script>", '"><img src=x onerror=alert(2)>')
IDS = ("a(b)+c", "n01/n01_1", "@x,y", "test=1")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A VOC layout in which every image shows one object of each class, in a folder of its own."""
    root = tmp_path_factory.mktemp("hostile")
    voc = root / "data" / "VOC2007"
    (voc / "ImageSets/Main").mkdir(parents=True)
    boxes = np.array([[10.0 * i, 10.0, 10.0 * i + 30, 50.0] for i in range(len(CLASSES))])
    flags = np.zeros(len(CLASSES), bool)
    for number, image_id in enumerate(IDS):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        for folder, ending in (("JPEGImages", ".jpg"), ("Annotations", ".xml")):
            (voc / folder / f"{image_id}{ending}").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(voc / f"JPEGImages/{image_id}.jpg")
        (voc / f"Annotations/{image_id}.xml").write_bytes(write_annotation(image_id, 80, 64, Objects(boxes, CLASSES, flags, flags)))
    (voc / "ImageSets/Main/trainval.txt").write_text("\n".join(IDS[:3]))
    (voc / "ImageSets/Main/test.txt").write_text(IDS[3])
    return root


@pytest.fixture(scope="module")
def finished(hostile):
    """The configuration of a run over it, finished: four folders deep, so that `../../` would show."""
    config = make_config(
        {
            "run": {"dir": str(hostile / "a" / "b" / "run")},
            "data": {"root": str(hostile / "data")},
            "proposals": {"source": "sliding_window"},
            "extract": {"max_proposals": 20},
            "detect": {"max_per_set_per_image": 5},
            "runtime": {"executor": "in_process"},
        }
    )
    driver.run_stages(config)
    return config


def files_of(config):
    return [path for path in Path(config.run.dir).rglob("*") if path.is_file()]


def test_no_name_leads_out_of_the_run(hostile, finished):
    assert sorted(path.name for path in hostile.iterdir()) == ["a", "data"]
    assert [path.name for path in (hostile / "a").iterdir()] == ["b"]
    assert [path.name for path in (hostile / "a" / "b").iterdir()] == ["run"]
    assert not Path("/etc/outside").exists()
    models = [path for path in files_of(finished) if path.suffix == ".safetensors"]
    assert sorted(path.parts[-3] for path in models) == ["models"] * len(CLASSES) + ["run"], "the verdicts lie in run/evaluation"
    assert verify_run(finished.run.dir).damaged == []


def test_a_run_s_folders_bear_no_name_that_means_a_path(finished):
    run = Run(finished)
    for name in ("../../x", "/x", "timm:hf_hub:a/b", "torchvision:..\\x", "a\0b"):
        folder = run.folder("features", name, "1a2b3c4d")
        assert folder.removeprefix(f"{run.url}/features/").count("/") == 0
        assert folder.isprintable()


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_page_shows_hostile_names_as_text(finished):
    html = (Path(finished.run.dir) / "report" / "index.html").read_text()
    tags = Tags(html).found
    assert sum(tag == "script" for tag, _ in tags) == 1, "the page's own"
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    pictures = [attributes.get("src") or attributes["data-src"] for tag, attributes in tags if tag == "img"]
    assert all(picture.startswith("data:image/") for picture in pictures)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


class NoGlobals(pickle.Unpickler):
    def find_class(self, module, name):
        raise pickle.UnpicklingError("a pickle that names code")


def test_no_file_of_a_run_is_a_pickle(finished):
    found = files_of(finished)
    assert {".parquet", ".safetensors", ".json", ".jsonl", ".yaml", ".html", ".txt", ".gz"} <= {path.suffix for path in found}
    for path in found:
        data = path.read_bytes()
        with pytest.raises(Exception):  # noqa: B017  what is no pickle fails in any way
            NoGlobals(io.BytesIO(data)).load()
        assert not zipfile.is_zipfile(io.BytesIO(data)), f"{path} may be one of torch's own files, which hold pickles"


def test_no_stage_unpickles_a_file_of_the_run(finished, tmp_path, monkeypatch):
    shutil.copytree(finished.run.dir, tmp_path / "run")
    for name in ("models", "detections", "evaluation", "report"):
        shutil.rmtree(tmp_path / "run" / name)
    config = finished.model_copy(update={"run": type(finished.run)(dir=str(tmp_path / "run"))})

    def refuse(*args, **kwargs):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    driver.run_stages(config, ("train", "detect", "evaluate", "report"))
    assert verify_run(config.run.dir).digest == verify_run(finished.run.dir).digest


class Code:
    """What runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


def test_a_mean_image_that_holds_code_is_refused_and_the_code_does_not_run(tmp_path):
    path, proof = tmp_path / "mean.npy", tmp_path / "it-ran"
    np.save(path, np.array([Code(proof)], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"the mean image .*mean\.npy cannot be read"):
        build_network(NetworkParams(mean=str(path)))
    assert not proof.exists()
    np.load(path, allow_pickle=True)
    assert proof.exists(), "the file is what it is taken for"
