"""What users of the package as a library stand on: examples that run, names that are listed, a wheel that has all."""

import ast
import doctest
import importlib
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

import rcnn_dist

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rcnn_dist"
WITH_EXAMPLES = {
    "classify.linear_svm": 1,
    "evaluate.average_precision": 1,
    "features.warp": 1,
    "geometry.boxes": 1,
    "geometry.nms": 1,
    "proposals.selective_search": 1,
    "regress.targets": 2,
    "store.query": 1,
}


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_print_what_they_say(name):
    module = importlib.import_module(f"rcnn_dist.{name}")
    runner, found = doctest.DocTestRunner(), 0
    for function in public_names(name):
        wrapped = getattr(module, function)
        for example in doctest.DocTestFinder(recurse=False).find(wrapped, function, module=False, globs=vars(module).copy()):
            found += bool(example.examples)
            runner.run(example)
    assert runner.failures == 0
    assert found == WITH_EXAMPLES[name]


def public_names(name):
    """Public functions that a module defines."""
    tree = ast.parse((PACKAGE / f"{name.replace('.', '/')}.py").read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


LISTED = sorted(str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py") if "\n__all__ = " in path.read_text())


@pytest.mark.parametrize("path", LISTED)
def test_listed_names_are_sorted_and_there(path):
    tree = ast.parse((ROOT / path).read_text())
    (names,) = [
        ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert names == sorted(set(names))
    bound = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom | ast.Import) for alias in node.names}
    bound |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}
    bound |= {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    assert set(names) <= bound


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    with zipfile.ZipFile(path) as file:
        yield file


def test_the_wheel_has_all_that_the_package_needs_and_no_more(wheel):
    names = set(wheel.namelist())
    configs = {f"rcnn_dist/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    ours = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.is_file() and path.suffix in (".py", ".html", ".csv", ".md")}
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
