"""Several runs side by side, from the files that their evaluation wrote."""

import json
from collections.abc import Sequence
from typing import Any

from rcnn_dist.errors import ConfigError
from rcnn_dist.stages.evaluate import ERRORS, METRICS
from rcnn_dist.stages.record import stage_costs
from rcnn_dist.store import files


def compare_runs(urls: Sequence[str]) -> dict[str, Any]:
    """Run -> AP by class, mAP, false positives by kind, mAP that each kind costs, missed objects by cause, seconds by stage.

    The AP variant is that of the first run. What a run does not have is None: a class, or an analysis of an older version's evaluation.

    Raises:
        ConfigError: a run has no evaluation with an AP, a run is given twice, or the runs were judged by different test sets.
    """
    urls = [url.rstrip("/") for url in urls]
    if len(set(urls)) < len(urls):
        raise ConfigError("a run is given twice: give each run once")
    metrics = {url: _read(url, METRICS) for url in urls}
    for url, one in metrics.items():
        if one is None or "mAP" not in one:
            raise ConfigError(f"{url} has no evaluation with an AP: run its stage evaluate, on annotated test images")
        for name in ("data", "split", "images", "min_iou"):
            if one[name] != metrics[urls[0]][name]:
                raise ConfigError(f"{url} was judged with {name} {one[name]}, {urls[0]} with {metrics[urls[0]][name]}: not comparable")
    first = metrics[urls[0]]
    classes = list(dict.fromkeys(name for one in metrics.values() for name in one["classes"]))
    return {
        "data": f"{first['data']} {first['split']}",
        "variant": first["variant"],
        "classes": classes,
        "runs": {url: _column(url, one, classes, first["variant"]) for url, one in metrics.items()},
    }


def _column(url: str, metrics: dict[str, Any], classes: Sequence[str], variant: str) -> dict[str, Any]:
    errors = _read(url, ERRORS) or {}
    kinds: dict[str, int] = {}
    for one in errors.get("modes", {}).values():
        for kind, count in one["false_positives"].items():
            kinds[kind] = kinds.get(kind, 0) + count
    costs = {name: cost["mAP_gain"] for name, cost in errors.get("cost", {}).items() if name != "variant"}
    return {
        "ap": {name: metrics["ap"].get(name, {}).get(variant) for name in classes},
        "mAP": metrics["mAP"][variant],
        "mAP_without_regression": metrics["mAP_without_regression"][variant],
        "false_positives": kinds,
        "mAP_gain": costs,
        "missed": (errors.get("missed") or {}).get("causes", {}),
        "seconds": {cost.name: cost.seconds for cost in stage_costs(url)},
    }


def _read(url: str, name: str) -> Any:
    try:
        return json.loads(files.read_bytes(files.join(url, "evaluation", name)))
    except FileNotFoundError:
        return None
