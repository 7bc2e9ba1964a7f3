"""A driver that freezes in the middle of a run, another that is started in its place, and the first one thawing: nothing is damaged."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rcnn_dist import driver
from rcnn_dist.benchmarks.chaos import World
from rcnn_dist.stages.verify import verify_run

STAGES = ("propose", "extract", "train", "detect")
CODE = "import sys; from rcnn_dist.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A data set, and the digest of a run of it that nothing disturbed."""
    made = World(tmp_path_factory.mktemp("world"))
    driver.run_stages(made.config(made.whole), STAGES)
    return made, verify_run(str(made.whole)).digest


def freeze_when(process, condition):
    """Stops a process in the middle of its work; False where it ended before."""
    while process.poll() is None:
        if condition():
            os.kill(process.pid, signal.SIGSTOP)
            return process.poll() is None
        time.sleep(0.002)
    return False


@pytest.mark.parametrize(
    "sign",
    ["features/*/train/_done/part-00003.json", "models/*/_mining-*/wave-00002-*", "detections/*/test/_done/part-00002.json"],
    ids=["extract", "train", "detect"],
)
def test_a_driver_that_thaws_after_its_successor_has_ended_damages_nothing(world, tmp_path, sign):
    """The first driver freezes when there is a file of that name."""
    made, digest = world
    config = made.config(tmp_path / "run")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    command = [sys.executable, "-c", CODE, "run", str(tmp_path / "config.yaml"), "--stages", ",".join(STAGES)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert freeze_when(first, lambda: any(Path(config.run.dir).glob(sign))), "it ended before it was frozen"
        driver.run_stages(config, STAGES)
        os.kill(first.pid, signal.SIGCONT)
        error = first.communicate(timeout=120)[1].decode()
    finally:
        first.kill()
    found = verify_run(config.run.dir)
    assert (found.damaged, found.unfinished) == ([], [])
    assert found.digest == digest
    assert first.returncode == 0 or "error:" in error
