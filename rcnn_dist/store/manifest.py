"""Markers and manifests: the JSON files that say what is complete.

A marker `_done/part-00000.json` says that one shard is whole; `_manifest.json` says that a table is. Both carry a digest of
themselves, so a damaged one cannot be taken for a promise.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rcnn_dist.errors import DamagedFileError
from rcnn_dist.store import files

MANIFEST = "_manifest.json"
MARKERS = "_done"


@dataclass(frozen=True, slots=True)
class ImageFailure:
    """One image that a stage could not use."""

    image_id: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Marker:
    """What one published shard holds.

    `images` are (image id, rows) in file order; planned images = images + failures.
    """

    part: str
    rows: int
    bytes: int
    sha256: str
    images: tuple[tuple[str, int], ...]
    failures: tuple[ImageFailure, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    worker: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    finished: float = 0.0  # Unix time


def fingerprint(*parts: Any) -> str:
    """Eight hex digits that change when any part does; parts are JSON values (tuples count as lists)."""
    return hashlib.sha256(_canonical(parts)).hexdigest()[:8]


def sha256_of(url: str) -> str:
    return hashlib.sha256(files.read_bytes(url)).hexdigest()


def write_marker(folder: str, marker: Marker) -> None:
    """Publishes the marker of a shard; of two workers that wrote the same shard the first marks it."""
    url = files.join(folder, MARKERS, f"{marker.part}.json")
    with files.scratch_file(url) as scratch:
        scratch.write_bytes(signed_bytes(asdict(marker)))
        files.publish(scratch, url)


def read_marker(folder: str, part: str) -> Marker | None:
    """The marker of a shard, None where the shard is not complete.

    Raises:
        DamagedFileError: the marker's digest or fields do not fit.
    """
    url = files.join(folder, MARKERS, f"{part}.json")
    try:
        content = read_signed(url)
    except FileNotFoundError:
        return None
    try:
        images = tuple((str(i), int(n)) for i, n in content.pop("images"))
        failures = tuple(ImageFailure(**failure) for failure in content.pop("failures"))
        return Marker(images=images, failures=failures, **content)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{url}: fields of another version ({error}); delete it and run the same command again") from error


def write_signed(url: str, content: Mapping[str, Any]) -> None:
    """Writes a JSON object with a digest of itself."""
    files.write_bytes(url, signed_bytes(content))


def read_signed(url: str) -> dict[str, Any]:
    """Reads what `write_signed` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it is no JSON object, or not byte for byte what `write_signed` writes for its content.
    """
    try:
        data = files.read_bytes(url)
        content = json.loads(data)
        del content["digest"]
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedFileError(f"{url}: not a marker or manifest ({error}); delete it and run the same command again") from error
    if signed_bytes(content) != data:
        raise DamagedFileError(f"{url}: its digest does not fit its content; delete it and run the same command again")
    return dict(content)


def signed_bytes(content: Mapping[str, Any]) -> bytes:
    """A JSON object with a digest of itself, one line per key."""
    signed = {**content, "digest": hashlib.sha256(_canonical(content)).hexdigest()}
    lines = [b'"%s": %s' % (key.encode(), json.dumps(signed[key], sort_keys=True).encode()) for key in sorted(signed)]
    return b"{\n%s\n}\n" % b",\n".join(lines)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
