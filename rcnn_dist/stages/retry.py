"""Forgetting shards so that the next run computes them again: those with failed images, and all that was made from them."""

from collections.abc import Sequence

from rcnn_dist.stages import detect, extract, finetune, masks, propose, regions, segment, svr, train
from rcnn_dist.stages.base import ShardStage
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST
from rcnn_dist.store.shards import forget_shards, read_markers


def forget_failures(run: Run) -> dict[str, int]:
    """Forgets every shard with a failed image; stage -> number of shards that have to be computed again.

    Models that were trained without those images, a network that was fine-tuned without them, and all that was computed with such models
    or such a network, are forgotten too. What depends on others goes first, so that a stop in between leaves a run that is whole.
    """
    if masks.NAME in run.config.run.stages:
        return _forget_segmentation(run)
    table_stages: list[ShardStage] = [detect.DetectStage(run), extract.ExtractStage(run), propose.ProposeStage(run)]
    stages = [stage for stage in table_stages if stage.name in run.config.run.stages]
    failed = {(stage.name, split): _failed_parts(stage.folder(split)) for stage in stages for split in stage.splits}
    counts: dict[str, int] = {}
    if failed.get((propose.NAME, "train")) and finetune.NAME in run.config.run.stages:
        counts[finetune.NAME] = 1
        failed |= {(s.name, split): _all_parts(s, split) for s in stages if s.name == extract.NAME for split in s.splits}
    if failed.get((extract.NAME, "train")) and train.NAME in run.config.run.stages:
        if detect.NAME in run.config.run.stages:
            failed[detect.NAME, "test"] = _all_parts(stages[0], "test")
        counts[train.NAME] = len(train.chosen_classes(run))
    for stage in stages:
        if stage.name == extract.NAME and train.NAME in counts:
            _forget_models(train.folder(run))
        if stage.name == propose.NAME and finetune.NAME in counts:
            _forget_models(finetune.folder(run))
        for split in stage.splits:
            if parts := failed[stage.name, split]:
                forget_shards(stage.folder(split), parts)
                counts[stage.name] = counts.get(stage.name, 0) + len(parts)
    return counts


def _forget_segmentation(run: Run) -> dict[str, int]:
    """The same for the stages of segmentation, whose tables carry the failures of those before them."""
    table_stages: list[ShardStage] = [segment.SegmentStage(run), regions.RegionsStage(run), masks.MasksStage(run)]
    stages = [stage for stage in table_stages if stage.name in run.config.run.stages]
    failed = {(stage.name, split): _failed_parts(stage.folder(split)) for stage in stages for split in stage.splits}
    counts: dict[str, int] = {}
    if failed.get((regions.NAME, "train")) and svr.NAME in run.config.run.stages:
        failed |= {(s.name, split): _all_parts(s, split) for s in stages if s.name == segment.NAME for split in s.splits}
        counts[svr.NAME] = len(svr.methods(run))
    for stage in stages:
        if stage.name == regions.NAME and svr.NAME in counts:
            _forget_models(svr.folder(run))
        for split in stage.splits:
            if parts := failed[stage.name, split]:
                forget_shards(stage.folder(split), parts)
                counts[stage.name] = counts.get(stage.name, 0) + len(parts)
    return counts


def _all_parts(stage: ShardStage, split: str) -> Sequence[str]:
    return [marker.part for marker in read_markers(stage.folder(split))]


def _failed_parts(folder: str) -> Sequence[str]:
    return [marker.part for marker in read_markers(folder) if marker.failures]


def _forget_models(folder: str) -> None:
    files.remove_file(files.join(folder, MANIFEST))
    files.remove_folder(folder)
