"""`rcnn-dist explore duplicates`: images that two sets share."""

import csv
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rcnn_dist.errors import BadImageError, ConfigError

if TYPE_CHECKING:
    from rcnn_dist.report.duplicates_page import ShownPair
    from rcnn_dist.stages.duplicates import DuplicatesFound, Pair

_FAILED = 3
_SET = "A folder, all images below it; or a .txt file, one path or URL per line."


def duplicates(
    a: Annotated[str, typer.Argument(help=_SET)],
    b: Annotated[str, typer.Argument(help=_SET)],
    distance: Annotated[float, typer.Option(min=0, help="Pairs nearer than this are listed as near.")] = 0.6,
    k: Annotated[int, typer.Option(min=1, help="Nearest images of A for each of B.")] = 1,
    ids: Annotated[
        str | None, typer.Option(help="A CSV with the columns image and id; else an id is a file's name without ending.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Pairs on the page.")] = 200,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Where the work is done, such as runtime.workers=8.")] = None,
    out: Annotated[str, typer.Option(help="The folder for duplicates.json and index.html.")] = "duplicates",
) -> None:
    """Images that are in two sets: of the same bytes, the same id, or so alike that an eye has to judge.

    Exit code 3 where images cannot be read.

    Example: rcnn-dist explore duplicates ilsvrc/train VOC2007/JPEGImages --distance 0.5
    """
    from rcnn_dist.commands.units import no_log
    from rcnn_dist.config import parse_config
    from rcnn_dist.driver import make_executor
    from rcnn_dist.runtime.events import Observed
    from rcnn_dist.runtime.progress import make_progress
    from rcnn_dist.stages.duplicates import ImageSets, find_duplicates
    from rcnn_dist.store import files

    sets = ImageSets(_urls(a), _urls(b), _ids(ids) if ids else {})
    progress = Observed(make_progress(sys.stdout), no_log)
    with make_executor(parse_config("", "duplicates", overrides or []), progress) as executor:
        found = find_duplicates(sets, k, out, executor, progress)
    counts, listed = _counts(found, distance), [pair for pair in found.pairs if _is_listed(pair, distance)]
    content = {"a": a, "b": b, "distance": distance, **counts, "failures": found.failures, "pairs": [asdict(pair) for pair in found.pairs]}
    table, page = files.join(out, "duplicates.json"), files.join(out, "index.html")
    files.write_bytes(table, (json.dumps(content, indent=1) + "\n").encode())
    files.write_bytes(page, _page(a, b, distance, found, listed[:limit], len(listed)).encode())
    for url, reason in found.failures:
        print(f"{url}: left out: {reason}")
    print(f"{found.images[0]:,} images of A, {found.images[1]:,} of B; pairs of the same bytes: {counts['same_bytes']},")
    print(f"of the same id: {counts['same_id']}, nearer than {distance:g}: {counts['near']}")
    print(f"{table} has all pairs, {page} shows {min(limit, len(listed))} to be judged")
    if found.failures:
        raise typer.Exit(_FAILED)


def _urls(place: str) -> list[str]:
    from rcnn_dist.stages.photos import find_photos
    from rcnn_dist.store import files

    if not place.endswith(".txt"):
        return find_photos([place])
    try:
        return list(dict.fromkeys(line.strip() for line in files.read_text(place).splitlines() if line.strip()))
    except FileNotFoundError as error:
        raise ConfigError(f"no file {place}: give a folder of images, or a text file with one path or URL per line") from error


def _ids(url: str) -> dict[str, str]:
    from rcnn_dist.store import files

    rows = csv.DictReader(files.read_text(url).splitlines())
    if not {"image", "id"} <= {*(rows.fieldnames or ())}:
        raise ConfigError(f"--ids {url}: the header must have the columns image and id, found {', '.join(rows.fieldnames or ())}")
    return {row["image"]: row["id"] for row in rows}


def _is_listed(pair: "Pair", distance: float) -> bool:
    return pair.same_bytes or pair.same_id or (pair.distance is not None and pair.distance <= distance)


def _counts(found: "DuplicatesFound", distance: float) -> dict[str, Any]:
    return {
        "images": list(found.images),
        "same_bytes": sum(pair.same_bytes for pair in found.pairs),
        "same_id": sum(pair.same_id for pair in found.pairs),
        "near": sum(pair.distance is not None and pair.distance <= distance for pair in found.pairs),
    }


def _page(a: str, b: str, distance: float, found: "DuplicatesFound", listed: "list[Pair]", total: int) -> str:
    from rcnn_dist.report.duplicates_page import DuplicatesPage, render_duplicates

    shown = f", of which {len(listed)} are here" if len(listed) < total else ""
    note = (
        f"{total} pairs{shown}: an image of {a} ({found.images[0]:,} images) and one of {b} ({found.images[1]:,}), of the same bytes, "
        f"of the same id, or with GIST descriptors at most {distance:g} apart. Nearest first. Whether they are one photograph is for an "
        "eye to judge."
    )
    return render_duplicates(DuplicatesPage("Images in both sets", note, tuple(_shown(pair) for pair in listed)))


def _shown(pair: "Pair") -> "ShownPair":
    from rcnn_dist.report.duplicates_page import ShownPair

    shared = ", ".join(name for name, value in (("same bytes", pair.same_bytes), ("same id", pair.same_id)) if value)
    return ShownPair(pair.a, pair.b, (_picture(pair.a), _picture(pair.b)), pair.distance, shared)


def _picture(url: str) -> bytes | None:
    from rcnn_dist.data.images import read_image
    from rcnn_dist.report.duplicates_page import small_jpeg

    try:
        return small_jpeg(read_image(url))
    except BadImageError:
        return None
