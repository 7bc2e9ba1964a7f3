"""Which numbers a configuration may hold."""

import math
from collections.abc import Callable
from typing import Any

from rcnn_dist.errors import ConfigError

_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "1 or more": (
        lambda value: value >= 1,
        "run.shard_images data.max_pixels network.input_size extract.max_proposals extract.batch_size scaling.max_images "
        "scaling.max_regions classify.max_epochs mining.wave_images mining.max_images detect.max_per_image detect.max_per_set_per_image "
        "detect.max_per_set runtime.workers runtime.gpu_workers "
        "runtime.threads_per_worker finetune.iterations finetune.batch_size finetune.cut_every finetune.checkpoint_every "
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
        "scaling.target_norm classify.cost classify.positive_weight classify.bias_scale classify.tolerance runtime.image_timeout_s "
        "runtime.worker_memory_gb svr.cost svr.tolerance segment.background_step",
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
