"""Command lines of the README, of deploy/README.md and of the configurations' headers are understood; runs are tried with --dry-run."""

import csv
import json
import re
import runpy
import shlex
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer.main
import yaml

from rcnn_dist.cli import app, guarded
from rcnn_dist.data.shapes_ilsvrc import IlsvrcShapesParams, generate_ilsvrc
from rcnn_dist.driver import find_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "deploy" / "README.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [block for page in PAGES for language, block in FENCE.findall(page.read_text()) if not language]
CONFIGS = [*(ROOT / "configs").rglob("*.yaml")]
HEADERS = [path.read_text().partition("\n")[0].removeprefix("# ") for path in CONFIGS]
LINES = sorted({line.split("  #")[0].strip() for text in (*BLOCKS, *HEADERS) for line in text.splitlines()})
PROGRAM = re.compile(r"^(?:ray job submit .*?-- )?(rcnn-dist|python jobs/(?!benchmark)\w+\.py)\s")
COMMANDS = [line for line in LINES if PROGRAM.match(line)]
RUNS = [line for line in COMMANDS if re.search(r"rcnn-dist run |jobs/(?!scale_classes)", line)]
MEASURED = re.findall(r"jobs/benchmark\.py\s[^`#\n]+", README)


def words_of(line):
    """The words of a line after its program, without `ray job submit`."""
    return shlex.split(line.partition(" -- ")[2] if line.startswith("ray job submit") else line)


def test_there_are_lines_of_each_kind():
    assert len(COMMANDS) >= 60
    assert len(RUNS) >= 40
    assert len(MEASURED) >= 10


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
def test_jobs_have_the_options_that_are_named(name, run_job, capsys):
    assert run_job(name, "--help") == 0
    usage = capsys.readouterr().out
    for line in COMMANDS:
        if name in line:
            assert {word for word in words_of(line) if word.startswith("--")} <= set(re.findall(r"--[\w-]+", usage))


def test_benchmarks_are_asked_for_as_they_understand():
    command = typer.main.get_command(runpy.run_path(str(ROOT / "jobs" / "benchmark.py"))["app"])
    context = command.make_context("benchmark", [], resilient_parsing=True)
    for line in MEASURED:
        name, *words = shlex.split(line)[1:]
        command.commands[name].make_context(name, words, parent=context)


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
    voc = folder / "devkit"
    voc.mkdir()
    for year in ("VOC2007", "VOC2010", "VOC2011", "VOC2012"):
        (voc / year).symlink_to(shapes_root / "VOC2007")
    for image_set in ("train", "val", "trainval", "test"):
        (folder / "labelled" / image_set / "disc").mkdir(parents=True)
        (folder / "labelled" / image_set / "disc" / images[0].name).symlink_to(images[0])
    generate_ilsvrc(str(folder / "ilsvrc"), IlsvrcShapesParams(classes=2, val=8, test=1, positive=1))
    return {
        "voc": voc,
        "coco": folder / "pets",
        "csv": folder / "pets",
        "folder": images[0].parent,
        "list": folder / "list.txt",
        "parquet": folder / "urls.parquet",
        "ilsvrc2013": folder / "ilsvrc",
        "labelled": folder / "labelled",
    }


@pytest.mark.parametrize("line", RUNS)
def test_the_run_could_begin(line, roots, run_job, tmp_path, monkeypatch, capsys):
    """With the data of its layout, and random weights in place of those that only users have."""
    monkeypatch.chdir(ROOT)
    program, *words = words_of(line)
    named = [word for word in words if word.endswith(".yaml")]
    config = find_config(named[0] if named else re.findall(r"configs/\w+\.yaml", (ROOT / words[0]).read_text())[-1])
    settings = dict(value.split("=", 1) for option, value in pairwise(words) if option == "--set")
    layout = settings.get("data.layout", "labelled" if "pretrain" in line else layout_of(config))
    replaced = {"data.root": roots[layout], "run.dir": tmp_path / "run"}
    replaced |= {"network.weights": "null"} if "lite" not in Path(config).read_text() else {}
    replaced |= dict.fromkeys({"data.lists", "data.sbd", "network.finetuned"} & set(settings), "null")
    replaced |= {"data.train": "trainval"} if "data.sbd" in settings else {}
    replaced |= {"train.classes": "[striped_disc]"} if "train.classes" in settings else {}
    words += [word for key, value in replaced.items() for word in ("--set", f"{key}={value}")] + ["--dry-run"]
    code = guarded(lambda: app(words)) if program == "rcnn-dist" else run_job(*words)
    told = capsys.readouterr()
    assert code in (0, None), told.err
    assert re.search(f"{tmp_path}/run: a dry run, nothing is written|stages are shared|^pretrain: 0/", told.out)
    assert not (tmp_path / "run").exists()


def layout_of(config):
    tree = yaml.safe_load(Path(config).read_text())
    if "base" in tree:
        return layout_of(Path(config).parent / tree["base"])
    return tree.get("data", {}).get("layout", "voc")
