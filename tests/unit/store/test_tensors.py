import numpy as np
import pytest

from rcnn_dist.errors import DamagedFileError, MissingShardError
from rcnn_dist.store.tensors import load_tensors, save_tensors


def test_tensors_and_their_description_come_back(tmp_path):
    url = str(tmp_path / "m.safetensors")
    tensors = {"b": np.arange(6.0).reshape(2, 3).T, "a": np.array([1, 2], np.int64)}
    save_tensors(url, tensors, {"classes": ["x", "y"]})
    found, about = load_tensors(url)
    assert about == {"classes": ["x", "y"]}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)


def test_equal_content_gives_equal_bytes(tmp_path):
    tensors = {name: np.full(3, i) for i, name in enumerate("abcdefgh")}
    about = {name: i for i, name in enumerate("stuvwxyz")}
    for name in ("1", "2"):
        save_tensors(str(tmp_path / name), dict(reversed(tensors.items())) if name == "2" else tensors, about)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("content", [b"", b"short", b"\x02" + bytes(7) + b"{}", bytes(100)])
def test_what_is_no_model_is_refused_by_name(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"m\.safetensors is not a model file"):
        load_tensors(str(tmp_path / "m.safetensors"))


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(MissingShardError, match="none"):
        load_tensors(str(tmp_path / "none"))
