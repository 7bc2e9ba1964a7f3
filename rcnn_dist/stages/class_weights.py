"""The weights of very many classes as one file on each node, which its workers map together."""

import fcntl
import hashlib
from pathlib import Path

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.detect.class_blocks import BLOCK, padded_classes, to_bfloat16
from rcnn_dist.detect.detector import Detector
from rcnn_dist.detect.distractors import distractors
from rcnn_dist.store import files
from rcnn_dist.store.manifest import fingerprint

_CACHE = Path.home() / ".cache" / "rcnn_dist" / "classes"
_SEED = 3


def weights_folder(run_url: str) -> Path:
    """Where this node keeps such files: in the run, if that is a folder of the machine, else in the user's cache."""
    local = files.local_path(files.join(run_url, "scaling", "_weights"))
    return local or _CACHE


def map_weights(folder: Path, detector: Detector, n_classes: int, precision: str) -> tuple[Array, Array]:
    """Mapped weights [n_classes padded, D] and their biases: the real classes first, then distractors.

    The first process of a node writes the file, the others wait. Row i does not depend on n_classes.
    """
    name = fingerprint(hashlib.sha256(detector.weights.tobytes()).hexdigest(), detector.biases.tolist())
    file = folder / f"{name}-{n_classes}-{precision}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            _write(file, detector, n_classes, precision)
    return np.load(file, mmap_mode="r"), np.load(file.with_suffix(".biases.npy"))


def _write(file: Path, detector: Detector, n_classes: int, precision: str) -> None:
    """Block by block, so that no more than a block is held; the name appears when all is there."""
    kind = np.dtype(np.uint16 if precision == "bfloat16" else np.float32)
    rows, real = padded_classes(n_classes), len(detector.classes)
    biases = np.full(rows, -np.inf, np.float32)
    scratch = file.with_suffix(".scratch")
    stored = np.lib.format.open_memmap(scratch, "w+", kind, (rows, detector.weights.shape[1]))
    for start in range(0, rows, BLOCK):
        block, bias = distractors(detector.weights, detector.biases, BLOCK, np.random.default_rng([_SEED, start]))
        own = slice(start, min(start + BLOCK, real))
        block[: max(0, real - start)], bias[: max(0, real - start)] = detector.weights[own], detector.biases[own]
        stored[start : start + BLOCK] = to_bfloat16(block) if precision == "bfloat16" else block
        used = max(0, min(BLOCK, n_classes - start))
        biases[start : start + used] = bias[:used]
    stored.flush()
    with file.with_suffix(".biases.npy").open("wb") as out:
        np.save(out, biases)
    scratch.replace(file)
