"""Segmentation accuracy on generated sets: the run's methods, beside regressors on colour histograms, chance, and background alone.

Colour histograms: 64 bins of the mask's pixels in place of a network's features; all else, regressors and pasting, is the run's own.
Chance: the same with the overlaps dealt out among the regions anew.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.config import load_config
from rcnn_dist.data.images import read_image
from rcnn_dist.data.shapes import ShapesParams, generate_shapes
from rcnn_dist.driver import find_config, run_stages
from rcnn_dist.proposals.masks import decode_mask
from rcnn_dist.segment.accuracy import count_confusion, segmentation_accuracy
from rcnn_dist.segment.paste import best_segments
from rcnn_dist.segment.svr import FeatureRows, fit_svrs
from rcnn_dist.stages import masks, svr
from rcnn_dist.stages.pasted import Ranked, find_backgrounds, paste_images, read_ranked
from rcnn_dist.stages.run import Run
from rcnn_dist.store.shards import read_images
from rcnn_dist.store.tables import lists_of

_BASELINES = ("colour histogram", "chance")
_BACKGROUND = "background alone"


def run(seeds: int, images: Mapping[str, int], config: str, overrides: list[str]) -> dict[str, Any]:
    """Method -> mean accuracy on the set of each seed, and their mean and standard deviation."""
    accuracy: dict[str, list[float]] = {}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            generate_shapes(folder, ShapesParams(images=images, seed=seed))
            place = [f"data.root={folder}", f"run.dir={Path(folder) / 'run'}"]
            finished = run_stages(load_config(find_config(config), [*place, *overrides]))
            for name, value in _measure(finished).items():
                accuracy.setdefault(name, []).append(value)
    table = {name: {"mean": float(np.mean(v)), "std": float(np.std(v)), "accuracy": v} for name, v in accuracy.items()}
    return {"seeds": seeds, "images": dict(images), "config": config, "overrides": overrides, "methods": table}


def lines(figures: dict[str, Any]) -> list[str]:
    train, test = figures["images"].values()
    head = f"mean accuracy in percent on {figures['seeds']} generated sets of {train} training and {test} test images"
    rows = figures["methods"].items()
    return [
        head,
        *(f"{n:18} {100 * f['mean']:5.1f} +- {100 * f['std']:.1f}  {[round(100 * v, 1) for v in f['accuracy']]}" for n, f in rows),
    ]


def _measure(run: Run) -> dict[str, float]:
    ranked = read_ranked(run)
    for name, found in _baselines(run).items():
        for image_id, best in found.items():
            ranked.setdefault(image_id, {})[name] = best
    names = [*(method.name for method in svr.methods(run)), *_BASELINES]
    size = len(run.classes) + 1
    confusion = {name: np.zeros((size, size), np.int64) for name in [*names, _BACKGROUND]}
    for image in paste_images(run, ranked, find_backgrounds(run.config.segment, names, ranked)):
        if image.truth is not None:
            for name, labels in {**image.maps, _BACKGROUND: np.zeros_like(image.truth.class_map)}.items():
                confusion[name] += count_confusion(image.truth.class_map, labels, size)
    return {name: segmentation_accuracy(counts).mean for name, counts in confusion.items()}


@dataclass(frozen=True, slots=True)
class _Histograms:
    """The regions of one image: features float32 [R, 64], overlaps float32 [R, C], and which are the best of an object."""

    image_id: str
    features: Array
    overlaps: Array
    is_best: Array


def _baselines(run: Run) -> dict[str, dict[str, Ranked]]:
    """Baseline -> image id -> the best regions."""
    train, test = (list(_histograms(run, split)) for split in ("train", "test"))
    features = np.concatenate([image.features[rows] for image in train for rows in (slice(None), image.is_best)])
    overlaps = np.concatenate([image.overlaps[rows] for image in train for rows in (slice(None), image.is_best)])
    scale = np.full(features.shape[1], 1 / np.linalg.norm(features.astype(np.float64), axis=1).mean())
    found = {}
    for name in _BASELINES:
        dealt = overlaps if name != "chance" else np.random.default_rng(0).permutation(overlaps)
        mean = dealt.mean(axis=0)
        weights = fit_svrs(FeatureRows([features], scale), dealt - mean, run.config.svr).weights * scale
        found[name] = {image.image_id: _ranked(image.features @ weights.T + mean, run.config.segment.segments) for image in test}
    return found


def _ranked(scores: Array, number: int) -> Ranked:
    rows, classes = best_segments(scores, number)
    return Ranked(rows, classes, scores[rows, classes])


def _histograms(run: Run, split: str) -> Iterator[_Histograms]:
    stage, data = masks.MasksStage(run), run.config.data
    for task in stage.tasks(split):
        for image_id, table in read_images(stage.folder(split), task.part):
            image = read_image(run.dataset.image_url(image_id), data.max_pixels, data.exif_rotation)
            bins = (image // 64).astype(np.int64) @ np.array([16, 4, 1])
            flipped = np.asarray(table["is_mirrored"])
            rows = zip(lists_of(table, "counts"), flipped, strict=True)
            pixels = [(bins[:, ::-1] if mirrored else bins)[decode_mask(counts, *bins.shape)] for counts, mirrored in rows]
            shares = np.array([np.bincount(inside, minlength=64) / max(1, len(inside)) for inside in pixels]).reshape(-1, 64)
            overlaps = np.array(lists_of(table, "overlap")).reshape(table.num_rows, len(run.classes))
            yield _Histograms(image_id, np.sqrt(shares).astype(np.float32), overlaps, np.asarray(table["is_best"]))
