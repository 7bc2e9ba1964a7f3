"""`rcnn-dist run --dry-run`: what a run would do, from its configuration and the files that are there."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rcnn_dist.config import RunConfig

if TYPE_CHECKING:
    from rcnn_dist.stages.base import ShardStage
    from rcnn_dist.stages.run import Run


def print_plan(config: RunConfig, stages: Sequence[str]) -> None:
    """Checks all that a run checks before it starts, then prints a line per stage and split; writes nothing.

    Raises:
        ConfigError, DataError: as the run itself.
    """
    from rcnn_dist.driver import open_run, planned_stages
    from rcnn_dist.stages.base import ShardStage

    run = open_run(config, stages)
    print(f"{run.url}: a dry run, nothing is written")
    for split in run.splits:
        print(f"{split}: image set {run.image_set(split)}, {len(run.image_ids(split))} images")
    for name, stage, folders in planned_stages(run, stages):
        lines = _table_lines(run, stage) if isinstance(stage, ShardStage) else [_other_line(run, name, folders)]
        print("\n".join(lines))


def _table_lines(run: "Run", stage: "ShardStage") -> Iterator[str]:
    from rcnn_dist.store.shards import marked_parts

    for split in stage.splits:
        folder, tasks = stage.folder(split), stage.tasks(split)
        done = {*marked_parts(folder)}
        left = [task for task in tasks if task.part not in done]
        todo = f"to do: {sum(len(task.image_ids) for task in left)} images" if left else "done"
        yield f"{stage.name} {split}: {len(tasks) - len(left)}/{len(tasks)} shards, {todo}, {run.relative(folder)}"


def _other_line(run: "Run", name: str, folders: Sequence[str]) -> str:
    from rcnn_dist.stages import finetune, train
    from rcnn_dist.stages.models import trained_classes
    from rcnn_dist.store import files
    from rcnn_dist.store.manifest import MANIFEST

    if not folders:
        return f"{name}: made anew, from the stages before it"
    (folder,) = folders
    if name == train.NAME:
        wanted = train.chosen_classes(run)
        amount = f"{len({*wanted} & {*trained_classes(folder)})}/{len(wanted)} classes"
    elif name == finetune.NAME:
        amount = f"{finetune.steps_done(run)}/{run.config.finetune.iterations} steps"
    else:
        amount = "done" if files.exists(files.join(folder, MANIFEST)) else "to do"
    return f"{name}: {amount}, {run.relative(folder)}"
