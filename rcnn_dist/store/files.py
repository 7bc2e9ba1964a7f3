"""Files of a run at any fsspec URL: read, replace atomically, create if absent.

A local path and an fsspec URL (`s3://bucket/run`, `memory://run`) are both called url here.
"""

import contextlib
import errno
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import fsspec
import pyarrow as pa
import pyarrow.dataset as pads
from fsspec.implementations.local import LocalFileSystem

from rcnn_dist.errors import StoreError


def join(url: str, *parts: str) -> str:
    """The url of a file below a folder."""
    return "/".join([url.rstrip("/"), *parts])


def exists(url: str) -> bool:
    fs, path = _locate(url)
    return bool(fs.exists(path))


def list_names(url: str) -> list[str]:
    """Sorted names directly below a folder; empty where there is no such folder."""
    fs, path = _locate(url)
    fs.invalidate_cache(path)
    try:
        return sorted(Path(entry).name for entry in fs.ls(path, detail=False) if entry.rstrip("/") != path.rstrip("/"))
    except FileNotFoundError:
        return []


def list_tree(url: str) -> list[str]:
    """Sorted paths of all files below a folder, relative to it; links to folders are not followed."""
    fs, path = _locate(url)
    base = path.rstrip("/") + "/"
    return sorted(entry.removeprefix(base) for entry in fs.find(path) if entry.startswith(base))


def is_folder(url: str) -> bool:
    fs, path = _locate(url)
    return bool(fs.isdir(path))


def open_dataset(url: str, schema: pa.Schema | None = None) -> pads.Dataset:
    """The Parquet files at a url, or of all folders below it; read as `schema` where one is given.

    Raises:
        FileNotFoundError: there is nothing.
    """
    fs, path = _locate(url)
    return pads.dataset(path, filesystem=fs, format="parquet", schema=schema, exclude_invalid_files=False)


def open_binary(url: str) -> IO[bytes]:
    """A file to read parts of.

    Raises:
        FileNotFoundError: there is no such file.
    """
    fs, path = _locate(url)
    opened: IO[bytes] = fs.open(path, "rb")
    return opened


def read_bytes(url: str) -> bytes:
    """The whole file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    fs, path = _locate(url)
    if isinstance(fs, LocalFileSystem):
        return Path(path).read_bytes()
    return bytes(fs.cat_file(path))


def write_bytes(url: str, data: bytes) -> None:
    """Writes or replaces a file so that a reader sees the old bytes or the new ones, never a part."""
    with scratch_file(url) as scratch:
        scratch.write_bytes(data)
        replace(scratch, url)


def replace(scratch: Path, url: str) -> None:
    """Gives a finished scratch file its final name, in place of what had it."""
    fs, path = _locate(url)
    if isinstance(fs, LocalFileSystem):
        _flush(scratch)
        scratch.replace(path)
    else:
        fs.put_file(str(scratch), path)


def publish(scratch: Path, url: str) -> bool:
    """Gives a finished scratch file its final name unless that name is taken; True where this call created it.

    Of two workers that publish the same shard the first wins, so a reader never sees a file change.
    """
    fs, path = _locate(url)
    try:
        if isinstance(fs, LocalFileSystem):
            _flush(scratch)
            os.link(scratch, path)
        elif fs.exists(path):
            return False
        else:
            fs.put_file(str(scratch), path, mode="create")
    except FileExistsError:
        return False
    return True


@contextlib.contextmanager
def scratch_file(url: str) -> Iterator[Path]:
    """A local path for writing what will become `url`, on the same disk where `url` is local; removed at the end.

    Raises:
        StoreError: the disk is full.
    """
    fs, path = _locate(url)
    if isinstance(fs, LocalFileSystem):
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = Path(tempfile.gettempdir())
    scratch = folder / f"_tmp-{uuid.uuid4().hex}"
    try:
        yield scratch
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"no space left for {url}: free some and run the same command again, it resumes") from error
        raise
    finally:
        scratch.unlink(missing_ok=True)


def remove_file(url: str) -> None:
    """Deletes a file; nothing where there is none."""
    fs, path = _locate(url)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def remove_folder(url: str) -> None:
    """Deletes a folder and all below it; nothing where there is none."""
    fs, path = _locate(url)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def local_path(url: str) -> Path | None:
    """The path behind a url that lies on this machine's file system, else None."""
    fs, path = _locate(url)
    return Path(path) if isinstance(fs, LocalFileSystem) else None


def _locate(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    fs, path = fsspec.core.url_to_fs(url)
    return fs, path


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
