import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rcnn_dist.errors import DataError
from rcnn_dist.store.box_tables import content_digest, read_box_table

IDS = ["b", "a", "b", "c"]
BOXES = np.arange(16.0).reshape(4, 4)


def table(ids, boxes=BOXES, dtype=None):
    return pa.table({"image_id": ids, **{name: pa.array(boxes[:, i], dtype) for i, name in enumerate(("x1", "y1", "x2", "y2"))}})


@pytest.mark.parametrize("dtype", [pa.float64(), pa.float32(), pa.int32()])
@pytest.mark.parametrize("ids", [pa.array(IDS), pa.array(IDS).dictionary_encode(), pa.array(IDS, pa.large_string())])
def test_the_rows_of_the_images_asked_for_in_their_order(tmp_path, ids, dtype):
    pq.write_table(table(ids, dtype=dtype).append_column("score", pa.array([1, 2, 3, 4])), tmp_path / "boxes.parquet", row_group_size=2)
    found = read_box_table(str(tmp_path / "boxes.parquet"), ["a", "b", "none"])
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["b"], BOXES[[0, 2]])
    np.testing.assert_array_equal(found["a"], BOXES[[1]])
    assert read_box_table(str(tmp_path / "boxes.parquet"), []) == {}


def test_a_folder_is_all_parquet_below_it_markers_apart(tmp_path):
    for part, ids in (("train/part-0", ["a"] * 4), ("test/part-0", ["z"] * 4)):
        path = tmp_path / f"{part}.parquet"
        path.parent.mkdir()
        pq.write_table(table(pa.array(ids)), path)
    (tmp_path / "train" / "_done").mkdir()
    (tmp_path / "train" / "_done" / "part-0.json").write_text("{}")
    assert set(read_box_table(str(tmp_path), ["a", "z"])) == {"a", "z"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no Parquet file"),
        (b"text", "cannot be read as Parquet"),
        (pa.table({"image": ["a"]}), "has no column 'image_id': image_id, x1, y1, x2, y2 are wanted, found image"),
        (table(pa.array([1, 2, 3, 4])), "column 'image_id' is int64, text is wanted"),
        (table(pa.array(IDS)).set_column(1, "x1", pa.array(["1"] * 4)), "column 'x1' is string, a number is wanted"),
        (table(pa.array(IDS)).set_column(2, "y1", pa.array([1.0, None, 2.0, 3.0])), "column 'y1' has rows without a value"),
    ],
)
def test_other_tables_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "boxes.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        pq.write_table(content, path)
    with pytest.raises(DataError, match=message):
        read_box_table(str(path), ["a", "b"])


def test_the_digest_follows_the_bytes(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.parquet").write_bytes(b"1")
    (tmp_path / "b.mat").write_bytes(b"2")
    urls = [str(tmp_path / "in"), str(tmp_path / "b.mat")]
    before = content_digest(urls)
    assert content_digest(urls) == before
    (tmp_path / "in" / "a.parquet").write_bytes(b"3")
    assert content_digest(urls) != before
    with pytest.raises(DataError, match="no file .*none"):
        content_digest([str(tmp_path / "none.mat")])
