"""`rcnn-dist runs verify | status | retry`: what became of a run, from its files."""

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rcnn_dist.stages.status import ModelsStatus, TableStatus

runs = typer.Typer(no_args_is_help=True, help="Look at runs.")

DAMAGED, UNFINISHED = 4, 75
_RUN_HELP = "The run's directory."
_SET_HELP = "Ask about the run under a changed configuration: section.key=value. May be given several times."

Run = Annotated[str, typer.Argument(help=_RUN_HELP)]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@runs.command()
def verify(
    run: Run,
    digest: Annotated[bool, typer.Option("--digest", help="Print the hash of all result files alone, to compare runs.")] = False,
    as_json: Json = False,
) -> None:
    """Prove that every planned image has its rows or its failure, and every file its bytes.

    Exit code 4 where something is damaged, 75 where a stage has not ended.

    Example: rcnn-dist runs verify runs/demo --digest
    """
    from rcnn_dist.stages.verify import verify_run

    found = verify_run(run)
    whole = not found.damaged and not found.unfinished
    if as_json:
        print(json.dumps(asdict(found), indent=1))
    elif digest and whole:
        print(found.digest)
    else:
        for problem in [*found.damaged, *found.unfinished]:
            print(problem, file=sys.stderr)
        print(f"{found.images} planned images = {found.images_with_rows} with rows + {found.failures} failures", end="; ")
        print(f"{found.files} files checked, {len(found.damaged)} problems; digest {found.digest}")
    if not whole:
        raise typer.Exit(DAMAGED if found.damaged else UNFINISHED)


@runs.command()
def status(
    run: Run,
    overrides: Annotated[list[str] | None, typer.Option("--set", help=_SET_HELP)] = None,
    as_json: Json = False,
) -> None:
    """Progress of a run that works or has stopped, and which field of the configuration keeps an earlier table from being used.

    Example: rcnn-dist runs status runs/fruit --set extract.max_proposals=500
    """
    from rcnn_dist.stages import finetune
    from rcnn_dist.stages.record import read_config
    from rcnn_dist.stages.run import Run as OpenRun
    from rcnn_dist.stages.status import TABLES, models_status, table_status

    opened = OpenRun(read_config(run, overrides or []))
    wanted = opened.config.run.stages
    tables = [stage(opened) for stage in TABLES]
    found = [table_status(opened, stage, split) for stage in tables if stage.name in wanted for split in stage.splits]
    models = models_status(opened) if "train" in wanted else None
    steps = finetune.steps_done(opened) if finetune.NAME in wanted else None
    if as_json:
        rows = [asdict(table) for table in found]
        print(json.dumps({"tables": rows, "finetune_steps": steps, "models": asdict(models) if models else None}, indent=1))
        return
    if steps is not None:
        waited = finetune.waiting_share(opened)
        waiting = "" if waited is None else f", {100 * waited:.1f}% of the time waiting for pixels"
        print(f"finetune: {steps}/{opened.config.finetune.iterations} steps, {opened.relative(finetune.folder(opened))}{waiting}")
    for table in found:
        if models and table.stage == "detect":
            print("\n".join(_models_lines(models)))
        print("\n".join(_table_lines(table, time.time())))


def _table_lines(table: "TableStatus", now: float) -> list[str]:
    from rcnn_dist.runtime.progress import format_seconds

    head = f"{table.stage} {table.split}: {table.done_images}/{table.images} images, {table.done_shards}/{table.shards} shards"
    parts = [head, f"{table.failures} failed", table.folder]
    if table.complete:
        parts.append("complete")
    elif table.last_shard_at is not None:
        parts.append(f"last shard {format_seconds(now - table.last_shard_at)} ago")
        if table.rate and table.seconds_left is not None:
            parts.append(f"{table.rate:.2f} images/s, {format_seconds(table.seconds_left)} to go at that rate")
    return [", ".join(parts), *_other_lines(table.others)]


def _other_lines(others: dict[str, list[str]]) -> list[str]:
    lines = []
    for name, fields in others.items():
        lines.append(f"  {name} is not used, it differs in:")
        lines += [f"    {field}" for field in fields]
    return lines


def _models_lines(models: "ModelsStatus") -> list[str]:
    text = f"train: {len(set(models.trained) & set(models.classes))}/{len(models.classes)} classes, {models.folder}"
    working = "" if models.waves_done is None else f", {models.waves_done} waves of mining done"
    return [text + working, *_other_lines(models.others)]


@runs.command()
def retry(run: Run, overrides: Annotated[list[str] | None, typer.Option("--set", help=_SET_HELP)] = None) -> None:
    """Compute the shards with failed images again, and all that was made from them; the other shards stay.

    Example: rcnn-dist runs retry runs/fruit
    """
    from rcnn_dist.driver import run_stages
    from rcnn_dist.stages.record import read_config, read_record
    from rcnn_dist.stages.retry import forget_failures
    from rcnn_dist.stages.run import Run as OpenRun
    from rcnn_dist.summary import print_summary

    config: Any = read_config(run, overrides or [])
    counts = forget_failures(OpenRun(config))
    if not counts:
        print("no image has failed: nothing to do again")
        return
    units = {"train": "classes", "finetune": "network", "svr": "methods"}
    print("again: " + ", ".join(f"{count} {units.get(stage, 'shards')} of {stage}" for stage, count in counts.items()))
    stages = tuple(read_record(run))
    print_summary(run_stages(config, stages), stages)
