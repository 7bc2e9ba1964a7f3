"""What users of the package as a library stand on: names that are listed and described, examples that run, a wheel that has all."""

import doctest
import importlib
import inspect
import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

import rcnn_dist

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rcnn_dist"
README = (ROOT / "README.md").read_text()
PUBLIC = re.findall(r"`(rcnn_dist\.[\w.]+)`", README[README.index("\n## As a library") :].split("\n## ")[1])
BLOCKS = "".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))  # which are run, too


def listing_modules():
    """Modules with a list of their public names."""
    for path in PACKAGE.rglob("*.py"):
        if "\n__all__ = " in path.read_text():
            yield str(path.relative_to(ROOT).with_suffix("")).removesuffix("/__init__").replace("/", ".")


def test_modules_that_list_their_names_are_those_of_the_readme():
    assert sorted(PUBLIC) == sorted(listing_modules())


def functions_and_classes(module):
    """Of our own, among the names that a module lists; that they are sorted is ruff's to see."""
    for name in module.__all__:
        value = getattr(module, name)
        if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__.startswith("rcnn_dist."):
            yield name, value


@pytest.mark.parametrize("module", PUBLIC)
def test_public_functions_and_classes_are_described(module):
    for name, value in functions_and_classes(importlib.import_module(module)):
        assert value.__doc__ and not value.__doc__.startswith(f"{name}("), f"{module}.{name}"


@pytest.mark.parametrize("module", sorted(set(PUBLIC) - {"rcnn_dist.arrays", "rcnn_dist.errors", "rcnn_dist.report"}))
def test_each_module_has_an_example_that_runs(module):
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder(recurse=False)
    for name, value in functions_and_classes(importlib.import_module(module)):
        for example in finder.find(value, name, module=False, globs=vars(inspect.getmodule(value)).copy()):
            runner.run(example)
    assert runner.failures == 0
    assert runner.tries or f"from {module} import" in BLOCKS


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    with zipfile.ZipFile(path) as file:
        yield file


def test_the_wheel_has_all_that_the_package_needs_and_no_more(wheel):
    names = set(wheel.namelist())
    configs = {f"rcnn_dist/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    ours = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix in (".py", ".html", ".js", ".csv", ".md")
    }
    assert configs | ours | {"rcnn_dist/py.typed"} <= names
    assert {name.split("/")[0] for name in names} == {"rcnn_dist", f"rcnn_dist-{rcnn_dist.__version__}.dist-info"}
    assert not [name for name in names if "test" in Path(name).name.split("_")[0] or name.endswith((".pyc", ".nbi", ".nbc"))]


def test_the_wheel_says_what_it_wants_and_installs_the_command(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    about = f"rcnn_dist-{rcnn_dist.__version__}.dist-info"
    metadata = wheel.read(f"{about}/METADATA").decode()
    assert f"Version: {project['version']}" in metadata
    assert {line.removeprefix("Provides-Extra: ") for line in metadata.splitlines() if line.startswith("Provides-Extra: ")} == {
        *project["optional-dependencies"]
    }
    wanted = [Requirement(line.partition(": ")[2]) for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    assert {each.name for each in wanted if each.marker is None} == {Requirement(line).name for line in project["dependencies"]}
    assert "rcnn-dist = rcnn_dist.cli:main" in wheel.read(f"{about}/entry_points.txt").decode()
