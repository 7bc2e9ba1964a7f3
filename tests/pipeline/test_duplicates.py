import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rcnn_dist.cli import app
from rcnn_dist.data.shapes import ShapesParams, generate_shapes
from rcnn_dist.errors import ConfigError
from rcnn_dist.runtime.executor import InProcessExecutor
from rcnn_dist.stages.duplicates import ImageSets, find_duplicates

CHANGES = {
    "copied": None,
    "recompressed": lambda image, path: image.save(path, quality=50),
    "resized": lambda image, path: image.resize((image.width // 2, image.height // 2)).save(path),
    "cropped": lambda image, path: image.crop((4, 3, image.width - 4, image.height - 3)).save(path),
}


class Silent:
    def __getattr__(self, name):
        return lambda *arguments, **fields: None


class Backwards:
    def map(self, work, tasks):
        return reversed(list(InProcessExecutor(1).map(work, tasks)))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """20 images, and 20 others among which 12 changed copies of the first lie."""
    root = tmp_path_factory.mktemp("sets")
    generate_shapes(str(root / "shapes"), ShapesParams(images={"train": 20, "test": 20}, max_size=(260, 200)))
    a, b = root / "a", root / "b"
    images = sorted((root / "shapes/VOC2007/JPEGImages").iterdir())
    for folder, prefix in ((a, "train"), (b, "test")):
        folder.mkdir()
        for image in images:
            if image.name.startswith(prefix):
                shutil.copy(image, folder)
    for number, (name, change) in enumerate(list(CHANGES.items()) * 3):
        original = a / f"train_{number:06d}.jpg"
        if change is None:
            shutil.copy(original, b / f"{name}_{number:06d}.jpg")
        else:
            change(Image.open(original), b / f"{name}_{number:06d}.jpg")
    return a, b


def urls(folder):
    return [str(path) for path in sorted(folder.iterdir())]


def test_planted_duplicates_are_all_found_and_nothing_else_is_near(sets, tmp_path):
    found = find_duplicates(ImageSets(urls(sets[0]), urls(sets[1])), 1, str(tmp_path), InProcessExecutor(1), Silent())
    near = [(pair.a[-10:], pair.b[-10:]) for pair in found.pairs if pair.distance <= 0.6]
    assert sorted(near) == [(f"{number:06d}.jpg", f"{number:06d}.jpg") for number in range(12)]
    assert [pair.b.split("/")[-1].split("_")[0] for pair in found.pairs if pair.same_bytes] == ["copied"] * 3
    assert found.images == (20, 32) and found.failures == ()
    assert list(tmp_path.iterdir()) == []


def test_the_result_does_not_depend_on_how_the_work_is_shared_out(sets, tmp_path, monkeypatch):
    pair = ImageSets(urls(sets[0]), urls(sets[1]))
    whole = find_duplicates(pair, 3, str(tmp_path), InProcessExecutor(1), Silent())
    monkeypatch.setattr("rcnn_dist.stages.duplicates._IMAGES_PER_TASK", 3)
    monkeypatch.setattr("rcnn_dist.stages.duplicates._TASKS_PER_SEARCH", 2)
    assert find_duplicates(pair, 3, str(tmp_path), Backwards(), Silent()) == whole


def test_a_set_against_itself_has_each_pair_once_and_no_image_with_itself(sets, tmp_path):
    both = urls(sets[1]) + urls(sets[0])
    found = find_duplicates(ImageSets(both, both), 1, str(tmp_path), InProcessExecutor(1), Silent())
    assert all(pair.a != pair.b for pair in found.pairs)
    keys = [frozenset((pair.a, pair.b)) for pair in found.pairs]
    assert len(set(keys)) == len(keys)
    assert sum(pair.distance is not None and pair.distance <= 0.6 for pair in found.pairs) == 12


def invoke(*arguments):
    settings = ("--set", "runtime.executor=in_process")
    return CliRunner().invoke(app, ["explore", "duplicates", *map(str, arguments), *settings], catch_exceptions=False)


def test_the_command_writes_a_list_and_a_page_and_names_what_it_cannot_read(sets, tmp_path):
    listed = tmp_path / "b.txt"
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    listed.write_text("\n".join([*urls(sets[1]), str(broken), str(tmp_path / "missing.jpg")]) + "\n")
    ids = tmp_path / "ids.csv"
    ids.write_text(f"image,id\n{urls(sets[0])[15]},7\n{urls(sets[1])[-1]},7\n")
    done = invoke(sets[0], listed, "--ids", ids, "--limit", 5, "--out", tmp_path / "out")
    assert done.exit_code == 3, done.output
    content = json.loads((tmp_path / "out/duplicates.json").read_text())
    assert (content["same_bytes"], content["same_id"], content["near"]) == (3, 1, 12)
    assert [reason for _, reason in content["failures"]][1] == "no such file"
    distances = [pair["distance"] for pair in content["pairs"] if pair["distance"] is not None]
    assert np.all(np.diff(distances) >= 0) and len(distances) == 32
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("<fieldset") == 5 and page.count("data:image/jpeg;base64,") == 10 and "13 pairs, of which 5 are here" in page


def test_mistakes_are_named(sets, tmp_path):
    with pytest.raises(ConfigError, match="no file .*nothing.txt"):
        invoke(sets[0], tmp_path / "nothing.txt", "--out", tmp_path)
    (tmp_path / "ids.csv").write_text("file,id\na,b\n")
    with pytest.raises(ConfigError, match="columns image and id, found file, id"):
        invoke(sets[0], sets[1], "--ids", tmp_path / "ids.csv", "--out", tmp_path)
