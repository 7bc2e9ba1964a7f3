"""What a run will cost, before it starts: images, regions, bytes, hours per stage, memory of a node.

Counts come from the data set where it lies here, else from the published sizes of ILSVRC2013. Seconds come from rates that are measured
on this machine in a moment, or given. Bytes of a table are told twice: those of its rows as they are, which follow from the counts, and
those of the files, if all rows compress as those of the first image here do.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.classify.linear_svm import fit_svm
from rcnn_dist.config import RunConfig
from rcnn_dist.data.ilsvrc_lists import N_CLASSES, TrainPart, parse_set
from rcnn_dist.data.images import decode_image, read_file
from rcnn_dist.data.shapes_ilsvrc import sample_jpeg
from rcnn_dist.detect.detector import score_regions
from rcnn_dist.errors import BadAnnotationError, ConfigError
from rcnn_dist.stages.proposal_sources import search
from rcnn_dist.stages.run import Run
from rcnn_dist.store import schema
from rcnn_dist.store.shards import stored_bytes
from rcnn_dist.store.tables import box_columns, make_table

# Paper, §4.1 and §4.2; fact sheet §13: images, objects per image of val and train, and proposals per image at width 500.
SIZES = {"val": 20_121, "val1": 9_887, "val2": 9_917, "val-blacklist": 19_804, "test": 40_152, "train": 395_909}
VAL_OBJECTS, TRAIN_OBJECTS = 55_502 / 20_121, 345_854
PROPOSALS = 2403
_TRIED = 4  # images that are measured
_FIXED = 45  # bytes of a row of features besides its layers: ids, size, box, flags, class, overlap
_PROPOSAL_BYTES = 32  # of a row of proposals
_REFITS = 3  # of a class: after the first wave, after the last, and one between
_FITTED_ROWS = 600  # of the measured refit
_READ_MB_S = 100  # of one core: features read, decoded and labelled
_PROCESS_MB = {"extract": 900, "train": 400, "driver": 800}  # with libraries; the last with Ray's own processes
_TRAINING = 3  # a step of fine-tuning, in forwards


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """What a split holds."""

    images: int
    searched: int  # images with proposals
    objects: int  # that become regions
    exact: bool  # counted, not taken from published sizes


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds of one core, or of one GPU where regions are forwarded on one, and bytes of a row in a compressed file."""

    decode_s: float  # an image
    propose_s: float  # an image
    region_s: float  # a region: warp and forward
    score_s: float  # a region for one class
    refit_s: float  # a class
    proposal_bytes: float
    region_bytes: float
    network_bytes: float  # in memory
    evaluate_s: float = 0.05  # a class; this and the next three were measured with 200 classes on 2 busy cores
    page_s: float = 0.27  # a class in the report
    task_s: float = 0.02  # a task of Ray's that does nothing
    start_s: float = 8.0  # the workers of a stage


@dataclass(frozen=True, slots=True)
class Fleet:
    gpus: int
    cpus: int
    nodes: int = 1


def count_split(run: Run, split: str) -> SplitCounts:
    """The images and objects of a split, counted where the data set is here.

    Raises:
        ConfigError: it is not, and the layout is none whose sizes are published.
    """
    if run.config.data.root is None:
        return _published(run, split)
    searched = objects = 0
    for image_id in run.image_ids(split):
        searched += run.dataset.exhaustive(image_id)
        try:
            found = run.dataset.objects(image_id) if split == "train" else None
        except BadAnnotationError:
            found = None
        objects += len(found.classes) if found else 0
    return SplitCounts(len(run.image_ids(split)), searched, objects, True)


def _published(run: Run, split: str) -> SplitCounts:
    if run.config.data.layout != "ilsvrc2013":
        raise ConfigError("data.root is not set: only of ILSVRC2013 the sizes are known; give the data set with --set data.root=PATH")
    searched = objects = partial = 0
    for part in parse_set(run.image_set(split)):
        if isinstance(part, TrainPart):
            partial += min(part.count * N_CLASSES, TRAIN_OBJECTS)  # one object per image: no more images than that
            objects += min(part.count * N_CLASSES, TRAIN_OBJECTS)
        else:
            searched += SIZES[part]
            objects += round(SIZES[part] * VAL_OBJECTS) if split == "train" else 0
    return SplitCounts(searched + partial, searched, objects, False)


def measure_rates(config: RunConfig, n_classes: int, images: list[bytes], proposals: int) -> tuple[Rates, dict[str, int]]:
    """Rates of this machine on some images, and the sizes of the network's layers; a network without weights here has random ones."""
    from rcnn_dist.features.extract import Extractor, ExtractParams, choose_device
    from rcnn_dist.features.networks import build_network

    network = build_network(replace(config.network, weights=None if config.network.weights == "auto" else config.network.weights))
    network_bytes = sum(parameter.nbytes for parameter in network.parameters())
    params = ExtractParams(config.extract.layers, config.extract.batch_size, config.extract.precision, config.warp)
    extractor = Extractor(network, params, choose_device())
    pictures = [decode_image(data) for data in images]
    searched = search(pictures[0], config.proposals)  # compiles
    boxes = searched[: min(proposals, 4 * config.extract.batch_size)]
    size = _classified(config, extractor.layer_sizes)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((_FITTED_ROWS, size), dtype=np.float32)
    halves = features.astype(np.float16)
    tried = max(1, n_classes)
    weights, biases = np.zeros((tried, size), np.float32), np.zeros(tried, np.float32)
    stored = extractor.extract(pictures[0], boxes)
    rates = Rates(
        _seconds(lambda: [decode_image(data) for data in images]) / len(images),
        _seconds(lambda: [search(picture, config.proposals) for picture in pictures]) / len(pictures),
        _seconds(lambda: extractor.extract(pictures[0], boxes)) / len(boxes),
        _seconds(lambda: score_regions(features, weights, biases)) / len(features) / tried,
        _seconds(lambda: fit_svm(halves[:10], halves[10:], config.classify, 20 / math.sqrt(size), np.zeros(len(halves)))),
        *_row_bytes(pictures[0], searched, boxes, stored),
        network_bytes=network_bytes,
    )
    return rates, extractor.layer_sizes


def _row_bytes(picture: Array, proposals: Array, boxes: Array, features: dict[str, Array]) -> tuple[float, float]:
    """Bytes of a row of proposals and of a row of features in their files."""

    def columns(rows: Array) -> dict[str, Any]:
        size = {"width": np.full(len(rows), picture.shape[1]), "height": np.full(len(rows), picture.shape[0])}
        return {"image_id": ["a"] * len(rows), "region": np.arange(len(rows)), **size, **box_columns(rows)}

    nothing = {"is_ground_truth": np.zeros(len(boxes), bool), "gt_class": [None] * len(boxes), "gt_iou": np.zeros(len(boxes))}
    table = schema.features_schema({layer: rows.shape[1] for layer, rows in features.items()})
    proposed = make_table(schema.PROPOSALS, columns(proposals))
    regions = make_table(table, {**columns(boxes), **nothing, **features})
    return stored_bytes(proposed) / len(proposals), stored_bytes(regions, tuple(features)) / len(boxes)


def sample_images(run: Run) -> list[bytes]:
    """The first test images where they are here, else generated ones of 500 x 375 pixels."""
    if run.config.data.root is None:
        return [sample_jpeg(seed) for seed in range(_TRIED)]
    split = run.splits[-1]
    return [read_file(run.dataset.image_url(image_id)) for image_id in run.image_ids(split)[:_TRIED]]


def estimate(run: Run, fleet: Fleet, rates: Rates, layers: dict[str, int], n_classes: int, per_image: int) -> dict[str, Any]:
    """Counts, bytes, hours per stage and memory.

    Args:
        layers: layer -> D, of the layers that are stored.
        per_image: proposals of an image.
    """
    config = run.config
    splits = {split: count_split(run, split) for split in run.splits}
    used = min(per_image, config.extract.max_proposals or per_image)
    regions = {split: c.objects + c.searched * used for split, c in splits.items()}
    row_bytes = sum(2 * size for size in layers.values()) + _FIXED
    stored = {split: regions[split] * row_bytes for split in splits if split in config.extract.splits}
    searched = sum(c.searched for c in splits.values())
    seconds = _stage_seconds(config, fleet, rates, splits, used, n_classes)
    seconds["train"] += sum(regions.values()) * row_bytes / 1e6 / _READ_MB_S / fleet.cpus
    seconds = {name: value for name, value in seconds.items() if name in config.run.stages}
    return {
        "splits": {split: asdict(counts) for split, counts in splits.items()},
        "regions": regions,
        "row_bytes": {"proposals": searched * per_image * _PROPOSAL_BYTES, "features": stored},
        "file_bytes": {
            "proposals": round(searched * per_image * rates.proposal_bytes),
            "features": {split: round(regions[split] * rates.region_bytes) for split in stored},
        },
        "hours": {name: value / 3600 for name, value in seconds.items()} | {"all": sum(seconds.values()) / 3600},
        "peak_memory_mb": _memory(config, fleet, layers, used, rates),
        "assumed": {"proposals_per_image": per_image, **asdict(fleet), "classes": n_classes},
    }


def _stage_seconds(
    config: RunConfig, fleet: Fleet, rates: Rates, splits: dict[str, SplitCounts], used: int, n_classes: int
) -> dict[str, float]:
    """Seconds of each stage; of training without those that its features take to be read."""
    train, test = splits["train"], splits.get("test", SplitCounts(0, 0, 0, True))
    mined = min(train.searched, config.mining.max_images or train.searched)
    forwarded = sum(_forwarded(c, used, config.extract.batch_size) for c in splits.values())
    decoded = sum(c.images for c in splits.values()) * rates.decode_s / fleet.cpus
    refits = n_classes * (_REFITS * rates.refit_s / fleet.cpus + (_REFITS + 1) * rates.task_s)
    seconds = {
        "propose": sum(c.searched for c in splits.values()) * (rates.propose_s + rates.decode_s) / fleet.cpus,
        "finetune": config.finetune.iterations * config.finetune.batch_size * _TRAINING * rates.region_s,
        "extract": max(forwarded * rates.region_s / (fleet.gpus or fleet.cpus), decoded),
        "train": mined * used * n_classes * rates.score_s / fleet.cpus + refits,
        "detect": test.searched * used * n_classes * rates.score_s / fleet.cpus,
    }
    seconds = {name: value + rates.start_s for name, value in seconds.items()}
    return seconds | {"evaluate": n_classes * rates.evaluate_s, "report": n_classes * rates.page_s}


def _memory(config: RunConfig, fleet: Fleet, layers: dict[str, int], used: int, rates: Rates) -> dict[str, float]:
    """Megabytes at most of a worker of each kind, libraries included, and of a node where all of them work.

    A CPU keeps a network's weights in two orders. A scan holds the wanted rows twice, a refit its own, and which those are is not known.
    """
    row, task_images = 2 * _classified(config, layers), min(config.mining.wave_images, config.run.shard_images)
    extracting = _PROCESS_MB["extract"] + 3 * used * sum(layers.values()) * 4 / 1e6 + 2 * rates.network_bytes / 1e6
    refit = _PROCESS_MB["train"] + 2 * (_FITTED_ROWS + config.mining.retrain_after * 4) * row / 1e6
    scan = _PROCESS_MB["train"] + (2 * task_images + 4) * used * row / 1e6
    cores, scans = math.ceil(fleet.cpus / fleet.nodes), math.ceil(config.mining.wave_images / task_images) + 1  # shards of a wave
    largest = math.ceil((fleet.gpus or fleet.cpus) / fleet.nodes) * extracting
    found = {"an extracting worker": extracting}
    if "train" in config.run.stages:
        found |= {"a refit": refit, "a scan": scan}
        largest = max(largest, cores * refit, min(cores, scans) * scan)
    return found | {"a node": largest + _PROCESS_MB["driver"]}


def _classified(config: RunConfig, layers: dict[str, int]) -> int:
    """D of the layer that SVMs see; without training the widest stands for it."""
    return layers.get(config.classify.layer) or max(layers.values())


def _forwarded(counts: SplitCounts, proposals: int, batch: int) -> int:
    """Rows of all forwards: each image fills up its last batch, and one with ground truth alone has one batch."""
    own = proposals + math.ceil(counts.objects / max(1, counts.images))
    return (counts.searched * math.ceil(own / batch) + counts.images - counts.searched) * batch


def _seconds(work: Callable[[], Any]) -> float:
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
