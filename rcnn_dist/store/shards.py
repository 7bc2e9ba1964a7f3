"""Parquet shards: written beside their place, published whole, marked last.

A shard is the unit of restart. Readers trust a shard only with its marker; the first of two writers wins.
"""

import hashlib
import io
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcnn_dist.errors import DamagedFileError, MissingShardError
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST, MARKERS, ImageFailure, Marker, read_marker, read_signed, write_marker, write_signed
from rcnn_dist.store.schema import check_columns, check_schema

MIN_ROW_GROUP = 256
_COMPUTE_AGAIN = "; delete the file and its marker and run the stage again"
_FORGET = "_forget.json"  # shards that are being removed
_READERS = 16


def part_name(index: int) -> str:
    return f"part-{index:05d}"


class ShardWriter:
    """Collects the tables of one shard image by image; one row group per image, neighbours under 256 rows share one."""

    def __init__(self, target: Path | io.BytesIO, schema: pa.Schema, layers: Sequence[str]) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(
            target,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in schema.names if name not in layers],
            write_statistics=[name for name in schema.names if name not in layers],
            write_page_checksum=True,
            store_schema=True,
        )
        self._pending: list[pa.Table] = []
        self.images: list[tuple[str, int]] = []
        self.failures: list[ImageFailure] = []
        self.seconds: dict[str, float] = {}
        self._clock_lock = threading.Lock()

    def add(self, image_id: str, table: pa.Table) -> None:
        """Adds the rows of one image (none is allowed)."""
        self.images.append((image_id, table.num_rows))
        self._pending.append(table)
        if sum(t.num_rows for t in self._pending) >= MIN_ROW_GROUP:
            self._flush()

    def fail(self, image_id: str, stage: str, reason: str) -> None:
        """Records an image that cannot be used."""
        self.failures.append(ImageFailure(image_id, stage, reason))

    def order_failures(self, image_ids: Sequence[str]) -> None:
        """Sorts the failures as the images were planned."""
        place = {image_id: i for i, image_id in enumerate(image_ids)}
        self.failures.sort(key=lambda failure: place.get(failure.image_id, len(place)))

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the seconds of a block, in any thread, to a phase (read, warp, forward, compute, write, wait)."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._clock_lock:
                self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        with self.timed("write"):
            rows = [t for t in self._pending if t.num_rows]
            if rows:
                table = pa.concat_tables(rows).unify_dictionaries().combine_chunks()
                self._writer.write_table(table, row_group_size=table.num_rows)
            self._pending = []


@contextmanager
def write_shard(
    folder: str, part: str, schema: pa.Schema, *, layers: Sequence[str] = (), worker: str = "", extra: Mapping[str, Any] | None = None
) -> Iterator[ShardWriter]:
    """Opens a shard for writing; publishes file, then marker, only when the block ends without an exception."""
    url = files.join(folder, f"{part}.parquet")
    with files.scratch_file(url) as scratch:
        writer = ShardWriter(scratch, schema, layers)
        yield writer
        writer.close()
        with writer.timed("write"):
            sha256 = _sha256(scratch)
            if not files.publish(scratch, url) and hashlib.sha256(files.read_bytes(url)).hexdigest() != sha256:
                raise DamagedFileError(f"{url} exists with other bytes than were computed now: delete it and run the stage again")
        rows = sum(n for _, n in writer.images)
        write_marker(
            folder,
            Marker(
                part=part,
                rows=rows,
                bytes=scratch.stat().st_size,
                sha256=sha256,
                images=tuple(writer.images),
                failures=tuple(writer.failures),
                seconds={phase: round(s, 4) for phase, s in writer.seconds.items()},
                worker=worker,
                extra=dict(extra or {}),
                finished=round(time.time(), 3),
            ),
        )


def stored_bytes(rows: pa.Table, layers: Sequence[str] = ()) -> int:
    """What rows add to the size of a shard, compressed."""
    sizes = []
    for table in (rows, rows.slice(0, 0)):
        stream = io.BytesIO()
        writer = ShardWriter(stream, table.schema, layers)
        writer.add("", table)
        writer.close()
        sizes.append(len(stream.getvalue()))
    return sizes[0] - sizes[1]


@contextmanager
def discarded_shard(schema: pa.Schema, layers: Sequence[str] = ()) -> Iterator[ShardWriter]:
    """A shard that takes images and is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        writer = ShardWriter(Path(folder) / "shard.parquet", schema, layers)
        yield writer
        writer.close()


def read_markers(folder: str) -> list[Marker]:
    """The markers of all complete shards of a table, in order."""
    with ThreadPoolExecutor(_READERS) as pool:
        return [marker for marker in pool.map(lambda part: read_marker(folder, part), marked_parts(folder)) if marker]


def marked_parts(folder: str) -> list[str]:
    """The names of all complete shards of a table, in order."""
    return [name.removesuffix(".json") for name in files.list_names(files.join(folder, MARKERS)) if name.endswith(".json")]


def forget_shards(folder: str, parts: Sequence[str]) -> None:
    """Removes shards so that they are computed again; `finish_forgetting` ends what a stop in between left."""
    write_signed(files.join(folder, _FORGET), {"parts": list(parts)})
    finish_forgetting(folder)


def remove_scratch(folder: str) -> None:
    """Removes what workers that died have left in a table's folder."""
    for name in files.list_names(folder):
        if name.startswith(files.SCRATCH):
            files.remove_file(files.join(folder, name))


def finish_forgetting(folder: str) -> None:
    """Removes what an earlier `forget_shards` named: the manifest, then each marker before its file."""
    url = files.join(folder, _FORGET)
    try:
        parts = read_signed(url)["parts"]
    except FileNotFoundError:
        return
    files.remove_file(files.join(folder, MANIFEST))
    for part in parts:
        files.remove_file(files.join(folder, MARKERS, f"{part}.json"))
        files.remove_file(files.join(folder, f"{part}.parquet"))
    files.remove_file(url)


def read_table(folder: str, part: str, columns: Sequence[str] | None = None, schema: pa.Schema | None = None) -> pa.Table:
    """All rows of one shard; page checksums are verified.

    Raises:
        MissingShardError: the shard has no marker or no file.
        DamagedFileError: the file cannot be read or has another schema.
    """
    with open_shard(folder, part, columns or (), schema) as file:
        return file.read(columns=columns)


@contextmanager
def open_shard(folder: str, part: str, columns: Sequence[str] = (), schema: pa.Schema | None = None) -> Iterator[pq.ParquetFile]:
    """A shard for reading row group by row group.

    Raises:
        MissingShardError: the shard has no marker or no file.
        DamagedFileError: the file cannot be read, lacks one of the columns, or has another schema or other rows than its marker says.
    """
    url = files.join(folder, f"{part}.parquet")
    marker = read_marker(folder, part)
    if marker is None:
        raise MissingShardError(f"{url} is not complete: run the stage that writes it again")
    path = files.local_path(url)
    try:
        source = path or io.BytesIO(files.read_bytes(url))
        with files.attempt(url, lambda: pq.ParquetFile(source, page_checksum_verification=True, memory_map=False)) as file:
            check_columns(file.schema_arrow, columns, url)
            if schema is not None:
                check_schema(file.schema_arrow, schema, url)
            if file.metadata.num_rows != marker.rows:
                raise DamagedFileError(f"{url} has {file.metadata.num_rows} rows and its marker says {marker.rows}{_COMPUTE_AGAIN}")
            yield file
    except FileNotFoundError as error:
        raise MissingShardError(f"{url} is missing although its marker exists: delete the marker and run the stage again") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedFileError(f"{url}: {error}{_COMPUTE_AGAIN}") from error


def read_images(
    folder: str,
    part: str,
    wanted: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    schema: pa.Schema | None = None,
) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each image of a shard, in file order, one row group in memory at a time.

    Args:
        wanted: image ids; None for all. Row groups without any of them are not read.
        columns: None for all.
        schema: what the file must have; None for any.

    Raises:
        MissingShardError, DamagedFileError: as `open_shard`, or a row group does not hold the rows of its images.
    """
    marker = read_marker(folder, part)
    images = marker.images if marker else ()
    names = None if wanted is None else set(wanted)
    with open_shard(folder, part, columns or (), schema) as file:
        for group, members in _row_groups(images):
            if members and (names is None or names.intersection(i for i, _ in members)):
                table = _empty(file, columns) if group is None else file.read_row_group(group, columns=columns)
                if table.num_rows != sum(rows for _, rows in members):
                    raise DamagedFileError(
                        f"{files.join(folder, part)}.parquet: row group {group} has other rows than its marker says{_COMPUTE_AGAIN}"
                    )
                cursor = 0
                for image_id, rows in members:
                    if names is None or image_id in names:
                        yield image_id, table.slice(cursor, rows)
                    cursor += rows


def _row_groups(images: Sequence[tuple[str, int]]) -> Iterator[tuple[int | None, list[tuple[str, int]]]]:
    """Groups images as ShardWriter does; the index is None for a group without rows, which no file holds."""
    group, members, rows = 0, [], 0
    for position, (image_id, count) in enumerate(images):
        members.append((image_id, count))
        rows += count
        if rows >= MIN_ROW_GROUP or position == len(images) - 1:
            yield (group if rows else None), members
            group += 1 if rows else 0
            members, rows = [], 0


def _empty(file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    table = file.schema_arrow.empty_table()
    return table if columns is None else table.select(list(columns))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
