"""`rcnn-dist data validate`: what is wrong with a data set, before a run spends hours on it."""

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

if TYPE_CHECKING:
    from rcnn_dist.data.validate import ImageSet, Problem
    from rcnn_dist.stages.run import Run

_SHOWN = 5  # of one kind; --json has all


def validate(
    config: Annotated[str, typer.Argument(help="A YAML file; those that come with the package are found by their name.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value of the configuration: section.key=value.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Read every image and annotation that a run would use and tell what is wrong; exit code 1 where there are errors.

    Boxes are told in pixels, 0-based and half-open, whatever the layout.

    Example: rcnn-dist data validate configs/fruit.yaml --set data.root=/data/fruit
    """
    from rcnn_dist.config import load_config
    from rcnn_dist.driver import find_config
    from rcnn_dist.stages.run import Run

    sets, problems = _check(Run(load_config(find_config(config), overrides or [])))
    counts = Counter(problem.severity for problem in problems)
    if as_json:
        found = {"errors": counts["error"], "warnings": counts["warning"], "sets": [*map(_summary, sets)]}
        print(json.dumps(found | {"problems": [*map(asdict, problems)]}, indent=1))
    else:
        _print_table(sets, problems)
        print(f"{counts['error']} errors, {counts['warning']} warnings")
    if counts["error"]:
        raise typer.Exit(1)


def _check(run: "Run") -> tuple[list["ImageSet"], list["Problem"]]:
    from rcnn_dist.data.validate import Checks, Problem, validate
    from rcnn_dist.errors import DataError
    from rcnn_dist.runtime.progress import make_progress

    data, progress = run.config.data, make_progress(sys.stderr)
    checks = Checks(data.max_pixels, data.exif_rotation, data.classes, "train" in run.config.run.stages)
    try:
        dataset, image_sets = run.dataset, [run.image_set(split) for split in run.splits]
    except DataError as error:
        return [], [Problem("error", "data set", "", "", str(error))]

    def on_image(place: int, total: int) -> None:
        if place == 0:
            progress.start("validate", total)
        progress.advance(1)
        if place == total - 1:
            progress.finish()

    return validate(dataset, image_sets, checks, os.cpu_count() or 1, on_image)


def _summary(found: "ImageSet") -> dict[str, Any]:
    annotated = len(found.ids) - len(found.unannotated)
    return {"set": found.name, "images": len(found.ids), "annotated": annotated, "objects": dict(sorted(found.objects.items()))}


def _print_table(sets: Sequence["ImageSet"], problems: Sequence["Problem"]) -> None:
    """The sets, one line each, and the problems by kind, long lists cut short."""
    from rich.console import Console
    from rich.table import Table

    for own in map(_summary, sets):
        objects = ", ".join(f"{name} {count}" for name, count in own["objects"].items())
        print(f"{own['set']}: {own['images']} images, {own['annotated']} annotated; {objects or 'no objects'}")
    table = Table("", "set", "image or class", "kind", "what is wrong")
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.severity, problem.image_set, problem.kind), []).append(problem)
    for (severity, image_set, kind), group in sorted(groups.items()):
        for problem in group[:_SHOWN]:
            table.add_row(severity, *map(escape, (image_set, problem.subject, kind, problem.message)))
        if len(group) > _SHOWN:
            table.add_row(severity, escape(image_set), "...", kind, f"{len(group) - _SHOWN} more; --json tells all")
    if problems:
        Console().print(table)
