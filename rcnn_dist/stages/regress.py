"""Work of one class's box regressor: its pairs from the row files, one ridge fit (paper §3.5, App. C)."""

from dataclasses import dataclass

import numpy as np

from rcnn_dist.features.scaling import scale_features
from rcnn_dist.regress.ridge import BoxRegressor, fit_box_regressor
from rcnn_dist.stages.collect import TARGETS
from rcnn_dist.stages.run import Run
from rcnn_dist.store import rows


@dataclass(frozen=True, slots=True)
class RegressTask:
    class_index: int
    pair_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RegressReport:
    class_index: int
    regressor: BoxRegressor | None  # None: no proposal overlaps an object of the class enough


class RegressWork:
    heavy = False

    def __init__(self, run: Run, mean_norm: float) -> None:
        self._run = run
        self._mean_norm = mean_norm

    def make_worker(self) -> "RegressWork":
        return self

    def run(self, task: RegressTask) -> RegressReport:
        features, targets = [], []
        for url in task.pair_files:
            file, picked = rows.map_class_rows(url, task.class_index)
            features.append(file.features[picked])
            targets.append(np.stack([file.column(name)[picked] for name in TARGETS], axis=1))
        stored = np.concatenate(features)
        if len(stored) == 0:
            return RegressReport(task.class_index, None)
        scaled = scale_features(stored.astype(np.float32), self._mean_norm, self._run.config.scaling.target_norm)
        return RegressReport(task.class_index, fit_box_regressor(scaled, np.concatenate(targets), self._run.config.regress))
