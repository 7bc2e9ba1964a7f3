"""Which numbers a configuration may hold, and which sections fit each other."""

import math
from collections.abc import Callable
from typing import Any

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks import network_layers

_OF_ONE_SPLIT = frozenset({"propose", "finetune", "extract", "train", "masks", "regions", "svr"})  # stages that work without test images
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "1 or more": (
        lambda value: value >= 1,
        "run.shard_images data.max_pixels network.input_size extract.max_proposals extract.batch_size scaling.max_images "
        "scaling.max_regions scaling.block_classes classify.max_epochs mining.wave_images mining.max_images detect.max_per_image "
        "detect.max_per_set_per_image detect.max_per_set runtime.workers runtime.gpu_workers "
        "runtime.threads_per_worker runtime.shards_at_once "
        "finetune.iterations finetune.batch_size finetune.cut_every finetune.checkpoint_every finetune.workers "
        "pretrain.iterations pretrain.batch_size pretrain.cut_every pretrain.stretch pretrain.workers pretrain.checkpoint_every "
        "pretrain.loader_threads masks.max_regions svr.max_steps svr.classes_per_task segment.segments",
    ),
    "0 or more": (
        lambda value: value >= 0,
        "run.max_failed_images warp.context_padding mining.retrain_after regress.ridge regress.whitening_epsilon "
        "runtime.gpus_per_worker runtime.start_timeout_s finetune.learning_rate finetune.weight_decay finetune.bias_rate "
        "finetune.new_layer_rate finetune.image_cache_mb pretrain.learning_rate pretrain.warmup pretrain.weight_decay pretrain.bias_rate "
        "svr.epsilon segment.margin segment.most_per_image",
    ),
    "a number above 0": (
        lambda value: 0 < value < math.inf,
        "scaling.target_norm scaling.weights_gb classify.cost classify.positive_weight classify.bias_scale classify.tolerance "
        "runtime.image_timeout_s runtime.worker_memory_gb svr.cost svr.tolerance segment.background_step",
    ),
    "a number from 0 to 1": (
        lambda value: 0 <= value <= 1,
        "run.max_failed_fraction mining.negative_iou regress.min_iou detect.nms_threshold evaluate.min_iou "
        "mining.positive_iou finetune.foreground_fraction finetune.foreground_iou finetune.background_iou finetune.cut "
        "finetune.momentum finetune.dropout pretrain.cut pretrain.momentum pretrain.dropout pretrain.label_smoothing",
    ),
}


def check_ranges(config: Any, source: str) -> None:
    """Refuses numbers that no stage can work with, before one has started.

    Raises:
        ConfigError: names the key, what was found and what is allowed.
    """
    for wanted, (fits, keys) in _RANGES.items():
        for key in keys.split():
            section, name = key.split(".")
            value = getattr(getattr(config, section), name)
            if value is not None and not fits(value):
                raise ConfigError(f"{source}: {key} is {value}, {wanted} is wanted")


def check_sections(config: Any, source: str) -> None:
    """Refuses sections that do not fit each other."""
    untested = [stage for stage in config.run.stages if stage not in _OF_ONE_SPLIT]
    if config.data.test is None and untested:
        raise ConfigError(f"{source}: the stage {untested[0]} needs test images: set data.test, or run.stages without it")
    if config.proposals.source == "precomputed" and not config.proposals.precomputed.files:
        raise ConfigError(f"{source}: proposals.precomputed.files is empty: name the Parquet or .mat files that hold the boxes")
    if config.finetune.background_iou > config.finetune.foreground_iou:
        raise ConfigError(f"{source}: finetune.background_iou is above finetune.foreground_iou: windows between them would be both")
    if outside := [name for name, value in config.detect.nms_by_class.items() if not 0 <= value <= 1]:
        raise ConfigError(f"{source}: detect.nms_by_class.{outside[0]} is no number from 0 to 1")
    if "masks" in config.run.stages and config.data.classes is None:
        raise ConfigError(f"{source}: masks hold numbers for classes: set data.classes, the names in the order of their numbers")
    if config.masks.source == "precomputed" and not config.masks.files:
        raise ConfigError(f"{source}: masks.files is empty: name the folders or JSON files that hold the masks")
    if "scale" in config.run.stages and not (config.scaling.classes and min(config.scaling.classes) > 0):
        raise ConfigError(f"{source}: the stage scale needs scaling.classes, for example [20, 200, 1000, 10000, 100000]")
    if "scale" in config.run.stages and "test" not in config.extract.splits:
        raise ConfigError(f"{source}: the stage scale reads features of the test images: add test to extract.splits")
    tuning = config.finetune
    if tuning.batch_size % tuning.workers:
        raise ConfigError(f"{source}: finetune.batch_size {tuning.batch_size} cannot be shared by {tuning.workers} workers")
    if tuning.workers > 1 and "finetune" in config.run.stages and config.runtime.executor == "in_process":
        raise ConfigError(f"{source}: finetune.workers is {tuning.workers}: in one process there is one; set runtime.executor to ray")
    if "train" not in config.run.stages:
        return
    if config.classify.method == "softmax":
        _check_softmax(config, source)
    layers = config.extract.layers
    wanted = {"classify.layer": config.classify.layer} | ({"regress.layer": config.regress.layer} if config.regress.enabled else {})
    for key, layer in wanted.items():
        if layer not in layers:
            raise ConfigError(f"{source}: {key} is '{layer}', which extract.layers {list(layers)} does not store; add it there")


def _check_softmax(config: Any, source: str) -> None:
    """Refuses the softmax as detector where there is none."""
    last = network_layers(config.network)[-1]
    if "finetune" not in config.run.stages:
        raise ConfigError(f"{source}: classify.method softmax needs a fine-tuned network: add finetune to run.stages")
    if config.classify.layer != last:
        raise ConfigError(f"{source}: classify.method softmax scores the network's last layer: set classify.layer to '{last}'")
    if config.train.classes is not None:
        raise ConfigError(f"{source}: classify.method softmax has all classes or none: remove train.classes")
