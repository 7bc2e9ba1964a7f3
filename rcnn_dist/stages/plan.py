"""The plan of a table: which images each shard holds and all that shapes their rows, written before the work starts.

`_plan.json` is what a table is checked against, and what tells why another configuration has another folder.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from rcnn_dist.errors import DamagedFileError
from rcnn_dist.store import files
from rcnn_dist.store.manifest import read_signed, signed_bytes

PLAN = "_plan.json"


@dataclass(frozen=True, slots=True)
class Plan:
    stage: str
    version: int
    folder: str
    split: str
    inputs: Mapping[str, Any]  # what the fingerprint in the folder's name was made of
    shards: tuple[tuple[str, ...], ...]  # image ids in order

    @property
    def images(self) -> int:
        return sum(len(shard) for shard in self.shards)


def read_plan(folder: str) -> Plan | None:
    """The plan of a table, None where no work on it has started.

    Raises:
        DamagedFileError: the file is not a plan.
    """
    url = files.join(folder, PLAN)
    try:
        content = read_signed(url)
    except FileNotFoundError:
        return None
    try:
        return Plan(**{**content, "shards": tuple(tuple(shard) for shard in content["shards"])})
    except (KeyError, TypeError) as error:
        raise DamagedFileError(f"{url}: fields of another version ({error}); delete it and run the same command again") from error


def write_plan(folder: str, plan: Plan) -> None:
    """Writes the plan of a table once.

    Raises:
        DamagedFileError: the table was planned with other images.
    """
    url, planned = files.join(folder, PLAN), signed_bytes({field.name: getattr(plan, field.name) for field in fields(plan)})
    try:
        found = files.read_bytes(url)
    except FileNotFoundError:
        files.write_bytes(url, planned)
        return
    other = None if found == planned else read_plan(folder)
    if other and other.folder != plan.folder:
        raise DamagedFileError(f"{url} was written for '{other.folder}' but lies in '{plan.folder}': move the folder back or delete it")
    if other:
        raise DamagedFileError(f"{url} is the plan of other images: move {folder} away and run the same command again")


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Every field that differs, as `extract.max_proposals: 60 -> 50`."""
    old, new = dict(_flat(before)), dict(_flat(after))
    names = [name for name in {**old, **new} if old.get(name, _ABSENT) != new.get(name, _ABSENT)]
    return [f"{name}: {old.get(name, _ABSENT)} -> {new.get(name, _ABSENT)}" for name in names]


_ABSENT = "not set"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value
