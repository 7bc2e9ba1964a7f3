"""Where tests find recorded inputs and outputs, and how their process ends."""

import atexit
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("RCNN_SHARED_DIR", REPOSITORY.parent / "shared"))

# The same examples in every run; HYPOTHESIS_PROFILE=default searches for new ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

_STATUS = pytest.StashKey[int]()

Golden = dict[str, np.ndarray]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the process here, with its status: in the teardown behind it the native threads of all that was started have crashed."""
    if sys.modules.get("ray") and _STATUS in config.stash:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_STATUS])


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Reference material beside the repository (RCNN_SHARED_DIR)."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder {SHARED}: set RCNN_SHARED_DIR")
    return SHARED


@pytest.fixture(scope="session")
def golden() -> Callable[[str], list[Golden]]:
    """Loads the files of a name: all NAME_public.npz, NAME_holdout.npz and NAME.npz of one folder (RCNN_GOLDEN_DIR, if set)."""
    return _load_golden


@cache
def _load_golden(name: str) -> list[Golden]:
    chosen = os.environ.get("RCNN_GOLDEN_DIR")
    folders = [Path(chosen)] if chosen else [REPOSITORY / "tests" / "golden" / "data", SHARED / "golden"]
    for folder in folders:
        paths = [path for ending in ("_public", "_holdout", "") if (path := folder / f"{name}{ending}.npz").is_file()]
        if paths:
            return [_arrays(path) for path in paths]
    pytest.skip(f"no {name}*.npz in {', '.join(map(str, folders))}: set RCNN_GOLDEN_DIR")


def _arrays(path: Path) -> Golden:
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}
