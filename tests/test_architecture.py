"""The house's layers, checked: who may import whom, and what a light import may load."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rcnn_dist"
MODULES = sorted(PACKAGE.rglob("*.py"))
LAYERS = {
    "arrays": 0, "errors": 0, "compiled": 0, "geometry": 1,
    "proposals": 2, "features": 2, "finetune": 2, "classify": 2, "regress": 2, "detect": 2, "evaluate": 2, "explore": 2, "segment": 2,
    "report": 2,
    "store": 3, "data": 4, "ranges": 4, "config": 5, "stages": 6, "runtime": 7, "driver": 8, "doctor": 8,
    "ablation": 9, "summary": 9, "commands": 10,
    "cli": 11, "benchmarks": 9,
}  # fmt: skip
SIDEWAYS = {("detect", "regress"), ("finetune", "features"), ("segment", "features")}
ONLY_IN = {
    "ray": {"runtime", "benchmarks"},
    "pyarrow": {"store"},
    "fsspec": {"store"},
    "torch": {"features", "finetune", "detect", "benchmarks"},
}


def imports(path):
    """(imported module, whether it is only for type checkers) of every import statement of a file."""
    tree = ast.parse(path.read_text())
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            for name in node.names:
                yield f"{node.module}.{name.name}", node in for_types
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node in for_types


def room(module):
    return module.split(".")[1] if module.count(".") else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_from_below_only(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for imported, _ in imports(path):
        if not imported.startswith("rcnn_dist.") or own == "__init__":
            continue
        other = room(imported)
        if other in LAYERS and other != own:
            assert LAYERS[other] < LAYERS[own] or (own, other) in SIDEWAYS, f"{own} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_stay_in_their_rooms(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for imported, for_types in imports(path):
        library = imported.split(".")[0]
        assert for_types or own in ONLY_IN.get(library, {own}), f"{own} imports {library}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_small_and_nothing_unsafe_is_used(path):
    text = path.read_text()
    assert text.count("\n") <= 320
    assert not re.search(r"allow_pickle=True|yaml\.load\(|(?<![\w.])(eval|exec)\(", text)
    # the probe alone speaks pickle, through a pipe to a child of its own
    assert path.name == "probe.py" or not re.search(r"import .*\b(pickle|cloudpickle|dill|joblib|shelve|marshal)\b", text)
    assert "torch.load(" not in text or "weights_only=True" in text


@pytest.mark.parametrize("module", ["rcnn_dist", "rcnn_dist.cli", "rcnn_dist.config", "rcnn_dist.driver"])
def test_light_imports_load_neither_torch_nor_ray(module):
    check = f"import {module}, sys; print([m for m in ('torch', 'ray', 'sklearn', 'matplotlib.pyplot') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_room_is_in_the_map():
    rooms = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in MODULES} - {"__init__"}
    assert rooms <= set(LAYERS)
    assert all(name in (PACKAGE / "ARCHITECTURE.md").read_text() for name in rooms)
