"""Processes that work together through Ray Train."""

import os

import pytest

from rcnn_dist.config import RuntimeSection
from rcnn_dist.errors import ConfigError
from rcnn_dist.runtime.cluster import connected
from rcnn_dist.runtime.gang import run_gang


def test_processes_meet_and_start_again_after_a_death_but_not_after_an_error_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")

    def work():
        import torch
        import torch.distributed as dist

        number = torch.tensor([dist.get_rank() + 1.0])
        dist.all_reduce(number)
        (tmp_path / f"{dist.get_rank()}-{os.getpid()}").write_text(str(number.item()))
        died = tmp_path / "died"
        if dist.get_rank() == 1 and not died.exists():
            died.write_text("")
            os._exit(9)
        dist.barrier()
        raise ConfigError("the learning rate is too high")

    runtime = RuntimeSection(workers=2)
    with connected(runtime), pytest.raises(ConfigError, match="too high"):
        run_gang(work, 2, runtime, str(tmp_path / "gang"))
    written = [path for path in tmp_path.iterdir() if "-" in path.name]
    assert sorted(path.name[0] for path in written) == ["0", "0", "1", "1"]
    assert {path.read_text() for path in written} == {"3.0"}
    assert not (tmp_path / "gang").exists()
