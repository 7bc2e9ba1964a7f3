"""`run.json`: which folder each stage of a run uses now, and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rcnn_dist.config import RunConfig, parse_config
from rcnn_dist.errors import ConfigError
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST, read_signed, write_signed

__all__ = ["features_folder"]

RECORD = "run.json"
CONFIG = "config.yaml"


@dataclass(frozen=True, slots=True)
class StageCost:
    """Wall seconds over all attempts, and what the manifests of the stage's tables add up to."""

    name: str
    seconds: float
    images: int
    failures: tuple[dict[str, str], ...]  # image_id, stage, reason, split
    workers: int
    phases: dict[str, float]


def read_record(run_url: str) -> dict[str, Any]:
    """Stage name -> {"folders", "seconds"}; empty before the first stage ended."""
    try:
        stages: dict[str, Any] = read_signed(files.join(run_url, RECORD))["stages"]
    except FileNotFoundError:
        return {}
    return stages


def read_config(run_url: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration that a run had last, with changes, for the run where it lies now.

    Raises:
        ConfigError: there is no run at that place.
    """
    url = files.join(run_url, CONFIG)
    try:
        text = files.read_bytes(url).decode()
    except FileNotFoundError as error:
        raise ConfigError(f"{run_url} holds no {CONFIG}: give the directory of a run, its run.dir") from error
    config = parse_config(text, url, overrides)
    return config.model_copy(update={"run": replace(config.run, dir=run_url.rstrip("/"))})


def features_folder(run_url: str, split: str = "train") -> str:
    """Where the features of a run's split lie now, for `store.query`.

    Raises:
        ConfigError: there is no run at that place, or it has no features of that split.
    """
    folders = [folder for folder in read_record(run_url).get("extract", {}).get("folders", ()) if folder.split("/")[-1] == split]
    if not folders:
        raise ConfigError(f"{run_url} has no features of {split} images: give the directory of a run whose stage extract has ended")
    return files.join(run_url, folders[0])


def record_stage(run: Run, name: str, folders: Sequence[str], seconds: float) -> None:
    """Notes the folders that a stage wrote or found, relative to the run; adds the seconds of a resumed one."""
    stages = read_record(run.url)
    relative = [run.relative(folder) for folder in folders]
    before = stages.get(name, {})
    earlier = before.get("seconds", 0.0) if before.get("folders") == relative else 0.0
    stages[name] = {"folders": relative, "seconds": round(earlier + seconds, 3)}
    write_signed(files.join(run.url, RECORD), {"stages": stages})


def stage_costs(run_url: str) -> tuple[StageCost, ...]:
    """What each recorded stage did."""
    costs = []
    for name, entry in read_record(run_url).items():
        manifests = [m for folder in entry["folders"] if (m := _manifest(files.join(run_url, folder)))]
        phases = [m["seconds"] for m in manifests]
        failures = [{**f, "split": m["split"]} for m in manifests for f in m.get("failures", ())]
        costs.append(
            StageCost(
                name,
                entry["seconds"],
                sum(m["images"] for m in manifests),
                tuple(failures),
                len({w for m in manifests for w in m["workers"]}),
                {phase: sum(p.get(phase, 0.0) for p in phases) for phase in sorted({k for p in phases for k in p})},
            )
        )
    return tuple(costs)


def _manifest(folder: str) -> dict[str, Any] | None:
    try:
        return read_signed(files.join(folder, MANIFEST))
    except FileNotFoundError:
        return None
