import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.data.ids import check_id, id_of, path_of
from rcnn_dist.errors import DataError


@pytest.mark.parametrize("image_id", ["000005", "apple_77", "n01440764/n01440764_18", "a.b-c+d=e@f,(1)", "_x", "a" * 255])
def test_ids_that_can_be_used(image_id):
    check_id(image_id)


@pytest.mark.parametrize(
    "image_id",
    [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "../a",
        "a//b",
        "a/",
        "a\\b",
        "a\0b",
        "a\nb",
        "a b",
        ".hidden",
        "a/.b",
        "-rf",
        "a/-b",
        "s3://b/a",
        "a:b",
        "a*",
        "a?",
        "a#b",
        "a%2e",
        "größe",
        "a\u202eb",
        "a\n",
        "~",
        "$HOME",
    ],
)
def test_ids_that_cannot_are_named(image_id):
    with pytest.raises(DataError) as caught:
        check_id(image_id)
    assert repr(image_id) in str(caught.value)


def test_an_id_that_is_too_long_is_named_by_its_start():
    with pytest.raises(DataError, match=r"a{40}.*has 256 characters, 255 are allowed"):
        check_id("a" * 256)


def test_the_subject_can_be_named():
    with pytest.raises(DataError, match=r"^split '../x' cannot be used"):
        check_id("../x", "split")


@given(st.text(alphabet=st.sampled_from("aZ0_-./\\ \0~:é"), max_size=12))
def test_what_passes_stays_in_its_folder(image_id):
    try:
        check_id(image_id)
    except DataError:
        return
    parts = image_id.split("/")
    assert all(part and part[0] not in ".-" and part.isascii() and part.isprintable() for part in parts)
    assert not set(image_id) & set("\\ \0~:")


@pytest.mark.parametrize(
    ("path", "image_id"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("a/IMG 1.jpg", "a/IMG=201.jpg"),
        ("größe=1.png", "gr=C3=B6=C3=9Fe=3D1.png"),
        ("../up.jpg", "=2E./up.jpg"),
        (".hidden/-rf", "=2Ehidden/=2Drf"),
        ("/data/x.jpg", "=/data/x.jpg"),
        ("data/x.jpg", "data/x.jpg"),
        ("a//b", "a/=/b"),
        ("s3://bucket/a.jpg", "s3=/bucket/a.jpg"),
        ("s3/bucket/a.jpg", "s3/bucket/a.jpg"),
        ("https://host:80/a?x=1&y=%20", "https=/host=3A80/a=3Fx=3D1=26y=3D=2520"),
        ("zip://a.jpg::s3://b/c.zip", "zip=/a.jpg=3A=3As3=3A/=/b/c.zip"),
        ("", "="),
    ],
)
def test_a_path_or_url_becomes_an_id_and_comes_back(path, image_id):
    assert id_of(path) == image_id
    check_id(image_id)
    assert path_of(image_id) == path


paths = st.text(alphabet=st.sampled_from("aF3=-./:% \\\0\udcffé+"), max_size=14)


@given(paths, paths)
def test_ids_of_paths_are_safe_distinct_and_lose_nothing(one, other):
    check_id(id_of(one))
    assert path_of(id_of(one)) == one
    assert (id_of(one) == id_of(other)) == (one == other)


def test_a_path_too_long_for_an_id_keeps_its_start():
    ids = {id_of("photos/" + "é" * 60 + end) for end in ("a", "b")}
    assert len(ids) == 2
    for image_id in ids:
        check_id(image_id)
        assert image_id.startswith("photos/=C3=A9") and path_of(image_id) is None
