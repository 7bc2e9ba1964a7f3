"""Runs that die at every single change of their files, on storage that fails by chance, and on a full disk.

Only a change of a file can leave another state behind, so dying before each change, and once after the last, is dying anywhere.
"""

import errno
import random
import shutil
from pathlib import Path

import pytest

from rcnn_dist import driver
from rcnn_dist.config import make_config
from rcnn_dist.data.shapes import ShapesParams, generate_shapes
from rcnn_dist.errors import RcnnError, StoreError
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.store import files

STAGES = ("propose", "finetune", "extract", "train", "detect")
CHANGES = ("replace", "publish", "remove_file", "remove_folder")


class Died(BaseException):
    """The process is gone: nothing handles this."""


class Storage:
    """Stands before every change of a file; dies at the one that it is told, half-way where that is possible, and stays dead."""

    def __init__(self, monkeypatch):
        self.count, self.dies_at = 0, None
        for name in CHANGES:
            monkeypatch.setattr(files, name, self.guarded(name, getattr(files, name)))

    def guarded(self, name, change):
        def guard(*arguments):
            if self.count == self.dies_at:
                leave_half_done(name, arguments)
                raise Died
            self.count += 1
            return change(*arguments)

        return guard

    def run(self, config, stages, dies_at=None):
        self.count, self.dies_at = 0, dies_at
        driver.run_stages(config, stages)


def leave_half_done(name, arguments):
    """What a process leaves that is killed within a change: an unfinished scratch file, or a folder of which a part is gone."""
    path = Path(arguments[-1] if name in ("publish", "replace") else arguments[0])
    if name == "remove_folder":
        min(path.iterdir()).unlink()
    elif name != "remove_file":
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "_tmp-dead").write_bytes(b"half")


@pytest.fixture(scope="module")
def config_at(tmp_path_factory):
    """Makes the configuration of a run of three training shards in a folder."""
    root = tmp_path_factory.mktemp("tiny")
    params = ShapesParams(
        images={"train": 6, "test": 6}, classes=("striped_disc", "dotted_triangle"), min_size=(90, 70), max_size=(120, 90)
    )
    generate_shapes(str(root), params)

    def make(folder):
        tree = {
            "run": {"dir": str(folder), "shard_images": 2, "stages": list(STAGES)},
            "data": {"root": str(root)},
            "finetune": {"iterations": 4, "batch_size": 8, "checkpoint_every": 2},
            "extract": {"layers": ["fc7"], "max_proposals": 12},
            "regress": {"layer": "fc7"},
            "mining": {"wave_images": 4},
            "runtime": {"executor": "in_process"},
        }
        return make_config(tree)

    return make


@pytest.fixture(scope="module")
def undisturbed(config_at, tmp_path_factory):
    """A run before each stage, and the digest after it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = config_at(folder / "run")
    before, digests = {}, {}
    for stage in STAGES:
        before[stage] = folder / f"before-{stage}"
        if (folder / "run").exists():
            shutil.copytree(folder / "run", before[stage])
        driver.run_stages(config, (stage,))
        digests[stage] = verify_run(config.run.dir).digest
    return before, digests


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(files, "_flush", lambda path: None)
    monkeypatch.setattr(files, "WAITS_S", (0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(driver, "make_progress", lambda stream: Silent())


class Silent:
    def start(self, *arguments):
        pass

    advance = finish = note = start


def restore(before, folder):
    shutil.rmtree(folder, ignore_errors=True)
    if before.exists():
        shutil.copytree(before, folder)


def assert_whole(config, digest):
    found = verify_run(config.run.dir)
    assert (found.damaged, found.unfinished) == ([], [])
    assert found.images == found.images_with_rows + found.failures
    assert found.digest == digest
    assert not list(Path(config.run.dir).glob("*/*/*/_tmp-*")), "no table keeps what dead workers left"


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_dies_at_any_change_of_a_file_ends_with_the_same_bytes(stage, config_at, undisturbed, fast, tmp_path, monkeypatch):
    before, digests = undisturbed
    config, storage = config_at(tmp_path / "run"), Storage(monkeypatch)
    restore(before[stage], tmp_path / "run")
    storage.run(config, (stage,))
    changes = storage.count
    assert changes > 8, "a plan, three shards and markers, a manifest, the record; or two checkpoints, two networks, a manifest"
    for k in range(changes):
        restore(before[stage], tmp_path / "run")
        with pytest.raises(Died):
            storage.run(config, (stage,), dies_at=k)
        storage.run(config, (stage,))
        assert_whole(config, digests[stage])


def test_a_run_that_dies_again_and_again_ends_too(config_at, undisturbed, fast, tmp_path, monkeypatch):
    config, storage, deaths = config_at(tmp_path / "run"), Storage(monkeypatch), 0
    while True:
        try:
            storage.run(config, STAGES, dies_at=12)
        except Died:
            deaths += 1
        else:
            break
    assert deaths > 5
    assert_whole(config, undisturbed[1]["detect"])


class Faulty:
    """Storage of which a share of the calls fails, before or after it took effect."""

    def __init__(self, monkeypatch, seed, below="", share=0.05):
        self.random, self.below, self.share, self.failed = random.Random(seed), below, share, 0
        monkeypatch.setattr(files, "_perform", self.perform)

    def perform(self, url, operation):
        fails = url.startswith(self.below) and self.random.random() < self.share
        if fails and self.random.random() < 0.5:
            self.failed += 1
            raise OSError(errno.EIO, "Input/output error")
        result = operation()
        if fails:
            self.failed += 1
            raise OSError(errno.EIO, "Input/output error")
        return result


def test_storage_of_which_every_twentieth_call_fails_gives_the_same_bytes(config_at, undisturbed, fast, tmp_path, monkeypatch):
    for seed in range(2):
        config = config_at(tmp_path / str(seed))
        with monkeypatch.context() as patch:
            faulty = Faulty(patch, seed)
            driver.run_stages(config, STAGES)
        assert faulty.failed > 5
        assert_whole(config, undisturbed[1]["detect"])


def test_without_further_attempts_such_a_run_stops_with_an_error_and_goes_on(config_at, undisturbed, fast, tmp_path, monkeypatch):
    config, stops = config_at(tmp_path / "run"), 0
    monkeypatch.setattr(files, "WAITS_S", ())
    with monkeypatch.context() as patch:
        Faulty(patch, 5, below=config.run.dir, share=0.02)  # an image that cannot be read is a failed image
        while True:
            try:
                driver.run_stages(config, STAGES)
            except RcnnError as error:
                assert "run the same command again" in str(error), error
                stops += 1
            else:
                break
    assert stops > 3
    assert_whole(config, undisturbed[1]["detect"])


def test_a_full_disk_ends_with_what_to_do_and_a_run_that_goes_on(config_at, undisturbed, fast, tmp_path, monkeypatch):
    config = config_at(tmp_path / "run")
    calls = []

    def full(url, operation):
        calls.append(operation)
        if len(calls) > 60:
            raise OSError(errno.ENOSPC, "No space left on device")
        return operation()

    with monkeypatch.context() as patch:
        patch.setattr(files, "_perform", full)
        with pytest.raises(StoreError, match="no space left for .*run the same command again, it resumes"):
            driver.run_stages(config, STAGES)
    driver.run_stages(config, STAGES)
    assert_whole(config, undisturbed[1]["detect"])
