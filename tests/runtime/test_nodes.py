"""Nodes that join, die and leave: two raylets on one machine."""

import json
import os
import shutil
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest
import ray
from ray.cluster_utils import Cluster

from rcnn_dist import driver
from rcnn_dist.benchmarks.chaos import World
from rcnn_dist.config import RuntimeSection
from rcnn_dist.errors import ClusterError
from rcnn_dist.runtime import pools
from rcnn_dist.runtime.events import read_events
from rcnn_dist.runtime.metrics import RayMetrics
from rcnn_dist.runtime.ray_executor import RayExecutor
from rcnn_dist.stages.base import ShardTask
from rcnn_dist.stages.class_counts import class_bytes
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.store.shards import read_markers

STORE = 80 * 2**20


@pytest.fixture(scope="module")
def cluster():
    """One head node, its files apart so that no other process takes it for the machine's cluster."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        yield from start_cluster()


def start_cluster():
    # a node that was killed is missed after 2 seconds instead of 15; one that is merely busy has as much time to answer as ever
    settings = {"metrics_report_interval_ms": 500, "health_check_period_ms": 500, "health_check_initial_delay_ms": 500}
    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False, "_system_config": settings}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["Slow"]))
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def second_node(cluster, monkeypatch):
    """Adds a node; the test, or its end, kills it."""
    monkeypatch.setattr(pools, "_LOOK_EVERY_S", 0.5)
    nodes = []

    def add(num_cpus=1, **resources):
        nodes.append(cluster.add_node(num_cpus=num_cpus, object_store_memory=STORE, **resources))
        return lambda: cluster.remove_node(nodes.pop(), allow_graceful=False)

    yield add
    for node in nodes:
        cluster.remove_node(node)
    deadline = time.monotonic() + 60  # of a node that was killed the cluster hears when its heartbeats are missed
    while sum(node["Alive"] for node in ray.nodes()) > 1 and time.monotonic() < deadline:
        time.sleep(0.2)


class Slow:
    heavy = True

    def make_worker(self):
        return self

    def run(self, task):
        time.sleep(0.15)
        return task, os.getpid()


def test_a_node_that_joins_gets_work_and_what_it_had_is_done_when_it_dies(second_node):
    reports, kill, joined = [], None, set()
    for report in RayExecutor(RuntimeSection()).map(Slow(), list(range(60))):
        reports.append(report)
        if len(reports) == 3:
            kill = second_node()
        pids = {pid for _, pid in reports}
        if len(pids) == 2 and not joined:
            joined = pids
            kill()
    assert sorted(task for task, _ in reports) == list(range(60))
    assert len(joined) == 2


def test_when_the_last_gpu_is_gone_the_message_says_so_after_the_stated_time(second_node):
    kill, start = second_node(num_gpus=1), None
    message = r"2 of 2 workers wait for 1 CPU, 1 GPU each; the cluster has 0 GPU .*add nodes"
    with pytest.raises(ClusterError, match=message.replace("2 of 2", r"\d of \d")):
        for _ in RayExecutor(RuntimeSection(start_timeout_s=1.5)).map(Slow(), list(range(40))):
            if start is None:
                start = time.monotonic()
                kill()
    assert time.monotonic() - start > 1.5


def test_workers_that_are_asked_for_by_number_wait_for_gpus_that_the_cluster_does_not_have_yet(second_node):
    assert ray.cluster_resources().get("GPU", 0) == 0
    executor, reports = RayExecutor(RuntimeSection(gpu_workers=2, start_timeout_s=60.0)), []
    running = threading.Thread(target=lambda: reports.extend(executor.map(Slow(), list(range(6)))))
    running.start()
    second_node(num_gpus=1)
    running.join()
    assert sorted(task for task, _ in reports) == list(range(6))
    assert len({pid for _, pid in reports}) == 1, "one GPU, so one of the two workers; the other waits"


def test_events_become_prometheus_metrics(cluster):
    metrics = RayMetrics()
    metrics("stage_started", stage="extract", total=10)
    metrics("advanced", stage="extract", count=4)
    metrics("shard_done", stage="extract", failures=1, seconds={"read": 0.5, "forward": 0.0})
    metrics("worker_died", stage="extract", worker="actor-1", reason="killed")
    wanted = {"planned": 10, "images_total": 4, "failed_images_total": 1, "phase_seconds_total": 0.5, "worker_deaths_total": 1}
    deadline, found = time.monotonic() + 30, {}
    while found != wanted and time.monotonic() < deadline:
        time.sleep(0.5)
        ports = {node["MetricsExportPort"] for node in ray.nodes() if node["Alive"]}
        text = "".join(urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode() for port in ports)
        lines = [line for line in text.splitlines() if line.startswith("ray_rcnn_") and 'stage="extract"' in line]
        found = {line.split("{")[0].removeprefix("ray_rcnn_"): float(line.split()[-1]) for line in lines}
    assert found == wanted


@pytest.mark.parametrize("stage", ["extract", "train"])
def test_a_node_that_dies_in_the_middle_changes_no_byte(second_node, tmp_path, stage):
    world = World(tmp_path)
    for name in ("propose", "extract") if stage == "train" else ("propose",):
        driver.run_stages(world.config(tmp_path / "run"), (name,))
    expected = world.config(tmp_path / "expected")
    driver.run_stages(expected, ("propose", "extract", "train") if stage == "train" else ("propose", "extract"))
    kill = second_node()
    killed = threading.Thread(target=kill_after, args=(tmp_path / "run" / "events", stage, 8, kill))
    killed.start()
    config = world.config(tmp_path / "run", "ray")
    driver.run_stages(config, (stage,))
    killed.join()
    found = verify_run(config.run.dir)
    assert (found.damaged, found.unfinished) == ([], [])
    assert found.digest == verify_run(expected.run.dir).digest


class Together:
    """A task that ends once tasks of two lanes are at work; it tells where and when it ran."""

    def __init__(self, folder, heavy):
        self.folder, self.heavy = folder, heavy

    def make_worker(self):
        return self

    def run(self, task):
        began = time.time()
        Path(self.folder, task.lane).touch()
        while len(list(Path(self.folder).iterdir())) < 2:
            if time.time() > began + 40:
                raise TimeoutError("no task of another lane")
            time.sleep(0.02)
        time.sleep(0.2)
        return task, ray.get_runtime_context().get_node_id(), began, time.time()


@pytest.mark.parametrize("heavy", [False, True])
def test_nodes_work_on_different_lanes_at_one_time_each_on_one(second_node, tmp_path, heavy, monkeypatch):
    asked = []
    monkeypatch.setattr(pools, "request_resources", lambda num_cpus=None: asked.append(num_cpus))
    second_node(num_cpus=2)
    tasks = [ShardTask("test", i, (), lane=lane) for i in range(4) for lane in "ABC"]
    reports = list(RayExecutor(RuntimeSection()).map(Together(str(tmp_path), heavy), tasks))
    assert sorted((task.lane, task.index) for task, *_ in reports) == [(lane, i) for lane in "ABC" for i in range(4)]
    at_once = [(a, b) for a in reports for b in reports if a[0].lane != b[0].lane and a[2] <= b[2] < a[3]]
    assert at_once and all(a[1] != b[1] for a, b in at_once)
    assert not asked if heavy else asked[0] and asked[-1] is None, "of an autoscaler, until all is done"


def test_ranges_of_classes_on_two_nodes_of_which_one_dies_have_the_bytes_of_all_at_once(second_node, tmp_path):
    world = World(tmp_path, ("propose", "extract", "train"))

    def digest(executor, n_blocks):
        config = world.config(tmp_path / "run", executor)
        block_bytes = 4 * class_bytes(Run(config))
        scaling = replace(config.scaling, classes=(11,), block_classes=4, min_score=-2.0, weights_gb=n_blocks * block_bytes / 1e9)
        driver.run_stages(config.model_copy(update={"scaling": scaling, "run": replace(config.run, stages=("scale",))}))
        (table,) = (tmp_path / "run" / "scaling").glob("classes11-*")
        assert sum(marker.rows for marker in read_markers(f"{table}/test")) > 0
        shutil.rmtree(table)
        return json.loads((tmp_path / "run" / "scaling" / "scaling.json").read_text())["rows"][0]["detections_sha256"]

    driver.run_stages(world.config(tmp_path / "run"))
    expected, kill = digest("in_process", 3), second_node()
    killed = threading.Thread(target=kill_after, args=(tmp_path / "run" / "events", "scale", 8, kill), daemon=True)
    killed.start()
    assert digest("ray", 1) == expected
    killed.join()
    with_slot, most = {}, 0
    for event in read_events(str(tmp_path / "run")):
        if event["event"] == "submitted" and "@" in event["worker"]:
            with_slot[event["worker"]] = event["task"].split()[0]
        elif event["event"] in ("done", "worker_died"):
            with_slot.pop(event["worker"], None)
        at_work = {(slot.split("@")[1], classes) for slot, classes in with_slot.items()}
        assert len(at_work) == len({node for node, _ in at_work}), "a node has one range"
        most = max(most, len({classes for _, classes in at_work}))
    assert most == 2


def kill_after(folder, stage, count, kill):
    """Kills once so many tasks of a stage have been given out on Ray."""
    while sum(text.count(b'"submitted"') for text in map(Path.read_bytes, folder.glob("*.jsonl"))) < count:
        time.sleep(0.01)
    kill()
