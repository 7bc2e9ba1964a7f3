"""What mining knows between two waves, and its checkpoint: detectors, cached keys, counters. The rows are the wave files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.classify.mining import ClassCache
from rcnn_dist.store import files
from rcnn_dist.store.tensors import load_tensors, save_tensors

TELEMETRY = "telemetry.jsonl"


@dataclass(slots=True)
class MiningState:
    """Detectors and caches of all classes after `waves_done` waves."""

    weights: Array  # float32 [C, D]
    biases: Array  # float32 [C]; -inf for a class without positives
    caches: list[ClassCache]
    row_files: list[str] = field(default_factory=list)  # the first number of a key is an index into these
    telemetry: list[dict[str, Any]] = field(default_factory=list)
    waves_done: int = 0

    @classmethod
    def fresh(cls, n_positives: Sequence[int], feature_size: int) -> "MiningState":
        """Zero detectors; a class without positives detects nothing and mines nothing."""
        biases = np.where(np.array(n_positives) > 0, 0.0, -np.inf).astype(np.float32)
        return cls(np.zeros((len(biases), feature_size), np.float32), biases, [ClassCache() for _ in biases])

    @property
    def trained_classes(self) -> list[int]:
        return np.flatnonzero(self.biases > -np.inf).tolist()

    def save(self, scratch: str) -> None:
        """Writes the checkpoint of this wave and the telemetry so far."""
        lines = "".join(json.dumps(row) + "\n" for row in self.telemetry)
        files.write_bytes(files.join(scratch, TELEMETRY), lines.encode())
        tensors = {
            "weights": self.weights,
            "biases": self.biases,
            "keys": np.concatenate([cache.keys for cache in self.caches]),
            "cache_sizes": np.array([len(cache.keys) for cache in self.caches], np.int64),
            "added_since_fit": np.array([cache.added_since_fit for cache in self.caches], np.int64),
        }
        save_tensors(state_url(scratch, self.waves_done), tensors, {"row_files": self.row_files, "waves_done": self.waves_done})

    @classmethod
    def latest(cls, scratch: str) -> "MiningState | None":
        """The last checkpoint, None before the first wave ended."""
        names = [name for name in files.list_names(scratch) if name.startswith("state-")]
        if not names:
            return None
        tensors, about = load_tensors(files.join(scratch, names[-1]))
        bounds = np.cumsum(tensors["cache_sizes"])[:-1]
        keys = np.split(tensors["keys"], bounds)
        caches = [ClassCache(k, int(n)) for k, n in zip(keys, tensors["added_since_fit"], strict=True)]
        rows = [json.loads(line) for line in files.read_bytes(files.join(scratch, TELEMETRY)).splitlines()]
        done = about["waves_done"]
        telemetry = [row for row in rows if row["wave"] < done]
        return cls(tensors["weights"], tensors["biases"], caches, about["row_files"], telemetry, done)


def state_url(scratch: str, waves_done: int) -> str:
    return files.join(scratch, f"state-{waves_done:05d}.safetensors")
