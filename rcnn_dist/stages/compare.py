"""Several runs side by side, from the files that their evaluation wrote."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from rcnn_dist.errors import ConfigError
from rcnn_dist.evaluate.bootstrap import draw_images, interval, mean_ap_difference, resampled_ap
from rcnn_dist.evaluate.voc import Variant
from rcnn_dist.stages.errors import json_number
from rcnn_dist.stages.evaluate import ERRORS, METRICS
from rcnn_dist.stages.ranked import RANKED, load_ranked
from rcnn_dist.stages.record import stage_costs
from rcnn_dist.store import files

_SEED = 0


def compare_runs(urls: Sequence[str], resamples: int = 1000) -> dict[str, Any]:
    """Run -> AP by class, mAP, false positives by kind, mAP that each kind costs, missed objects by cause, seconds by stage.

    The AP variant is that of the first run. What a run does not have is None: a class, or an analysis of an older version's evaluation.
    `against_first` of each further run is the difference of its mAP to the first's over the classes that both have, and the interval
    of 95% of that difference over as many draws of the test images as `resamples` says (0: none).

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
        if (variant := metrics[urls[0]]["variant"]) not in one["mAP"]:
            raise ConfigError(f"{url} has no AP {variant}: name another run first, or evaluate it again with that evaluate.variant")
    first = metrics[urls[0]]
    classes = list(dict.fromkeys(name for one in metrics.values() for name in one["classes"]))
    differences = _differences(urls, first["variant"], resamples) if resamples else {}
    return {
        "data": f"{first['data']} {first['split']}",
        "variant": first["variant"],
        "classes": classes,
        "resamples": resamples,
        "runs": {
            url: _column(url, one, classes, first["variant"]) | {"against_first": differences.get(url)} for url, one in metrics.items()
        },
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


def _differences(urls: Sequence[str], variant: Variant, resamples: int) -> dict[str, dict[str, float | None]]:
    """Of each further run with what is needed for it; all see the same draws of images."""
    judged = {url: found for url in urls if (found := load_ranked(files.join(url, "evaluation", RANKED), variant))}
    if urls[0] not in judged:
        return {}
    first = judged.pop(urls[0])
    everything = np.ones((1, first.n_images), np.int64)
    copies = np.concatenate([everything, draw_images(first.n_images, resamples, np.random.default_rng(_SEED))])
    ap_of_first = {name: resampled_ap(ranked, copies, variant) for name, ranked in first.classes.items()}
    differences = {}
    for url, other in judged.items():
        if other.image_ids_sha256 != first.image_ids_sha256:
            raise ConfigError(f"{url} was judged by other images than {urls[0]}, though as many: not comparable")
        both = [name for name in ap_of_first if name in other.classes]
        ap = {name: resampled_ap(other.classes[name], copies, variant) for name in both}
        whole, *drawn = mean_ap_difference(*(np.array([one[name] for name in both]).reshape(len(both), -1) for one in (ap_of_first, ap)))
        low, high = interval(np.array(drawn))
        differences[url] = {"mAP": json_number(float(whole)), "low": json_number(low), "high": json_number(high)}
    return differences


def _read(url: str, name: str) -> Any:
    try:
        return json.loads(files.read_bytes(files.join(url, "evaluation", name)))
    except FileNotFoundError:
        return None
