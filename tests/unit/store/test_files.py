import errno
import sys
import uuid

import pytest

from rcnn_dist.errors import ConfigError, StoreError
from rcnn_dist.store import files


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return str(tmp_path / "run") if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def test_written_bytes_are_read_and_replaced(folder):
    url = files.join(folder, "a", "b.json")
    files.write_bytes(url, b"1")
    files.write_bytes(url, b"22")
    assert files.read_bytes(url) == b"22"
    assert files.list_names(files.join(folder, "a")) == ["b.json"]


def test_the_first_of_two_publishers_wins(folder):
    url = files.join(folder, "part.parquet")
    results = []
    for content in (b"first", b"second"):
        with files.scratch_file(url) as scratch:
            scratch.write_bytes(content)
            results.append(files.publish(scratch, url))
    assert results == [True, False]
    assert files.read_bytes(url) == b"first"
    assert files.list_names(folder) == ["part.parquet"], "scratch files are gone"


def test_nothing_is_published_when_the_block_fails(folder):
    url = files.join(folder, "part.parquet")
    with pytest.raises(RuntimeError), files.scratch_file(url) as scratch:
        scratch.write_bytes(b"half")
        raise RuntimeError
    assert not files.exists(url)
    assert files.list_names(folder) == []


def test_a_missing_file_and_folder(folder):
    with pytest.raises(FileNotFoundError):
        files.read_bytes(files.join(folder, "none"))
    assert files.list_names(files.join(folder, "none")) == []
    files.remove_folder(files.join(folder, "none"))


def test_a_folder_is_removed_with_all_below(folder):
    files.write_bytes(files.join(folder, "x", "y"), b"1")
    files.remove_folder(files.join(folder, "x"))
    assert not files.exists(files.join(folder, "x", "y"))


def test_a_full_disk_says_what_to_do(tmp_path):
    with pytest.raises(StoreError, match="no space left .* run the same command again"), files.scratch_file(str(tmp_path / "a")):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("s3://bucket/run", "pip install 'rcnn-dist\\[s3\\]'"),
        ("gs://bucket/run", "pip install 'rcnn-dist\\[gcs\\]'"),
        ("nowhere://run", "Protocol not known: nowhere: give a path"),
    ],
)
def test_an_address_that_no_installed_library_reaches_says_what_to_install(monkeypatch, url, hint):
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, url.partition(":")[0], raising=False)
    for module in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=hint):
        files.exists(url)
