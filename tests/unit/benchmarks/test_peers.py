"""What the comparison with others is made of: memory of a family of processes, lines, ratios."""

import os
import signal
import subprocess
import sys

import pytest

from rcnn_dist.benchmarks import peers
from rcnn_dist.errors import DataError


def test_memory_counts_the_children_too():
    grandchild = "import time; block = b'x' * 80_000_000; print('up', flush=True); time.sleep(60)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert 80 < peers._tree_mb(process.pid) < 200
        os.killpg(process.pid, signal.SIGKILL)


def test_a_program_that_fails_is_named_with_its_last_words():
    with pytest.raises(RuntimeError, match="no such luck"):
        peers._watched([sys.executable, "-c", "raise SystemExit('no such luck')"], None)
    text, seconds, peak = peers._watched([sys.executable, "-c", "import time; time.sleep(0.5); print('done')"], 1)
    assert (text, seconds > 0.5, peak > 1) == ("done\n", True, True)


def test_code_lines_leave_out_comments_blanks_and_the_docstring():
    assert peers._code_lines('"""What.\n\nMore.\n"""\n\n# why\nx = 1\n\ny = 2  # and\n') == 2
    assert peers._code_lines("# header\nrun: {}\n") == 1


def test_seconds_per_image_are_the_difference_of_two_runs():
    few, many = (peers._Measured(seconds, 100.0, 1.0, 400 * images, 0.5 + 0.1 * images) for seconds, images in ((12, 8), (22, 18)))
    found = peers._figures([(few, many)], 18)
    assert found["image_s"] == 1
    assert found["fixed_s"] == 4
    assert found["regions_per_s"] == 400
    assert found["overhead_s"] == 0.1


def test_a_folder_with_too_few_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="0 images"):
        peers.run(str(tmp_path), 24, 100, 1, 100, None)
