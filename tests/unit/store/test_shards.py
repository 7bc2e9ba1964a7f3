import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from rcnn_dist.errors import DamagedFileError, MissingShardError
from rcnn_dist.store import files
from rcnn_dist.store.manifest import read_marker
from rcnn_dist.store.query import matrix
from rcnn_dist.store.schema import PROPOSALS, decode_matrix, encode_matrix, features_schema
from rcnn_dist.store.shards import open_shard, read_images, read_markers, read_table, write_shard
from rcnn_dist.store.tables import box_columns, boxes_of, make_table

SCHEMA = features_schema({"fc7": 3})


def make_rows(image_id, count, seed=0):
    generator = np.random.default_rng(seed)
    boxes = generator.random((count, 4)) * 100
    features = generator.random((count, 3)).astype(np.float16)
    columns = {
        "image_id": [image_id] * count,
        "width": np.full(count, 100),
        "height": np.full(count, 80),
        "region": np.arange(count),
        "is_ground_truth": np.zeros(count, bool),
        **box_columns(boxes),
        "gt_class": [None if i % 2 else "cat" for i in range(count)],
        "gt_iou": np.zeros(count, np.float32),
        "fc7": features,
    }
    return make_table(SCHEMA, columns), boxes, features


def write(folder, sizes, part="part-00000"):
    with write_shard(folder, part, SCHEMA, layers=["fc7"], worker="me") as shard:
        for i, size in enumerate(sizes):
            shard.add(f"im{i}", make_rows(f"im{i}", size, i)[0])


@pytest.mark.parametrize("sizes", [[3], [0], [0, 5, 0], [300, 10, 10, 300, 0, 256, 1], [100, 100, 100, 100]])
def test_images_are_read_back_row_by_row(tmp_path, sizes):
    write(str(tmp_path), sizes)
    found = list(read_images(str(tmp_path), "part-00000"))
    assert [i for i, _ in found] == [f"im{i}" for i in range(len(sizes))]
    for i, (image_id, table) in enumerate(found):
        expected, boxes, features = make_rows(image_id, sizes[i], i)
        assert table["image_id"].to_pylist() == expected["image_id"].to_pylist()
        assert table["gt_class"].to_pylist() == expected["gt_class"].to_pylist()
        np.testing.assert_array_equal(boxes_of(table), boxes.astype(np.float32))
        np.testing.assert_array_equal(matrix(table, "fc7"), features)


def test_only_wanted_images_and_columns_are_read(tmp_path):
    write(str(tmp_path), [300, 0, 300, 5])
    found = dict(read_images(str(tmp_path), "part-00000", ["im1", "im2"], ["fc7"]))
    assert {i: (t.num_rows, t.column_names) for i, t in found.items()} == {"im1": (0, ["fc7"]), "im2": (300, ["fc7"])}


def test_one_row_group_per_image_and_small_neighbours_share_one(tmp_path):
    write(str(tmp_path), [300, 10, 10, 300])
    with open_shard(str(tmp_path), "part-00000") as file:
        assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == [300, 320]


def test_equal_content_gives_equal_bytes_and_a_user_sees_complete_parquet_only(tmp_path):
    for name in ("a", "b"):
        write(str(tmp_path / name), [300, 10])
        assert pads.dataset(str(tmp_path / name), format="parquet").count_rows() == 310
    assert read_marker(str(tmp_path / "a"), "part-00000").sha256 == read_marker(str(tmp_path / "b"), "part-00000").sha256


def test_an_exception_leaves_no_shard(tmp_path):
    with pytest.raises(RuntimeError), write_shard(str(tmp_path), "part-00000", SCHEMA, layers=["fc7"]) as shard:
        shard.add("im0", make_rows("im0", 300)[0])
        raise RuntimeError
    assert read_markers(str(tmp_path)) == []
    assert files.list_names(str(tmp_path)) == []
    with pytest.raises(MissingShardError, match="is not complete"):
        read_table(str(tmp_path), "part-00000")


def test_a_second_writer_of_other_bytes_is_refused_and_of_equal_bytes_welcome(tmp_path):
    write(str(tmp_path), [3])
    write(str(tmp_path), [3])
    with pytest.raises(DamagedFileError, match="exists with other bytes"):
        write(str(tmp_path), [4])


def test_a_flipped_bit_in_a_page_is_found(tmp_path):
    write(str(tmp_path), [300])
    path = tmp_path / "part-00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"part-00000\.parquet"):
        read_table(str(tmp_path), "part-00000")


def test_another_schema_names_the_field(tmp_path):
    write(str(tmp_path), [3])
    with pytest.raises(DamagedFileError, match="no field 'fc6'"):
        read_table(str(tmp_path), "part-00000", schema=features_schema({"fc6": 3}))
    with pytest.raises(DamagedFileError, match=r"field 'fc7' is fixed_size_binary\[6\]"):
        read_table(str(tmp_path), "part-00000", schema=features_schema({"fc7": 4}))
    assert read_table(str(tmp_path), "part-00000").schema.field("fc7").metadata == {b"dtype": b"float16", b"size": b"3"}


def test_a_matrix_survives_chunks_slices_and_no_rows():
    values = np.arange(24, dtype=np.float16).reshape(8, 3)
    np.testing.assert_array_equal(decode_matrix(encode_matrix(values)[2:5]), values[2:5])
    chunked = pa.chunked_array([encode_matrix(values[:3]), encode_matrix(values[3:])])
    np.testing.assert_array_equal(decode_matrix(chunked), values)
    assert decode_matrix(encode_matrix(values[:0])).shape == (0, 3)
    with pytest.raises(DamagedFileError, match="fixed-size binary"):
        decode_matrix(pa.array([1.0]))


def test_proposals_without_rows(tmp_path):
    with write_shard(str(tmp_path), "part-00000", PROPOSALS) as shard:
        shard.fail("im0", "propose", "empty file")
    assert read_table(str(tmp_path), "part-00000", schema=PROPOSALS).num_rows == 0
    assert [f.reason for f in read_marker(str(tmp_path), "part-00000").failures] == ["empty file"]
