"""Stage report: the run as one page, `report/index.html`."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rcnn_dist.errors import DataError, MissingShardError
from rcnn_dist.evaluate.voc import Variant, variants
from rcnn_dist.report import Curve, Failure, ProposalRecall, Refit, ReportData, StageTiming, published_rows, render_report
from rcnn_dist.stages import scale, train
from rcnn_dist.stages.base import Executor, Progress
from rcnn_dist.stages.errors import analyse_errors
from rcnn_dist.stages.evaluate import Evaluation, evaluate
from rcnn_dist.stages.examples import choose_examples, draw_images, list_false_positives
from rcnn_dist.stages.judged import judge_detections
from rcnn_dist.stages.mining_state import TELEMETRY
from rcnn_dist.stages.recall import measure_recall
from rcnn_dist.stages.record import stage_costs
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files

NAME = "report"
_PACKAGES = ("rcnn-dist", "numpy", "torch", "torchvision", "ray", "pyarrow", "opencv-contrib-python-headless", "numba")
_TELEMETRY = ("class", "wave", "positives", "rows", "found", "evicted", "objective", "seconds")  # in the order of Refit's fields


def page_url(run: Run) -> str:
    return files.join(run.url, "report", "index.html")


class ReportStage:
    """Small and quick, so it runs anew each time."""

    name = NAME

    def __init__(self, run: Run) -> None:
        self._run = run

    def run(self, executor: Executor, progress: Progress) -> None:  # noqa: ARG002
        progress.start(NAME, 1, "page")
        files.write_bytes(page_url(self._run), render_report(report_data(self._run)).encode())
        progress.advance(1)
        progress.finish()


def report_data(run: Run) -> ReportData:
    """Everything the page shows, read back from the run's files."""
    found = evaluate(run)
    judged = judge_detections(run, found)
    costs = stage_costs(run.url)
    data_name = f"{run.dataset.name} {run.image_set('test')}"
    return ReportData(
        title=run.url.split("/")[-1],
        data_name=data_name,
        classes=run.classes,
        ap=_ap(run, found),
        curves={name: Curve(r.recall, r.precision) for name, r in found.results.items()},
        n_objects={name: r.matches.n_positives for name, r in found.results.items()},
        stages=tuple(StageTiming(c.name, c.seconds, c.images, len(c.failures), c.workers, c.phases) for c in costs),
        config_yaml=run.config.to_yaml(),
        versions={"python": platform.python_version()} | {name: v for name in _PACKAGES if (v := _version(name))},
        examples=choose_examples(run, found, judged),
        images=draw_images(run, found, judged),
        false_positives=list_false_positives(found, judged),
        proposals=_proposals(run),
        failures=tuple(Failure(f["image_id"], c.name, f["reason"]) for c in costs for f in c.failures if f["stage"] == c.name),
        telemetry=_telemetry(run),
        published=published_rows(data_name, run.classes),
        errors=analyse_errors(run, found),
        scaling=_scaling(run),
        variant=run.config.evaluate.variant,
    )


def _ap(run: Run, found: Evaluation) -> dict[str, dict[str, float]]:
    tables: dict[str, dict[str, float]] = {}
    chosen = run.config.evaluate.variant
    if found.results:
        tables |= {variant: {name: r.ap[variant] for name, r in found.results.items()} for variant in variants(chosen)}
    if found.results and run.config.regress.enabled:
        shown: Variant = "ilsvrc" if chosen == "ilsvrc" else "voc07"
        tables[f"{shown} without regression"] = {name: r.ap[shown] for name, r in found.unregressed.items()}
    return tables


def _scaling(run: Run) -> dict[str, Any]:
    """What the stage scale left, where this run has it."""
    if scale.NAME not in run.config.run.stages:
        return {}
    try:
        content: dict[str, Any] = json.loads(files.read_bytes(scale.figures_url(run)))
    except FileNotFoundError:
        return {}
    return content


def _proposals(run: Run) -> ProposalRecall | None:
    try:
        found = measure_recall(run, "test")
    except (MissingShardError, DataError):
        return None  # a run may be kept without its proposals, and a test set may have no objects
    return ProposalRecall(found.figures, found.proposals)


def _telemetry(run: Run) -> tuple[Refit, ...]:
    lines = files.read_bytes(files.join(train.folder(run), TELEMETRY)).splitlines()
    rows = [json.loads(line) for line in lines]
    return tuple(Refit(*(row[name] for name in _TELEMETRY)) for row in rows)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
