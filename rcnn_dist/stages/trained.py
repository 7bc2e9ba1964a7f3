"""A trained run, opened again from its directory alone: neither its data nor its features have to be there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_dist.config import RunConfig, make_config
from rcnn_dist.errors import ConfigError, MissingShardError
from rcnn_dist.evaluate.operating_points import score_at_precision
from rcnn_dist.stages.evaluate import OPERATING_POINTS
from rcnn_dist.stages.models import read_models_manifest
from rcnn_dist.stages.record import read_config, read_record
from rcnn_dist.store import files

__all__ = ["TrainedRun", "open_trained", "scores_at_precision"]


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """Where a run's models lie, which classes they are, and the configuration to detect with."""

    url: str
    config: RunConfig
    models: str  # folder, relative to the run
    classes: tuple[str, ...]
    finetuned: str | None  # url of the folder of the fine-tuned network


def open_trained(run_url: str, proposals: Mapping[str, Any] | None = None) -> TrainedRun:
    """Opens a run whose training has ended.

    The configuration is the one that its models were trained with, save for the section `detect`, which is the latest.

    Args:
        proposals: values to change in the section of that name.

    Raises:
        ConfigError: there is no run at that place.
        MissingShardError: it is not trained.
    """
    run_url = run_url.rstrip("/")
    record = read_record(run_url)
    if not record:
        raise ConfigError(f"{run_url} holds no run.json: give the directory of a run, its run.dir")
    folders = record["train"]["folders"] if "train" in record else []
    manifest = read_models_manifest(files.join(run_url, folders[0])) if folders else {"files": []}
    if not manifest["files"]:
        raise MissingShardError(f"{run_url} is not trained: rcnn-dist run {run_url}/config.yaml goes on with it")
    latest = read_config(run_url).model_dump(mode="json")
    tree = {**manifest["config"], "detect": latest["detect"], "run": {**manifest["config"]["run"], "dir": run_url}}
    tree["proposals"] |= proposals or {}
    tuned = record["finetune"]["folders"][0] if "finetune" in tree["run"]["stages"] else None
    classes = tuple(entry["class"] for entry in manifest["files"])
    return TrainedRun(run_url, make_config(tree, run_url), folders[0], classes, files.join(run_url, tuned) if tuned else None)


def scores_at_precision(trained: TrainedRun, precision: float) -> dict[str, float | None]:
    """The score from which on each evaluated class reached a precision on the run's test images; None where it never did.

    Raises:
        MissingShardError: the run has no evaluation, one without annotations, or one of other models.
    """
    url = files.join(trained.url, "evaluation", OPERATING_POINTS)
    try:
        found: dict[str, Any] = json.loads(files.read_bytes(url))
    except FileNotFoundError as error:
        raise MissingShardError(
            f"{trained.url} is not evaluated, so no precision is known: run its stage evaluate, or use --score"
        ) from error
    if found["models"] != trained.models:
        raise MissingShardError(
            f"{url} is about {found['models']}, but the run's models are {trained.models}: run the stages detect,evaluate, or use --score"
        )
    if not found["classes"]:
        raise MissingShardError(f"the test images of {trained.url} have no annotations, so no precision is known: use --score")
    points = {name: np.array(pairs, np.float64).reshape(-1, 2) for name, pairs in found["classes"].items()}
    return {name: score_at_precision(points[name], precision) for name in trained.classes if name in points}
