import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from rcnn_dist.errors import DamagedFileError
from rcnn_dist.store import query
from rcnn_dist.store.layer_export import export_lists, export_npy
from rcnn_dist.store.query import Regions, RegionShards, find_regions, matrix, region_parts, stream_regions
from rcnn_dist.store.schema import features_schema
from rcnn_dist.store.shards import write_shard
from rcnn_dist.store.tables import box_columns, boxes_of, make_table

LAYERS = {"pool5": 6, "fc7": 4}
SCHEMA = features_schema(LAYERS)
CLASSES = ["cat", "dog", None]


def image_rows(image_id, rows, seed):
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 50, (rows, 2))
    classes = rng.integers(0, 3, rows)
    return {
        "image_id": [image_id] * rows,
        "width": np.full(rows, 200),
        "height": np.full(rows, 100),
        "region": np.arange(rows),
        "is_ground_truth": np.arange(rows) < 2,
        **box_columns(np.hstack([corner, corner + rng.integers(1, 100, (rows, 2))]).astype(float)),
        "gt_class": [CLASSES[i] for i in classes],
        "gt_iou": np.where(classes == 2, 0, rng.integers(0, 11, rows) / 10).astype(np.float32),
        **{layer: rng.random((rows, size)).astype(np.float16) for layer, size in LAYERS.items()},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five images in three shards, one shard without rows; row groups of 300, 256 (two images) and 40 rows."""
    folder = str(tmp_path_factory.mktemp("features") / "train")
    shards = [[("a", 300), ("b", 56), ("c", 200)], [("none", 0)], [("d", 40)]]
    for index, images in enumerate(shards):
        with write_shard(folder, f"part-{index:05d}", SCHEMA, layers=tuple(LAYERS)) as shard:
            for image_id, rows in images:
                shard.add(image_id, make_table(SCHEMA, image_rows(image_id, rows, seed=rows)))
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    return find_regions(folder)


def slow(table, where):
    """Row by row, in Python."""
    single = np.float32
    for row in table.to_pylist():
        size = single(math.sqrt((row["x2"] - row["x1"]) * (row["y2"] - row["y1"])))
        yield (
            (where.image_ids is None or row["image_id"] in where.image_ids)
            and (where.classes is None or row["gt_class"] in where.classes)
            and single(where.overlap[0]) <= single(row["gt_iou"]) <= single(where.overlap[1])
            and single(where.size[0]) <= size <= single(where.size[1])
            and (where.ground_truth is None or row["is_ground_truth"] == where.ground_truth)
        )


QUERIES = [
    Regions(),
    Regions(image_ids=["d", "b", "unknown"]),
    Regions(classes=["dog"]),
    Regions(classes=["dog", "cat"], overlap=(0.7, 1.0)),
    Regions(overlap=(0.0, 0.3)),
    Regions(size=(20, 40)),
    Regions(ground_truth=True),
    Regions(ground_truth=False, classes=["cat"], image_ids=["a"], size=(0, 60), overlap=(0.1, 0.7)),
    Regions(classes=[]),
    Regions(image_ids=[]),
]


@pytest.mark.parametrize("where", QUERIES)
def test_the_rows_are_those_that_trying_each_finds(folder, whole, where):
    expected = whole.filter(pa.array(list(slow(whole, where)), pa.bool_()))
    found = find_regions(folder, where)
    assert found.num_rows == expected.num_rows
    for name in SCHEMA.names:
        assert found[name].to_pylist() == expected[name].to_pylist()
    assert sum(table.num_rows for table in stream_regions(folder, where)) == expected.num_rows


def test_everything_comes_in_order_a_row_group_at_a_time(folder, whole):
    assert [table.num_rows for table in stream_regions(folder)] == [300, 256, 40]
    assert whole["image_id"].unique().to_pylist() == ["a", "b", "c", "d"]
    assert matrix(whole, "fc7").shape == (596, 4)


def test_columns_that_are_not_asked_for_are_not_read(folder, monkeypatch):
    read = []
    original = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, group, columns: (read.append(columns), original(self, group, columns))[1]
    )
    found = find_regions(folder, Regions(image_ids=["d"]), columns=["region", "fc7"])
    assert found.column_names == ["region", "fc7"]
    assert read == [query._ASKED, ["region", "fc7"]], "one row group of one shard; its other shards are not opened"
    read.clear()
    assert find_regions(folder, Regions(classes=["cow"]), columns=["fc7"]).num_rows == 0
    assert read[:3] == [query._ASKED] * 3, "no layer of a row group without a match"


def test_a_table_without_shards_or_rows_has_no_rows(folder, tmp_path):
    assert find_regions(str(tmp_path)).num_rows == 0
    assert find_regions(folder, Regions(classes=[]), columns=["fc7"]).schema.names == ["fc7"]
    assert list(stream_regions(str(tmp_path))) == []
    assert region_parts(folder, Regions(image_ids=["d"])) == ["part-00002"]


def test_a_damaged_shard_is_named(folder, tmp_path):
    with write_shard(str(tmp_path), "part-00000", SCHEMA, layers=tuple(LAYERS)) as shard:
        shard.add("a", make_table(SCHEMA, image_rows("a", 300, 1)))
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedFileError, match="part-00000"):
        list(stream_regions(str(tmp_path)))


def test_shards_as_arrays(folder, whole):
    shards = RegionShards(folder, "fc7", Regions(classes=["cat"]))
    batches = [batch for part in shards.parts for batch in shards.read(part)]
    expected = whole.filter(pc.equal(whole["gt_class"].cast(pa.string()), "cat"))
    np.testing.assert_array_equal(np.concatenate([b["features"] for b in batches]), matrix(expected, "fc7"))
    np.testing.assert_array_equal(np.concatenate([b["boxes"] for b in batches]), boxes_of(expected))
    assert [i for b in batches for i in b["image_id"]] == expected["image_id"].to_pylist()
    assert {i for b in batches for i in b["gt_class"]} == {"cat"}


def test_lists_of_floats_are_what_the_layers_hold(folder, whole, tmp_path):
    urls = export_lists(folder, str(tmp_path))
    assert [url.split("/")[-1] for url in urls] == ["part-00000.parquet", "part-00002.parquet"]
    table = pa.concat_tables([pq.read_table(url) for url in urls]).unify_dictionaries()
    assert table.schema.field("fc7").type == pa.list_(pa.float32())
    for layer in LAYERS:
        np.testing.assert_array_equal(np.array(table[layer].to_pylist(), np.float16), matrix(whole, layer))
    assert table["image_id"].to_pylist() == whole["image_id"].to_pylist()
    assert export_lists(folder, str(tmp_path)) == urls, "an earlier export is replaced"


def test_npy_files_are_the_rows_in_order(folder, whole, tmp_path):
    urls = export_npy(folder, str(tmp_path))
    found = {url.split("/")[-1]: np.load(url) for url in urls}
    assert set(found) == {"image_id.npy", "region.npy", "boxes.npy", "pool5.npy", "fc7.npy"}
    assert found["image_id.npy"].tolist() == whole["image_id"].to_pylist()
    np.testing.assert_array_equal(found["region.npy"], whole["region"])
    np.testing.assert_array_equal(found["boxes.npy"], boxes_of(whole))
    for layer in LAYERS:
        assert found[f"{layer}.npy"].dtype == np.float16
        np.testing.assert_array_equal(found[f"{layer}.npy"], matrix(whole, layer))
    assert export_npy(str(tmp_path / "nothing"), str(tmp_path)) == []
