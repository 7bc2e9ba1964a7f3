import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from rcnn_dist.cli import app


@pytest.fixture
def root(tmp_path):
    """Eight images of one colour each, seven of them with a box that is cut; and a configuration for them."""
    lines = ["image,x1,y1,x2,y2,class"]
    for index in range(8):
        Image.new("RGB", (40, 30), (index, 0, 0)).save(tmp_path / f"{index}.png")
        lines.append(f"{index}.png,1,1,{20 if index == 7 else 41},20,[red] dog")
    (tmp_path / "all.csv").write_text("\n".join(lines))
    (tmp_path / "own.yaml").write_text(f"data: {{layout: csv, root: {tmp_path}, train: all, test: all}}\n")
    return tmp_path


def validate(root, *arguments):
    result = CliRunner().invoke(app, ["data", "validate", str(root / "own.yaml"), *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def test_a_table_that_cuts_long_lists_short(root):
    code, out, err = validate(root, "--set", "data.test=null", "--set", "run.stages=[propose,extract,train]")
    assert code == 0
    assert out.splitlines()[0] == "all: 8 images, 8 annotated; [red] dog 8"
    assert out.splitlines()[-1] == "0 errors, 7 warnings"
    assert out.count("reaches beyond the image of 40 x 30 and is cut") == 5 and "2 more; --json tells all" in out
    assert "object 1 ([red] dog): box 1 1 41 20" in out


def test_errors_end_with_one(root):
    code, out, _ = validate(root)
    assert code == 1 and "it is in all too" in out and out.splitlines()[-1] == "8 errors, 14 warnings"


def test_json_tells_all(root):
    code, out, _ = validate(root, "--json", "--set", "data.test=null", "--set", "run.stages=[propose,extract,train]")
    found = json.loads(out)
    assert code == 0 and (found["errors"], found["warnings"]) == (0, 7)
    assert found["sets"] == [{"set": "all", "images": 8, "annotated": 8, "objects": {"[red] dog": 8}}]
    assert found["problems"][6]["subject"] == "6.png" and len(found["problems"]) == 7


def test_a_place_without_a_data_set_is_an_error_in_json_too(root):
    code, out, _ = validate(root, "--json", "--set", "data.layout=voc")
    assert code == 1 and json.loads(out)["problems"][0]["message"].startswith(f"no VOC data set at {root}")
