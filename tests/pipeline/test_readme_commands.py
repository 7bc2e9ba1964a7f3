"""Every command line of the README and of deploy/README.md is one that the programs understand; runs are tried with --dry-run."""

import csv
import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer.main

from rcnn_dist.cli import app, run_config
from rcnn_dist.config import load_config
from rcnn_dist.data.shapes_ilsvrc import IlsvrcShapesParams, generate_ilsvrc
from rcnn_dist.driver import find_config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "deploy" / "README.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [block for page in PAGES for language, block in FENCE.findall(page.read_text()) if not language]
LINES = sorted({line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines()})
PROGRAM = re.compile(r"^(?:ray job submit .*?-- )?(rcnn-dist|python jobs/(?!benchmark)\w+\.py)\s")
COMMANDS = [line for line in LINES if PROGRAM.match(line)]
RUNS = [
    line for line in COMMANDS if re.search(r"rcnn-dist run |jobs/(voc|extract_features)\.py", line) and not re.search("/seg_|ilsvrc", line)
]


def words_of(line):
    """The words of a line after its program, without `ray job submit`."""
    return shlex.split(line.partition(" -- ")[2] if line.startswith("ray job submit") else line)


def test_there_are_lines_of_each_kind():
    assert len(COMMANDS) >= 25
    assert len(RUNS) >= 12


@pytest.mark.parametrize("line", [line for line in COMMANDS if "jobs/" not in line])
def test_the_command_line_is_understood(line):
    """Parsed as it would be, to the last option, and not begun."""
    command = typer.main.get_command(app)
    words = words_of(line)[1:]
    context = command.make_context("rcnn-dist", [], resilient_parsing=True)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {words[0]}"
        command = command.commands[words.pop(0)]
    command.make_context("rcnn-dist", words, parent=context)


@pytest.mark.parametrize("name", sorted({words_of(line)[1] for line in COMMANDS if "jobs/" in line}))
def test_jobs_have_the_options_that_are_named(name):
    usage = subprocess.run([sys.executable, name, "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for line in COMMANDS:
        if name in line:
            assert {word for word in words_of(line) if word.startswith("--")} <= set(re.findall(r"--[\w-]+", usage))


@pytest.fixture(scope="module")
def roots(shapes_root, tmp_path_factory):
    """Layout -> a tiny set in it."""
    folder = tmp_path_factory.mktemp("layouts")
    images = sorted((shapes_root / "VOC2007" / "JPEGImages").iterdir())
    (folder / "pets").mkdir()
    (folder / "list.txt").write_text("".join(f"{path}\n" for path in images))
    pq.write_table(pa.table({"url": [str(path) for path in images]}), folder / "urls.parquet")
    (folder / "pets" / "annotations").mkdir()
    for name, paths in {"train": images[:4], "val": images[4:6]}.items():
        entries = [{"id": i, "file_name": path.name, "width": 50, "height": 50} for i, path in enumerate(paths)]
        objects = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0} for i in range(len(paths))]
        content = {"images": entries, "annotations": objects, "categories": [{"id": 1, "name": "pet"}]}
        (folder / f"pets/annotations/instances_{name}.json").write_text(json.dumps(content))
        with (folder / f"pets/{name}.csv").open("w") as file:
            csv.writer(file).writerows([["image", "x1", "y1", "x2", "y2", "class"], *([path.name, 1, 1, 9, 9, "pet"] for path in paths)])
    voc = str(shapes_root)
    images_folder = f"{voc}/VOC2007/JPEGImages"
    pets = str(folder / "pets")
    lists = {"list": str(folder / "list.txt"), "parquet": str(folder / "urls.parquet")}
    generate_ilsvrc(str(folder / "ilsvrc"), IlsvrcShapesParams(classes=2, val=8, test=1, positive=1))
    lists["ilsvrc2013"] = str(folder / "ilsvrc")
    return {"voc": voc, "coco": pets, "csv": pets, "folder": images_folder, **lists}


@pytest.mark.parametrize("line", RUNS)
def test_the_run_could_begin(line, roots, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = words_of(line)
    options = dict(pairwise(words))
    job = re.search(r"jobs/(\w+)\.py", line)
    config = options.get("--config") or next((word for word in words if word.endswith(".yaml")), None)
    if config is None:
        (config,) = re.findall(r'"(configs/\w+\.yaml)"', (ROOT / job.group()).read_text())
    settings = [value for option, value in pairwise(words) if option == "--set"]
    layout = load_config(find_config(config), settings).data.layout
    network = [] if "lite" in Path(find_config(config)).read_text() else ["network.weights=null"]  # weights that only users have
    own_halves = ["data.lists=null"] if "data.lists" in line else []
    classes = ["train.classes=[striped_disc]"] if "train.classes" in line else []
    replaced = [f"data.root={roots[layout]}", f"run.dir={tmp_path}/run", *network, *classes, *own_halves]
    run_config(config, [*settings, *replaced], options.get("--stages"), dry_run=True)
    assert f"{tmp_path}/run: a dry run, nothing is written" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
