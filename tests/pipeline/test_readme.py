"""The README's examples, run as they stand beside a finished run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)
PRINTED = {  # what names a block -> what it prints
    "find_regions": r"(\d+) \(\1, 512\)\n[1-9]\d* regions of .*\n",
    "pyarrow": r"\['.+'\] \([1-9]\d*, 512\)\n",
    "duckdb": r"\[\('dotted_triangle', [1-9].*\('striped_disc', [1-9].*\n\([1-9]\d*, 512\)\n",
    "pandas": r"\{'dotted_triangle': [1-9]\d*, 'striped_disc': [1-9]\d*\}\n\([1-9]\d*, 512\)\n",
    "polars": r"\[\('dotted_triangle', [1-9]\d*\), \('striped_disc', [1-9]\d*\)\]\n\([1-9]\d*, 512\)\n",
    "nn.Module": "",
    "DataLoader": r"torch\.float16 512 True\n",
    "selective_search": r"found at \[.+\], IoU (0\.[7-9]\d|1\.00)\n",
    "PhotoDetector": r"detect: 4/4 .*\nevaluate: 2/2 .*\n(data/shapes/VOC2007/JPEGImages/.*\.jpg \[.*\]\n){2}",
}


def test_every_example_is_run():
    assert len(BLOCKS) == len(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_should(name, finished_run, shapes_root, tmp_path):
    (block,) = [block for block in BLOCKS if name in block and (name != "pyarrow" or "import pyarrow" in block)]
    shutil.copytree(finished_run.run.dir, tmp_path / "runs" / "demo")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shapes").symlink_to(shapes_root)
    found = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert re.fullmatch(PRINTED[name], found.stdout), found.stdout + found.stderr
