"""`rcnn-dist detect`: a trained run on photographs of one's own."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rcnn_dist.errors import BadImageError, ConfigError

if TYPE_CHECKING:
    from rcnn_dist.stages.photos import PhotoDetections, PhotoDetector
    from rcnn_dist.stages.trained import TrainedRun

_FAILED = 3
_PRECISION = 0.5
_PICTURE_SIDE = 900


def detect(
    photos: Annotated[list[str], typer.Argument(help="Image files, and folders whose images are all taken.")],
    run: Annotated[str, typer.Option(help="The directory of a trained run.")],
    out: Annotated[str, typer.Option(help="The folder for detections.json and the drawn pictures.")] = "detections",
    precision: Annotated[float | None, typer.Option(min=0, max=1, help="Show what is right this often on the run's test images.")] = None,
    proposals: Annotated[str | None, typer.Option(help="Another source of proposals than the run's: selective_search, opencv ...")] = None,
    score: Annotated[float | None, typer.Option(help="Show what scores at least this, in place of a precision.")] = None,
) -> None:
    """Detect objects in photographs; exit code 3 where some of them cannot be read.

    Example: rcnn-dist detect --run runs/fruit photo.jpg holiday/ --precision 0.8
    """
    from rcnn_dist.runtime.progress import make_progress
    from rcnn_dist.runtime.threads import set_threads
    from rcnn_dist.stages.photos import PhotoDetector, find_photos
    from rcnn_dist.stages.trained import open_trained

    urls = find_photos(photos)
    trained = open_trained(run, {} if proposals is None else {"source": proposals})
    thresholds = _thresholds(trained, precision, score)
    set_threads(trained.config.runtime.threads_per_worker)  # as in the run: the bits of a product depend on it
    detector = PhotoDetector(trained, thresholds)
    progress = make_progress(sys.stdout)
    progress.start("detect", len(urls))
    entries, names = [], _picture_names(urls)
    for url in urls:
        entries.append(_one(detector, trained, url, out, names[url]))
        progress.note(_line(entries[-1]))
        progress.advance(1)
    progress.finish()
    _write_json(out, trained, thresholds, entries)
    if any("failed" in entry for entry in entries):
        raise typer.Exit(_FAILED)


def _thresholds(trained: "TrainedRun", precision: float | None, score: float | None) -> dict[str, float | None]:
    from rcnn_dist.stages.trained import scores_at_precision

    if score is not None and precision is not None:
        raise ConfigError("--precision and --score are two ways to say one thing: give one of them")
    if score is not None:
        return dict.fromkeys(trained.classes, score)
    wanted = _PRECISION if precision is None else precision
    thresholds = scores_at_precision(trained, wanted)
    for name in trained.classes:
        threshold = thresholds.get(name)
        if name not in thresholds:
            print(f"class {name} is left out: it is trained but not evaluated; run the stages detect,evaluate with it, or use --score")
        elif threshold is None:
            print(f"class {name} is left out: on the run's test images it never reaches a precision of {wanted:g}")
        else:
            print(f"class {name} counts from a score of {threshold:.3f} on, for a precision of {wanted:g}")
    if all(threshold is None for threshold in thresholds.values()):
        raise ConfigError(f"no class reaches a precision of {wanted:g} on the run's test images: give a lower --precision, or a --score")
    return thresholds


def _one(detector: "PhotoDetector", trained: "TrainedRun", url: str, out: str, picture: str) -> dict[str, Any]:
    """One photograph's entry of detections.json; its picture is written."""
    from rcnn_dist.stages.photos import read_photo
    from rcnn_dist.store import files

    try:
        image = read_photo(url, trained)
    except BadImageError as error:
        return {"file": url, "failed": str(error)}
    found = detector.detect(image)
    files.write_bytes(files.join(out, "pictures", picture), _draw(image, found))
    boxes = [[round(edge, 2) for edge in box] for box in found.boxes.tolist()]
    detections = [
        {"class": name, "score": score, "box": box} for name, score, box in zip(found.classes, found.scores.tolist(), boxes, strict=True)
    ]
    return {
        "file": url,
        "width": image.shape[1],
        "height": image.shape[0],
        "picture": f"pictures/{picture}",
        "detections": detections,
    }


def _draw(image: Any, found: "PhotoDetections") -> bytes:
    from rcnn_dist.report import BoxKind, draw_detections

    labels = [f"{name} {score:.2f}" for name, score in zip(found.classes, found.scores, strict=True)]
    kinds: list[BoxKind] = ["found"] * len(labels)
    return draw_detections(image, found.boxes[::-1], labels[::-1], kinds, _PICTURE_SIDE)  # the surest last, on top


def _picture_names(urls: list[str]) -> dict[str, str]:
    """A file name for each photograph's picture; photographs of one name are numbered."""
    names, taken = {}, Counter[str]()
    for url in urls:
        stem = Path(url).stem
        taken[stem] += 1
        names[url] = f"{stem}.jpg" if taken[stem] == 1 else f"{stem}-{taken[stem]}.jpg"
    return names


def _line(entry: dict[str, Any]) -> str:
    if "failed" in entry:
        return f"{entry['file']}: left out: {entry['failed']}"
    counts = Counter(detection["class"] for detection in entry["detections"])
    return f"{entry['file']}: {', '.join(f'{n} {name}' for name, n in counts.items()) or 'nothing'}"


def _write_json(out: str, trained: "TrainedRun", thresholds: dict[str, float | None], entries: list[dict[str, Any]]) -> None:
    from rcnn_dist.store import files

    content = {
        "run": trained.url,
        "models": trained.models,
        "boxes": "x1, y1, x2, y2 in pixels, 0-based, half-open",
        "thresholds": thresholds,
        "photos": [entry for entry in entries if "failed" not in entry],
        "failed": [{"file": entry["file"], "reason": entry["failed"]} for entry in entries if "failed" in entry],
    }
    url = files.join(out, "detections.json")
    files.write_bytes(url, (json.dumps(content, indent=1) + "\n").encode())
    print(f"detections: {url}, pictures: {files.join(out, 'pictures')}")
