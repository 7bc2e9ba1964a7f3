"""Stage train: one SVM per class with hard negative mining, one box regressor per class (paper §2.3, §3.5, App. B, C)."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import groupby
from typing import Any

import numpy as np

from rcnn_dist.classify.mining import mined_images, wave_ranges
from rcnn_dist.errors import ConfigError, DataError
from rcnn_dist.features.scaling import ScalingParams, mean_norm, sample_rows
from rcnn_dist.regress.ridge import BoxRegressor
from rcnn_dist.stages import collect, extract, mine
from rcnn_dist.stages.base import Executor, Progress
from rcnn_dist.stages.mining_state import TELEMETRY, MiningState, detectors_url, refit_url
from rcnn_dist.stages.models import ClassModel, publish_models, read_models_manifest, trained_classes
from rcnn_dist.stages.regress import RegressTask, RegressWork
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.softmax import softmax_detectors
from rcnn_dist.store import files, rows
from rcnn_dist.store.manifest import Marker, fingerprint
from rcnn_dist.store.shards import read_markers

NAME = "train"
VERSION = 7
_SCRATCH = "_mining-"


def folder(run: Run) -> str:
    """Where this run's models lie, one file per class; no class depends on which others there are."""
    return run.folder("models", run.config.classify.layer, fingerprint(NAME, VERSION, inputs(run)))


def inputs(run: Run) -> dict[str, Any]:
    """All that shapes the models, named as the configuration names it."""
    sections = {name: run.section(name) for name in ("classify", "mining", "regress")}
    sections["scaling"] = {field.name: getattr(run.config.scaling, field.name) for field in fields(ScalingParams)}
    return {**sections, "features": run.relative(extract.folder(run))}


def chosen_classes(run: Run) -> tuple[str, ...]:
    """The classes that are trained now.

    Raises:
        ConfigError: one of `train.classes` is neither annotated nor configured.
    """
    chosen = run.config.train.classes
    if chosen is None:
        return run.classes
    known = {*run.annotated_classes, *run.classes}
    if unknown := [name for name in chosen if name not in known]:
        raise ConfigError(f"train.classes: the training annotations have no object of class '{unknown[0]}': they have {sorted(known)}")
    return tuple(dict.fromkeys(chosen))


def scratch_folders(folder: str) -> list[str]:
    """Where unfinished trainings of a models folder keep their rows and checkpoints."""
    return [files.join(folder, name) for name in files.list_names(folder) if name.startswith(_SCRATCH)]


class TrainStage:
    """Collects positives and pairs, mines negatives wave by wave, fits the regressors, publishes the models.

    Law: a class that is trained alone has the same bytes as one that is trained with others.
    """

    name = NAME

    def __init__(self, run: Run) -> None:
        self._folder = folder(run)
        missing = tuple(name for name in chosen_classes(run) if name not in trained_classes(self._folder))
        self._config = run.config
        self._run = run.with_classes(missing)
        self._scratch = files.join(self._folder, f"{_SCRATCH}{fingerprint(missing)}")
        self._features = files.join(extract.folder(run), "train")

    def run(self, executor: Executor, progress: Progress) -> None:
        """Trains what is missing; a stopped run goes on after its last complete wave.

        Raises:
            MissingShardError: the training features are not complete.
            DataError: there are none.
        """
        if not self._run.classes:
            progress.start(self.name, len(self._run.image_ids("train")))
            progress.advance(len(self._run.image_ids("train")))
            progress.finish()
            self._clear_scratch()
            return
        start = time.perf_counter()
        extract.ExtractStage(self._run).require("train")
        markers = [m for m in read_markers(self._features) if m.rows]
        if not markers:
            raise DataError(f"{self._features} holds no features, so there is nothing to train on: see failures/extract-train.parquet")
        norms = self._collect(executor, markers)
        norm = norms[self._config.classify.layer]
        if self._config.classify.method == "softmax":
            weights, biases, telemetry = *softmax_detectors(self._run, norm), []
        else:
            state = self._mine(executor, progress, markers, norm)
            weights, biases, telemetry = state.weights, state.biases, state.telemetry
        regressors = self._regress(executor, markers, norms) if self._config.regress.enabled else {}
        models = {n: ClassModel(weights[i], float(biases[i]), regressors.get(i)) for i, n in enumerate(self._run.classes)}
        self._publish(models, telemetry, norms, time.perf_counter() - start)

    def _collect(self, executor: Executor, markers: Sequence[Marker]) -> dict[str, float]:
        """Writes positives and pairs of every shard; the mean norm of each layer."""
        images = [image for m in markers for image in m.images]
        scaling = self._run.config.scaling
        counts = np.array([n for _, n in images], np.int64)
        sample = {images[i][0]: picked for i, picked in sample_rows(counts, scaling, np.random.default_rng(scaling.seed))}
        tasks = [
            collect.CollectTask(m.part, {i: sample[i] for i, _ in m.images if i in sample})
            for m in markers
            if not files.exists(collect.positives_url(self._scratch, m.part))
        ]
        for _ in executor.map(collect.CollectWork(self._run, self._features, self._scratch), tasks):
            pass
        norms = [collect.read_norms(self._scratch, m.part) for m in markers]
        return {layer: mean_norm(np.array([v for shard in norms for v in shard[layer]]))[0] for layer in norms[0]}

    def _mine(self, executor: Executor, progress: Progress, markers: Sequence[Marker], norm: float) -> MiningState:
        """One pass over the training images that may be mined, in set order."""
        exhaustive = self._run.dataset.exhaustive
        images = [(m.part, image_id) for m in markers for image_id, n in m.images if n and exhaustive(image_id)]
        images = [images[i] for i in mined_images(len(images), self._run.config.mining)]
        waves = wave_ranges(len(images), self._run.config.mining.wave_images)
        positives = self._positive_files(markers)
        state = MiningState.latest(self._scratch) or MiningState.fresh([len(urls) for urls in positives], self._feature_size(markers))
        progress.start(NAME, len(images))
        progress.advance(sum(len(wave) for wave in waves[: state.waves_done]))
        for wave in range(state.waves_done, len(waves)):
            tasks = self._scan_tasks(wave, [images[i] for i in waves[wave]])
            missing = [task for task in tasks if not files.exists(mine.wave_url(self._scratch, wave, task.part))]
            for scan in executor.map(mine.ScanWork(self._run, self._features, self._scratch, norm), missing):
                progress.advance(len(scan.task.image_ids))
            self._add_wave(state, [mine.wave_url(self._scratch, wave, task.part) for task in tasks])
            self._refit(executor, state, wave, wave == len(waves) - 1, positives, norm)
            state.waves_done = wave + 1
            state.save(self._scratch)
        progress.finish()
        return state

    def _positive_files(self, markers: Sequence[Marker]) -> list[tuple[str, ...]]:
        """For every class the files that hold positives of it, so that a refit opens no other."""
        found: list[list[str]] = [[] for _ in self._run.classes]
        for url in [collect.positives_url(self._scratch, m.part) for m in markers]:
            for urls, picked in zip(found, rows.map_rows(url).rows_of_classes(len(found)), strict=True):
                if len(picked):
                    urls.append(url)
        return [tuple(urls) for urls in found]

    def _feature_size(self, markers: Sequence[Marker]) -> int:
        return int(rows.map_rows(collect.positives_url(self._scratch, markers[0].part)).features.shape[1])

    def _scan_tasks(self, wave: int, members: Sequence[tuple[str, str]]) -> list[mine.ScanTask]:
        detectors = detectors_url(self._scratch, wave) if wave else None
        return [
            mine.ScanTask(wave, part, tuple(image_id for _, image_id in group), detectors)
            for part, group in groupby(members, key=lambda member: member[0])
        ]

    def _add_wave(self, state: MiningState, urls: Sequence[str]) -> None:
        for url in urls:
            wanted = rows.map_rows(url).rows_of_classes(len(self._run.classes))
            for index in state.trained_classes:
                file = np.full(len(wanted[index]), len(state.row_files))
                state.caches[index].add(np.stack([file, wanted[index]], axis=1))
            state.row_files.append(url)

    def _refit(
        self, executor: Executor, state: MiningState, wave: int, is_last: bool, positives: Sequence[tuple[str, ...]], norm: float
    ) -> None:
        """Refits the classes that are due; those that an interrupted attempt has refitted after this wave are only read."""
        mining = self._run.config.mining
        due = [i for i in state.trained_classes if state.caches[i].must_refit(wave == 0, is_last, mining.retrain_after)]
        files_now = tuple(state.row_files)
        tasks = [
            mine.RefitTask(
                wave, i, positives[i], files_now, state.caches[i].keys, state.caches[i].added_since_fit, state.last_fit(self._scratch, i)
            )
            for i in due
            if not files.exists(refit_url(self._scratch, wave, i))
        ]
        for _ in executor.map(mine.RefitWork(self._run, self._scratch, norm), tasks):
            pass
        for index in due:
            fit = mine.read_refit(self._scratch, wave, index)
            state.weights[index] = fit.weights
            state.biases[index] = fit.bias
            state.caches[index].after_fit(fit.keep)
            state.fitted_after[index] = wave
            state.telemetry.append(fit.telemetry)

    def _regress(self, executor: Executor, markers: Sequence[Marker], norms: dict[str, float]) -> dict[int, BoxRegressor]:
        urls = tuple(collect.pairs_url(self._scratch, m.part) for m in markers)
        work, every = RegressWork(self._run, norms[self._run.config.regress.layer]), range(len(self._run.classes))
        if self._config.regress.shared:
            (report,) = executor.map(work, [RegressTask(collect.ALL_CLASSES, urls)])
            return dict.fromkeys(every, report.regressor) if report.regressor else {}
        reports = executor.map(work, [RegressTask(i, urls) for i in every])
        return {r.class_index: r.regressor for r in reports if r.regressor is not None}

    def _publish(self, models: Mapping[str, ClassModel], telemetry: list[dict[str, Any]], norms: dict[str, float], seconds: float) -> None:
        """Writes the models beside those of earlier classes, their manifest last, and removes what was scratch."""
        telemetry = [row for row in self._earlier_telemetry() if row["class"] not in self._run.classes] + telemetry
        files.write_bytes(files.join(self._folder, TELEMETRY), "".join(json.dumps(row) + "\n" for row in telemetry).encode())
        about = {"mean_norms": norms, "target_norm": self._run.config.scaling.target_norm}
        earlier = read_models_manifest(self._folder).get("seconds", {}).get("compute", 0.0)
        manifest = {
            "stage": NAME,
            "version": VERSION,
            "folder": self._folder.split("/")[-1],
            "images": len(self._run.image_ids("train")),
            "refits": len(telemetry),
            "seconds": {"compute": round(earlier + seconds, 3)},
            "workers": sorted({row["worker"] for row in telemetry}),
            "config": self._config.model_dump(mode="json"),
            "inputs": inputs(self._run),
        }
        publish_models(self._folder, models, about, manifest)
        self._clear_scratch()

    def _clear_scratch(self) -> None:
        for url in scratch_folders(self._folder):
            files.remove_folder(url)

    def _earlier_telemetry(self) -> list[dict[str, Any]]:
        url = files.join(self._folder, TELEMETRY)
        return [json.loads(line) for line in files.read_bytes(url).splitlines()] if files.exists(url) else []
