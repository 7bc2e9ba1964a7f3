import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from rcnn_dist import driver
from rcnn_dist.benchmarks.chaos import World
from rcnn_dist.config import load_config
from rcnn_dist.data.shapes import ShapesParams, generate_shapes
from rcnn_dist.errors import ConfigError
from rcnn_dist.stages.verify import verify_run

# A network and a process table of its own: no port is taken, nobody else reaches the head, and nothing outlives the command.
NAMESPACE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
N_PHOTOS = 10


def run_alone(*command, **env):
    script = 'ip link set lo up && exec "$@"'
    try:
        return subprocess.run([*NAMESPACE, "sh", "-c", script, "sh", *command], capture_output=True, text=True, env={**os.environ, **env})
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


@pytest.fixture(scope="module")
def namespace():
    found = run_alone("true")
    if found.returncode:
        pytest.skip(f"no network namespace here for a Ray head of its own: {found.stderr.strip()}")


def test_a_job_that_was_stopped_and_submitted_again_ends_with_the_same_bytes(namespace, tmp_path):
    params = ShapesParams(images={"train": N_PHOTOS, "test": 0}, min_size=(240, 180), max_size=(260, 200))
    generate_shapes(str(tmp_path / "shapes"), params)
    photos = tmp_path / "shapes" / "VOC2007" / "JPEGImages"
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "HOME": str(tmp_path)}
    env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = run_alone(sys.executable, str(Path(__file__).parent / "job_twice.py"), str(photos), str(tmp_path / "job"), **env)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["without token"] == 401
    assert found["first"]["status"] == "STOPPED" and 1 <= found["shards"] < N_PHOTOS, "it was stopped in the middle"
    assert found["first"]["logs"].splitlines()[-1] == "error: stopped by SIGTERM: the same command goes on where this one ended"
    assert "Traceback" not in found["first"]["logs"]
    lines = found["second"]["logs"].splitlines()
    assert f"propose: {N_PHOTOS}/{N_PHOTOS} images done in " in found["second"]["logs"]
    assert lines[-1].startswith(f"features of {40 * N_PHOTOS} regions of {N_PHOTOS} images: {tmp_path}/job/features/")
    assert "\x1b" not in found["second"]["logs"] and "\r" not in found["second"]["logs"], "whole lines, no bar"
    settings = ["proposals.source=opencv", "run.shard_images=1", "extract.max_proposals=40", "runtime.executor=in_process"]
    settings += ["network.name=tiny", "network.input_size=null", "extract.layers=[pool5,fc7]"]
    here = load_config(driver.config_file("features.yaml"), [f"data.root={photos}", f"run.dir={tmp_path / 'here'}", *settings])
    driver.run_stages(here)
    assert verify_run(str(tmp_path / "job")).damaged == []
    assert verify_run(str(tmp_path / "job")).digest == verify_run(here.run.dir).digest


def test_when_the_ray_head_dies_the_run_is_started_again_and_ends_with_the_same_bytes(namespace, tmp_path):
    world = World(tmp_path)
    here, lost = world.config(tmp_path / "here"), world.config(tmp_path / "lost", "ray")
    for config in (here, lost):
        driver.run_stages(config.model_copy(update={"runtime": here.runtime}), ("propose",))
    driver.run_stages(here, ("extract",))
    (tmp_path / "config.yaml").write_text(lost.to_yaml())
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "HOME": str(tmp_path)}
    env |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "RAY_gcs_rpc_server_reconnect_timeout_s": "3"}
    script = str(Path(__file__).parent / "head_dies.py")
    done = run_alone(sys.executable, script, str(tmp_path / "config.yaml"), lost.run.dir, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["first"] != 0 and "Failed to connect to GCS" in found["error"]
    assert 1 <= found["shards"] < 16, "it was killed in the middle"
    assert found["second"] == 0, found["again"]
    assert verify_run(lost.run.dir).damaged == []
    assert verify_run(lost.run.dir).digest == verify_run(here.run.dir).digest


def test_a_place_that_would_be_lost_with_the_job_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(ConfigError, match="run.dir is 'runs/features', which would be lost with the Ray job"):
        driver.run_stages(load_config(driver.config_file("features.yaml"), ["data.root=/nowhere"]))
