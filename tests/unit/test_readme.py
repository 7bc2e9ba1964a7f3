"""The README's commands name configurations and settings that exist; so do its tables, and those of ARCHITECTURE.md, files and tests."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from rcnn_dist.config import load_config
from rcnn_dist.driver import find_config

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"^(?:rcnn-dist (?:run|data validate)|ray job submit) .*$", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_settings_are_those_of_the_configuration(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(command, comments=True)
    settings = [value for option, value in pairwise(words) if option == "--set"]
    named = [word for word in words if word.endswith(".yaml")]
    job = next((word for word in words if word.startswith("jobs/")), None)
    (config,) = named or re.findall(r"configs/\w+\.yaml", (ROOT / job).read_text())[-1:]
    loaded = load_config(find_config(config), settings)
    assert loaded.data.root in {s.partition("=")[2] for s in settings}, "data.root is told in every example"
    assert job is None or Path(loaded.run.dir).is_absolute() or "://" in loaded.run.dir


def test_there_are_such_commands():
    assert len(COMMANDS) >= 10


def test_files_that_are_named_are_there():
    readme, map_ = (ROOT / "README.md").read_text(), (ROOT / "rcnn_dist" / "ARCHITECTURE.md").read_text()
    configs = {path.name for path in (ROOT / "configs").rglob("*.yaml")}
    assert {Path(name).name for name in re.findall(r"[\w/]+\.yaml", readme)} <= configs | {"config.yaml"}
    for file in re.findall(r"`((?:tests|rcnn_dist|jobs|deploy)/[\w/.]+)`", readme + map_):
        assert (ROOT / file).exists(), file
    promises = re.findall(r"`((?:pipeline|runtime|unit)/test_\w+\.py)(?:::(\w+))?`", map_)
    assert len(promises) >= 12
    for file, name in promises:
        assert f"def {name}" in (ROOT / "tests" / file).read_text()
