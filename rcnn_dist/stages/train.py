"""Stage train: one SVM per class with hard negative mining, one box regressor per class (paper §2.3, §3.5, App. B, C)."""

import json
import time
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from rcnn_dist.classify.mining import wave_ranges
from rcnn_dist.errors import DataError
from rcnn_dist.features.scaling import mean_norm, sample_rows
from rcnn_dist.regress.ridge import BoxRegressor
from rcnn_dist.stages import collect, extract, mine
from rcnn_dist.stages.base import Executor, Progress
from rcnn_dist.stages.mining_state import TELEMETRY, MiningState, state_url
from rcnn_dist.stages.models import DETECTORS, REGRESSORS, save_detectors, save_regressors
from rcnn_dist.stages.regress import RegressTask, RegressWork
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files, rows
from rcnn_dist.store.manifest import MANIFEST, Marker, fingerprint, read_signed, sha256_of, write_signed
from rcnn_dist.store.shards import read_markers

NAME = "train"
VERSION = 1


def folder(run: Run) -> str:
    """Where this run's models lie."""
    sections = [run.section(name) for name in ("classify", "mining", "regress", "scaling")]
    return run.folder(
        "models", run.config.classify.layer, fingerprint(NAME, VERSION, sections, run.classes, run.relative(extract.folder(run)))
    )


class TrainStage:
    """Collects positives and pairs, mines negatives wave by wave, fits the regressors, publishes the models."""

    name = NAME

    def __init__(self, run: Run) -> None:
        self._run = run
        self._folder = folder(run)
        self._scratch = files.join(self._folder, "_mining")
        self._features = files.join(extract.folder(run), "train")

    def run(self, executor: Executor, progress: Progress) -> None:
        """Trains what is missing; a stopped run goes on after its last complete wave.

        Raises:
            MissingShardError: the training features are not complete.
            DataError: there are none.
        """
        if self._is_complete():
            progress.start(self.name, len(self._run.image_ids("train")))
            progress.advance(len(self._run.image_ids("train")))
            progress.finish()
            return
        start = time.perf_counter()
        extract.ExtractStage(self._run).require("train")
        markers = [m for m in read_markers(self._features) if m.rows]
        if not markers:
            raise DataError(f"{self._features} holds no features, so there is nothing to train on: see failures/extract-train.parquet")
        norms = self._collect(executor, markers)
        state = self._mine(executor, progress, markers, norms[self._run.config.classify.layer])
        about = {"mean_norms": norms, "target_norm": self._run.config.scaling.target_norm}
        save_detectors(self._folder, self._run.classes, state.weights, state.biases, about)
        if self._run.config.regress.enabled:
            save_regressors(self._folder, self._run.classes, self._regress(executor, markers, norms), about)
        self._publish(state, len(self._run.image_ids("train")), time.perf_counter() - start)

    def _is_complete(self) -> bool:
        try:
            return bool(read_signed(files.join(self._folder, MANIFEST)))
        except FileNotFoundError:
            return False

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
        """One pass over the training images, in set order."""
        images = [(m.part, image_id) for m in markers for image_id, n in m.images if n]
        waves = wave_ranges(len(images), self._run.config.mining.wave_images)
        state = MiningState.latest(self._scratch) or self._fresh_state(markers)
        progress.start(NAME, len(images))
        progress.advance(sum(len(wave) for wave in waves[: state.waves_done]))
        for wave in range(state.waves_done, len(waves)):
            tasks = self._scan_tasks(wave, [images[i] for i in waves[wave]])
            missing = [task for task in tasks if not files.exists(mine.wave_url(self._scratch, wave, task.part))]
            for scan in executor.map(mine.ScanWork(self._run, self._features, self._scratch, norm), missing):
                progress.advance(len(scan.task.image_ids))
            self._add_wave(state, [mine.wave_url(self._scratch, wave, task.part) for task in tasks])
            self._refit(executor, state, wave, wave == len(waves) - 1, [m.part for m in markers], norm)
            state.waves_done = wave + 1
            state.save(self._scratch)
        progress.finish()
        return state

    def _fresh_state(self, markers: Sequence[Marker]) -> MiningState:
        found = [rows.map_rows(collect.positives_url(self._scratch, m.part)) for m in markers]
        counts = np.sum([[len(r) for r in file.rows_of_classes(len(self._run.classes))] for file in found], axis=0)
        return MiningState.fresh(counts.tolist(), found[0].features.shape[1])

    def _scan_tasks(self, wave: int, members: Sequence[tuple[str, str]]) -> list[mine.ScanTask]:
        detectors = state_url(self._scratch, wave) if wave else None
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

    def _refit(self, executor: Executor, state: MiningState, wave: int, is_last: bool, parts: Sequence[str], norm: float) -> None:
        mining = self._run.config.mining
        due = [i for i in state.trained_classes if state.caches[i].must_refit(wave == 0, is_last, mining.retrain_after)]
        positives = tuple(collect.positives_url(self._scratch, part) for part in parts)
        tasks = [mine.RefitTask(wave, i, positives, tuple(state.row_files), state.caches[i].keys) for i in due]
        for fit in sorted(executor.map(mine.RefitWork(self._run, norm), tasks), key=lambda report: report.class_index):
            state.weights[fit.class_index] = fit.weights
            state.biases[fit.class_index] = fit.bias
            state.caches[fit.class_index].after_fit(fit.keep)
            state.telemetry.append(fit.telemetry)

    def _regress(self, executor: Executor, markers: Sequence[Marker], norms: dict[str, float]) -> dict[int, BoxRegressor]:
        urls = tuple(collect.pairs_url(self._scratch, m.part) for m in markers)
        work = RegressWork(self._run, norms[self._run.config.regress.layer])
        reports = executor.map(work, [RegressTask(i, urls) for i in range(len(self._run.classes))])
        return {r.class_index: r.regressor for r in reports if r.regressor is not None}

    def _publish(self, state: MiningState, images: int, seconds: float) -> None:
        """Moves what stays out of the scratch folder, removes the rest, writes the manifest last."""
        lines = "".join(json.dumps(row) + "\n" for row in state.telemetry)
        files.write_bytes(files.join(self._folder, TELEMETRY), lines.encode())
        files.remove_folder(self._scratch)
        names = [name for name in (DETECTORS, REGRESSORS) if files.exists(files.join(self._folder, name))]
        write_signed(
            files.join(self._folder, MANIFEST),
            {
                "stage": NAME,
                "version": VERSION,
                "folder": self._folder.split("/")[-1],
                "images": images,
                "refits": len(state.telemetry),
                "files": [{"name": name, "sha256": sha256_of(files.join(self._folder, name))} for name in names],
                "seconds": {"compute": round(seconds, 3)},
                "workers": sorted({row["worker"] for row in state.telemetry}),
            },
        )
