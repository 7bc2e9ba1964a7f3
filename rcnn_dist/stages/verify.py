"""Whether a run's files are what its plans, markers and manifests say, and one digest of them all."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from rcnn_dist.errors import ConfigError, DamagedFileError
from rcnn_dist.stages.plan import Plan, read_plan
from rcnn_dist.stages.record import read_record
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST, Marker, read_signed, sha256_of
from rcnn_dist.store.shards import part_name, read_markers


@dataclass(slots=True)
class Verification:
    """`digest` covers names and bytes of all Parquet and safetensors files of the run's current folders.

    Where nothing is damaged or unfinished, images == images_with_rows + failures, summed over the tables.
    """

    files: int = 0
    digest: str = ""
    images: int = 0  # planned
    images_with_rows: int = 0  # in a shard, also where the shard has no rows of them
    failures: int = 0
    damaged: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


def verify_run(run_url: str) -> Verification:
    """Reads every result file of a run once.

    Raises:
        ConfigError: there is no run at that place.
    """
    try:
        record = read_record(run_url)
    except DamagedFileError as error:
        return Verification(damaged=[str(error)])
    if not record:
        raise ConfigError(f"{run_url} holds no run.json: give the directory of a run, its run.dir")
    found, hasher = Verification(), hashlib.sha256()
    for folder in [folder for stage in record.values() for folder in stage["folders"]]:
        try:
            expected = _expected(files.join(run_url, folder), folder, found)
        except DamagedFileError as error:
            found.damaged.append(f"{folder}: {error}")
            continue
        for name, sha256 in expected.items():
            found.files += 1
            hasher.update(f"{folder}/{name} {sha256}\n".encode())
            problem = _file_problem(files.join(run_url, folder, name), sha256)
            if problem:
                found.damaged.append(f"{folder}/{name}: {problem}")
    found.digest = hasher.hexdigest()
    return found


def _file_problem(url: str, sha256: str) -> str | None:
    try:
        if sha256_of(url) != sha256:
            return "its bytes are not those that were written; delete it and its marker and run again"
    except FileNotFoundError:
        return "missing; delete its marker and run again"
    return None


def _expected(url: str, folder: str, found: Verification) -> dict[str, str]:
    """File name -> sha256 as promised by the markers of a table, or by the manifest of models.

    Raises:
        DamagedFileError: a marker or the manifest is damaged, or they disagree.
    """
    try:
        manifest = read_signed(files.join(url, MANIFEST))
    except FileNotFoundError:
        manifest = {}
    if "files" in manifest:
        return {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    markers, plan = read_markers(url), read_plan(url)
    marked = {f"{marker.part}.parquet": marker.sha256 for marker in markers}
    if manifest and {f"{entry['part']}.parquet": entry["sha256"] for entry in manifest["parts"]} != marked:
        raise DamagedFileError("the manifest and the markers name different shards; delete the manifest and run again")
    if plan:
        found.damaged += [f"{folder}/{problem}" for problem in _compare(plan, markers, bool(manifest))]
        found.images += plan.images
    elif manifest:
        found.damaged.append(f"{folder}: its plan is missing; run the same command again, which writes it")
    found.images_with_rows += sum(len(marker.images) for marker in markers)
    found.failures += sum(len(marker.failures) for marker in markers)
    if not manifest:
        done = f"{len(markers)} of {len(plan.shards)} shards" if plan else "nothing"
        found.unfinished.append(f"{folder}: not complete, {done} done; the same command goes on")
    return marked


def _compare(plan: Plan, markers: list[Marker], whole: bool) -> list[str]:
    """What the shards have that the plan does not, and the other way round."""
    planned = {part_name(i): ids for i, ids in enumerate(plan.shards)}
    present = {marker.part: [i for i, _ in marker.images] + [f.image_id for f in marker.failures] for marker in markers}
    problems = [f"{part}: not in the plan" for part in present if part not in planned]
    for part, ids in planned.items():
        if part not in present:
            problems += [f"{part}: planned and not there, although the manifest stands"] if whole else []
            continue
        counts = Counter(present[part])
        problems += [f"{part}: image {i} is neither in the shard nor a failure" for i in ids if not counts[i]]
        problems += [f"{part}: image {i} is there {n} times" for i, n in counts.items() if n > 1]
        problems += [f"{part}: image {i} is not planned" for i in counts if i not in set(ids)]
    return problems
