"""Whether a run's files are what its markers and manifests say, and one digest of them all."""

import hashlib
from dataclasses import dataclass

from rcnn_dist.errors import ConfigError, DamagedFileError
from rcnn_dist.stages.record import read_record
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST, read_signed, sha256_of
from rcnn_dist.store.shards import read_markers


@dataclass(frozen=True, slots=True)
class Verification:
    """`digest` covers names and bytes of all Parquet and safetensors files of the run's current folders."""

    files: int
    digest: str
    damaged: list[str]


def verify_run(run_url: str) -> Verification:
    """Reads every result file of a run once.

    Raises:
        ConfigError: there is no run at that place.
    """
    record = read_record(run_url)
    if not record:
        raise ConfigError(f"{run_url} holds no run.json: give the directory of a run, its run.dir")
    hasher, damaged, count = hashlib.sha256(), [], 0
    for folder in [folder for stage in record.values() for folder in stage["folders"]]:
        url = files.join(run_url, folder)
        try:
            expected = _expected(url)
        except (DamagedFileError, FileNotFoundError) as error:
            damaged.append(f"{folder}: {error}")
            continue
        for name, sha256 in expected.items():
            count += 1
            hasher.update(f"{folder}/{name} {sha256}\n".encode())
            try:
                if sha256_of(files.join(url, name)) != sha256:
                    damaged.append(f"{folder}/{name}: its bytes are not those that were written; delete it and its marker and run again")
            except FileNotFoundError:
                damaged.append(f"{folder}/{name}: missing; delete its marker and run again")
    return Verification(count, hasher.hexdigest(), damaged)


def _expected(url: str) -> dict[str, str]:
    """File name -> sha256 as promised by the markers of a table, or by the manifest of models.

    Raises:
        FileNotFoundError: there is no manifest: the stage is not complete.
        DamagedFileError: a marker or the manifest is damaged, or they disagree.
    """
    manifest = read_signed(files.join(url, MANIFEST))
    if "files" in manifest:
        return {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    promised = {f"{entry['part']}.parquet": entry["sha256"] for entry in manifest["parts"]}
    marked = {f"{marker.part}.parquet": marker.sha256 for marker in read_markers(url)}
    if promised != marked:
        raise DamagedFileError("the manifest and the markers name different shards")
    return promised
