import runpy
import sys
from pathlib import Path

import pytest

from rcnn_dist import driver
from rcnn_dist.config import make_config
from rcnn_dist.data.shapes import ShapesParams, generate_shapes


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory):
    """A VOC-layout set of 12 training and 4 test images."""
    root = tmp_path_factory.mktemp("shapes")
    params = ShapesParams(images={"train": 12, "test": 4}, classes=("striped_disc", "dotted_triangle"), max_size=(260, 200))
    generate_shapes(str(root), params)
    return root


@pytest.fixture
def run_job(monkeypatch):
    """Runs a file of jobs/ as its command line does, in this process; gives its exit code."""

    def run(path, *arguments):
        monkeypatch.setattr(sys, "argv", [path, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(Path(__file__).parents[2] / path), run_name="__main__")
        return ended.value.code

    return run


@pytest.fixture
def small_config(shapes_root, tmp_path):
    """Makes a configuration of a small run on the shapes; sections given by name change it."""
    return lambda **sections: _small_config(shapes_root, tmp_path / "run", sections)


@pytest.fixture(scope="session")
def finished_run(shapes_root, tmp_path_factory):
    """The configuration of a small run that has ended; to be read only."""
    config = _small_config(shapes_root, tmp_path_factory.mktemp("finished") / "run", {})
    driver.run_stages(config)
    return config


def _small_config(shapes_root, run_dir, sections):
    tree = {
        "run": {"dir": str(run_dir), "shard_images": 3},
        "data": {"root": str(shapes_root)},
        "proposals": {"source": "selective_search"},
        "extract": {"layers": ["pool5", "fc7"], "max_proposals": 60},
        "mining": {"wave_images": 4},
        "runtime": {"executor": "in_process", "workers": 2},
    }
    for name, values in sections.items():
        tree[name] = tree.get(name, {}) | values
    return make_config(tree)
