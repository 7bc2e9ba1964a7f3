"""Mining over a table of made-up features: what is read, what is held, what a stopped pass does again."""

import io
import json
import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rcnn_dist.config import make_config
from rcnn_dist.data.shapes import ShapesParams, generate_shapes
from rcnn_dist.runtime.executor import InProcessExecutor
from rcnn_dist.runtime.progress import LineProgress
from rcnn_dist.stages import extract, mine, train
from rcnn_dist.stages.mining_state import TELEMETRY
from rcnn_dist.stages.models import load_model
from rcnn_dist.stages.run import Run
from rcnn_dist.store import rows
from rcnn_dist.store.manifest import MANIFEST, write_signed
from rcnn_dist.store.schema import features_schema
from rcnn_dist.store.shards import marked_parts, part_name, write_shard
from rcnn_dist.store.tables import box_columns, make_table

N_IMAGES, SIZE, SHARD_IMAGES = 24, 24, 6


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    generate_shapes(str(root), ShapesParams(images={"train": N_IMAGES, "test": 1}, min_size=(64, 64), max_size=(80, 64)))
    return root


@pytest.fixture
def make_run(root, tmp_path):
    """A run whose table of training features stands: one object per image, its class that of the image's turn, and proposals far off."""

    def make(name, n_classes, regions, **mining):
        classes = [f"class {i:02d}" for i in range(n_classes)]
        config = make_config(
            {
                "run": {"dir": str(tmp_path / name)},
                "data": {"root": str(root), "classes": classes},
                "extract": {"layers": ["fc7"]},
                "regress": {"enabled": False},
                "mining": {"wave_images": 8, "retrain_after": 200} | mining,
            }
        )
        run, generator = Run(config), np.random.default_rng(0)
        folder = f"{extract.folder(run)}/train"
        centres = generator.normal(0, 2, (n_classes, SIZE))
        ids = run.image_ids("train")
        for part in range(N_IMAGES // SHARD_IMAGES):
            with write_shard(folder, part_name(part), features_schema({"fc7": SIZE}), layers=("fc7",)) as shard:
                for i in range(part * SHARD_IMAGES, (part + 1) * SHARD_IMAGES):
                    shard.add(ids[i], image_table(ids[i], classes[i % n_classes], centres[i % n_classes], regions, generator))
        write_signed(
            f"{folder}/{MANIFEST}",
            {"folder": extract.folder(run).split("/")[-1], "parts": [{"part": part} for part in marked_parts(folder)]},
        )
        return run

    return make


def image_table(image_id, class_name, centre, regions, generator):
    features = generator.normal(0, 2, (regions, SIZE))
    features[0] = centre + generator.normal(0, 0.5, SIZE)
    boxes = np.tile([50.0, 50.0, 80.0, 80.0], (regions, 1))
    boxes[0] = [0, 0, 30, 30]
    is_object = np.arange(regions) == 0
    columns = {
        "image_id": [image_id] * regions,
        "width": np.full(regions, 120),
        "height": np.full(regions, 90),
        "region": np.arange(regions),
        "is_ground_truth": is_object,
        **box_columns(boxes),
        "gt_class": [class_name if own else None for own in is_object],
        "gt_iou": is_object.astype(np.float32),
        "fc7": features.astype(np.float16),
    }
    return make_table(features_schema({"fc7": SIZE}), columns)


def train_it(run):
    train.TrainStage(run).run(InProcessExecutor(1), LineProgress(io.StringIO()))


def telemetry_of(run):
    return [json.loads(line) for line in open(f"{train.folder(run)}/{TELEMETRY}")]


@pytest.mark.parametrize("n_classes", [2, 24])
def test_a_pass_reads_each_feature_row_once_however_many_classes_there_are(make_run, monkeypatch, n_classes):
    run, regions = make_run("run", n_classes, regions=260), 260
    read, original = [], pq.ParquetFile.read_row_group

    def counted(self, *args, **kwargs):
        table = original(self, *args, **kwargs)
        read.append(table["fc7"].nbytes)
        return table

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    train_it(run)
    assert sum(read) == 2 * N_IMAGES * regions * SIZE * 2, "once for positives and norms, once to mine; two bytes each"


def test_images_that_share_a_row_group_are_read_again_only_where_a_wave_ends(make_run, monkeypatch):
    run, regions = make_run("run", 3, regions=100), 100
    read, original = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, *a, **k: (table := original(self, *a, **k), read.append(table.num_rows))[0]
    )
    train_it(run)
    waves = len(train.wave_ranges(N_IMAGES, 8))
    assert 2 * N_IMAGES * regions <= sum(read) <= 2 * N_IMAGES * regions + (waves - 1) * 300


def test_a_scan_holds_one_row_group_at_a_time(make_run, monkeypatch):
    run, original, alive, most = make_run("run", 3, regions=260), mine.read_images, [], []

    def watched(*args, **kwargs):
        for image_id, table in original(*args, **kwargs):
            alive.append(weakref.ref(table))
            most.append(sum(ref() is not None for ref in alive))
            yield image_id, table
            del table

    monkeypatch.setattr(mine, "read_images", watched)
    train_it(run)
    assert len(most) == N_IMAGES
    assert max(most) <= 2, "the one that is scanned, and the one before until its name is taken"


def test_a_refit_reads_its_own_rows_only(tmp_path):
    url, features = str(tmp_path / "wave.arrow"), np.zeros((50_000, 64), np.float16)
    rows.write_rows(url, features, [[0]] * len(features), {})
    before = pa.total_allocated_bytes()
    found = mine._negatives((url, url), np.array([[0, 3], [0, 49_999], [1, 7]]))
    assert found.shape == (3, 64)
    assert pa.total_allocated_bytes() - before < features.nbytes / 100, "the file is mapped"


def test_negatives_come_in_the_order_of_their_keys(tmp_path):
    for name in "ab":
        rows.write_rows(f"{tmp_path}/{name}", np.arange(12, dtype=np.float16).reshape(6, 2) + 100 * (name == "b"), [[0]] * 6, {})
    found = mine._negatives((f"{tmp_path}/a", f"{tmp_path}/b"), np.array([[0, 1], [0, 4], [1, 0], [1, 5]]))
    np.testing.assert_array_equal(found, [[2, 3], [8, 9], [100, 101], [110, 111]])


@pytest.mark.parametrize("stop_at", [1, 2, 3, 5, 8, 9])
def test_a_pass_that_is_stopped_at_a_refit_repeats_none_and_ends_with_the_same_models(make_run, monkeypatch, stop_at):
    whole, stopped = make_run("whole", 3, regions=260), make_run("stopped", 3, regions=260)
    train_it(whole)
    refits, original = [], mine.RefitWork.run

    def dies(self, task):
        if len(refits) == stop_at - 1:
            refits.append(None)
            raise KeyboardInterrupt
        refits.append((task.wave, task.class_index))
        return original(self, task)

    monkeypatch.setattr(mine.RefitWork, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        train_it(stopped)
    train_it(stopped)
    done = [refit for refit in refits if refit]
    assert len(done) == len(set(done)) == len(telemetry_of(whole))
    expected, found = (load_model(train.folder(run), run.classes).detector for run in (whole, stopped))
    np.testing.assert_array_equal(found.weights, expected.weights)
    np.testing.assert_array_equal(found.biases, expected.biases)


def test_telemetry_accounts_for_every_negative(make_run):
    run = make_run("run", 3, regions=260)
    train_it(run)
    for name in run.classes:
        refits = [row for row in telemetry_of(run) if row["class"] == name]
        assert [row["wave"] for row in refits] == sorted({row["wave"] for row in refits})
        cached = 0
        for row in refits:
            assert row["rows"] == cached + row["found"], "the negatives of a fit: those kept, and those found since"
            cached = row["rows"] - row["evicted"]
            assert row["objective"] == pytest.approx(row["positive_loss"] + row["negative_loss"] + row["regularisation"])
            assert 0 <= row["gap"] <= 1e-3 * row["objective"]
            assert row["positives"] == N_IMAGES // 3
