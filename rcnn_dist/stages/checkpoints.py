"""Checkpoints of a training: one folder each, `_checkpoint-00001000/state.safetensors`, the latest of which is gone on from."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rcnn_dist.arrays import Array
from rcnn_dist.stages.base import Progress
from rcnn_dist.store import files
from rcnn_dist.store.tensors import load_tensors, save_tensors

_PREFIX = "_checkpoint-"
_STATE = "state.safetensors"
_POLL_S = 2.0


def latest_step(folder: str) -> int:
    """Steps of the latest checkpoint, 0 where there is none."""
    return max((int(name.removeprefix(_PREFIX)) for name in _names(folder)), default=0)


def save_checkpoint(folder: str, step: int, state: Mapping[str, Array], about: Mapping[str, Any]) -> None:
    """Writes one, then removes those before it."""
    save_tensors(_url(folder, step), state, about)
    remove_checkpoints(folder, before=step)


def load_checkpoint(folder: str, step: int) -> tuple[dict[str, Array], dict[str, Any]]:
    return load_tensors(_url(folder, step))


def remove_checkpoints(folder: str, before: int) -> None:
    for name in _names(folder):
        if int(name.removeprefix(_PREFIX)) < before:
            files.remove_folder(files.join(folder, name))


@contextmanager
def watched(steps_done: Callable[[], int], total: int, progress: Progress) -> Iterator[None]:
    """Shows the steps of each checkpoint that appears during a block."""
    ended = threading.Event()
    first = steps_done()

    def watch() -> None:
        shown = first
        while shown < total:
            over = ended.wait(_POLL_S)
            now = steps_done()
            progress.advance(now - shown)
            shown = now
            if over:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _names(folder: str) -> list[str]:
    names = [name for name in files.list_names(folder) if name.startswith(_PREFIX)]
    return [name for name in names if files.exists(files.join(folder, name, _STATE))]


def _url(folder: str, step: int) -> str:
    return files.join(folder, f"{_PREFIX}{step:08d}", _STATE)
