"""The weights of very many classes, or of a range of them, as one file on each node, which its workers map together."""

import fcntl
import hashlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.detect.class_blocks import to_bfloat16
from rcnn_dist.detect.detector import Detector
from rcnn_dist.detect.distractors import distractors
from rcnn_dist.store import files
from rcnn_dist.store.manifest import fingerprint

_CACHE = Path.home() / ".cache" / "rcnn_dist" / "classes"
_SEED = 3


def weights_folder(run_url: str) -> Path:
    """Where nodes keep such files, each host in a folder of its own: in the run, if that is a folder of the machine, else in the user's
    cache."""
    local = files.local_path(files.join(run_url, "scaling", "_weights"))
    return local or _CACHE


@contextmanager
def mapped_weights(
    folder: Path, detector: Detector, classes: range, n_classes: int, precision: str, block: int
) -> Iterator[tuple[Array, Array]]:
    """Mapped weights [len(classes), D] of a range of whole blocks, and their biases: the real classes first, then distractors.

    The first process of a host that needs a range writes its file, in place of those that no process has open; the others wait. Row i
    depends neither on the range nor on n_classes.
    """
    name = fingerprint(hashlib.sha256(detector.weights.tobytes()).hexdigest(), detector.biases.tolist(), n_classes, precision, block)
    file = folder / socket.gethostname() / f"{name}-{classes.start}-{classes.stop}.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        with (file.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                _remove_unused(file.parent)
                _write(file, detector, classes, n_classes, precision, block)
            fcntl.flock(opened.enter_context(file.open("rb")), fcntl.LOCK_SH)
        yield np.load(file, mmap_mode="r"), np.load(_biases(file))


def _remove_unused(folder: Path) -> None:
    """Deletes the files that no process has open, and what a process that died was writing."""
    for scratch in folder.glob("*.scratch"):
        scratch.unlink()
    for file in folder.glob("*.npy"):
        with file.open("r+b") as unused, suppress(BlockingIOError):
            fcntl.flock(unused, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
            _biases(file).unlink(missing_ok=True)


def _biases(file: Path) -> Path:
    return file.with_suffix(".npy.biases")


def _write(file: Path, detector: Detector, classes: range, n_classes: int, precision: str, block: int) -> None:
    """Block by block, so that no more than a block is held; the name appears when all is there."""
    kind = np.dtype(np.uint16 if precision == "bfloat16" else np.float32)
    biases = np.full(len(classes), -np.inf, np.float32)
    scratch = file.with_suffix(".npy.scratch")
    stored = np.lib.format.open_memmap(scratch, "w+", kind, (len(classes), detector.weights.shape[1]))
    for start in range(classes.start, classes.stop, block):
        weights, bias = _block(detector, start, block)
        at = start - classes.start
        stored[at : at + block] = to_bfloat16(weights) if precision == "bfloat16" else weights
        used = max(0, min(block, n_classes - start))
        biases[at : at + used] = bias[:used]
    stored.flush()
    with _biases(file).open("wb") as out:
        np.save(out, biases)
    scratch.replace(file)


def _block(detector: Detector, start: int, size: int) -> tuple[Array, Array]:
    """Weights and biases of the classes from `start` on: real ones while there are any, then distractors."""
    weights, biases = distractors(detector.weights, detector.biases, size, np.random.default_rng([_SEED, start]))
    own = slice(start, start + size)
    real = len(detector.weights[own])
    weights[:real], biases[:real] = detector.weights[own], detector.biases[own]
    return weights, biases
