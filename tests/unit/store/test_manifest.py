import pytest

from rcnn_dist.errors import DamagedFileError
from rcnn_dist.store import files
from rcnn_dist.store.manifest import ImageFailure, Marker, fingerprint, read_marker, read_signed, write_marker, write_signed


def test_a_marker_comes_back_as_it_was(tmp_path):
    marker = Marker("part-00000", 3, 10, "ab", (("a", 1), ("b", 2)), (ImageFailure("c", "extract", "empty"),), {"read": 0.5}, "host:1")
    write_marker(str(tmp_path), marker)
    assert read_marker(str(tmp_path), "part-00000") == marker
    assert read_marker(str(tmp_path), "part-00001") is None


def test_every_flipped_bit_of_a_marker_is_found():
    url = "memory://flipped/m.json"
    content = {"rows": 12, "sha256": "00ff", "seconds": 1e-07, "images": ["caf\u00e9"]}
    write_signed(url, content)
    assert read_signed(url) == content
    good = files.read_bytes(url)
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        files.write_bytes(url, bytes(bad))
        with pytest.raises(DamagedFileError):
            read_signed(url)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"null", b"\xff\xfe", b'{"digest": 3}'])
def test_what_is_no_marker_is_refused_by_name(tmp_path, text):
    url = str(tmp_path / "m.json")
    files.write_bytes(url, text)
    with pytest.raises(DamagedFileError, match=r"m\.json"):
        read_signed(url)


def test_a_fingerprint_depends_on_every_part():
    one = fingerprint("a", 1, {"x": [1, 2]})
    assert one == fingerprint("a", 1, {"x": (1, 2)})
    assert len({one, fingerprint("b", 1, {"x": [1, 2]}), fingerprint("a", 2, {"x": [1, 2]}), fingerprint("a", 1, {"x": [2, 1]})}) == 4
