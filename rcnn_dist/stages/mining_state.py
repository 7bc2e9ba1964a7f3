"""What mining knows between two waves, and its checkpoint: detectors, cached keys, counters, telemetry. The rows are the wave files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.classify.mining import ClassCache
from rcnn_dist.store import files
from rcnn_dist.store.tensors import load_tensors, save_tensors

TELEMETRY = "telemetry.jsonl"
_STATE, _DETECTORS, _REFIT = "state-", "detectors-", "refit-"


@dataclass(slots=True)
class MiningState:
    """Detectors and caches of all classes after `waves_done` waves."""

    weights: Array  # float32 [C, D]
    biases: Array  # float32 [C]; -inf for a class without positives
    caches: list[ClassCache]
    fitted_after: Array  # int64 [C]: wave of each class's last fit, -1 before the first
    row_files: list[str] = field(default_factory=list)  # the first number of a key is an index into these
    telemetry: list[dict[str, Any]] = field(default_factory=list)
    waves_done: int = 0

    @classmethod
    def fresh(cls, n_positives: Sequence[int], feature_size: int) -> "MiningState":
        """Zero detectors; a class without positives detects nothing and mines nothing."""
        biases = np.where(np.array(n_positives) > 0, 0.0, -np.inf).astype(np.float32)
        return cls(np.zeros((len(biases), feature_size), np.float32), biases, [ClassCache() for _ in biases], np.full(len(biases), -1))

    @property
    def trained_classes(self) -> list[int]:
        return np.flatnonzero(self.biases > -np.inf).tolist()

    def save(self, scratch: str) -> None:
        """Writes the checkpoint of this wave, the detectors first and apart, because every scan of the next wave reads them."""
        save_tensors(detectors_url(scratch, self.waves_done), {"weights": self.weights, "biases": self.biases}, {})
        tensors = {
            "keys": np.concatenate([cache.keys for cache in self.caches]),
            "cache_sizes": np.array([len(cache.keys) for cache in self.caches], np.int64),
            "added_since_fit": np.array([cache.added_since_fit for cache in self.caches], np.int64),
            "fitted_after": self.fitted_after,
        }
        save_tensors(state_url(scratch, self.waves_done), tensors, {"row_files": self.row_files, "telemetry": self.telemetry})
        self._remove_before(scratch, self.waves_done - 1)

    @classmethod
    def latest(cls, scratch: str) -> "MiningState | None":
        """The last checkpoint, None before the first wave ended."""
        names = [name for name in files.list_names(scratch) if name.startswith(_STATE)]
        if not names:
            return None
        done = _wave_of(names[-1])
        tensors, about = load_tensors(state_url(scratch, done))
        detectors, _ = load_tensors(detectors_url(scratch, done))
        keys = np.split(tensors["keys"], np.cumsum(tensors["cache_sizes"])[:-1])
        caches = [ClassCache(k, int(n)) for k, n in zip(keys, tensors["added_since_fit"], strict=True)]
        return cls(detectors["weights"], detectors["biases"], caches, tensors["fitted_after"], about["row_files"], about["telemetry"], done)

    def last_fit(self, scratch: str, class_index: int) -> str | None:
        """The url of a class's last fit, None before the first."""
        wave = int(self.fitted_after[class_index])
        return refit_url(scratch, wave, class_index) if wave >= 0 else None

    def _remove_before(self, scratch: str, wave: int) -> None:
        """Removes what no resumed run reads: checkpoints before a wave, and refits that are no class's last."""
        last = {self.last_fit(scratch, i) for i in range(len(self.caches))}
        for url in [files.join(scratch, name) for name in files.list_names(scratch) if name.startswith((_STATE, _DETECTORS, _REFIT))]:
            if _wave_of(url.rpartition("/")[2]) < wave and url not in last:
                files.remove_file(url)


def state_url(scratch: str, waves_done: int) -> str:
    return files.join(scratch, f"{_STATE}{waves_done:05d}.safetensors")


def detectors_url(scratch: str, waves_done: int) -> str:
    return files.join(scratch, f"{_DETECTORS}{waves_done:05d}.safetensors")


def refit_url(scratch: str, wave: int, class_index: int) -> str:
    return files.join(scratch, f"{_REFIT}{wave:05d}-{class_index:05d}.safetensors")


def _wave_of(name: str) -> int:
    return int(name.split("-")[1].split(".")[0])
