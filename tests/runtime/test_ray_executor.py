import logging
import os
import signal
import time
from pathlib import Path

import pytest
import ray

from rcnn_dist.config import RuntimeSection
from rcnn_dist.errors import BadImageError, ClusterError
from rcnn_dist.runtime.ray_executor import RayExecutor


class Echo:
    """Work whose worker tells where it ran; `heavy` makes it an actor's."""

    def __init__(self, heavy, action=None, argument=None):
        self.heavy = heavy
        self.action = action
        self.argument = argument

    def make_worker(self):
        return self

    def run(self, task):
        if self.action == "fail" and task == 3:
            raise BadImageError("im3: truncated")
        if self.action == "die once" and task == 3 and not Path(self.argument).exists():
            Path(self.argument).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.action == "die" and task == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.action == "stop once" and task == 3 and not Path(self.argument).exists():
            Path(self.argument).touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.action == "meet":
            self._wait_for_others(task)
        return task, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")

    def _wait_for_others(self, task):
        """Returns once as many tasks run at one time as `argument` says, so that each needs a worker of its own."""
        folder, count = self.argument
        (Path(folder) / str(task)).touch()
        deadline = time.monotonic() + 30
        while len(list(Path(folder).iterdir())) < count and time.monotonic() < deadline:
            time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["Echo"]))
    yield
    ray.shutdown()


def run(work, n_tasks=8, **settings):
    return sorted(RayExecutor(RuntimeSection(**settings)).map(work, list(range(n_tasks))))


@pytest.mark.parametrize("heavy", [False, True])
def test_every_task_is_reported_once(cluster, heavy):
    assert [task for task, _, _ in run(Echo(heavy), 30, workers=2)] == list(range(30))
    assert run(Echo(heavy), 0) == []


def test_two_actors_see_distinct_gpus(cluster, tmp_path):
    reports = run(Echo(True, "meet", (str(tmp_path), 2)), 4)
    assert {gpu for _, _, gpu in reports} == {"0", "1"}
    assert len({pid for _, pid, _ in reports}) == 2


def test_a_process_takes_as_many_shards_at_once_as_it_is_told(cluster, tmp_path):
    reports = run(Echo(True, "meet", (str(tmp_path), 2)), 4, workers=1, gpus_per_worker=0.0, shards_at_once=2)
    assert [task for task, _, _ in reports] == list(range(4))
    assert len({pid for _, pid, _ in reports}) == 1


@pytest.mark.parametrize("settings", [{}, {"stopped_timeout_s": 1.0}])
def test_a_process_that_dies_with_two_shards_is_survived_by_both(cluster, settings, tmp_path):
    once = str(tmp_path / "once")
    work = Echo(True, "stop once" if settings else "die once", once)
    reports = run(work, workers=1, gpus_per_worker=0.0, shards_at_once=2, **settings)
    assert [task for task, _, _ in reports] == list(range(8))
    assert Path(once).exists()


def test_a_third_actor_waits_with_a_message_that_says_what_is_missing(cluster, caplog):
    with caplog.at_level(logging.WARNING):
        reports = run(SlowEcho(True), 12, workers=3, start_timeout_s=4.0)
    assert len(reports) == 12
    assert len({gpu for _, _, gpu in reports}) == 2
    assert "1 of 3 workers wait for 1 CPU, 1 GPU each; the cluster has 2 GPU (0 free), 4 CPU" in caplog.text
    assert "going on with 2" in caplog.text


class SlowEcho(Echo):
    def run(self, task):
        time.sleep(1)
        return super().run(task)


def test_a_cluster_that_can_never_fit_a_worker_is_an_error(cluster):
    with pytest.raises(ClusterError, match=r"wait for 1 CPU, 3 GPU each; the cluster has 2 GPU .*runtime.gpus_per_worker"):
        run(Echo(True), 1, gpus_per_worker=3.0, workers=1, start_timeout_s=0.5)


@pytest.mark.parametrize("heavy", [False, True])
def test_an_error_of_the_work_keeps_its_kind_and_message(cluster, heavy):
    with pytest.raises(BadImageError, match="im3: truncated"):
        run(Echo(heavy, "fail"), workers=1)


@pytest.mark.parametrize("heavy", [False, True])
def test_a_killed_worker_is_survived(cluster, heavy, tmp_path):
    reports = run(Echo(heavy, "die once", str(tmp_path / "died")), workers=1)
    assert [task for task, _, _ in reports] == list(range(8))
    assert (tmp_path / "died").exists()


@pytest.mark.parametrize("heavy", [False, True])
def test_a_worker_that_is_stopped_is_replaced_after_the_stated_time(cluster, heavy, tmp_path):
    reports = run(Echo(heavy, "stop once", str(tmp_path / "stopped")), workers=1, stopped_timeout_s=1.0)
    assert [task for task, _, _ in reports] == list(range(8))
    assert (tmp_path / "stopped").exists()


@pytest.mark.parametrize("settings", [{"heavy": False}, {"heavy": True}, {"heavy": True, "shards_at_once": 2, "gpus_per_worker": 0.0}])
def test_a_task_that_kills_every_worker_ends_the_run_by_name(cluster, settings):
    settings = dict(settings)
    with pytest.raises(ClusterError, match="process of 3 died several times"):
        run(Echo(settings.pop("heavy"), "die"), workers=1, **settings)
