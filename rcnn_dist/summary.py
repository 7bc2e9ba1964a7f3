"""What a run prints at its end: the AP table, where the report or the features are, and the one line that programs read."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from rcnn_dist.stages import extract
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST, read_signed


def print_summary(run: Run, stages: Sequence[str]) -> None:
    """Prints the results of the stages that ran; the last line is `mAP 0.588 voc07` where there is an AP."""
    if extract.NAME in stages and "evaluate" not in run.config.run.stages:
        _print_features(run)
    if "report" in stages:
        from rcnn_dist.stages import report

        print(f"report: {report.page_url(run)}")
    if "accuracy" in stages:
        _print_accuracy(run)
    if "evaluate" in stages:
        _print_average_precision(run)


def _print_average_precision(run: Run) -> None:
    """AP by class; the last line is `mAP 0.588 voc07` where there is an AP."""
    from rcnn_dist.stages import evaluate

    metrics = json.loads(files.read_bytes(files.join(evaluate.folder(run), evaluate.METRICS)))
    archive = files.join(evaluate.folder(run), evaluate.ARCHIVE)
    if "mAP" not in metrics:
        print(f"{metrics['data']} {metrics['split']} has no annotations: no AP. The submission archive is {archive}")
        return
    variant = metrics["variant"]
    table = Table(title=f"Average precision on {metrics['data']} {metrics['split']} ({variant})")
    for name in ("class", "objects", "AP", "without regression"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for name in metrics["classes"]:
        values = (metrics[key][name][variant] for key in ("ap", "ap_without_regression"))
        table.add_row(name, str(metrics["objects"][name]), *map(_decimal, values))
    table.add_section()
    table.add_row("mean", "", _decimal(metrics["mAP"][variant]), _decimal(metrics["mAP_without_regression"][variant]))
    Console().print(table)
    if "median_AP" in metrics:
        without = _decimal(metrics["median_AP_without_regression"])
        print(f"median AP {_decimal(metrics['median_AP'])}, without regression {without}")
    print(f"mAP {_decimal(metrics['mAP'][variant])} {variant}")


def _print_accuracy(run: Run) -> None:
    """Accuracy by method and class; the last line is `mean accuracy 0.479 full+fg fc6` where there is a number."""
    from rcnn_dist.stages import accuracy, evaluate, report

    metrics = json.loads(files.read_bytes(files.join(evaluate.folder(run), accuracy.METRICS)))
    print(f"report: {report.page_url(run)}")
    print(f"label maps: {files.join(evaluate.folder(run), metrics['archive'])}")
    if not metrics["annotated"]:
        print(f"{metrics['data']} {metrics['split']} has no annotated masks: no accuracy")
        return
    table = Table("label", *metrics["methods"], title=f"Segmentation accuracy on {metrics['data']} {metrics['split']}")
    table.columns[0].no_wrap = True
    for label in metrics["labels"]:
        table.add_row(label, *(_decimal(found["accuracy"][label]) for found in metrics["methods"].values()))
    table.add_section()
    table.add_row("mean", *(_decimal(found["mean"]) for found in metrics["methods"].values()))
    Console().print(table)
    print(f"mean accuracy {_decimal(metrics['methods'][metrics['method']]['mean'])} {metrics['method']}")


def _print_features(run: Run) -> None:
    """Where the features are, one line per table."""
    stage = extract.ExtractStage(run)
    for split in stage.splits:
        manifest = read_signed(files.join(stage.folder(split), MANIFEST))
        failed = f"; {n} failed, see {run.url}/failures/extract-{split}.parquet" if (n := len(manifest["failures"])) else ""
        print(f"features of {manifest['rows']} regions of {manifest['images']} images: {stage.folder(split)}{failed}")


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
