"""What is wrong with a machine is a finding with a next step, never a traceback."""

import json

import pytest

from rcnn_dist import doctor
from rcnn_dist.doctor import Check, examine
from rcnn_dist.errors import ClusterError


@pytest.fixture
def no_ray(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("rcnn_dist.runtime.cluster.describe_cluster", lambda address: "1 node, 2 CPU, 0 GPU")


def by_name(folder, **options):
    return {check.name.split(" at ")[0]: check for check in examine(str(folder), **options)}


def test_every_subject_has_a_finding_and_every_bad_one_a_next_step(tmp_path, no_ray):
    checks = list(examine(str(tmp_path / "runs")))
    assert len(checks) == 10
    assert all(check.found for check in checks)
    assert all(check.next_step for check in checks if check.verdict != "good")
    assert "torch" in checks[0].found
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_place_that_cannot_be_written_is_bad(tmp_path, no_ray):
    (tmp_path / "file").write_text("")
    check = by_name(tmp_path / "file")["storage"]
    assert check.verdict == "bad"
    assert "--dir" in check.next_step


def test_memory_works_as_storage(no_ray):
    check = by_name("memory://doctor")["storage"]
    assert "MB/s" in check.found


def test_a_cluster_that_does_not_answer_is_bad(tmp_path, monkeypatch):
    def refuse(address):
        raise ClusterError(f"Ray at {address} does not start or answer")

    monkeypatch.setattr("rcnn_dist.runtime.cluster.describe_cluster", refuse)
    check = by_name(tmp_path, ray_address="10.0.0.1:6379")["Ray"]
    assert check.verdict == "bad"
    assert "10.0.0.1:6379" in check.found


def test_authentication_that_is_switched_off_is_weak(tmp_path, monkeypatch, no_ray):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert by_name(tmp_path)["Ray on this machine"].verdict == "weak"


@pytest.mark.parametrize(
    ("name", "patched", "value"),
    [
        ("open files", "resource.getrlimit", lambda which: (256, 1024)),
        ("shared memory", "shutil.disk_usage", lambda path: type("Usage", (), {"free": 64e6})),
        ("memory", "_read", lambda path: "MemTotal: 2000000 kB\nMemAvailable: 900000 kB\n" if "meminfo" in path else ""),
        ("GPUs", "_read", lambda path: ""),
        ("compiled kernels", "cache_folder", lambda: None),
        ("versions", "_version", lambda name: None if name == "ray" else "1"),
    ],
)
def test_what_is_scarce_is_said(name, patched, value, tmp_path, monkeypatch, no_ray):
    monkeypatch.setattr(f"rcnn_dist.doctor.{patched}", value)
    if name == "GPUs":
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    check = by_name(tmp_path)[name]
    assert check.verdict == ("bad" if name == "versions" else "weak")
    assert check.next_step


def test_a_check_that_fails_is_a_finding(tmp_path, monkeypatch, no_ray):
    def broken():
        raise OSError("no such device")

    monkeypatch.setattr(doctor, "_memory", broken)
    assert by_name(tmp_path)["memory"] == Check("memory", "bad", "OSError: no such device", "mend this, or report it with this output")


def test_the_command_prints_json_and_fails_where_something_is_bad(tmp_path, capsys, monkeypatch, no_ray):
    from rcnn_dist.cli import app, guarded

    assert guarded(lambda: app(["doctor", "--dir", str(tmp_path), "--json"], standalone_mode=True)) == 0
    assert [check["verdict"] in ("good", "weak") for check in json.loads(capsys.readouterr().out)] == [True] * 10
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    assert guarded(lambda: app(["doctor", "--dir", str(tmp_path)], standalone_mode=True)) == 1
    assert "BAD  versions" in capsys.readouterr().out
