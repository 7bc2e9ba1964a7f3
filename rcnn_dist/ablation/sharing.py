"""Which stages of an ablation's variants are one and the same: those whose folders have one name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rcnn_dist.ablation.spec import Variant
from rcnn_dist.stages import detect, extract, finetune, propose, train
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST

FOLDERS: dict[str, Callable[[Run], str]] = {
    propose.NAME: propose.folder,
    finetune.NAME: finetune.folder,
    extract.NAME: extract.folder,
    train.NAME: train.folder,
    detect.NAME: detect.folder,
}


@dataclass(frozen=True, slots=True)
class StageUse:
    """One stage of one variant."""

    folder: str  # relative to the run
    first: str  # the variant that comes first with this folder, which computes it
    done: bool  # its manifests stand


def stage_uses(variants: Sequence[Variant]) -> dict[str, dict[str, StageUse]]:
    """Variant -> stage -> its folder and whose work that is; a stage that waits for tuned thresholds is left out.

    Raises:
        ConfigError: weights or images that a fingerprint depends on are not there.
    """
    first: dict[str, str] = {}
    found: dict[str, dict[str, StageUse]] = {}
    digests: dict[str, str] = {}
    for variant in variants:
        run = Run(variant.config, digests)
        found[variant.name] = {}
        for stage, folder in FOLDERS.items():
            if stage not in variant.config.run.stages or (variant.tune_nms and stage == detect.NAME):
                continue
            url = folder(run)
            relative = run.relative(url)
            found[variant.name][stage] = StageUse(relative, first.setdefault(relative, variant.name), _is_done(run, url, stage))
    return found


def shared_count(uses: dict[str, dict[str, StageUse]]) -> tuple[int, int]:
    """Stages that an earlier variant computes, and all."""
    flat = [(name, use) for name, stages in uses.items() for use in stages.values()]
    return sum(use.first != name for name, use in flat), len(flat)


def _is_done(run: Run, url: str, stage: str) -> bool:
    if stage in (finetune.NAME, train.NAME):
        return files.exists(files.join(url, MANIFEST))
    kept = {extract.NAME: run.config.extract.splits, detect.NAME: ("test",)}.get(stage, run.splits)
    return all(files.exists(files.join(url, split, MANIFEST)) for split in run.splits if split in kept)
