"""Files of a run at any fsspec URL: read, replace atomically, create if absent.

A local path and an fsspec URL (`s3://bucket/run`, `memory://run`) are both called url here. Every operation on storage goes through
`attempt`, which tries again what may have failed by chance and says what to do where it failed for good.
"""

import contextlib
import errno
import logging
import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from rcnn_dist.errors import ConfigError, DataError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pads

logger = logging.getLogger(__name__)
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it tells what `attempt` tells, with a traceback

T = TypeVar("T")

OPERATION_TIMEOUT_S = 600.0  # a server that takes longer is asked again; some clients would wait for ever
WAITS_S: tuple[float, ...] = (0.2, 1.0, 4.0, 15.0)  # before the second attempt, the third, ...
SCRATCH = "_tmp-"
_ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)  # no further attempt changes them
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # of the package, by protocol
_FULL = (errno.ENOSPC, errno.EDQUOT)


def attempt(url: str, operation: Callable[[], T]) -> T:
    """The result of a storage operation, which is tried again with growing waits where it fails by chance.

    An operation that failed may have taken effect, so each must be one that can be repeated.

    Raises:
        StoreError: it failed every time, the disk is full, or the place is not ours to use.
    """
    for wait in (*WAITS_S, None):
        try:
            return _perform(url, operation)
        except _ANSWERS:
            raise
        except PermissionError as error:
            raise StoreError(f"{url}: {error}: this place needs other rights or credentials") from error
        except Exception as error:  # each file system has its own errors for a lost connection
            _refuse_full(url, error)
            if isinstance(error, StoreError) or (_is_local(url) and not (isinstance(error, OSError) and error.errno)):
                raise
            if wait is None:
                raise StoreError(
                    f"{url}: storage failed {len(WAITS_S) + 1} times, at last with {type(error).__name__}: {error}; "
                    "mend it and run the same command again, it resumes"
                ) from error
            logger.warning("%s: %s: %s; trying again", url, type(error).__name__, error)
            time.sleep(wait * random.uniform(0.5, 1.0))
    raise AssertionError


def _perform(url: str, operation: Callable[[], T]) -> T:  # noqa: ARG001  for tests, which stand here
    return operation()


def _refuse_full(url: str, error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in _FULL:
        raise StoreError(f"no space left for {url}: free some and run the same command again, it resumes") from error


def join(url: str, *parts: str) -> str:
    """The url of a file below a folder."""
    return "/".join([url.rstrip("/"), *parts])


def exists(url: str) -> bool:
    fs, path = _locate(url)
    return attempt(url, lambda: bool(fs.exists(path, **_limit(fs))))


def list_names(url: str) -> list[str]:
    """Sorted names directly below a folder; empty where there is no such folder."""
    fs, path = _locate(url)
    try:
        entries = attempt(url, lambda: fs.ls(path, detail=False, **_limit(fs)))
    except FileNotFoundError:
        return []
    return sorted(Path(entry).name for entry in entries if entry.rstrip("/") != path.rstrip("/"))


def list_tree(url: str) -> list[str]:
    """Sorted paths of all files below a folder, relative to it; links to folders are not followed."""
    fs, path = _locate(url)
    base = path.rstrip("/") + "/"
    return sorted(entry.removeprefix(base) for entry in attempt(url, lambda: fs.find(path, **_limit(fs))) if entry.startswith(base))


def is_folder(url: str) -> bool:
    fs, path = _locate(url)
    return attempt(url, lambda: bool(fs.isdir(path, **_limit(fs))))


def open_dataset(url: str, schema: "pa.Schema | None" = None) -> "pads.Dataset":
    """The Parquet files at a url, or of all folders below it; read as `schema` where one is given.

    Raises:
        FileNotFoundError: there is nothing.
    """
    import pyarrow.dataset as pads  # 50 MB that most drivers and workers do without

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
        return attempt(url, Path(path).read_bytes)
    return attempt(url, lambda: bytes(fs.cat_file(path, **_limit(fs))))


def read_text(url: str) -> str:
    """A whole file of UTF-8 text, with or without a byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is not such text.
    """
    try:
        return read_bytes(url).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{url} is not UTF-8 text: {error}; save it as UTF-8") from error


def write_bytes(url: str, data: bytes) -> None:
    """Writes or replaces a file so that a reader sees the old bytes or the new ones, never a part."""
    with scratch_file(url) as scratch:
        scratch.write_bytes(data)
        replace(scratch, url)


def replace(scratch: Path, url: str) -> None:
    """Gives a finished scratch file its final name, in place of what had it."""
    fs, path = _locate(url)

    def move() -> None:
        if not isinstance(fs, LocalFileSystem):
            fs.put_file(str(scratch), path, **_limit(fs))
        elif scratch.exists():  # else an attempt that failed has moved it
            _flush(scratch)
            scratch.replace(path)

    attempt(url, move)


def publish(scratch: Path, url: str) -> bool:
    """Gives a finished scratch file its final name unless that name is taken; True where this call created it.

    Of two workers that publish the same shard the first wins, so a reader never sees a file change. An object store decides by the
    header If-None-Match.
    """
    fs, path = _locate(url)

    def create() -> None:
        if isinstance(fs, LocalFileSystem):
            _flush(scratch)
            os.link(scratch, path)
        else:
            fs.put_file(str(scratch), path, mode="create", **_limit(fs))

    try:
        attempt(url, create)
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
    folder = Path(path).parent if isinstance(fs, LocalFileSystem) else Path(tempfile.gettempdir())
    scratch = folder / f"{SCRATCH}{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield scratch
    except OSError as error:
        _refuse_full(url, error)
        raise
    finally:
        scratch.unlink(missing_ok=True)


def remove_file(url: str) -> None:
    """Deletes a file; nothing where there is none."""
    fs, path = _locate(url)
    with contextlib.suppress(FileNotFoundError):
        attempt(url, lambda: fs.rm_file(path, **_limit(fs)))


def remove_folder(url: str) -> None:
    """Deletes a folder and all below it; nothing where there is none."""
    fs, path = _locate(url)
    with contextlib.suppress(FileNotFoundError):
        attempt(url, lambda: fs.rm(path, recursive=True, **_limit(fs)))


def local_path(url: str) -> Path | None:
    """The path behind a url that lies on this machine's file system, else None."""
    fs, path = _locate(url)
    return Path(path) if isinstance(fs, LocalFileSystem) else None


def _locate(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """File system and path; listings are never cached, as other machines write too.

    Raises:
        ConfigError: nothing that is installed reaches such addresses.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, OSError, ValueError) as error:
        extra = _EXTRAS.get(url.partition("://")[0])
        hint = f"pip install 'rcnn-dist[{extra}]'" if extra else "give a path, or an address that an installed fsspec library reaches"
        raise ConfigError(f"{url}: {error}: {hint}") from error
    return fs, path


def _limit(fs: fsspec.AbstractFileSystem) -> dict[str, float]:
    return {"timeout": OPERATION_TIMEOUT_S} if fs.async_impl else {}


def _is_local(url: str) -> bool:
    return isinstance(_locate(url)[0], LocalFileSystem)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
