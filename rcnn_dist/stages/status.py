"""How far a run is, from its files alone: whether it still works or has stopped makes no difference."""

from collections.abc import Callable
from dataclasses import dataclass

from rcnn_dist.stages import detect, extract, masks, propose, regions, segment, train
from rcnn_dist.stages.base import ShardStage
from rcnn_dist.stages.eta import RateEstimator
from rcnn_dist.stages.mining_state import MiningState
from rcnn_dist.stages.models import read_models_manifest, trained_classes
from rcnn_dist.stages.plan import changed_fields, read_plan
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.manifest import Marker
from rcnn_dist.store.shards import read_markers

TABLES: tuple[Callable[[Run], ShardStage], ...] = (
    propose.ProposeStage,
    extract.ExtractStage,
    detect.DetectStage,
    masks.MasksStage,
    regions.RegionsStage,
    segment.SegmentStage,
)


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table of a run under a configuration."""

    stage: str
    split: str
    folder: str  # relative to the run
    images: int
    shards: int
    done_images: int  # with rows or as failures
    done_shards: int
    failures: int
    complete: bool
    rate: float | None  # images per second while it worked last
    seconds_left: float | None
    last_shard_at: float | None  # Unix time
    others: dict[str, list[str]]  # where no work has started: another folder of the stage -> the fields in which it differs


@dataclass(frozen=True, slots=True)
class ModelsStatus:
    folder: str
    classes: tuple[str, ...]
    trained: tuple[str, ...]
    waves_done: int | None  # of the mining that goes on; None where there is none
    others: dict[str, list[str]]  # where no class is trained: another folder of models -> the fields in which it differs


def table_status(run: Run, stage: ShardStage, split: str) -> TableStatus:
    """Progress of one table; what keeps an earlier one from being used is named field by field."""
    folder = stage.folder(split)
    plan, markers = read_plan(folder), read_markers(folder)
    images = len(run.image_ids(split))
    done = sum(_images(m) for m in markers)
    rate, left = _speed(markers, images - done)
    return TableStatus(
        stage.name,
        split,
        run.relative(folder),
        images,
        len(stage.tasks(split)),
        done,
        len(markers),
        sum(len(m.failures) for m in markers),
        stage.is_complete(split),
        rate,
        left,
        max((m.finished for m in markers), default=None),
        {} if plan else _others(run, stage, split),
    )


def models_status(run: Run) -> ModelsStatus:
    folder = train.folder(run)
    scratch = train.scratch_folders(folder)
    states = [state for url in scratch if (state := MiningState.latest(url))]
    waves = max((state.waves_done for state in states), default=0) if scratch else None
    trained = trained_classes(folder)
    return ModelsStatus(run.relative(folder), run.classes, trained, waves, {} if trained else _other_models(run, folder))


def _other_models(run: Run, folder: str) -> dict[str, list[str]]:
    kind = files.join(run.url, run.relative(folder).split("/")[0])
    manifests = {name: read_models_manifest(files.join(kind, name)) for name in files.list_names(kind)}
    return {name: changed_fields(m["inputs"], train.inputs(run)) for name, m in manifests.items() if m["files"]}


def _images(marker: Marker) -> int:
    return len(marker.images) + len(marker.failures)


def _speed(markers: list[Marker], left: int) -> tuple[float | None, float | None]:
    """Rate up to the last shard, and the time that the rest takes at that rate."""
    events = sorted((m.finished, _images(m)) for m in markers if m.finished)
    if not events:
        return None, None
    estimator = RateEstimator()
    for time, images in events:
        estimator.add(time, images)
    now = events[-1][0]
    return estimator.rate(now), estimator.seconds_left(left, now)


def _others(run: Run, stage: ShardStage, split: str) -> dict[str, list[str]]:
    kind = files.join(run.url, run.relative(stage.folder(split)).split("/")[0])
    found = {}
    for name in files.list_names(kind):
        plan = read_plan(files.join(kind, name, split))
        if plan is not None:
            version = [] if plan.version == stage.VERSION else [f"version of the stage: {plan.version} -> {stage.VERSION}"]
            found[name] = version + changed_fields(plan.inputs, stage.inputs())
    return found
