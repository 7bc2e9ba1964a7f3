import numpy as np
import pytest

from rcnn_dist.errors import DamagedFileError, MissingShardError
from rcnn_dist.store.rows import map_class_rows, map_rows, write_rows


def test_rows_come_back_by_class(tmp_path):
    url = str(tmp_path / "rows.arrow")
    features = np.arange(12, dtype=np.float16).reshape(4, 3)
    write_rows(url, features, [[0, 2], [], [2], [1, 2]], {"tx": np.arange(4.0)}, b"norms")
    file = map_rows(url)
    assert [rows.tolist() for rows in file.rows_of_classes(4)] == [[0], [3], [0, 2, 3], []]
    assert file.extra == b"norms"
    np.testing.assert_array_equal(file.column("tx"), np.arange(4.0))
    same, picked = map_class_rows(url, 2)
    np.testing.assert_array_equal(same.features[picked], features[[0, 2, 3]])


def test_no_rows_keep_their_width(tmp_path):
    url = str(tmp_path / "rows.arrow")
    write_rows(url, np.empty((0, 5), np.float16), [], {"tx": np.empty(0)})
    assert map_rows(url).features.shape == (0, 5)
    assert [len(rows) for rows in map_rows(url).rows_of_classes(2)] == [0, 0]


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(MissingShardError, match="none.arrow"):
        map_rows(str(tmp_path / "none.arrow"))
    (tmp_path / "bad.arrow").write_bytes(b"no arrow at all")
    with pytest.raises(DamagedFileError, match="bad.arrow"):
        map_rows(str(tmp_path / "bad.arrow"))
