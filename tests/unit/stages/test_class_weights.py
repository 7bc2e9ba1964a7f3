import socket

import numpy as np
import pytest

from rcnn_dist.detect.detector import Detector
from rcnn_dist.stages.class_weights import mapped_weights

BLOCK, N_CLASSES = 4, 10


@pytest.fixture
def mapped(tmp_path):
    generator = np.random.default_rng(0)
    weights, biases = generator.standard_normal((3, 5)).astype(np.float32), np.array([-1, -0.5, 0.25], np.float32)
    detector = Detector(("a", "b", "c"), weights, biases, {})
    return lambda classes: mapped_weights(tmp_path, detector, classes, N_CLASSES, "float32", BLOCK)


def files_in(tmp_path):
    return sorted(path.name.split("-", 1)[1] for path in tmp_path.glob("*/*.npy*"))


def test_a_range_has_the_rows_that_it_has_among_all(mapped):
    with mapped(range(12)) as (weights, biases), mapped(range(4, 8)) as (some, some_biases):
        assert np.array_equal(weights[4:8], some) and np.array_equal(biases[4:8], some_biases)
        assert np.isfinite(biases[:N_CLASSES]).all() and np.isneginf(biases[N_CLASSES:]).all()


def test_a_host_keeps_the_files_that_are_open_and_the_latest(mapped, tmp_path):
    with mapped(range(4)) as (weights, _):
        before = weights.copy()
        with mapped(range(4, 8)):
            (tmp_path / socket.gethostname() / "x-8-12.npy.scratch").write_bytes(b"of a process that died")
            with mapped(range(8, 12)):
                assert files_in(tmp_path) == [f"{r}.npy{e}" for r in ("0-4", "4-8", "8-12") for e in ("", ".biases")]
        assert np.array_equal(weights, before)
        with mapped(range(12)):
            assert files_in(tmp_path) == [f"{r}.npy{e}" for r in ("0-12", "0-4") for e in ("", ".biases")]
    with mapped(range(12)):
        assert "0-4.npy" in files_in(tmp_path), "nothing was written, so nothing is in the way"
    with mapped(range(4, 12)):
        assert files_in(tmp_path) == ["4-12.npy", "4-12.npy.biases"]


def test_hosts_that_share_a_folder_leave_each_others_files(mapped, tmp_path, monkeypatch):
    for host in ("one", "two"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        with mapped(range(4) if host == "one" else range(4, 8)):
            pass
    assert files_in(tmp_path) == ["0-4.npy", "0-4.npy.biases", "4-8.npy", "4-8.npy.biases"]
