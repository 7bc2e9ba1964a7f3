import json
import os
import random
import threading
from dataclasses import replace

import fsspec
import pytest

from rcnn_dist import driver
from rcnn_dist.config import load_config
from rcnn_dist.data.shapes_ilsvrc import IlsvrcShapesParams, generate_ilsvrc
from rcnn_dist.errors import DamagedFileError, StoreError
from rcnn_dist.stages import class_weights, extract
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.store import files
from rcnn_dist.store.manifest import read_marker
from rcnn_dist.store.schema import PROPOSALS
from rcnn_dist.store.shards import read_markers, read_table, write_shard
from rcnn_dist.store.tables import make_table
from tests.pipeline.s3_server import S3Server, make_bucket, options


@pytest.fixture(scope="module")
def s3():
    server = S3Server()
    before = dict(fsspec.config.conf)
    fsspec.config.conf["s3"] = options(server)
    make_bucket("bucket")
    yield server
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)
    server.close()


@pytest.fixture(autouse=True)
def quick(s3, monkeypatch):
    monkeypatch.setattr(files, "WAITS_S", (0.0,) * 6)
    s3.plan = lambda method, path: None
    s3.requests.clear()


@pytest.fixture
def config(small_config):
    def make(folder):
        return small_config(
            run={"dir": folder, "shard_images": 6},
            proposals={"source": "opencv"},
            extract={"layers": ["fc7"], "max_proposals": 20},
            regress={"layer": "fc7"},
            mining={"wave_images": 64},
        )

    return make


@pytest.fixture(scope="module")
def expected():
    return {}


def whole(config, expected, tmp_path):
    if "digest" not in expected:
        local = config(str(tmp_path / "local"))
        driver.run_stages(local)
        expected["digest"] = verify_run(local.run.dir).digest
    return expected["digest"]


def test_a_whole_run_on_s3_has_the_bytes_of_a_local_one(s3, config, expected, tmp_path):
    run = config("s3://bucket/whole")
    driver.run_stages(run)
    found = verify_run(run.run.dir)
    assert (found.damaged, found.unfinished, found.digest) == ([], [], whole(config, expected, tmp_path))
    assert b"<html" in files.read_bytes("s3://bucket/whole/report/index.html")


def test_the_ilsvrc_job_on_s3_has_the_bytes_of_a_local_one(s3, tmp_path, monkeypatch):
    """Its halves of val, its submission and the scaling of its classes, too."""
    monkeypatch.setattr(class_weights, "_CACHE", tmp_path / "node")
    generate_ilsvrc(str(tmp_path / "data"), IlsvrcShapesParams(classes=3, val=8, test=1, positive=1))
    settings = [f"data.root={tmp_path / 'data'}", "runtime.executor=in_process", "data.train=val1+train1", "run.shard_images=4"]
    settings += ["extract.max_proposals=20", "mining.max_images=3", "scaling.classes=[3,1500]", "scaling.weights_gb=0.005"]
    places = (str(tmp_path / "local"), "s3://bucket/ilsvrc")
    for place in places:
        driver.run_stages(load_config("configs/ilsvrc2013_shapes.yaml", [*settings, f"run.dir={place}"]))
    local, remote = (verify_run(place) for place in places)
    assert (remote.damaged, remote.unfinished, remote.digest) == ([], [], local.digest)
    for name in ("evaluation/submission.txt", "lists/seed3/val1.txt", "lists/seed3/val2.txt"):
        assert files.read_bytes(f"{places[1]}/{name}") == files.read_bytes(f"{places[0]}/{name}")
    scaled, expected = (json.loads(files.read_bytes(f"{place}/scaling/scaling.json")) for place in places)
    assert scaled["equal"] and [row["detections_sha256"] for row in scaled["rows"]] == [
        row["detections_sha256"] for row in expected["rows"]
    ]
    assert b"More classes" in files.read_bytes(f"{places[1]}/report/index.html")
    assert not (tmp_path / "node").exists(), "weights are scratch"


def test_ray_workers_on_s3_write_the_bytes_of_a_local_run(s3, config, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("FSSPEC_S3", json.dumps(options(s3)))  # where fsspec looks in every process
    run = config("s3://bucket/ray")
    run = run.model_copy(update={"runtime": replace(run.runtime, executor="ray")})
    driver.run_stages(run)
    found = verify_run(run.run.dir)
    assert (found.damaged, found.unfinished, found.digest) == ([], [], whole(config, expected, tmp_path))
    workers = {m.worker for m in read_markers(f"{extract.folder(Run(run))}/train")}
    assert workers and not any(worker.endswith(f":{os.getpid()}") for worker in workers)


def test_a_server_that_fails_or_loses_answers_now_and_then_changes_no_byte(s3, config, expected, tmp_path):
    dice, actions = random.Random(4), []

    def plan(method, path):
        actions.append(dice.choices([None, "500", "lost"], [0.9, 0.05, 0.05])[0])
        return actions[-1]

    s3.plan = plan
    run = config("s3://bucket/faulty")
    driver.run_stages(run, ("propose", "extract", "train", "detect"))
    s3.plan = lambda method, path: None
    assert actions.count("500") > 5 and actions.count("lost") > 5
    assert verify_run(run.run.dir).digest == whole(config, expected, tmp_path)


def test_late_answers_and_slow_writes_are_tried_again(s3, monkeypatch):
    monkeypatch.setattr(files, "OPERATION_TIMEOUT_S", 1.0)
    late = {"PUT": iter([3.0, 0.3]), "HEAD": iter([3.0])}
    s3.plan = lambda method, path: next(late.get(method, iter(())), None)
    files.write_bytes("s3://bucket/slow/file", b"content")
    assert files.read_bytes("s3://bucket/slow/file") == b"content"
    assert not files.exists("s3://bucket/nothing")
    asked = [method for method, _ in s3.requests]
    assert asked.count("PUT") >= 2 and asked.count("HEAD") >= 2


def test_a_server_that_always_fails_ends_with_a_clear_error(s3):
    s3.plan = lambda method, path: "500"
    with pytest.raises(StoreError, match=r"s3://bucket/x: storage failed 7 times, at last with .*run the same command again"):
        files.write_bytes("s3://bucket/x", b"")


def test_a_place_that_is_not_ours_ends_with_a_clear_error(s3, monkeypatch):
    def refuse(url, operation):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(files, "_perform", refuse)
    with pytest.raises(StoreError, match="Access Denied: this place needs other rights or credentials"):
        files.read_bytes("s3://bucket/x")


def table(width):
    values = {"width": [width], "height": [1], "region": [0], "x1": [0.0], "y1": [0.0], "x2": [1.0], "y2": [1.0]}
    return make_table(PROPOSALS, {"image_id": ["a"], **values})


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_worker_that_freezes_and_thaws_cannot_damage_what_its_successor_wrote(s3, tmp_path, place, width):
    """The zombie computed the same bytes or other ones."""
    folder = f"s3://bucket/zombie-{width}" if place == "s3" else str(tmp_path)
    frozen, thaw, errors = threading.Event(), threading.Event(), []

    def zombie():
        try:
            with write_shard(folder, "part-00000", PROPOSALS, worker="zombie") as shard:
                shard.add("a", table(width))
                frozen.set()
                thaw.wait(30)
        except DamagedFileError as error:
            errors.append(error)

    thread = threading.Thread(target=zombie)
    thread.start()
    frozen.wait(30)
    with write_shard(folder, "part-00000", PROPOSALS, worker="successor") as shard:
        shard.add("a", table(1))
    thaw.set()
    thread.join()
    assert read_table(folder, "part-00000")["width"].to_pylist() == [1]
    assert read_marker(folder, "part-00000").worker == "successor"
    assert files.list_names(folder) == ["_done", "part-00000.parquet"]
    assert len(errors) == (width == 2)
    if place == "s3":
        assert s3.created_if_absent.count(f"/bucket/zombie-{width}/part-00000.parquet") == 2, "the header was sent by both"
